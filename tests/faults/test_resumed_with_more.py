"""Runs that a budget or a person ended in the middle of a team: one command more, and all of it is done, none twice."""

import asyncio
from typing import Any

import pytest
from extent import LONGEST_S, extent
from fleet import Field, Verdict, until
from patterns import CHAT, RESEARCH, Pattern
from shapes import SUPPORT, TEAM
from stored import stored

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow, pytest.mark.timeout(LONGEST_S)]

MORE = {"steps": 100}
ENOUGH = {"chat": 3, "research": 15, "team": 24, "support": 12}
"""Steps with which nothing is left out, with a fifth in hand for the conclusion."""
AT_ONCE = 8


async def begun(field: Field, pattern: Pattern, steps: int | None = None) -> str:
    """A run with this budget."""
    thread = await field.runs.create_thread(pattern.graph)
    run = await field.runs.start(thread["thread_id"], pattern.graph, "go", budget=steps and {"steps": steps})
    return str(run["run_id"])


def faults(verdict: Verdict) -> dict[str, Any]:
    """An agent that has to conclude may end without what it was to do: that is a result, and not done again."""
    return {name: found for name, found in verdict.faults().items() if name != "missing"}


@pytest.mark.parametrize("pattern", [CHAT, RESEARCH, TEAM, SUPPORT], ids=lambda it: it.name)
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
    assert not faults(verdict), f"{faults(verdict)}\n{worker.log()}"
    assert [row["output"]["missing"] for row in rows] == [[]] * len(rows)
    await worker.stop()


STOPS = {
    "with all in hand": (TEAM, None, "do by", {"a", "b.bx", "c"}),
    "with the budget nearly spent": (TEAM, 13, "do by", {"a", "b.bx", "c"}),
    "with a plan that goes no further": (RESEARCH, 6, "do r", {"p", "q", "s"}),
}
"""Of whom, with how many steps, which of its workers is waited for, and who is told to have ended before."""


@pytest.mark.parametrize("stop", STOPS)
async def test_one_resume_after_a_stop_in_mid_team_does_the_rest_and_nothing_again(field: Field, stop: str) -> None:
    pattern, steps, opening, others = STOPS[stop]
    field.model.held[opening] = let_go = asyncio.Event()
    worker = await field.worker(pattern)
    run_id = await begun(field, pattern, steps)

    async def ended() -> set[str]:
        return {str(it.data["task_id"]) for it in await field.journal.read(run_id) if it.type == "agent.finished"}

    assert await until(ended, lambda found: found >= others)
    await field.runs.cancel(run_id)
    [row] = await field.settle([run_id])
    assert row["status"] == "cancelled"
    before = await stored(field.pool, field.graphs[pattern.graph].builder, row)
    assert before.sub_tasks
    let_go.set()
    await field.steering.resume(run_id, steps and MORE)
    [row] = await field.settle([run_id])

    verdict = await field.judge(pattern, [row])
    assert not faults(verdict), f"{faults(verdict)}\n{worker.log()}"
    assert row["output"]["missing"] == []
    assert before.done_again(await field.journal.read(run_id)) == []
    await worker.stop()
