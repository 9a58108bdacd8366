"""`sextant batch`: the files, the progress bar and the last line of a batch."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from app.batch_rows import count_rows
from app.commands.start import composed
from app.launch import CommandFailed, Signals, launch, load_settings
from app.terminal_blocks import console, safe

if TYPE_CHECKING:
    from app.batch import Batch

REFRESH_S = 0.2
REPORT_S = 15.0
"""Between two lines of progress where nobody watches."""
PROBLEMS_SHOWN = 5
LINES_SHOWN = 5


def batch(questions: Path, answers: Path, graph: str, *, concurrency: int, limit: int | None, debug: bool) -> None:
    """Rows in, rows out."""

    async def command(signals: Signals) -> int:
        settings = load_settings(worker_concurrency=concurrency)
        total = _counted(questions)
        output = _checked_output(questions, answers)
        async with composed(settings) as app:
            from app.batch import Batch

            job = Batch(app, graph, questions, output, concurrency=concurrency, limit=limit)
            async with _progress(job, min(total, limit or total)):
                with signals.do(job.stop):
                    await job.run()
        return _summary(job, answers, min(total, limit or total), signals)

    launch(command, debug=debug)


# -- files -----------------------------------------------------------------------------------------------------------


def _counted(questions: Path) -> int:
    if not questions.is_file():
        problem = "is not a file" if questions.exists() else "does not exist"
        raise CommandFailed(f"{questions} {problem}.", "Name a JSONL file with one question in each line.")
    with questions.open("rb") as file:
        total = count_rows(file)
    if not total:
        raise CommandFailed(f"{questions} holds no rows.", 'Write one {"question": "..."} in each line.')
    return total


def _checked_output(questions: Path, answers: Path) -> Path:
    """Where the answers really go. Raises CommandFailed for a place that would lose or not take them."""
    output = answers.resolve()
    if output == questions.resolve() or (output.exists() and output.samefile(questions)):
        raise CommandFailed(f"{answers} holds the questions.", "Name another file for the answers.", 2)
    if output.exists() and not output.is_file():
        raise CommandFailed(f"{answers} is not a regular file.", "Name a file for the answers.", 2)
    if output.exists() and not _is_ours(output):
        raise CommandFailed(
            f"{answers} holds something that no batch wrote.", "Name a new file, or move that one away.", 2
        )
    _sweep(output)
    probe = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CommandFailed(
            f"{answers} cannot be written: {error.strerror} ({output.parent}).",
            "Name a folder that exists and is yours.",
        ) from error
    return output


def _is_ours(output: Path) -> bool:
    with output.open("rb") as file, suppress(ValueError):
        first = file.readline()
        row = json.loads(first) if first.strip() else {"line": 1, "error": None}
        return isinstance(row, dict) and "line" in row and bool(row.keys() & {"answer", "error"})
    return False


def _sweep(output: Path) -> None:
    """Remove what batches that were killed in the middle of writing left behind."""
    for part in output.parent.glob(f".{output.name}.*.part"):
        pid = part.name.split(".")[-2]
        if pid.isdigit() and not _is_alive(int(pid)):
            part.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # somebody else's; or no process at all, so nothing that we wrote
        return True
    return True


# -- progress --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _progress(job: "Batch", total: int) -> AsyncIterator[None]:
    shown = asyncio.create_task(_bar(job, total) if sys.stderr.isatty() else _lines(job, total))
    try:
        yield
    finally:
        shown.cancel()
        await asyncio.wait([shown])


async def _bar(job: "Batch", total: int) -> None:
    columns = (
        BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[counts]}"), TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(), TextColumn("and"), TimeRemainingColumn(), TextColumn("left"),
    )  # fmt: skip
    with Progress(*columns, console=console(sys.stderr), auto_refresh=False) as bar:
        task = bar.add_task("", total=total, counts="", rate="")
        try:
            while True:
                _update(bar, task, job, total)
                await asyncio.sleep(REFRESH_S)
        finally:
            _update(bar, task, job, total)


def _update(bar: Progress, task: TaskID, job: "Batch", total: int) -> None:
    tally = job.tally
    speed = bar.tasks[0].speed
    # rows of earlier invocations take no time, and would make the estimate a dream
    bar.update(
        task, total=total - tally.kept, completed=tally.answered + tally.failed, counts=_counts(job),
        rate=f"{speed:.1f}/s" if speed else "", refresh=True,
    )  # fmt: skip


def _counts(job: "Batch") -> str:
    tally = job.tally
    words = [f"{tally.answered} answered", f"{tally.failed} failed", f"{tally.running} at work"]
    words += [f"{tally.kept} from before"] if tally.kept else []
    return ", ".join(words) + (", stopping" if job.stopping else "")


async def _lines(job: "Batch", total: int) -> None:
    while True:
        await asyncio.sleep(REPORT_S)
        print(f"{job.tally.done} of {total} rows: {_counts(job)}", file=sys.stderr, flush=True)


def _summary(job: "Batch", answers: Path, total: int, signals: Signals) -> int:
    tally = job.tally
    before = f" ({tally.kept} of them before)" if tally.kept else ""
    left = total - tally.done
    print(f"{total} rows: {tally.answered + tally.kept} answered{before}, {tally.failed} failed"
          f"{f', {left} left' if left else ''}. {answers}")  # fmt: skip
    _print_problems(job)
    if signals.number:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return signals.exit_code
    if tally.failed > tally.refused:
        print("The same command tries the failed runs again; what is answered is kept.", file=sys.stderr)
    return 1 if tally.failed or left else 0


def _print_problems(job: "Batch") -> None:
    """The most frequent first, each with the lines where it is."""
    found = sorted(job.tally.problems.items(), key=lambda it: -len(it[1]))
    for problem, lines in found[:PROBLEMS_SHOWN]:
        places = ", ".join(str(line) for line in lines[:LINES_SHOWN]) + (", ..." if len(lines) > LINES_SHOWN else "")
        print(f"  line{'s' if len(lines) > 1 else ''} {places}: {safe(problem)}", file=sys.stderr)
    if len(found) > PROBLEMS_SHOWN:
        print(f"  and {len(found) - PROBLEMS_SHOWN} other problems; each is in its row of the output", file=sys.stderr)
