"""What a plan is worth before it runs: refusals, order, forecast, and whether a team pays."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
from virtual import in_no_time, simulate

from agents.context import Limits
from agents.planner import Plan, SubTask
from graphs.plans import BadPlan, Order, checked, estimates, forecast, runnable, settled

ROLES = {"researcher": "finds facts", "analyst": "compares"}
FAR_S = 1e9


def sub_task(id_: str, *needs: str, **more: Any) -> SubTask:
    given_ = {"title": id_.upper(), "question": f"{id_}?", "role": "researcher", "depends_on": list(needs), **more}
    return SubTask(id=id_, **given_)


def plan_of(*tasks: SubTask, **more: Any) -> Plan:
    return Plan(tasks=list(tasks), note="Split.", **more)


# -- what cannot be run ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tasks", "says", "field"),
    [
        ([], "tasks: 0 of 1 to 3", "tasks"),
        ([sub_task(id_) for id_ in "abcd"], "tasks: 4 of 1 to 3", "tasks"),
        ([sub_task("a"), sub_task("a"), sub_task("b")], "ids repeat: a", "tasks"),
        ([sub_task("a", enabled=False)], "tasks: all are switched off", "tasks"),
        (
            [sub_task("b"), sub_task("a", role="plumber")],
            "sub-task a: unknown role 'plumber'; there are analyst, researcher",
            "tasks.1.role",
        ),
        ([sub_task("a", "z", "y")], "sub-task a: depends on z, y, which the plan does not hold", "tasks.0.depends_on"),
        ([sub_task("a", "a")], "sub-tasks wait for each other: a -> a", "tasks.0.depends_on"),
        ([sub_task("")], "sub-task 1: its id is empty", "tasks.0.id"),
        ([sub_task("a", question=" ")], "sub-task a: its question is empty", "tasks.0.question"),
        ([sub_task("a", title="t" * 201)], "sub-task 1: title of 201 characters of at most 200", "tasks.0.title"),
        ([sub_task("a", tools=["shell", "search"])], "sub-task a: researcher has no tool shell", "tasks.0.tools"),
    ],
)
def test_a_plan_that_cannot_be_run_is_refused_with_reason_and_field(
    tasks: list[SubTask], says: str, field: str
) -> None:
    with pytest.raises(BadPlan) as refused:
        checked(plan_of(*tasks), ROLES, Limits(max_subtasks=3), {"researcher": ["search"]})

    assert (str(refused.value), refused.value.field) == (says, field)


def test_a_circle_is_named_whole() -> None:
    with pytest.raises(BadPlan, match=r"wait for each other: (a -> b -> a|b -> a -> b)"):
        checked(plan_of(sub_task("a", "b"), sub_task("b", "a")), ROLES, Limits())


def test_a_plan_that_can_be_run_is_returned_as_it_is() -> None:
    plan = plan_of(sub_task("a"), sub_task("b", "a", tools=["search"]), sub_task("c", "a", "b"))

    assert checked(plan, ROLES, Limits(), {"researcher": ["search"]}) is plan
    assert runnable(plan) is plan


def test_nothing_waits_for_what_is_switched_off() -> None:
    plan = runnable(plan_of(sub_task("a"), sub_task("b", "a", enabled=False), sub_task("c", "a", "b")))

    assert [(sub.id, sub.depends_on) for sub in plan.tasks] == [("a", []), ("c", ["a"])]


# -- how long it takes -------------------------------------------------------------------------------------------------


def test_an_estimate_is_the_planners_else_what_is_usual_else_a_constant() -> None:
    plan = plan_of(
        sub_task("a", estimate_s=3),
        sub_task("b", role="analyst"),
        sub_task("c"),
        sub_task("d", estimate_s=-1),
        sub_task("e", estimate_s=float("inf"), role="analyst"),
    )

    assert estimates(plan, {"analyst": 5.0}) == {"a": 3, "b": 5.0, "c": 8.0, "d": 8.0, "e": 5.0}


def test_the_urgent_is_what_most_work_hangs_on() -> None:
    plan = plan_of(sub_task("last", "mid"), sub_task("mid", "first"), sub_task("first"), sub_task("alone"))

    order = Order(plan, {"last": 1, "mid": 2, "first": 3, "alone": 4}, 2)

    assert order.urgency == {"last": 1, "mid": 3, "first": 6, "alone": 4}
    assert order.makespan == 6


def test_where_the_longest_chain_first_is_not_best_another_order_is_found() -> None:
    """Two places, 3 3 2 2 2: the longest first takes 7, the best 6."""
    plan = plan_of(*(sub_task(id_) for id_ in "abcde"))

    assert Order(plan, dict(zip("abcde", (3, 3, 2, 2, 2), strict=True)), 2).makespan == 6


@pytest.mark.parametrize(
    ("seconds", "pays", "says"),
    [
        ([8.0], False, "One sub-task: no team starts."),
        ([8.0, 6.0], True, "Side by side: about 8.02 s with 0.02 s of coordination, 14 s one after the other."),
        (
            [0.01, 0.005],
            False,
            "One after the other, 0.015 s: side by side would take about 0.03 s with 0.02 s of coordination.",
        ),
    ],
)
def test_a_team_pays_where_coordination_and_the_longest_are_shorter_than_all_in_turn(
    seconds: Sequence[float], pays: bool, says: str
) -> None:
    plan = plan_of(*(sub_task(str(n), estimate_s=s) for n, s in enumerate(seconds)))

    expected = forecast(plan, estimates(plan), Limits())

    assert expected.pays is pays
    assert expected.decision() == says


def test_a_chain_is_no_team_and_says_so() -> None:
    plan = plan_of(sub_task("a"), sub_task("b", "a"))

    expected = forecast(plan, estimates(plan), Limits())

    assert expected.decision() == "One after the other, about 16 s: no two of them could be at work at once."
    assert settled(plan, "Why?", expected) is plan


def test_a_team_that_does_not_pay_becomes_one_sub_task_with_the_whole_question() -> None:
    plan = plan_of(sub_task("a", estimate_s=0.01), sub_task("b", estimate_s=0.01))

    only = settled(plan, "Why?", forecast(plan, estimates(plan), Limits()))

    assert [(sub.question, sub.role) for sub in only.tasks] == [("Why?", "researcher")]
    assert only.note.startswith("Split. One after the other, 0.02 s: ")
    assert only.note.endswith("So one agent takes the whole.")


def test_a_team_of_several_roles_that_does_not_pay_works_in_turn() -> None:
    plan = plan_of(sub_task("a", estimate_s=0.01), sub_task("b", estimate_s=0.01, role="analyst"))

    kept = settled(plan, "Why?", forecast(plan, estimates(plan), Limits()))

    assert kept.in_turn
    assert in_no_time(simulate(kept, lambda *_: 1.0)).seconds == 2


# -- what the scheduler makes of it ------------------------------------------------------------------------------------


def random_plan(dice: random.Random) -> tuple[Plan, int]:
    count, dense = dice.randint(5, 24), dice.uniform(0.02, 0.3)
    tasks = []
    for n in range(count):
        needs = [str(m) for m in range(n) if dice.random() < dense]
        tasks.append(sub_task(str(n), *needs, estimate_s=round(dice.uniform(1, 30), 2)))
    return plan_of(*tasks), dice.choice([2, 3, 4, 8])


def best_seen(plan: Plan, width: int) -> float:
    """The best of some list schedules, each found by stepping from end to end."""

    def listed(rank: dict[str, float]) -> float:
        left = {sub.id: sub for sub in plan.tasks}
        ends, done, now = dict[str, float](), set[str](), 0.0
        while left or ends:
            ready = sorted((id_ for id_, sub in left.items() if done.issuperset(sub.depends_on)), key=rank.__getitem__)
            for id_ in ready[: width - len(ends)]:
                ends[id_] = now + left.pop(id_).estimate_s
            now = min(ends.values())
            done |= {id_ for id_, end in ends.items() if end <= now}
            ends = {id_: end for id_, end in ends.items() if end > now}
        return now

    ids, took = [sub.id for sub in plan.tasks], {sub.id: sub.estimate_s for sub in plan.tasks}
    ranks = [dict(zip(ids, range(len(ids)), strict=True)), {id_: -took[id_] for id_ in ids}]
    ranks += [{id_: random.Random(f"{nth} {id_}").random() for id_ in ids} for nth in range(20)]
    return min(listed(rank) for rank in ranks)


@pytest.mark.parametrize("seed", range(5))
def test_random_plans_take_at_most_2_percent_more_than_the_best_list_schedule(seed: int) -> None:
    """A thousand of them: tests/bench/makespan.py."""
    dice = random.Random(seed)
    for _ in range(10):
        plan, width = random_plan(dice)
        took = {sub.id: sub.estimate_s for sub in plan.tasks}
        limits = Limits(max_parallel=width, subtask_timeout_s=FAR_S)

        ran = in_no_time(simulate(plan, lambda sub, _, took=took: took[sub.id], limits))

        assert ran.seconds <= best_seen(plan, width) * 1.02
        assert ran.seconds == pytest.approx(Order(plan, took, width).makespan)  # the forecast was true
        assert [finding.state for finding in ran.findings] == ["done"] * len(plan.tasks)
