"""kill -9 at every named point, and at random: no run is lost, no effect happens twice, no answer changes."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from extent import LONGEST_S, SOAK, extent
from fleet import Field, Fleet, Verdict, opened
from patterns import PATTERNS
from trials import Trials, calibrated, every_point, main_points, struck_in_a_row

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow, pytest.mark.timeout(LONGEST_S)]

RANDOM_KILLS = extent(20, 200)
SECOND_KILLS = extent(0.0, 0.5)
"""Share of batches in which the worker that goes on is killed as well; the gate has the rows below for that."""


@pytest.mark.parametrize("name", PATTERNS)
async def test_a_worker_dies_at_named_points_and_at_any_moment(field: Field, name: str) -> None:
    pattern, dice = PATTERNS[name], random.Random(name)
    phases = await calibrated(field, pattern)
    total, named, at_random = Verdict(), 0, 0
    for phase, counts in enumerate(phases):
        trials = Trials(field, pattern, phase, counts, dice)
        points = every_point(counts) if SOAK else main_points(counts)
        await trials.strike(points, RANDOM_KILLS // len(phases), SECOND_KILLS)
        total.add(trials.verdict)
        named, at_random = named + trials.named, at_random + trials.random
    print(f"\n{name}: {named} kills at named points, {at_random} at random; {total}")
    assert at_random >= RANDOM_KILLS


ROWS = [
    ["tool.before", "tool.after"],
    ["tool.before", "tool.before", "tool.before", "tool.after"],
    ["intent.after", "record.before", "record.after"],
    ["tool.before", "tool.before"],
    ["tool.after", "checkpoint.after", "tool.after", "tool.before"],
    ["tool.before", "writes.after", "tool.after"],
]


@pytest.mark.parametrize("name", ["once", "approval"])
async def test_a_person_who_said_again_is_asked_again_when_the_next_worker_dies_too(
    fleet: Fleet, empty_database: Callable[[], str], tmp_path: Path, name: str
) -> None:
    async def died_in(row: list[str], at: int) -> Verdict:
        folder = tmp_path / str(at)
        folder.mkdir()
        async with opened(fleet, empty_database(), folder) as field:
            return await struck_in_a_row(field, PATTERNS[name], row)

    # they wait for leases most of the time, so they wait side by side
    verdicts = await asyncio.gather(*(died_in(row, at) for at, row in enumerate(ROWS[: extent(3, None)])))
    print(name, verdicts)
    assert all(verdict.struck >= 2 for verdict in verdicts)
