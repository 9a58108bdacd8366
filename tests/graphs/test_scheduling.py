"""The ready-set scheduler. Events are its clock: a sub-task that starts too late is a hang that fails."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from two_rounds import planned

from agents.allowance import Allowance, Budget
from agents.context import Limits
from agents.errors import BudgetExceeded
from agents.planner import Plan, SubTask
from app.postgres import StaleWriter
from graphs.scheduling import Finding, run_plan

FOUR = ("a", "b", "c", "d")
pytestmark = pytest.mark.timeout(60)
TIME_JUMPS = True


def done(sub: SubTask, text: str = "") -> Finding:
    return Finding(sub.id, sub.title, "done", text or f"result of {sub.id}")


# -- when a sub-task starts ------------------------------------------------------------------------


async def test_a_sub_task_starts_when_its_inputs_are_there_not_at_the_end_of_a_wave(
    scheduled: Callable[..., Any],
) -> None:
    c_runs = asyncio.Event()

    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        if sub.id == "c":
            c_runs.set()
        if sub.id == "b":  # in waves, c would wait for b, which waits for c
            await c_runs.wait()
        return done(sub)

    found = await scheduled(work).findings(planned("a", "b", "c < a", "d < b c"))

    assert {finding.state for finding in found.values()} == {"done"}


async def test_a_sub_task_gets_the_findings_of_what_it_depends_on_in_the_order_it_named_them(
    scheduled: Callable[..., Any],
) -> None:
    seen: dict[str, list[str]] = {}

    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        seen[sub.id] = [finding.text for finding in inputs]
        return done(sub)

    await scheduled(work).run(planned("a", "b", "c < b a b"))

    assert seen == {"a": [], "b": [], "c": ["result of b", "result of a"]}


async def test_a_dependency_may_stand_later_in_the_plan(scheduled: Callable[..., Any]) -> None:
    order: list[str] = []

    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        order.append(sub.id)
        return done(sub)

    await scheduled(work).run(planned("first < last", "last"))

    assert order == ["last", "first"]


async def test_findings_come_in_plan_order_whatever_ends_first(scheduled: Callable[..., Any]) -> None:
    ended = {id_: asyncio.Event() for id_ in FOUR}

    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        after = {"a": "b", "b": "c", "c": "d"}.get(sub.id)
        if after:
            await ended[after].wait()
        ended[sub.id].set()
        return done(sub)

    state = await scheduled(work).run(planned(*FOUR))

    assert [finding.task_id for finding in state["findings"]] == list(FOUR)
    assert [finding.text for finding in state["findings"]] == [f"result of {id_}" for id_ in FOUR]


@pytest.mark.parametrize(
    "bounds",
    [{"max_parallel": 2}, {"max_parallel": 8, "allowance": Allowance(Budget(width=2))},
     {"max_parallel": 2, "allowance": Allowance(Budget(width=5))}],
)  # fmt: skip
async def test_as_many_as_the_cap_work_at_once_and_no_more(
    scheduled: Callable[..., Any], bounds: dict[str, Any]
) -> None:
    two = asyncio.Barrier(2)  # passes only when two are at work
    at_work = most = 0

    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await two.wait()
        at_work -= 1
        return done(sub)

    await scheduled(work, **bounds).run(planned("a", "b", "c", "d", "e", "f"))

    assert most == 2


async def test_who_waits_for_inputs_takes_no_place_at_work(scheduled: Callable[..., Any]) -> None:
    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        return done(sub)

    found = await scheduled(work, max_parallel=1).findings(planned("c < b", "b < a", "a"))

    assert [finding.state for finding in found.values()] == ["done"] * 3


# -- what may happen to one ------------------------------------------------------------------------


async def test_a_failure_costs_its_own_part_only(scheduled: Callable[..., Any]) -> None:
    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        if sub.id == "a":
            raise ValueError("no such thing")
        if sub.id == "b":
            raise BudgetExceeded.of("b", "tokens", 40_000, 41_200)
        return done(sub, "+".join(finding.text for finding in inputs))

    found = await scheduled(work).findings(planned("a", "b", "c", "d < a c"))

    assert found["a"] == Finding("a", "A", "failed", reason="ValueError: no such thing")
    assert found["b"].reason == "b: 41,200 tokens spent of 40,000; resume with a larger budget_tokens"
    assert found["c"].state == found["d"].state == "done"


async def test_what_has_no_input_at_all_is_skipped_and_told_of(scheduled: Callable[..., Any]) -> None:
    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        assert sub.id == "a"
        raise ValueError("gone")

    run = scheduled(work)
    found = await run.findings(planned("a", "b < a", "c < b"))

    assert [found[id_].state for id_ in "abc"] == ["failed", "skipped", "skipped"]
    assert found["b"].reason == "nothing it depends on has a result"
    assert run.told("agent.spawned") == ["a"]
    assert run.told("agent.finished") == ["a", "b", "c"]


async def test_a_deadline_ends_one_and_tells_it_apart_from_a_timeout_of_its_own(scheduled: Callable[..., Any]) -> None:
    cut = asyncio.Event()

    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        if sub.id == "b":
            raise TimeoutError("the other end is slow")
        if sub.id == "c":
            return done(sub)
        try:
            await asyncio.Event().wait()
        finally:
            cut.set()
        raise AssertionError

    found = await scheduled(work, subtask_timeout_s=0.2).findings(planned("a", "b", "c"))

    assert found["a"] == Finding("a", "A", "timed_out", reason="not finished within 0.2 s")
    assert found["b"] == Finding("b", "B", "failed", reason="TimeoutError: the other end is slow")
    assert found["c"].state == "done"
    assert cut.is_set()


async def test_a_cancellation_from_inside_is_a_failure_of_that_sub_task(scheduled: Callable[..., Any]) -> None:
    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        if sub.id == "a":
            somebody = asyncio.get_running_loop().create_future()
            somebody.cancel()
            await somebody
        return done(sub)

    found = await scheduled(work).findings(planned("a", "b"))

    assert found["a"] == Finding("a", "A", "failed", reason="something it waited for was cancelled")
    assert found["b"].state == "done"


# -- what leaves the node --------------------------------------------------------------------------


async def test_a_cancelled_run_cancels_all_that_work_and_starts_nothing(
    scheduled: Callable[..., Any], gate: Any
) -> None:
    cancelled: list[str] = []

    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        try:
            await gate.stand(sub.id)
        except asyncio.CancelledError:
            cancelled.append(sub.id)
            raise
        return done(sub)

    run = asyncio.create_task(scheduled(work, max_parallel=2).run(planned("a", "b", "c", "d < a")))
    await gate.has(["a", "b"])
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    assert sorted(cancelled) == gate.came == ["a", "b"]


async def test_questions_of_several_surface_together_and_are_answered_together(scheduled: Callable[..., Any]) -> None:
    worked: list[str] = []

    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        worked.append(sub.id)
        return done(sub, interrupt(f"may {sub.id}?") if sub.id in ("a", "b") else "")

    run = scheduled(work, InMemorySaver())
    await run.run(planned("a", "b", "c", "d < a c"))
    questions = await run.questions()
    assert sorted(questions) == ["may a?", "may b?"]
    assert sorted(worked) == ["a", "b", "c"]

    worked.clear()
    answers = {questions["may a?"]: "a may", questions["may b?"]: "b may not"}
    found = await run.findings(Command(resume=answers))

    assert [found[id_].text for id_ in FOUR] == ["a may", "b may not", "result of c", "result of d"]
    assert sorted(worked) == ["a", "b", "d"]


async def test_one_question_answered_leaves_the_others_open(scheduled: Callable[..., Any]) -> None:
    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        return done(sub, interrupt(f"may {sub.id}?"))

    run = scheduled(work, InMemorySaver())
    await run.run(planned("a", "b"))
    questions = await run.questions()
    await run.run(Command(resume={questions["may a?"]: "a may"}))

    assert list(await run.questions()) == ["may b?"]
    found = await run.findings(Command(resume={questions["may b?"]: "b too"}))
    assert [found[id_].text for id_ in "ab"] == ["a may", "b too"]


# -- a run that concludes --------------------------------------------------------------------------


async def test_when_the_answer_is_wanted_now_work_is_cut_and_nothing_begins(
    scheduled: Callable[..., Any], gate: Any
) -> None:
    allowance = Allowance()

    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        if sub.id == "a":
            return done(sub)
        await gate.stand(sub.id)
        raise AssertionError

    run = asyncio.create_task(scheduled(work, allowance=allowance, max_parallel=1).findings(planned("a", "b", "c")))
    await gate.has(["b"])
    allowance.hurry.set()
    found = await run

    assert [found[id_].state for id_ in "abc"] == ["done", "partial", "skipped"]
    assert found["c"].reason == "not begun when the answer was asked for"


async def test_when_the_budget_is_nearly_spent_nothing_begins(scheduled: Callable[..., Any]) -> None:
    allowance = Allowance(Budget(tokens=100), tokens=80)

    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        raise AssertionError

    found = await scheduled(work, allowance=allowance).findings(planned("a"))

    assert found["a"] == Finding("a", "A", "skipped", reason="not begun: 80% of the budget of tokens was spent")


async def test_what_is_known_is_not_done_again() -> None:
    from langchain_core.runnables import RunnableLambda
    from langgraph.func import entrypoint

    worked: list[str] = []

    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        worked.append(sub.id)
        return done(sub, "+".join(finding.text for finding in inputs))

    @entrypoint()
    async def again(plan: Plan) -> list[Finding]:
        known = {"a": Finding("a", "A", "done", "from before")}
        return await run_plan(plan, work, Limits(), Allowance(), known)

    found = await RunnableLambda(again.ainvoke).ainvoke(planned("a", "b < a"))

    assert [finding.text for finding in found] == ["from before", "from before"]
    assert worked == ["b"]


# -- after a crash ---------------------------------------------------------------------------------


@pytest.mark.parametrize("finished", ["", "a", "d", "bc", "bd", "acd", "abcd"])
async def test_after_a_crash_only_the_unfinished_run_again_and_results_keep_their_owners(
    finished: str, scheduled: Callable[..., Any], gate: Any, stored: Any, claimed: Callable[[], Any]
) -> None:
    plan = planned(*FOUR, "e < " + " ".join(FOUR))
    worked: list[str] = []
    crashed = asyncio.Event()

    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        worked.append(sub.id)
        if sub.id not in finished and not crashed.is_set():
            await gate.stand(sub.id)
        return done(sub, "+".join(finding.text for finding in inputs))

    first = asyncio.create_task(scheduled(work, await claimed()).run(plan))
    await stored.has(finished)
    await gate.has([id_ for id_ in FOUR if id_ not in finished] or ["e"])
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    crashed.set()
    worked.clear()

    second = scheduled(work, await claimed())
    found = await second.findings(None)

    assert sorted(worked) == sorted({*FOUR, "e"} - set(finished))
    assert [found[id_].text for id_ in FOUR] == [f"result of {id_}" for id_ in FOUR]
    assert found["e"].text == "+".join(f"result of {id_}" for id_ in FOUR)
    assert set(second.told("agent.spawned")) == {*FOUR, "e"} - set(finished)
    assert sorted(second.told("agent.finished")) == [*FOUR, "e"]  # of the finished, once more


async def test_results_are_not_swapped_when_sub_tasks_ended_in_another_order_than_they_are_replayed(
    scheduled: Callable[..., Any], gate: Any, stored: Any, claimed: Callable[[], Any]
) -> None:
    worked: list[str] = []
    crashed = asyncio.Event()

    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        worked.append(sub.id)
        if sub.id == "a":
            await stored.has(["y"])  # so y was the third to begin; after the crash nothing keeps x from being it
        if sub.id == "x" and not crashed.is_set():
            await gate.stand("x")
        return done(sub)

    first = asyncio.create_task(scheduled(work, await claimed()).run(planned("a", "b", "x < a", "y < b")))
    await stored.has(["a", "b", "y"])
    await gate.has(["x"])
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    crashed.set()
    worked.clear()

    found = await scheduled(work, await claimed()).findings(None)

    assert {id_: finding.text for id_, finding in found.items()} == {id_: f"result of {id_}" for id_ in "abxy"}
    assert worked == ["x"]


async def test_a_claim_that_was_lost_stores_nothing_more(
    scheduled: Callable[..., Any], stored: Any, claimed: Callable[[], Any]
) -> None:
    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        await claimed()  # somebody else takes the run
        return done(sub)

    with pytest.raises(StaleWriter):
        await scheduled(work, await claimed()).run(planned("a"))

    assert stored.came == []
