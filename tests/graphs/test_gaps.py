"""A step that a run can do without: every way in which it may go missing, and what must not be swallowed."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from crew import crew
from langgraph.errors import GraphInterrupt
from scripted import ScriptedModel

from agents.allowance import Allowance, Budget
from agents.context import Context
from agents.errors import RunLost, ToolFailed
from graphs.gaps import Gap, spared, with_gaps

TIME_JUMPS = True


@pytest.fixture
def context() -> Context:
    return crew(ScriptedModel([]), subtask_timeout_s=0.05)


async def value() -> int:
    return 42


async def never() -> int:
    await asyncio.Event().wait()
    raise AssertionError


def raising(error: BaseException) -> Any:
    async def fails() -> int:
        raise error

    return fails()


async def test_what_works_leaves_no_gap(context: Context) -> None:
    assert await spared("Sum", context, value()) == (42, [])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ToolFailed("sum", "no numbers", "give some"), "sum: no numbers; give some"),
        (ValueError("bang"), "ValueError: bang"),
        (asyncio.CancelledError(), "something it waited for was cancelled"),
    ],
)
async def test_what_fails_leaves_one(context: Context, error: BaseException, reason: str) -> None:
    assert await spared("Sum", context, raising(error)) == (None, [{"title": "Sum", "reason": reason}])


async def test_what_hangs_is_given_up(context: Context) -> None:
    assert await spared("Sum", context, never()) == (None, [{"title": "Sum", "reason": "not finished within 0.05 s"}])


async def test_who_wants_the_answer_now_waits_for_nothing(context: Context) -> None:
    patient = replace(context, limits=replace(context.limits, subtask_timeout_s=600))
    waiting = asyncio.create_task(spared("Sum", patient, never()))
    await asyncio.sleep(0)
    patient.allowance.hurry.set()
    assert (await waiting)[1] == [{"title": "Sum", "reason": "cut short when the answer was asked for"}]


async def test_nothing_is_begun_when_the_run_concludes(context: Context) -> None:
    spent = replace(context, allowance=Allowance(Budget(steps=10), steps=8))
    assert (await spared("Sum", spent, value()))[1][0]["reason"] == "not begun: the run was to conclude"


@pytest.mark.parametrize("error", [RunLost("gone"), GraphInterrupt(())])
async def test_the_end_of_a_claim_and_questions_to_a_person_pass_through(
    context: Context, error: BaseException
) -> None:
    with pytest.raises(type(error)):
        await spared("Sum", context, raising(error))


async def test_who_is_stopped_stops(context: Context) -> None:
    patient = replace(context, limits=replace(context.limits, subtask_timeout_s=600))
    waiting = asyncio.create_task(spared("Sum", patient, never()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_gaps_are_the_last_thing_said() -> None:
    gaps = [Gap(title="Critic", reason="gone."), Gap(title="Sum", reason="late")]
    assert with_gaps("So.", gaps) == "So.\n\n*Not done: Critic (gone); Sum (late).*"
    assert with_gaps("So.", []) == "So."
