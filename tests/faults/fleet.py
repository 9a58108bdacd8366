"""Worker processes started, killed and replaced; runs admitted, answered for and judged by somebody outside."""

import asyncio
import json
import os
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from patterns import Pattern, World, activities
from spoken import Speaker

from app.borders import Rejected
from app.journal import Journal
from app.postgres import Pool, migrate, open_pool
from app.projection import RunView
from app.queue import Timing
from app.runs import TERMINAL, Row, Runs
from app.steering import Steering
from app.work import Worker

QUICK = Timing(lease_s=2.0, stalled_s=2.0, heartbeat_s=0.4, sweep_s=0.3, blocked_s=0.2, poll_s=0.3, grace_s=5.0)
"""The product's timing, four times as fast: a trial waits for a lease."""
PATIENCE_S = 120.0
"""A crowded machine is slow, not wrong."""
LOOK_S = 0.1

T = TypeVar("T")


async def until(look: Callable[[], Awaitable[T]], right: Callable[[T], bool]) -> T:
    """Look again and again until it is right."""
    async with asyncio.timeout(PATIENCE_S):
        while not right(seen := await look()):  # noqa: ASYNC110 - what it waits for is in other processes
            await asyncio.sleep(0.02)
    return seen


class Process:
    """One worker process."""

    def __init__(self, pid: int, report: Path) -> None:
        self.pid, self._report = pid, report
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.is_up = asyncio.Event()
        """Set when it takes runs, or has ended."""
        self.halted = asyncio.Event()
        """Set when SIGSTOP has stopped it."""

    def signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if not self.ended.done():
            os.kill(self.pid, number)

    async def end(self) -> int:
        """Its exit code; -9 when it was killed."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.ended

    async def up(self) -> None:
        """Wait until it takes runs."""
        async with asyncio.timeout(PATIENCE_S):
            await self.is_up.wait()
        assert not self.ended.done(), self.log()

    @property
    def ended_a_run(self) -> bool:
        """A run came to its end in it, and it lived to say so."""
        return self._report.with_suffix(".ended").exists()

    async def stop(self) -> Counter[str]:
        """Let it end by itself; how often it came by each point."""
        async with asyncio.timeout(PATIENCE_S):
            await self.is_up.wait()  # others may have done all there was to do: before it is up, a signal kills it
        self.signal(signal.SIGTERM)
        code = await self.end()
        assert code == 0, f"exit code {code}: {self.log()}"
        return Counter(json.loads(self._report.read_text()))

    def diary(self) -> Counter[str]:
        """What its claims of before it was stopped tried to write, and whether it was taken."""
        file = self._report.with_suffix(".diary")
        return Counter(file.read_text().splitlines() if file.exists() else ())

    def log(self) -> str:
        """The end of what it said."""
        file = self._report.with_suffix(".log")
        return file.read_text()[-4000:] if file.exists() else ""


class Fleet:
    """Starts workers, as forks of one process that has imported everything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes: dict[int, Process] = {}
        self._started: asyncio.Queue[Process] = asyncio.Queue()
        self._orders = asyncio.Lock()

    @asynccontextmanager
    async def ready(self) -> AsyncIterator["Fleet"]:
        """For as long as the context lasts; its end kills who is left."""
        worker = Path(__file__).with_name("worker.py")
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._parent = await asyncio.create_subprocess_exec(
            sys.executable, str(worker), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment
        )
        listening = asyncio.create_task(self._listen())
        try:
            yield self
        finally:
            assert self._parent.stdin
            self._parent.stdin.close()
            await self._parent.wait()
            await listening

    async def _listen(self) -> None:
        assert self._parent.stdout
        async for line in self._parent.stdout:
            said = json.loads(line)
            if "started" in said:
                self._processes[said["started"]] = process = Process(said["started"], Path(said["report"]))
                self._started.put_nowait(process)
            elif "halted" in said:
                self._processes[said["halted"]].halted.set()
            elif "up" in said:
                self._processes[said["up"]].is_up.set()
            else:
                process = self._processes.pop(said["ended"])
                process.ended.set_result(said["code"])
                process.is_up.set()

    async def start(self, **job: Any) -> Process:
        """One more worker."""
        report = self.folder / f"{uuid4().hex}.json"
        order = json.dumps({"report": str(report), **job}) + "\n"
        async with self._orders:
            assert self._parent.stdin
            self._parent.stdin.write(order.encode())
            return await self._started.get()


@dataclass
class Verdict:
    """What came of some runs."""

    trials: int = 0
    struck: int = 0
    """Trials in which the fault struck."""
    lost: list[str] = field(default_factory=list)
    """Never came to an end, nor to a question."""
    unresumable: list[str] = field(default_factory=list)
    """Came to an end that is no answer."""
    repeated: list[str] = field(default_factory=list)
    """Effects that happened twice."""
    missing: list[str] = field(default_factory=list)
    """Effects that never happened."""
    changed: list[str] = field(default_factory=list)
    """Another answer than without the fault, or a log that tells another story than the row."""
    redone: list[str] = field(default_factory=list)
    """Sub-tasks and steps whose result was stored, and which were done once more."""
    kept: int = 0
    """Sub-tasks whose result was stored when their worker died."""
    absorbed: int = 0
    """Calls that a service had seen before, by their key: repeats that had no effect."""
    asked: int = 0
    """Questions to the person whether something had happened."""

    def add(self, other: "Verdict") -> None:
        """Count another one's in."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)

    def faults(self) -> dict[str, Any]:
        """All that must be empty."""
        names = ("lost", "unresumable", "repeated", "missing", "changed", "redone")
        return {name: found for name in names if (found := getattr(self, name))}


class Field:
    """One database, the runs in it, and the person who answers for them."""

    def __init__(
        self, fleet: Fleet, pool: Pool, conninfo: str, journal: Journal, model: Speaker, model_url: str, world: World
    ) -> None:
        self.fleet, self.pool, self.conninfo, self.journal = fleet, pool, conninfo, journal
        self.model, self.model_url, self.world = model, model_url, world
        self.graphs = activities()
        context: Any = None  # this process admits runs and never works on them
        self.queue = Worker(pool, journal, self.graphs, context, model_name="", timing=QUICK).queue
        self.runs = Runs(pool, journal, self.queue, self.graphs, max_question_chars=10_000)
        self.steering = Steering(pool, self.queue, self.runs, self.graphs)
        self.asked: Counter[str] = Counter()

    async def worker(
        self,
        pattern: Pattern,
        fault: Mapping[str, Any] | None = None,
        concurrency: int = 1,
        timing: Timing = QUICK,
    ) -> Process:
        """A worker process on this database."""
        job = {
            "conninfo": self.conninfo, "model_url": self.model_url, "model": pattern.name, "timing": asdict(timing),
            "world": str(self.world.file), "fault": fault, "concurrency": concurrency,
        }  # fmt: skip
        return await self.fleet.start(**job)

    async def admit(self, pattern: Pattern, count: int = 1) -> list[str]:
        """Runs of this pattern, each in a thread of its own."""
        made = []
        for _ in range(count):
            thread = await self.runs.create_thread(pattern.graph)
            made.append((await self.runs.start(thread["thread_id"], pattern.graph, "go"))["run_id"])
        return made

    async def poster(self, thread_id: str, questions: Sequence[str]) -> Process:
        """A process that posts all of these at once, and ends."""
        return await self.fleet.start(conninfo=self.conninfo, timing=asdict(QUICK), thread=thread_id, posts=questions)

    async def rows(self, run_ids: Sequence[str]) -> list[Row]:
        """How these runs stand."""
        async with self.pool.connection() as connection:
            found = await connection.execute("select * from runs where run_id = any(%s)", (list(run_ids),))
            by_id = {row["run_id"]: row for row in await found.fetchall()}
        return [by_id[run_id] for run_id in run_ids]

    async def settle(
        self, run_ids: Sequence[str], *, until: Sequence[str] = TERMINAL, patience_s: float = PATIENCE_S
    ) -> list[Row]:
        """Answer what is asked until all are where they should be; the rows as they are then, or when patience ends."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while left := [row for row in await self.rows(run_ids) if row["status"] not in until]:
                    for row in left:
                        if row["status"] == "waiting":
                            await self.answer(row["run_id"])
                    await asyncio.sleep(LOOK_S)
        return await self.rows(run_ids)

    async def answer(self, run_id: str) -> None:
        """Be the person: approve, and where something may have happened, look."""
        for question in await self.steering.questions(run_id):
            if question["answered_at"]:
                continue
            value = question["value"]
            self.asked[value["kind"]] += 1
            decision = "approve"
            if value["kind"] == "doubt":
                what = f"{value['tool']} {value['args']['to']}"
                happened = any(call["run"] == run_id and call["what"] == what for call in self.world.calls())
                decision = "happened" if happened else "again"
            try:
                await self.steering.answer(run_id, question["interrupt_id"], {"decision": decision})
            except Rejected as error:
                assert error.code in ("answered_before", "run_ended"), error

    async def judge(self, pattern: Pattern, rows: Sequence[Row]) -> Verdict:
        """Hold what came of the runs against what must have come of them."""
        verdict = Verdict(trials=len(rows), asked=self.asked.pop("doubt", 0))
        by_run: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for call in self.world.calls():
            by_run[call["run"]].append(call)
        for row in rows:
            run_id, status = row["run_id"], row["status"]
            if status != "succeeded":
                (verdict.unresumable if status in ("failed", "cancelled") else verdict.lost).append(
                    f"{run_id} {status} {row['error']}"
                )
                continue
            if not pattern.is_answer(row["output"]["answer"]):
                verdict.changed.append(f"{run_id} {row['output']['answer']!r}")
            verdict.changed += await self._misread(row)
            self._weigh(verdict, pattern, run_id, by_run[run_id])
        return verdict

    def _weigh(self, verdict: Verdict, pattern: Pattern, run_id: str, calls: Sequence[Mapping[str, Any]]) -> None:
        """A service that takes keys does each key once; `wire` and `pay` go to services that take none."""
        done: Counter[str] = Counter()
        seen: set[str] = set()
        for call in calls:
            keyed = call["what"].startswith("send")
            if keyed and call["key"] in seen:
                verdict.absorbed += 1
                continue
            seen.add(call["key"])
            done[call["what"]] += 1
        verdict.repeated += [f"{run_id} {what} x{n}" for what, n in done.items() if n > 1]
        verdict.missing += [f"{run_id} {what}" for what in pattern.effects - done.keys()]

    async def _misread(self, row: Row) -> list[str]:
        """Where the log of a run tells another story than its row."""
        events = await self.journal.read(row["run_id"])
        view = RunView(self.graphs[row["graph"]].shape)
        for event in events:
            view.apply(event)
        found = []
        if [event.seq for event in events] != list(range(1, len(events) + 1)):
            found.append(f"{row['run_id']} seq has gaps")
        if (view.status, view.answer) != (row["status"], row["output"]["answer"]):
            found.append(f"{row['run_id']} log says {view.status} {view.answer!r}")
        if open_lanes := [lane.id for lane in view.lanes.values() if lane.start is not None and lane.end is None]:
            found.append(f"{row['run_id']} lanes never ended: {open_lanes}")
        return found


@asynccontextmanager
async def opened(fleet: Fleet, conninfo: str, folder: Path) -> AsyncIterator[Field]:
    """An empty database with a model and a world."""
    model = Speaker()
    async with (
        await open_pool(conninfo) as pool,
        model.serving() as model_url,
        Journal(pool, conninfo).listening() as journal,
    ):
        await migrate(pool)
        field = Field(fleet, pool, conninfo, journal, model, model_url, World(folder / "world.jsonl"))
        await field.queue.open(pool)
        yield field
