"""`sextant ingest` and `sextant documents`: the corpus, without everything else."""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from app.commands.start import starting
from app.launch import Signals, launch, load_settings
from app.settings import Settings
from app.terminal_blocks import console, safe

if TYPE_CHECKING:
    from retrieval.corpus import Corpus
    from retrieval.documents import Document, EmbedProgress, IngestProgress, IngestReport

LISTED = 10


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator["Corpus"]:
    with starting("Opening the index"):
        from app.compose import embedder
        from retrieval.corpus import Corpus

        corpus = await Corpus.open(settings.home / "index", await embedder(settings))
    async with corpus:
        yield corpus


def ingest(paths: Sequence[Path], *, debug: bool) -> None:
    """Index files, folders and archives."""

    async def command(signals: Signals) -> int:
        async with _opened(load_settings()) as corpus:
            report = await _taken_in(corpus, paths)
            _print_report(report)
            await _with_vectors(corpus)
        return 1 if report.failed else 0

    launch(command, debug=debug)


async def _taken_in(corpus: "Corpus", paths: Sequence[Path]) -> "IngestReport":
    with _bar() as bar:
        task = bar.add_task("Reading", total=None, what="")

        def show(progress: "IngestProgress") -> None:
            bar.update(
                task, completed=progress.files_done, total=progress.files_total, what=safe(progress.current)[-40:]
            )

        return await corpus.ingest(paths, progress=show)


async def _with_vectors(corpus: "Corpus") -> None:
    """Give what is pending its vectors now: nobody else may be running who would."""
    from retrieval.embed import EmbedderUnavailable

    with _bar() as bar:
        task = bar.add_task("Vectors", total=None, visible=False, what="text can be searched already")

        def show(progress: "EmbedProgress") -> None:
            bar.update(task, completed=progress.done, total=progress.total, visible=True)

        try:
            await corpus.embed_pending(progress=show)
        except EmbedderUnavailable as error:
            print(f"warning: no vectors yet: {error}; text is found by its words meanwhile", file=sys.stderr)


def _bar() -> Progress:
    """Text that names the file comes last, where it may be cut."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn("{task.fields[what]}", style="dim"))  # fmt: skip
    return Progress(*columns, console=console(sys.stderr), transient=True, disable=not sys.stderr.isatty())


def _print_report(report: "IngestReport") -> None:
    counts = {
        "added": len(report.added), "replaced": len(report.replaced), "unchanged": len(report.unchanged),
        "skipped": len(report.skipped), "failed": len(report.failed),
    }  # fmt: skip
    words = ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "nothing"
    passages = "1 passage" if report.chunks == 1 else f"{report.chunks:,} passages"
    print(f"{words}: {passages} in {report.elapsed_s:.1f} s", flush=True)
    problems = [f"{it.name}: {it.reason}; {it.fix}" for it in report.failed]
    _list("failed", problems)
    _list("warning", report.warnings)


def _list(word: str, items: Sequence[str]) -> None:
    for item in items[:LISTED]:
        print(f"  {word}: {safe(item)}", file=sys.stderr)
    if len(items) > LISTED:
        print(f"  and {len(items) - LISTED} more", file=sys.stderr)


def documents(*, debug: bool) -> None:
    """Print what is indexed: a table for a person, tab-separated for a program."""

    async def command(signals: Signals) -> int:
        async with _opened(load_settings()) as corpus:
            found, stats = await corpus.documents(), corpus.stats()
        out = console(sys.stdout)
        if out.is_terminal:
            _print_table(out, found)
            pending = f", {stats.pending:,} wait for their vectors" if stats.pending else ""
            out.print(f"{stats.documents:,} documents, {stats.chunks:,} passages{pending}", style="dim")
        else:
            for it in found:
                print(*(safe(str(part)) for part in _columns(it)), sep="\t")
        return 0

    launch(command, debug=debug)


def _columns(document: "Document") -> tuple[str, str, str, str, str]:
    pages = str(document.pages or "")
    return document.name, pages, str(document.chunks), f"{document.size_bytes / 1e3:.1f}", document.added_at[:10]


def _print_table(out: Console, found: Sequence["Document"]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Document", overflow="fold")
    for name in ("Pages", "Passages", "kB"):
        table.add_column(name, justify="right")
    table.add_column("Added")
    for it in found:
        table.add_row(*(safe(part) for part in _columns(it)))
    out.print(table)
