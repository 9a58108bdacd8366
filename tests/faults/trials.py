"""Trials: runs whose worker is killed, and what came of them.

A batch has one victim for each run. All victims die, then one healthy worker goes on with all runs: so a batch waits
once for a lease, however many trials are in it.
"""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fleet import QUICK, Field, Process, Verdict
from patterns import Pattern
from points import ANY, at_random, in_time
from stored import Stored, stored

from app.runs import TERMINAL

BATCH = 20
"""Each victim has half a dozen connections, and Postgres has two hundred."""
SPARE = 2
"""Kills at random beside those that are wanted: some find their run at its end, and a batch for one takes long too."""
ROUNDS = 4
"""Tries to reach a point: on a slow machine a victim may lose its lease, and its run, before it gets there."""
VICTIM = replace(QUICK, sweep_s=60.0, poll_s=2.0)
"""It carries its own run and looks for no others."""
Fault = Mapping[str, Any]
FROM_OUTSIDE = {"claim.after", "tool.before", "tool.after", "record.after", "result.before_commit"}
"""What a gate strikes once: before the first checkpoint, in mid-tool, between effect and record, around the end."""


_COUNTED: dict[str, list[Counter[str]]] = {}


async def calibrated(field: Field, pattern: Pattern) -> list[Counter[str]]:
    """How often one undisturbed run comes by each point, before a person is asked and after; counted once."""
    if pattern.name not in _COUNTED:
        _COUNTED[pattern.name] = await _counted(field, pattern)
    return _COUNTED[pattern.name]


async def _counted(field: Field, pattern: Pattern) -> list[Counter[str]]:
    phases = []
    run_ids = await field.admit(pattern)
    for until in (["waiting"], None) if pattern.asks else (None,):
        worker = await field.worker(pattern)
        rows = await field.settle(run_ids, **({"until": until} if until else {}))
        phases.append(await worker.stop())
        if until:
            await field.answer(run_ids[0])
    verdict = await field.judge(pattern, rows)
    assert not verdict.faults(), verdict.faults()
    return phases


def every_point(counts: Mapping[str, int]) -> list[Fault]:
    """Each super-step's boundary, and of all other points the first and the last time that each is reached."""
    return [
        {"point": point, "nth": nth}
        for point, times in counts.items()
        for nth in (range(1, times + 1) if point == "checkpoint.after" else sorted({1, _last(point, times)}))
    ]


def main_points(counts: Mapping[str, int]) -> list[Fault]:
    """Each super-step's boundary, and what lies between two of them once."""
    return [
        fault
        for fault in every_point(counts)
        if fault["point"] == "checkpoint.after" or (fault["point"] in FROM_OUTSIDE and fault["nth"] == 1)
    ]


def some_points(counts: Mapping[str, int], boundaries: int) -> list[Fault]:
    """The main points, of the super-steps' boundaries only so many, spread evenly."""
    main = main_points(counts)
    steps = [fault for fault in main if fault["point"] == "checkpoint.after"]
    some = [steps[at * (len(steps) - 1) // (boundaries - 1)] for at in range(boundaries)]
    return [*(fault for fault in main if fault not in steps), *some]


def _last(point: str, times: int) -> int:
    return 1 if in_time(point) else times


class Trials:
    """All that is done to one pattern, in one phase of it."""

    def __init__(self, field: Field, pattern: Pattern, phase: int, counts: Mapping[str, int], dice: random.Random):
        self.field, self.pattern, self.phase, self.counts, self.dice = field, pattern, phase, counts, dice
        self.verdict = Verdict()
        self.named = self.random = 0

    async def strike(self, named: Sequence[Fault], random_kills: int, second_kills: float) -> None:
        """A kill at each of these points, so many at random, and in this share of batches one of who goes on."""
        rounds = Counter(str(fault) for fault in named)
        left = list(named)
        while left or self.random < random_kills:
            wanted = random_kills - self.random
            drawn = wanted + SPARE if wanted > 0 else 0
            faults = [*left, *(at_random(self.counts, self.dice) for _ in range(drawn))][:BATCH]
            struck = await self._batch(faults, second=self.dice.random() < second_kills)
            self.random += sum(hit for fault, hit in zip(faults, struck, strict=True) if fault["point"] == ANY)
            missed = [fault for fault, hit in zip(faults, struck, strict=True) if fault["point"] != ANY and not hit]
            rounds.update(str(fault) for fault in missed)
            assert not rounds or max(rounds.values()) <= ROUNDS, f"never reached: {missed}"
            left = missed + left[len(faults) :]
        self.named += len(named)

    async def _batch(self, faults: Sequence[Fault], *, second: bool) -> list[bool]:
        """One trial for each of these; which of them struck while a run was at work."""
        victims, run_ids = await _faced(self.field, self.pattern, self.phase, faults)
        struck = await self._fallen(victims, run_ids, faults)
        before = await self._finished(run_ids)
        if second:
            fault = at_random({point: times * len(faults) // 2 for point, times in self.counts.items()}, self.dice)
            await self._fallen([await self.field.worker(self.pattern, fault, BATCH)], run_ids, [fault])
        verdict = await gone_on(self.field, self.pattern, run_ids, before)
        verdict.struck = sum(struck) + second
        self.verdict.add(verdict)
        return struck

    async def _finished(self, run_ids: Sequence[str]) -> dict[str, Stored]:
        """What of each run that is not over was finished when its worker died."""
        graph = self.field.graphs[self.pattern.graph].builder
        rows = [row for row in await self.field.rows(run_ids) if row["status"] not in TERMINAL]
        return {row["run_id"]: await stored(self.field.pool, graph, row) for row in rows}

    async def _fallen(self, victims: Sequence[Process], run_ids: Sequence[str], faults: Sequence[Fault]) -> list[bool]:
        """Wait until each victim is dead, or has no run left to die at."""
        while alive := [victim for victim in victims if not victim.ended.done()]:
            await asyncio.wait({victim.ended for victim in alive}, timeout=1)
            rows = await self.field.rows(run_ids)
            if all(row["status"] in (*TERMINAL, "waiting") for row in rows):
                break
        codes = []
        for victim in victims:
            idle = not victim.ended.done()
            victim.signal(signal.SIGKILL)
            codes.append((await victim.end(), idle))
        return [
            code == -signal.SIGKILL and not idle and not (fault["point"] == ANY and victim.ended_a_run)
            for (code, idle), victim, fault in zip(codes, victims, faults, strict=True)
        ]


async def struck_in_a_row(field: Field, pattern: Pattern, points: Sequence[str]) -> Verdict:
    """One run, each of whose workers dies; its person answers what is asked in between.

    How far a worker gets before it dies is a matter of time, so the last ones may find nothing left to die at.
    """
    run_ids = await field.admit(pattern)
    struck = 0
    for point in points:
        victim = await field.worker(pattern, {"point": point})
        while not victim.ended.done():
            [row] = await field.settle(run_ids, until=["queued", "running", "succeeded"], patience_s=0.2)
            if row["status"] == "succeeded":
                victim.signal(signal.SIGTERM)
                break
            await asyncio.wait({victim.ended}, timeout=0.1)
        struck += await victim.end() == -signal.SIGKILL
    verdict = await gone_on(field, pattern, run_ids)
    verdict.struck = struck
    return verdict


async def _faced(
    field: Field, pattern: Pattern, phase: int, faults: Sequence[Fault | None]
) -> tuple[list[Process], list[str]]:
    """A worker for each fault, all ready at once, and then a run for each of them."""
    waiting = await _waiting(field, pattern, len(faults)) if phase else []
    workers = [await field.worker(pattern, fault, timing=VICTIM) for fault in faults]
    for worker in workers:
        await worker.up()
    for run_id in waiting:
        await field.answer(run_id)
    return workers, waiting or await field.admit(pattern, len(faults))


async def _waiting(field: Field, pattern: Pattern, count: int) -> list[str]:
    """Runs that wait for their person. The worker that brought them there is killed meanwhile."""
    run_ids = await field.admit(pattern, count)
    worker = await field.worker(pattern, concurrency=BATCH)
    await field.settle(run_ids, until=["waiting"])
    worker.signal(signal.SIGKILL)
    await worker.end()
    return run_ids


async def gone_on(
    field: Field, pattern: Pattern, run_ids: Sequence[str], before: Mapping[str, Stored] | None = None
) -> Verdict:
    """What one healthy worker makes of them. It may not do again what was stored `before`."""
    worker = await field.worker(pattern, concurrency=BATCH)
    verdict = await field.judge(pattern, await field.settle(run_ids))
    for run_id, finished in (before or {}).items():
        verdict.kept += len(finished.sub_tasks)
        verdict.redone += [f"{run_id} {it}" for it in finished.done_again(await field.journal.read(run_id))]
    log = worker.log()
    await worker.stop()
    assert not verdict.faults(), f"{verdict.faults()}\n{log}"
    return verdict
