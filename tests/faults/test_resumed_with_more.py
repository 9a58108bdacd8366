"""Runs that a budget or a person ended in the middle of a team: one command more, and all of it is done, none twice."""

import asyncio

import pytest
from extent import LONGEST_S, extent
from fleet import Field, until
from patterns import CHAT, RESEARCH, Pattern
from shapes import TEAM
from stored import stored

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow, pytest.mark.timeout(LONGEST_S)]

MORE = {"steps": 100}
ENOUGH = {"chat": 3, "research": 15, "team": 24}
"""Steps with which nothing is left out, with a fifth in hand for the conclusion."""
AT_ONCE = 8


async def begun(field: Field, pattern: Pattern, steps: int | None = None) -> str:
    """A run with this budget."""
    thread = await field.runs.create_thread(pattern.graph)
    run = await field.runs.start(thread["thread_id"], pattern.graph, "go", budget=steps and {"steps": steps})
    return str(run["run_id"])


@pytest.mark.parametrize("pattern", [CHAT, RESEARCH, TEAM], ids=lambda it: it.name)
async def test_one_command_with_a_larger_budget_does_what_a_smaller_one_left_out(
    field: Field, pattern: Pattern
) -> None:
    worker = await field.worker(pattern, concurrency=AT_ONCE)
    budgets = range(1, ENOUGH[pattern.name], extent(3, 1))
    run_ids = [await begun(field, pattern, steps) for steps in budgets]
    left_out = 0
    for row in await field.settle(run_ids):
        if (reached := row["output"]["budget_reached"]) and reached["more"]:
            left_out += 1
            await getattr(field.steering, reached["more"]["command"])(row["run_id"], MORE)
    rows = await field.settle(run_ids)
    verdict = await field.judge(pattern, rows)
    print(f"\n{pattern.name}: {left_out} of {len(run_ids)} budgets left something out; {verdict}")
    assert left_out > len(run_ids) // 2
    assert not verdict.faults(), f"{verdict.faults()}\n{worker.log()}"
    assert [row["output"]["missing"] for row in rows] == [[]] * len(rows)
    await worker.stop()


async def test_one_resume_after_a_stop_in_mid_team_does_the_rest_and_nothing_again(field: Field) -> None:
    """One worker of one lead is all that is waited for when the person stops it."""
    field.model.held["do by"] = let_go = asyncio.Event()
    worker = await field.worker(TEAM)
    run_id = await begun(field, TEAM)
    graph = field.graphs[TEAM.graph].builder

    async def finished() -> frozenset[str]:
        return (await stored(field.pool, graph, await field.runs.run(run_id))).sub_tasks

    done = await until(finished, lambda found: found >= {"a", "a.ax", "a.ay", "b.bx", "c", "c.cx"})
    assert not done & {"b", "b.by"}
    await field.runs.cancel(run_id)
    [row] = await field.settle([run_id])
    assert row["status"] == "cancelled"
    before = await stored(field.pool, graph, row)
    let_go.set()
    await field.steering.resume(run_id)
    [row] = await field.settle([run_id])

    verdict = await field.judge(TEAM, [row])
    assert not verdict.faults(), f"{verdict.faults()}\n{worker.log()}"
    assert row["output"]["missing"] == []
    assert before.done_again(await field.journal.read(run_id)) == []
    await worker.stop()
