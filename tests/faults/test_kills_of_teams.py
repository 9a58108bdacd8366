"""kill -9 in the graphs of many agents: a debate, a swarm, leads with workers, a desk whose replies are mended."""

import random

import pytest
from extent import LONGEST_S, SOAK, extent
from fleet import Field
from shapes import SHAPES
from trials import Trials, calibrated, every_point, some_points

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow, pytest.mark.timeout(LONGEST_S)]

RANDOM_KILLS = extent(6, 200)
SECOND_KILLS = extent(0.0, 0.5)
BOUNDARIES = 3
"""Of the forty to ninety that a run has, the gate strikes so many, and six times at random: all of that is one batch.

The patterns of `test_kills.py` have every boundary and twenty at random there; the soak has both for all.
"""


@pytest.mark.parametrize("name", SHAPES)
async def test_a_worker_dies_in_the_middle_of_a_team(field: Field, name: str) -> None:
    shape, dice = SHAPES[name], random.Random(name)
    [counts] = await calibrated(field, shape)
    trials = Trials(field, shape, 0, counts, dice)
    points = every_point(counts) if SOAK else some_points(counts, BOUNDARIES)
    await trials.strike(points, RANDOM_KILLS, SECOND_KILLS)
    print(f"\n{name}: {trials.named} kills at named points, {trials.random} at random; {trials.verdict}")
    assert trials.random >= RANDOM_KILLS
