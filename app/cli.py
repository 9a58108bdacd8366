"""The command line: `sextant up`, `chat`, `batch`, `ingest`, `documents`, `graphs`, `new`, `worker`, `mcp`, `key` ...

Every command ends in an exit code that a script can use: 0 done, 1 something failed, 2 wrong usage, 130 stopped by
Ctrl-C. An error is one sentence and the next move; `--debug` shows where it came from. What is heavy is imported by the
command that needs it, so that `--help` comes at once.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from app.settings import require_strict_msgpack

cli = typer.Typer(
    name="sextant",
    help="A team of agents that answers questions from your documents, and cites them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

key = typer.Typer(help="Who may use the server: add, list, revoke keys.", no_args_is_help=True, rich_markup_mode=None)
cli.add_typer(key, name="key")
new = typer.Typer(help="Write a file to start from, with its test.", no_args_is_help=True, rich_markup_mode=None)
cli.add_typer(new, name="new")

Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and more of the log.")]
Graph = Annotated[str, typer.Option("--graph", "-g", help="Which graph answers; `sextant graphs` lists them.")]


def main() -> None:
    """Entry point of `sextant`."""
    require_strict_msgpack()
    for stream in (sys.stdout, sys.stderr):
        # of whatever encoding: what it cannot show becomes `?`, and nothing stops over it
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    cli()


@cli.command()
def up(
    host: Annotated[str | None, typer.Option(help="Address to listen on.  [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Or the next free one.  [default: 8501]")] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open a browser.")] = False,
    debug: Debug = False,
) -> None:
    """Start everything: page, API and worker, in one process. Ctrl-C stops it."""
    from app.commands import serve

    serve.up(host, port, browser=not no_browser, debug=debug)


@cli.command()
def worker(
    concurrency: Annotated[int | None, typer.Option(min=1, max=1000, help="Runs at once.  [default: 16]")] = None,
    debug: Debug = False,
) -> None:
    """Work on runs that other processes admit, until SIGTERM."""
    from app.commands import serve

    serve.worker(concurrency, debug=debug)


@cli.command()
def mcp(debug: Debug = False) -> None:
    """Serve graphs and documents to an MCP client over standard input and output."""
    from app.commands import mcp

    mcp.mcp(debug=debug)


@cli.command()
def chat(
    question: Annotated[str, typer.Argument(help="What to ask; - reads it from standard input.")],
    graph: Graph = "chat",
    thread: Annotated[str | None, typer.Option(help="Go on with this conversation.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
    debug: Debug = False,
) -> None:
    """Ask one question, watch the run, read the cited answer. Ctrl-C stops the run."""
    from app.commands import chat

    chat.chat(question, graph, thread, as_json=as_json, debug=debug)


@cli.command()
def batch(
    questions: Annotated[Path, typer.Argument(help="JSONL: an object with a question in each line.")],
    answers: Annotated[Path, typer.Argument(help="JSONL: one row for each row of the input, in its order.")],
    graph: Graph = "research",
    concurrency: Annotated[int, typer.Option(min=1, max=100, help="Rows at once.")] = 4,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many rows.")] = None,
    debug: Debug = False,
) -> None:
    """Answer a file of questions. Running it again does only what is missing, and tries what failed once more."""
    from app.commands import batch

    batch.batch(questions, answers, graph, concurrency=concurrency, limit=limit, debug=debug)


@cli.command()
def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files, folders or ZIPs: Markdown, text, HTML, PDF, DOCX.")],
    debug: Debug = False,
) -> None:
    """Index documents. Their text can be searched at once; vectors follow."""
    from app.commands import ingest

    ingest.ingest(paths, debug=debug)


@cli.command()
def documents(debug: Debug = False) -> None:
    """List what is indexed."""
    from app.commands import ingest

    ingest.documents(debug=debug)


@cli.command()
def doctor(debug: Debug = False) -> None:
    """Check each part for real, and say what is wrong and how to mend it."""
    from app.commands import doctor

    doctor.doctor(debug=debug)


@cli.command()
def graphs(
    readme: Annotated[bool, typer.Option("--readme", help="Write their table and drawings into README.md.")] = False,
    debug: Debug = False,
) -> None:
    """List the graphs that can be run: what each does, and when it pays."""
    from app.commands import graphs

    graphs.graphs(readme=readme, debug=debug)


@new.command("graph")
def new_graph(
    name: Annotated[str, typer.Argument(help="A lower-case word; it becomes graphs/NAME.py.")], debug: Debug = False
) -> None:
    """Write a graph that works, and its test. Page, terminal, batch and API find it with no other edit."""
    from app.commands import new

    new.graph(name, debug=debug)


@key.command("add")
def add_key(
    owner: Annotated[str, typer.Argument(help="Whose key it is; conversations from before the first key are local's.")],
    label: Annotated[str, typer.Option(help="Where it is used.")] = "",
    debug: Debug = False,
) -> None:
    """Make a key and print it, this once. From the first one on, every request needs one."""
    from app.commands import keys

    keys.add(owner, label, debug=debug)


@key.command("list")
def list_keys(debug: Debug = False) -> None:
    """List keys: whose, since when, last used when."""
    from app.commands import keys

    keys.show(debug=debug)


@key.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="Its id, as `sextant key list` shows it.")], debug: Debug = False
) -> None:
    """End a key at once."""
    from app.commands import keys

    keys.revoke(key_id, debug=debug)


if __name__ == "__main__":
    main()
