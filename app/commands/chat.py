"""`sextant chat`: ask one question, watch the run, read the cited answer."""

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console

from app.borders import checked_id, checked_question
from app.commands.start import composed
from app.launch import CommandFailed, Signals, launch, load_settings
from app.terminal_blocks import console, safe

if TYPE_CHECKING:
    from app.compose import App
    from app.terminal import Screen

JSON = dict[str, Any]

FRAME_S = 0.12
AGAIN_S = 1.0
STOP_S = 8.0
"""A stopped run has this long to say so; the command ends anyway."""
MAX_STDIN_BYTES = 4_000_000


def chat(question: str, graph: str, thread: str | None, *, as_json: bool, debug: bool) -> None:
    """One question, one run."""

    async def command(signals: Signals) -> int:
        settings = load_settings()
        asked = checked_question(_from_stdin() if question == "-" else question, settings.max_question_chars)
        thread_id = checked_id(thread, "thread") if thread else None
        async with composed(settings) as app:
            conversation = await app.runs.create_thread(graph, thread_id)
            run = await app.runs.start(conversation["thread_id"], graph, asked)
            return await _watched(app, run, signals, as_json=as_json)

    launch(command, debug=debug)


def _from_stdin() -> str:
    data = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
    if len(data) > MAX_STDIN_BYTES:
        raise CommandFailed(f"question: more than {MAX_STDIN_BYTES:,} bytes.", "Ingest the long part and ask about it.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CommandFailed(f"question: byte {error.start + 1} is not UTF-8.", "Save it as UTF-8.") from error


async def _watched(app: "App", run: JSON, signals: Signals, *, as_json: bool) -> int:
    from app.terminal import LineScreen, screen

    out, err = console(sys.stdout), console(sys.stderr)

    async def polite() -> None:
        async with asyncio.timeout(STOP_S):
            await app.runs.cancel(run["run_id"])

    with signals.do(polite), LineScreen(err) if as_json else screen(out, err) as shown:
        view = await _shown(app, run, shown, signals)
    run = await app.runs.run(run["run_id"])
    _print_result(run, view, out, as_json=as_json)
    return _ending(run, view, signals, err)


async def _shown(app: "App", run: JSON, shown: "Screen", signals: Signals) -> JSON:
    """Fold and draw the run until it has ended; what it looked like last."""
    from app.live import LiveView

    live = LiveView(run, app.activities[run["graph"]].shape)

    async def follow() -> None:
        async for events in app.journal.follow(run["run_id"], live.view.seq):
            live.apply(events)
            if not events:
                live.status((await app.runs.run(run["run_id"]))["status"])

    folding = asyncio.create_task(_whatever_the_database_does(follow))
    give_up_at = float("inf")
    try:
        while not folding.done() and time.monotonic() < give_up_at:
            shown.show(live.whole())
            await asyncio.wait([folding], timeout=FRAME_S)
            if signals.number:
                give_up_at = min(give_up_at, time.monotonic() + STOP_S)
    finally:
        folding.cancel()
    if folding.done():
        folding.result()
    shown.show(live.whole())
    return live.whole()


async def _whatever_the_database_does(follow: Callable[[], Awaitable[None]]) -> None:
    """Follow again after a cut: the run goes on when the database is back, and so does who watches it."""
    from app.queue import DATABASE_GONE

    while True:
        try:
            return await follow()
        except DATABASE_GONE as error:
            logging.getLogger(__name__).warning("the database does not answer, trying again: %s", error)
            await asyncio.sleep(AGAIN_S)


def _print_result(run: JSON, view: JSON, out: Console, *, as_json: bool) -> None:
    from app.batch import result_of
    from app.terminal import finished, plain_answer

    if as_json:
        head = {name: run[name] for name in ("thread_id", "graph", "status", "question")}
        print(orjson.dumps({**head, **result_of(run)}).decode())
    elif out.is_terminal:
        out.print(finished(view, out.width))
    elif answer := plain_answer(view):
        print(answer)


def _ending(run: JSON, view: JSON, signals: Signals, err: Console) -> int:
    """The exit code; a failed run is a failed command."""
    going_on = f'sextant chat --graph {run["graph"]} --thread {run["thread_id"]} "..."'
    if signals.number:
        err.print(f"Stopped. What was found so far is kept. Go on with: {going_on}", soft_wrap=True)
        return signals.exit_code
    if run["status"] != "succeeded":
        error = safe(run["error"] or view["error"] or {"message": f"The run is {run['status']}.", "fix": ""})
        raise CommandFailed(error["message"], error["fix"])
    if err.is_terminal:
        err.print(f"Go on with: {going_on}", style="dim", soft_wrap=True)
    return 0
