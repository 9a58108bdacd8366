"""Trials: runs whose worker is killed, and what came of them.

A batch has one victim for each run. All victims die, then one healthy worker goes on with all runs: so a batch waits
once for a lease, however many trials are in it.
"""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from fleet import QUICK, Field, Process, Verdict
from patterns import Pattern

BATCH = 10
SECOND_KILL = 0.5
"""Share of random batches in which the worker that goes on is killed as well."""
Fault = Mapping[str, Any]


async def calibrated(field: Field, pattern: Pattern) -> list[Counter[str]]:
    """How often one undisturbed run comes by each point, before a person is asked and after."""
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
    """Each time that each point is reached."""
    return [{"point": point, "nth": nth} for point, times in counts.items() for nth in range(1, times + 1)]


def named_points(counts: Mapping[str, int]) -> list[Fault]:
    """Every super-step's boundary, and of all other points the first and the last time."""
    return [
        fault
        for fault in every_point(counts)
        if fault["point"] == "checkpoint.after" or fault["nth"] in (1, _last(counts, fault["point"]))
    ]


def _last(counts: Mapping[str, int], point: str) -> int:
    # how the log is cut into batches is a matter of time: the last one may not come in another run
    return 1 if point.startswith("events.") else counts[point]


async def struck_at(field: Field, pattern: Pattern, phase: int, faults: Sequence[Fault]) -> Verdict:
    """One trial for each of these faults."""
    victims, run_ids = await _faced(field, pattern, phase, faults)
    codes = [await victim.end() for victim in victims]
    unharmed = [fault for fault, code in zip(faults, codes, strict=True) if code != -signal.SIGKILL]
    assert not unharmed, f"never reached: {unharmed}"
    verdict = await _gone_on(field, pattern, run_ids)
    verdict.struck = len(faults)
    return verdict


async def struck_at_random(field: Field, pattern: Pattern, phase: int, span_s: float, dice: random.Random) -> Verdict:
    """One batch whose workers are killed at any moment of `span_s`, and sometimes those who go on as well."""
    victims, run_ids = await _faced(field, pattern, phase, [None] * BATCH)

    async def kill_later(process: Process, within_s: float) -> None:
        await asyncio.sleep(dice.uniform(0, within_s))
        process.signal(signal.SIGKILL)
        await process.end()

    await asyncio.gather(*(kill_later(victim, span_s) for victim in victims))
    ended = sum(row["status"] in ("succeeded", "waiting") for row in await field.rows(run_ids))
    if dice.random() < SECOND_KILL:
        await kill_later(await field.worker(pattern, concurrency=BATCH), span_s + QUICK.lease_s)
    verdict = await _gone_on(field, pattern, run_ids)
    verdict.struck = BATCH - ended
    return verdict


async def struck_in_a_row(field: Field, pattern: Pattern, faults: Sequence[Fault]) -> Verdict:
    """One run, each of whose workers dies; its person answers what is asked in between.

    How far a worker gets before it dies is a matter of time, so the last ones may find nothing left to die at.
    """
    run_ids = await field.admit(pattern)
    struck = 0
    for fault in faults:
        victim = await field.worker(pattern, fault)
        while not victim.ended.done():
            [row] = await field.settle(run_ids, until=["queued", "running", "succeeded"], patience_s=0.2)
            if row["status"] == "succeeded":
                victim.signal(signal.SIGTERM)
                break
            await asyncio.sleep(0.05)
        struck += await victim.end() == -signal.SIGKILL
    verdict = await _gone_on(field, pattern, run_ids)
    verdict.struck = struck
    return verdict


async def span_of(field: Field, pattern: Pattern, phase: int) -> float:
    """How long a batch takes in which nobody is killed."""
    workers, run_ids = await _faced(field, pattern, phase, [None] * BATCH)
    began = time.monotonic()
    await field.settle(run_ids, until=["waiting"] if pattern.asks and phase == 0 else ["succeeded"])
    took_s = time.monotonic() - began
    await asyncio.gather(*(worker.stop() for worker in workers))
    return took_s


async def _faced(
    field: Field, pattern: Pattern, phase: int, faults: Sequence[Fault | None]
) -> tuple[list[Process], list[str]]:
    """A worker for each fault, all ready at once, and then a run for each of them."""
    waiting = await _waiting(field, pattern, len(faults)) if phase else []
    workers = [await field.worker(pattern, fault) for fault in faults]
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


async def _gone_on(field: Field, pattern: Pattern, run_ids: Sequence[str]) -> Verdict:
    """What one healthy worker makes of them."""
    worker = await field.worker(pattern, concurrency=BATCH)
    verdict = await field.judge(pattern, await field.settle(run_ids))
    log = worker.log()
    await worker.stop()
    assert not verdict.faults(), f"{verdict.faults()}\n{log}"
    return verdict
