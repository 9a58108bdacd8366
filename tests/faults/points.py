"""Named points at which a worker process dies: everything that it writes through, wrapped.

The product has no hooks for this. A worker is composed with these in place of what `app/claim.py` writes through, and
each says where it is; the fault strikes when the wanted point was reached for the n-th time in this process.

| point | what is lost |
|---|---|
| `claim.after` | the run is claimed, nothing is written |
| `checkpoint.before`, `.after` | before and after the n-th checkpoint, of the run or of an agent in it |
| `writes.before`, `.after` | before and after the n-th pending writes of a task |
| `intent.before`, `.after` | around the ledger's intent |
| `tool.before`, `tool.after` | inside the tool: before its effect, and after it but before the record |
| `record.after` | the effect is recorded, the step that holds its result is not |
| `events.before_commit`, `.after_commit` | in mid-batch, and after the n-th batch of events |
| `result.before_commit`, `.after_commit` | in the transaction that ends the run, and between it and the queue's end |

A kill at random strikes some milliseconds after one of them, whichever: so it hits any progress of a run with the same
probability, however fast the machine is at the time.
"""

import os
import random
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from agents.effects import EffectKey, Entry
from app.claim import Writers
from app.journal import Recorder
from app.ledger import RunLedger
from app.postgres import FencedSaver, Pool, StaleWriter

ANY = "any"
LATE_S = 0.05
"""Kills at random come within so long after a point: longer than the way to the next one mostly is."""
ACTIONS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "drain": signal.SIGTERM}


@dataclass
class Fault:
    """What strikes this process, where, and what it did before."""

    point: str = ""
    nth: int = 1
    action: str = "kill"
    late_s: float = 0.0
    """The strike comes so long after the point was reached."""
    ended: Path | None = None
    """Touched when a run came to its end here."""
    diary: Path | None = None
    """Where a process that was stopped and goes on writes down which of its old claims' writes were taken."""
    counts: Counter[str] = field(default_factory=Counter)
    claims: set[tuple[str, int]] = field(default_factory=set)
    stale: set[tuple[str, int]] = field(default_factory=set)
    """The claims, as run and epoch, that it had when the fault struck."""

    def at(self, point: str) -> None:
        """This point is reached; the process may not live to see the end of this call."""
        self.counts[point] += 1
        if point == self.point:
            self._reached(self.counts[point])
        elif self.point == ANY and not in_time(point):
            self._reached(sum(times for point, times in self.counts.items() if not in_time(point)))

    def _reached(self, times: int) -> None:
        if times != self.nth:
            return
        if self.late_s:
            threading.Timer(self.late_s, self._strike).start()
        else:
            self._strike()

    def _strike(self) -> None:
        self.stale |= self.claims
        os.kill(os.getpid(), ACTIONS[self.action])

    @asynccontextmanager
    async def writing(self, what: str, run_id: str, epoch: int) -> AsyncIterator[None]:
        """A write for a claim, with a point on either side."""
        self.at(f"{what}.before")
        late = (run_id, epoch) in self.stale  # else it may have been taken before the process stopped
        outcome = "failed"
        try:
            yield
            outcome = "taken"
        except StaleWriter:
            outcome = "refused"
            raise
        finally:
            if late and self.diary:
                with self.diary.open("a") as diary:
                    diary.write(f"{what} {outcome}\n")
        self.at(f"{what}.after")


def in_time(point: str) -> bool:
    """How often it is reached is a matter of time: the log is cut into batches every so many milliseconds."""
    return point.startswith("events.")


def at_random(counts: Mapping[str, int], dice: random.Random) -> dict[str, Any]:
    """A fault at any moment of a run that comes by these points."""
    points = sum(times for point, times in counts.items() if not in_time(point))
    return {"point": ANY, "nth": dice.randint(1, points), "late_s": dice.uniform(0.0001, LATE_S)}


class FaultySaver(FencedSaver):
    """A checkpointer with a point before and after each write."""

    def __init__(self, pool: Pool, run_id: str, epoch: int, fault: Fault) -> None:
        super().__init__(pool, run_id, epoch)
        self.fault = fault

    async def aput(self, *args: Any, **more: Any) -> Any:
        async with self.fault.writing("checkpoint", self.run_id, self.epoch):
            return await super().aput(*args, **more)

    async def aput_writes(self, config: Any, writes: Sequence[tuple[str, Any]], task_id: str, path: str = "") -> None:
        async with self.fault.writing("writes", self.run_id, self.epoch):
            await super().aput_writes(config, writes, task_id, path)


class FaultyLedger(RunLedger):
    """A ledger with a point before and after each intent and each result."""

    def __init__(self, pool: Pool, run_id: str, epoch: int, forked_from: str | None, fault: Fault) -> None:
        super().__init__(pool, run_id, epoch, forked_from)
        self.fault, self.claim = fault, (run_id, epoch)

    async def begin(self, key: EffectKey, tool: str, args: Mapping[str, Any], effect: str) -> Entry:
        async with self.fault.writing("intent", *self.claim):
            return await super().begin(key, tool, args, effect)

    async def end(self, key: EffectKey, result: Mapping[str, Any]) -> None:
        async with self.fault.writing("record", *self.claim):
            await super().end(key, result)


class FaultyRecorder(Recorder):
    """A recorder with points inside its transactions."""

    def __init__(self, pool: Pool, run_id: str, epoch: int, last_seq: int, fault: Fault) -> None:
        watched: Any = WatchedPool(pool, fault)
        super().__init__(watched, run_id, epoch, last_seq)
        self.fault, self.claim = fault, (run_id, epoch)

    async def __aenter__(self) -> Self:
        self.fault.claims.add(self.claim)
        self.fault.at("claim.after")
        return await super().__aenter__()

    async def finish(self, event: Any, status: str, output: Any, error: Any, also: Any) -> None:
        async def also_and_stop(connection: Any, run_id: str) -> None:
            await also(connection, run_id)
            self.fault.at("result.before_commit")

        async with self.fault.writing("result", *self.claim):
            await super().finish(event, status, output, error, also_and_stop)
        self.fault.at("result.after_commit")
        if self.fault.ended:
            self.fault.ended.touch()


class WatchedPool:
    """A pool whose connections have points before and after each commit."""

    def __init__(self, pool: Pool, fault: Fault) -> None:
        self._pool, self._fault = pool, fault

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        async with self._pool.connection() as connection:
            yield WatchedConnection(connection, self._fault)


class WatchedConnection:
    """A connection that stops at the last moment of a transaction."""

    def __init__(self, connection: Any, fault: Fault) -> None:
        self._connection, self._fault, self._inside = connection, fault, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        async with self._connection.transaction() as transaction:
            self._inside = True
            yield transaction
            self._fault.at("events.before_commit")
        self._fault.at("events.after_commit")

    async def execute(self, *statement: Any) -> Any:
        """A statement alone is a transaction of its own: it is stored, or it is not."""
        if self._inside:
            return await self._connection.execute(*statement)
        self._fault.at("events.before_commit")
        done = await self._connection.execute(*statement)
        self._fault.at("events.after_commit")
        return done


def writers(fault: Fault) -> Writers:
    """What a claim writes through, with every point in it."""
    return Writers(
        lambda *given: FaultyRecorder(*given, fault),
        lambda *given: FaultySaver(*given, fault),
        lambda *given: FaultyLedger(*given, fault),
    )
