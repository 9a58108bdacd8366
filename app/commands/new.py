"""`sextant new graph NAME`: a graph that works, with its test; it is found everywhere, with no other edit."""

import importlib
import json
import keyword
import re
import sys
from pathlib import Path

from app.launch import CommandFailed, Signals, launch

MAX_NAME_CHARS = 40
RESERVED = frozenset({"graph", "graphs", "build", "discover", "run", "runs", "thread", "threads", "test", "new", "end"})
"""Names that mean something else in Python, in LangGraph or in an address."""

GRAPH = '''\
"""One agent answers; a graph of one node to start from."""

from typing import Any

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from agents.asking import ask
from agents.context import Context
from graphs.state import ChatState, as_node

EXAMPLES = {"What is a straggler?": "One node asks one agent"}


async def answer(state: ChatState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Ask an agent, and append what it says."""
    return {"messages": [await ask(runtime.context, "assistant", *state["messages"])]}


def build() -> StateGraph[ChatState, Context]:
    builder = StateGraph(ChatState, context_schema=Context)
    builder.add_node(answer, metadata=as_node("Answer", speaks=True))
    return builder.add_edge(START, "answer").add_edge("answer", END)
'''

TEST = '''\
"""The graph {name}: it asks its agent, and the answer joins the conversation."""

from collections.abc import Callable
from typing import Any

from crew import crew, run
from scripted import says

from graphs import {name}


async def test_it_answers(scripted: Callable[..., Any]) -> None:
    model = scripted([says("Forty-two.")])

    ran = await run({name}.build().compile(), crew(model), "What is it?")

    assert [str(message.text) for message in ran.state["messages"]] == ["What is it?", "Forty-two."]
    assert [start["name"] for start in ran.of("node.started")] == ["answer"]
'''


def graph(name: str, *, debug: bool) -> None:
    """Write the graph, its test, and its line in langgraph.json; draw it in the README."""

    async def command(signals: Signals) -> int:
        for path in write_graph(Path.cwd(), name):
            print(path)
        if _drawn(Path.cwd()):
            print("README.md")
        tried = f'sextant chat "What is a straggler?" --graph {name}'
        test = f"make dev && .venv/bin/python -m pytest tests/graphs/test_{name}.py"
        print(f"Try it: .venv/bin/{tried}\nTest it: {test}", file=sys.stderr)
        print("A server that runs takes it up when it is started again.", file=sys.stderr)
        return 0

    launch(command, debug=debug)


def _drawn(root: Path) -> bool:
    """True when the README has a section for graphs, which tells of the new one now."""
    importlib.invalidate_caches()
    from app.commands.graphs import BEGIN, rewrite
    from graphs import __file__ as package
    from graphs import discover

    readme = root / "README.md"
    here = Path(package).resolve().parents[1] == root.resolve()  # else these are the graphs of another checkout
    return here and readme.is_file() and BEGIN in readme.read_text("utf-8") and rewrite(readme, discover())


def write_graph(root: Path, name: str) -> list[Path]:
    """Files of a new graph below `root`, a checkout; relative to it. Writes all or nothing. Raises CommandFailed."""
    listed = root / "langgraph.json"
    if not (root / "graphs" / "__init__.py").is_file() or not listed.is_file():
        raise CommandFailed(f"{root} holds no graphs/ and no langgraph.json.", "Change to the folder of your checkout.")
    code, test = Path("graphs", f"{name}.py"), Path("tests", "graphs", f"test_{name}.py")
    _check_name(name)
    if taken := next((path for path in (code, test) if (root / path).exists()), None):
        raise CommandFailed(f"{taken} exists.", "Choose another name, or delete it first.")
    try:
        known = json.loads(listed.read_text("utf-8"))
        known["graphs"] = dict(sorted({**known["graphs"], name: f"./graphs/{name}.py:build"}.items()))
    except (ValueError, KeyError, TypeError) as error:
        raise CommandFailed(f"langgraph.json cannot be read: {error}.", "Mend it; nothing was written.") from error
    (root / test).parent.mkdir(parents=True, exist_ok=True)
    (root / code).write_text(GRAPH, "utf-8")
    (root / test).write_text(TEST.format(name=name), "utf-8")
    listed.write_text(json.dumps(known, indent=2) + "\n", "utf-8")
    return [code, test, Path("langgraph.json")]


def _check_name(name: str) -> None:
    shape = "a lower-case word: letters, digits and _, beginning with a letter"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise CommandFailed(f"{name!r} cannot be a graph's name.", f"Give {shape}.", 2)
    if len(name) > MAX_NAME_CHARS:
        raise CommandFailed(f"{name}: {len(name)} characters of at most {MAX_NAME_CHARS}.", "Choose a shorter one.", 2)
    if name in RESERVED or keyword.iskeyword(name) or keyword.issoftkeyword(name) or name in sys.stdlib_module_names:
        raise CommandFailed(f"{name!r} means something else already.", "Choose another name.", 2)
