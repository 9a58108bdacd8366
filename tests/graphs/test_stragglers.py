"""What is done about the slow and the failed: twins, another try, quorum. Time is the simulation's, so all is exact."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import interrupt
from runlogs import RESEARCH
from two_rounds import planned
from virtual import Simulated, in_no_time, simulate

from agents.allowance import Allowance, Budget
from agents.context import Limits
from agents.errors import BudgetExceeded, ModelUnavailable
from agents.planner import Plan, SubTask
from app.projection import project
from graphs.scheduling import Finding, Remedies
from graphs.stragglers import Places

TWINS = Remedies(twin=lambda sub: True, late_by_s=0)
EIGHT = planned(*"abcdefgh")

Takes = Mapping[str, float | Exception | Sequence[float | Exception]]


def run(plan: Plan, takes: Takes, remedies: Remedies | None = None, **limits: Any) -> Simulated:
    """Run the plan; `takes` are seconds or failures of a sub-task's tries, 1 s where nothing is said."""

    def latency(sub: SubTask, nth: int) -> float | Exception:
        given = takes.get(sub.id, 1.0)
        tries = given if isinstance(given, Sequence) else [given]
        return tries[min(nth, len(tries) - 1)]

    return in_no_time(simulate(plan, latency, Limits(**limits), remedies))


def states(ran: Simulated) -> dict[str, str]:
    return {finding.task_id: finding.state for finding in ran.findings}


# -- a twin ------------------------------------------------------------------------------------------------------------


def test_a_straggler_gets_a_twin_at_twice_the_median_and_the_first_result_wins() -> None:
    ran = run(EIGHT, {"a": [10, 1]}, TWINS)

    assert ran.seconds == 3  # late at 2, the twin takes 1
    assert ran.findings[0].text == "a at try 1"
    assert ran.findings[0].seconds == 3
    (twin,) = [data for name, data in ran.events if name == "agent.twin_started"]
    assert (twin["task_id"], twin["usual_s"], twin["elapsed_s"]) == ("a", 1, 2)
    (loser,) = [data for name, data in ran.events if name == "agent.cancelled"]
    assert (loser["task_id"], loser["which"]) == ("a", "first")
    assert ran.at_work_s == 7 + 3 + 1  # what both of them cost is paid


def test_the_first_may_still_win() -> None:
    ran = run(EIGHT, {"a": [2.5, 10]}, TWINS)

    assert ran.seconds == 2.5
    assert ran.findings[0].text == "a at try 0"
    assert [data["which"] for name, data in ran.events if name == "agent.cancelled"] == ["twin"]


def test_nobody_is_late_before_half_of_the_siblings_are_done() -> None:
    """3 of the 7 siblings are done at 1 s, the others at 5 s: the median of all 7 is 5, so late is 10."""
    ran = run(EIGHT, {"a": [30, 1], **dict.fromkeys("bcde", 5)}, TWINS)

    assert ran.seconds == 11


def test_nobody_is_late_by_less_than_the_least() -> None:
    ran = run(EIGHT, {"a": [10, 1]}, Remedies(twin=TWINS.twin, late_by_s=4))

    assert ran.seconds == 6


def test_what_may_not_be_done_twice_has_no_twin() -> None:
    ran = run(EIGHT, {"a": [10, 1]}, Remedies(twin=lambda sub: sub.id != "a", late_by_s=0))

    assert ran.seconds == 10
    assert ran.told("agent.twin_started") == []


def test_a_failed_sibling_says_nothing_about_the_pace() -> None:
    ran = run(planned("a", "b", "c"), {"a": [10, 1], "b": ValueError("at once"), "c": 4}, TWINS)

    assert ran.told("agent.twin_started") == ["a"]
    assert ran.seconds == 9  # late at twice the 4 s of c


def test_a_twin_that_fails_leaves_the_first_at_work_and_the_other_way_round() -> None:
    assert run(EIGHT, {"a": [5, ValueError("no")]}, TWINS).findings[0].text == "a at try 0"
    later = run(EIGHT, {"a": [ValueError("no")]}, TWINS)
    assert later.findings[0].reason == "ValueError: no"


def test_a_twin_waits_for_a_place_like_everybody() -> None:
    ran = run(planned("a", "b", "c", "d"), {"a": [9, 1], "d": 9}, TWINS, max_parallel=2)

    assert ran.told("agent.twin_started")[0] in "ad"
    assert ran.seconds < 12


def losers(ran: Simulated) -> list[tuple[str, str, str]]:
    return [(it["which"], it["state"], it["reason"]) for name, it in ran.events if name == "agent.cancelled"]


def test_both_of_a_pair_end_at_the_deadline() -> None:
    ran = run(EIGHT, {"a": [100, 100]}, TWINS, subtask_timeout_s=20)

    assert ran.findings[0].reason == "not finished within 20 s"
    assert ran.seconds == 20
    assert losers(ran) == [("twin", "cancelled", "neither had a result")]


@pytest.mark.parametrize(
    ("takes", "lost"),
    [
        ([10, 1], ("first", "cancelled", "the other won")),
        ([2.5, 10], ("twin", "cancelled", "the other won")),
        ([5, ValueError("no")], ("twin", "failed", "ValueError: no")),
    ],
)
def test_what_became_of_the_other_of_a_pair_is_told(takes: list[float | Exception], lost: tuple[str, str, str]) -> None:
    assert losers(run(EIGHT, {"a": takes}, TWINS)) == [lost]


def test_several_stragglers_each_get_one_twin() -> None:
    ran = run(EIGHT, {"a": [50, 1], "b": [50, 40]}, TWINS)

    assert sorted(ran.told("agent.twin_started")) == ["a", "b"]
    assert ran.seconds == 42


# -- another try -------------------------------------------------------------------------------------------------------


def instead(**changed: Any) -> Remedies:
    async def again(sub: SubTask, failed: Finding) -> SubTask | None:
        return sub.model_copy(update={"id": "its own", "depends_on": ["nobody"], **changed})

    return Remedies(again=again)


def test_a_sub_task_that_fails_is_done_once_more_in_another_way() -> None:
    ran = run(planned("a", "b < a"), {"a": [ValueError("no"), 3]}, instead(role="analyst", question="otherwise?"))

    assert states(ran) == {"a": "done", "b": "done"}
    (revised,) = [data for name, data in ran.events if name == "plan.revised"]
    assert revised == {
        "task_id": "a", "title": "A", "role": "analyst", "question": "otherwise?", "reason": "ValueError: no",
        "state": "failed", "was": "researcher",
    }  # fmt: skip
    assert ran.told("agent.finished") == ["a", "b"]


def test_in_another_way_it_may_call_no_more_tools_than_before() -> None:
    seen: list[tuple[str, list[str]]] = []

    def latency(sub: SubTask, nth: int) -> float | Exception:
        seen.append((sub.question, sub.tools))
        return ValueError("no") if nth == 0 else 1.0

    plan = planned("a")
    plan.tasks[0].tools = ["calculator"]
    in_no_time(simulate(plan, latency, remedies=instead(question="otherwise?", tools=[])))

    assert seen == [("a?", ["calculator"]), ("otherwise?", ["calculator"])]


def test_one_that_timed_out_is_planned_again_with_a_deadline_of_its_own() -> None:
    ran = run(planned("a"), {"a": [50, 4]}, instead(), subtask_timeout_s=5)

    assert states(ran) == {"a": "done"}
    assert ran.seconds == 9


def test_there_is_no_third_try_and_both_reasons_are_told() -> None:
    ran = run(planned("a"), {"a": [ValueError("one"), ValueError("two"), 1]}, instead())

    assert ran.findings[0].reason == "ValueError: two; before that, ValueError: one"


@pytest.mark.parametrize(
    "hopeless",
    [
        ModelUnavailable("large", "503", kind="server_error", url="http://127.0.0.1"),
        BudgetExceeded.of("run", "tokens", 100, 120),
    ],
)
def test_what_another_plan_would_meet_again_is_not_planned_again(hopeless: Exception) -> None:
    ran = run(planned("a"), {"a": [hopeless, 1]}, instead())

    assert ran.told("plan.revised") == []
    assert ran.findings[0].reason == str(hopeless)


def test_a_planner_that_fails_or_gives_up_costs_no_reason() -> None:
    async def gives_up(sub: SubTask, failed: Finding) -> SubTask | None:
        return None

    async def fails(sub: SubTask, failed: Finding) -> SubTask | None:
        raise ValueError("no idea")

    given_up = run(planned("a"), {"a": ValueError("no")}, Remedies(again=gives_up))
    failed = run(planned("a"), {"a": ValueError("no")}, Remedies(again=fails))

    assert given_up.findings[0].reason == "ValueError: no"
    assert failed.findings[0].reason == "ValueError: no; no other way was planned: no idea"


# -- enough ------------------------------------------------------------------------------------------------------------


def test_with_a_quorum_the_rest_is_cancelled_and_labelled() -> None:
    ran = run(planned(*"abcd", quorum=3), {"a": 50})

    assert ran.seconds == 1
    assert states(ran) == {"a": "cancelled", "b": "done", "c": "done", "d": "done"}
    assert ran.findings[0].reason == "enough of the others were done"


def test_the_limits_may_say_so_too_as_a_share() -> None:
    assert run(planned(*"abcd"), {"a": 50}, quorum=0.75).seconds == 1
    assert run(planned(*"abcd"), {"a": 50, "b": 20}, quorum=0.75).seconds == 20


def test_a_failure_is_no_part_of_a_quorum() -> None:
    ran = run(planned(*"abcd", quorum=3), {"a": 7, "b": ValueError("no")})

    assert ran.seconds == 7
    assert states(ran) == {"a": "done", "b": "failed", "c": "done", "d": "done"}


def test_a_step_in_the_middle_goes_on_with_a_quorum_and_its_last_input_is_let_go() -> None:
    ran = run(planned("a", "b", "c", "join < a b c", quorum=2), {"c": 50})

    assert ran.seconds == 2
    assert states(ran)["c"] == "cancelled"
    assert states(ran)["join"] == "done"


def test_what_somebody_still_waits_for_is_not_cut() -> None:
    ran = run(planned("a", "b", "c", "join < a b c", "only < c", quorum=2), {"c": 50})

    assert states(ran) == {"a": "done", "b": "done", "c": "done", "join": "done", "only": "done"}
    assert ran.seconds == 51


def test_what_has_not_begun_is_not_begun_and_neither_are_its_inputs() -> None:
    ran = run(planned("a", "b", "slow", "c < slow", quorum=2), {"slow": 50})

    assert ran.seconds == 1
    assert states(ran) == {"a": "done", "b": "done", "slow": "cancelled", "c": "cancelled"}
    assert "c" not in ran.told("agent.spawned")


# -- while it is told that one begins ----------------------------------------------------------------------------------


def test_who_begins_at_the_moment_when_the_answer_is_wanted_is_cut_short_too() -> None:
    allowance = Allowance()

    async def heard(name: str, data: Mapping[str, Any]) -> None:
        if name == "agent.spawned":
            allowance.hurry.set()
            await asyncio.sleep(1)

    ran = in_no_time(simulate(planned("a"), lambda sub, nth: 50, allowance=allowance, heard=heard))

    assert states(ran) == {"a": "partial"}
    assert ran.findings[0].reason == "cut short when the answer was asked for"
    assert ran.seconds <= 1


def test_who_begins_at_the_moment_when_enough_are_done_is_let_go_too() -> None:
    async def heard(name: str, data: Mapping[str, Any]) -> None:
        if name == "agent.spawned" and data["task_id"] == "slow":
            await asyncio.sleep(2)

    ran = in_no_time(
        simulate(planned("a", "b", "slow", quorum=2), lambda sub, nth: 50 ** (sub.id == "slow"), heard=heard)
    )

    assert states(ran) == {"a": "done", "b": "done", "slow": "cancelled"}
    assert ran.seconds <= 2


def test_a_run_that_concludes_pays_for_no_twin() -> None:
    allowance = Allowance(Budget(steps=10), steps=1)

    async def heard(name: str, data: Mapping[str, Any]) -> None:
        if name == "agent.finished":
            allowance.steps += 1

    late = {"a": 10.0}
    ran = in_no_time(
        simulate(EIGHT, lambda sub, nth: late.get(sub.id, 1.0), remedies=TWINS, allowance=allowance, heard=heard)
    )

    assert ran.told("agent.twin_started") == []
    assert ran.seconds == 10


# -- places ------------------------------------------------------------------------------------------------------------


async def test_a_place_that_somebody_gave_up_waiting_for_goes_to_the_next() -> None:
    places, came = Places(1), list[str]()

    async def enter(who: str, urgency: float) -> None:
        async with places.place(urgency):
            came.append(who)

    async with places.place(0):
        waiting = [asyncio.create_task(enter(who, urgency)) for who, urgency in (("low", 1), ("gone", 3), ("high", 2))]
        await asyncio.sleep(0)
        waiting[1].cancel()
        await asyncio.wait({waiting[1]})
    await asyncio.wait(waiting)

    assert came == ["high", "low"]


# -- as a graph --------------------------------------------------------------------------------------------------------


async def test_a_twin_is_seen_on_a_lane_of_its_own_and_its_sub_task_ends_once(scheduled: Callable[..., Any]) -> None:
    tries: list[str] = []

    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        tries.append(sub.id)
        if tries.count("a") == 1 and sub.id == "a":
            await asyncio.Event().wait()
        return Finding(sub.id, sub.title, "done", f"{sub.id} at try {tries.count(sub.id)}")

    it = scheduled(work, InMemorySaver(), remedies=TWINS)
    found = await it.findings(planned("a", "b", "c < a"))
    view = project(RESEARCH, it.events)

    assert found["a"].text == "a at try 2"
    assert found["c"].state == "done"
    lanes = {lane.title: (lane.parent_id, lane.state) for lane in view.lanes.values() if lane.start is not None}
    assert lanes["A, twin"] == ("task:a", "done")
    assert it.told("agent.finished").count("a") == 1
    assert [lane.id for lane in view.team()] == ["task:a", "task:b", "task:c"]


async def test_a_twin_that_loses_is_cancelled_and_the_run_goes_on(scheduled: Callable[..., Any]) -> None:
    twin_works, tries, cut = asyncio.Event(), list[str](), list[str]()

    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        tries.append(sub.id)
        if sub.id == "a" and tries.count("a") == 1:
            await twin_works.wait()
        elif sub.id == "a":
            twin_works.set()
            try:
                await asyncio.Event().wait()
            finally:
                cut.append("twin")
        return Finding(sub.id, sub.title, "done", f"{sub.id} at try {tries.count(sub.id)}")

    it = scheduled(work, InMemorySaver(), remedies=TWINS)
    found = await it.findings(planned("a", "b", "c < a"))
    view = project(RESEARCH, it.events)

    assert found["c"].state == "done"
    assert cut == ["twin"]
    (twin,) = [lane for lane in view.lanes.values() if lane.title == "A, twin"]
    assert (twin.state, twin.reason) == ("cancelled", "the other won")
    assert view.lanes["task:a"].state == "done"


async def test_a_twin_asks_nobody(scheduled: Callable[..., Any]) -> None:
    asks, tries = asyncio.Event(), list[str]()

    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        tries.append(sub.id)
        if sub.id == "a" and tries.count("a") == 1:
            await asks.wait()
        elif sub.id == "a":
            asks.set()
            interrupt("may a?")
        return Finding(sub.id, sub.title, "done", f"{sub.id} at try {tries.count(sub.id)}")

    it = scheduled(work, InMemorySaver(), remedies=TWINS)
    found = await it.findings(planned("a", "b", "c < a"))

    assert await it.questions() == {}
    assert found["c"].state == "done"
    assert it.told("agent.twin_started") == ["a"]


async def test_after_a_crash_with_a_twin_at_work_only_that_sub_task_runs_again(
    scheduled: Callable[..., Any], gate: Any, stored: Any, claimed: Callable[[], Any]
) -> None:
    worked, crashed = list[str](), asyncio.Event()

    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        worked.append(sub.id)
        if sub.id == "a" and not crashed.is_set():
            await gate.stand(f"a{worked.count('a')}")
        return Finding(sub.id, sub.title, "done", f"result of {sub.id}")

    first = asyncio.create_task(scheduled(work, await claimed(), remedies=TWINS).run(planned("a", "b", "c")))
    await stored.has(["b", "c"])
    await gate.has(["a1", "a2"])
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    crashed.set()
    worked.clear()

    found = await scheduled(work, await claimed(), remedies=TWINS).findings(None)

    assert worked == ["a"]
    assert {id_: finding.text for id_, finding in found.items()} == {id_: f"result of {id_}" for id_ in "abc"}


async def test_a_second_try_has_the_lane_and_the_lost_one_a_lane_below_it(scheduled: Callable[..., Any]) -> None:
    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        if sub.role != "analyst":
            raise ValueError("not for me")
        return Finding(sub.id, sub.title, "done", "found")

    it = scheduled(work, remedies=instead(role="analyst"))
    await it.run(planned("a"))
    before = project(RESEARCH, it.events[:-2])
    after = project(RESEARCH, it.events)

    assert before.lanes["task:a"].activity == "planned again: ValueError: not for me"
    lane = after.lanes["task:a"]
    assert (lane.state, lane.role, lane.attempt, lane.text) == ("done", "analyst", 2, "found")
    lost = after.lanes["task:a/try1"]
    assert (lost.title, lost.parent_id, lost.state, lost.reason) == (
        "A, try 1", "task:a", "failed", "ValueError: not for me"
    )  # fmt: skip
    assert [it.id for it in after.team()] == ["task:a"]  # it is no sub-agent more
