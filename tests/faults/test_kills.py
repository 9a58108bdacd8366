"""kill -9 at every named point, and at random: no run is lost, no effect happens twice, no answer changes."""

import random

import pytest
from fleet import Field, Verdict
from patterns import PATTERNS
from trials import BATCH, calibrated, named_points, span_of, struck_at, struck_at_random, struck_in_a_row

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]


@pytest.mark.parametrize("name", PATTERNS)
async def test_a_worker_dies_at_every_named_point(field: Field, name: str) -> None:
    pattern = PATTERNS[name]
    total = Verdict()
    for phase, counts in enumerate(await calibrated(field, pattern)):
        faults = named_points(counts)
        for at in range(0, len(faults), BATCH):
            total.add(await struck_at(field, pattern, phase, faults[at : at + BATCH]))
    print(name, total)


@pytest.mark.parametrize("name", PATTERNS)
async def test_a_worker_dies_at_any_moment(field: Field, name: str) -> None:
    pattern, dice = PATTERNS[name], random.Random(name)
    total = Verdict()
    phases = 1 + pattern.asks
    for phase in range(phases):
        span_s = await span_of(field, pattern, phase)
        while total.struck < 20 * (phase + 1) / phases:
            total.add(await struck_at_random(field, pattern, phase, span_s, dice))
    print(name, total)


@pytest.mark.parametrize(
    "row",
    [
        ["tool.before", "tool.before"],
        ["tool.before", "tool.after"],
        ["tool.before", "tool.before", "tool.before", "tool.after"],
        ["intent.after", "record.before", "record.after"],
        ["tool.after", "checkpoint.after", "tool.after", "tool.before"],
        ["tool.before", "writes.after", "tool.after"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("name", ["once", "approval"])
async def test_a_person_who_said_again_is_asked_again_when_the_next_worker_dies_too(
    field: Field, name: str, row: list[str]
) -> None:
    verdict = await struck_in_a_row(field, PATTERNS[name], [{"point": point} for point in row])
    assert verdict.struck >= 2
