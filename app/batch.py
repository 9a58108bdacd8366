"""Questions in, answers out: JSONL to JSONL over the same waist as the chat.

Each row becomes one run under a name that is made of what it asks and where its answer goes, so the same command
again finds its runs instead of asking twice: answered rows are kept, unanswered ones go on from their checkpoint. The
truth is in the database; the output file is only drawn from it, now and then and at the end, each time whole, under
another name and then renamed. So it is valid at any moment, and kill -9 costs nothing that was done.

A row is an object with a `question` (or `input`) and maybe an `id`, or just a string. Its other fields come back in its
output row; one that has the name of a field of ours comes back under `given`. To ask everything anew, name another
output file.

| field of an output row | |
|---|---|
| `line`, `id`, `question` | of the input |
| `answer`, `sources`, `missing`, `rounds` | of a row that was answered; the last two only where there are any |
| `error`, `so_far` | of one that was not: code, message, fix; and what was found until then, if anything was |
| `budget_reached` | where a limit ended the run or cut it short: unit, limit, actual, share |
| `run_id`, `seconds` | from its first start to its end, with the time in which it waited |
| `tokens`, `calls`, `tools`, `cost_usd` | in, out, cached; model calls; tool calls; where the model has a price |
| `timing` | of a run of several steps: `took_s` at work, `serial_s` one after the other, `floor_s` of the longest |
| | chain, `speedup`, `amdahl_ceiling`, `critical_path` (title, seconds), `best_change` (kind, text, gain_s, gain_usd) |
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from psycopg import OperationalError
from psycopg_pool import PoolTimeout

from app.auth import BATCH
from app.batch_rows import Row, encoded, read_rows
from app.borders import Rejected
from app.compose import App

JSON = dict[str, Any]
T = TypeVar("T")

WINDOW_ROWS = 100
POLL_S = 0.05
ENDED = ("succeeded", "failed", "cancelled", "waiting")
NOBODY_ASKED = {"message": "It waits for a person, and nobody is asked in a batch.", "fix": "Ask it in the chat."}
PATIENCE_S = 120.0
"""A database that restarts is waited for; one that stays away ends the batch, which loses nothing."""
RETRY_S = 1.0
OUTPUT_EVERY_S = 15.0
OUTPUT_SHARE = 0.05
"""Of the time, at most this much goes into redrawing the output while rows are still being answered."""

_RUNS = (
    "select run_id, idempotency_key, status, input, output, error, started_at, finished_at from runs "
    "where owner = %s and idempotency_key = any(%s)"
)
_STATES = "select run_id, status, error->>'message' as problem from runs where run_id = any(%s) and status = any(%s)"


@dataclass(slots=True)
class Tally:
    """How far a batch is."""

    kept: int = 0
    """Answered by an earlier invocation."""
    answered: int = 0
    failed: int = 0
    refused: int = 0
    """Of the failed ones, those that could not even be asked."""
    running: int = 0
    problems: dict[str, list[int]] = field(default_factory=dict)
    """What went wrong -> in which lines."""

    def fail(self, problem: str, line: int, *, refused: bool = False) -> None:
        """Count one more row that has no answer."""
        self.failed += 1
        self.refused += refused
        self.problems.setdefault(problem, []).append(line)

    @property
    def done(self) -> int:
        """Rows that need no more work now."""
        return self.kept + self.answered + self.failed


class Batch:
    """One invocation: `run` it; `stop` it from another task."""

    def __init__(
        self, app: App, graph: str, source: Path, output: Path, *, concurrency: int, limit: int | None = None
    ) -> None:
        self._app, self._graph, self._source, self._output = app, graph, source, output
        self._concurrency, self._limit = concurrency, limit
        self._running: dict[str, asyncio.Future[JSON]] = {}
        self._drawing = asyncio.Lock()
        self.tally = Tally()
        self.stopping = False

    async def run(self) -> None:
        """Ask what has no answer yet; whatever happens, the output holds all that is answered."""
        self._app.activities[self._graph]
        try:
            async with asyncio.TaskGroup() as tasks:
                keepers = [tasks.create_task(self._watch()), tasks.create_task(self._keep_output())]
                await self._ask_missing()
                for keeper in keepers:
                    keeper.cancel()
        except Exception:
            await self.write_output()
            raise
        await self.write_output()

    async def stop(self) -> None:
        """Take no more rows and stop those at work; the next invocation goes on from where they are."""
        self.stopping = True
        for run_id in list(self._running):
            await self._app.runs.cancel(run_id, BATCH)

    # -- asking ------------------------------------------------------------------------------------------------------

    async def _ask_missing(self) -> None:
        slots = asyncio.Semaphore(self._concurrency)
        async with asyncio.TaskGroup() as tasks:
            async for row in self._missing():
                await slots.acquire()
                if self.stopping:
                    return
                tasks.create_task(self._ask(row)).add_done_callback(lambda _: slots.release())

    async def _missing(self) -> AsyncIterator[Row]:
        async for window in self._windows(self._limit):
            known = await self._runs(window)
            for row in window:
                if row.problem:
                    self.tally.fail(row.problem["message"], row.line, refused=True)
                elif known.get(row.key, {}).get("status") == "succeeded":
                    self.tally.kept += 1
                else:
                    yield row

    async def _ask(self, row: Row) -> None:
        self.tally.running += 1
        try:
            run = await patiently(lambda: self._started(row))
            ended = self._running[run["run_id"]] = asyncio.get_running_loop().create_future()
            if self.stopping:
                await self._app.runs.cancel(run["run_id"], BATCH)
            outcome = await ended
        finally:
            self.tally.running -= 1
        if outcome["status"] == "succeeded":
            self.tally.answered += 1
        elif not self.stopping:
            waits = NOBODY_ASKED["message"] if outcome["status"] == "waiting" else ""
            self.tally.fail(outcome["problem"] or waits or outcome["status"], row.line)

    async def _started(self, row: Row) -> JSON:
        """The row's run: admitted now, found at work, or going on from where it failed or was stopped."""
        runs = self._app.runs
        await runs.create_thread(self._graph, row.key, BATCH)
        run = await runs.start(row.key, self._graph, row.question, idempotency_key=row.key, owner=BATCH)
        if run["status"] in ("failed", "cancelled") and not run["pruned_at"]:
            with suppress(Rejected):  # another batch of the same rows was quicker
                return await self._app.steering.resume(run["run_id"], owner=BATCH)
        return run

    async def _watch(self) -> None:
        """Notice which runs have ended: one query for all of them, whoever carries them."""
        while True:
            await asyncio.sleep(POLL_S)
            if self._running:
                ended = await patiently(lambda: self._rows(_STATES, list(self._running), list(ENDED)))
                for row in ended:
                    if not (future := self._running.pop(row["run_id"])).done():
                        future.set_result(row)

    # -- the output --------------------------------------------------------------------------------------------------

    async def _keep_output(self) -> None:
        pause_s, drawn = OUTPUT_EVERY_S, -1
        while True:
            await asyncio.sleep(pause_s)
            if self.tally.done != drawn:
                drawn, began = self.tally.done, time.monotonic()
                await patiently(self.write_output)
                pause_s = max(OUTPUT_EVERY_S, (time.monotonic() - began) / OUTPUT_SHARE)

    async def write_output(self) -> None:
        """Draw the output anew, whole and in input order, and put it in the place of the old one."""
        part = self._output.with_name(f".{self._output.name}.{os.getpid()}.part")
        async with self._drawing:
            try:
                with part.open("wb") as file:
                    async for window in self._windows():
                        known = await self._runs(window)
                        file.writelines(encoded(it) for row in window if (it := self._drawn(row, known.get(row.key))))
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(self._output)
                _sync_folder(self._output.parent)
            finally:
                part.unlink(missing_ok=True)

    def _drawn(self, row: Row, run: Mapping[str, Any] | None) -> JSON | None:
        """A row of the output; None while there is nothing to say about it."""
        if row.problem:
            asked = self._limit is None or row.number <= self._limit
            return {**row.head(), "error": row.problem, **row.tail()} if asked else None
        if run is None or run["status"] not in ENDED or (self.stopping and run["status"] == "cancelled"):
            return None
        result = result_of(run)
        if run["status"] == "waiting":
            result["error"] |= NOBODY_ASKED
        return {**row.head(), "question": row.question, **result, **row.tail()}

    # -- small ones --------------------------------------------------------------------------------------------------

    async def _windows(self, limit: int | None = None) -> AsyncIterator[list[Row]]:
        """The input, a window at a time: no file is too long, and reading it holds up nobody."""
        job = f"{self._graph}\n{self._output}"
        with self._source.open("rb") as file:
            rows: Iterator[Row] = islice(read_rows(file, job, self._app.settings.max_question_chars), limit)
            while window := await asyncio.to_thread(list, islice(rows, WINDOW_ROWS)):
                yield window

    async def _runs(self, window: Sequence[Row]) -> dict[str, JSON]:
        keys = [row.key for row in window if not row.problem]
        return {run["idempotency_key"]: run for run in await patiently(lambda: self._rows(_RUNS, BATCH, keys))}

    async def _rows(self, sql: str, *params: Any) -> list[JSON]:
        async with self._app.pool.connection() as connection:
            return list(await (await connection.execute(sql, params)).fetchall())


def result_of(run: Mapping[str, Any]) -> JSON:
    """What an ended run came to, for a program to read: of a row, or of one question."""
    output, error = run["output"] or {}, run["error"] or {}
    result: JSON = {}
    if run["status"] == "succeeded":
        result |= {"answer": output["text"], "sources": [_source(it) for it in output["sources"]]}
        result |= {name: output[name] for name in ("missing", "rounds") if output.get(name)}
    else:
        waits = {"message": "It waits for a person.", "fix": "Answer it in the chat."}
        said = {"message": f"The run is {run['status']}.", "fix": "Run the same command again."} | error
        said = said if run["status"] != "waiting" else said | waits
        result["error"] = {"code": error.get("kind", run["status"]), "message": said["message"], "fix": said["fix"]}
        result |= {"so_far": output["text"]} if output.get("text") else {}
    if reached := output.get("budget_reached"):
        result["budget_reached"] = {name: reached[name] for name in ("unit", "limit", "actual", "share")}
    result["run_id"] = run["run_id"]
    if run["started_at"] and run["finished_at"]:
        result["seconds"] = round((run["finished_at"] - run["started_at"]).total_seconds(), 3)
    if meters := output.get("meters"):
        names = {"in": "tokens_in", "out": "tokens_out", "cached": "tokens_cached"}
        result["tokens"] = {name: meters[meter] for name, meter in names.items()}
        result |= {"calls": meters["calls"], "tools": meters["tools"]}
        result |= {"cost_usd": meters["cost_usd"]} if meters["cost_usd"] is not None else {}
    result |= {"timing": output["timing"]} if output.get("timing") else {}
    return result


def _source(source: Mapping[str, Any]) -> JSON:
    return {name: source[name] for name in ("n", "document", "title", "heading", "page", "quote", "chunk_id")}


async def patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Try `work` again while the database is away. Repeats must be safe."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with suppress(OperationalError, PoolTimeout):
            return await work()
        if time.monotonic() > deadline:
            return await work()
        await asyncio.sleep(RETRY_S)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
