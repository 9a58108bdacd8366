"""Stragglers, critical path, serial time, floor and speed-up, against traces whose answer is known."""

from itertools import pairwise

import pytest
from hypothesis import given
from runlogs import RESEARCH, agent, begun, ended, ev, log, logs, node, planned, says, spawned, sub, written

from app.events import RunEvent
from app.lanes import Lane
from app.projection import RunView, project
from app.readings import HANDOVER_S, critical_path, floor_s, late_s, median_s, serial_s, speedup
from app.shapes import Node, Shape


def team(*spans: tuple[str, float, float | None], needs: dict[str, list[str]] | None = None) -> RunView:
    """A team planned in a second, whose members work from and until; None: still at work."""
    needs = needs or {}
    events: list[RunEvent] = []
    for id_, start, end in spans:
        events.append(spawned(start, id_))
        if end is not None:
            events.append(ended(end, id_))
    tasks = [sub(id_, *needs.get(id_, [])) for id_, _, _ in spans]
    return project(RESEARCH, log(begun(), planned(1, *tasks), sorted(events, key=lambda event: event.at)))


def late(view: RunView, now: float) -> dict[str, float]:
    """Who is late, by how much."""
    return {view.lanes[id_].title: over for id_, over in late_s(view, now).items()}


# -- stragglers ------------------------------------------------------------------------------------


def test_a_straggler_is_over_twice_the_median_when_half_are_done() -> None:
    view = team(("1", 1, 3), ("2", 1, 5), ("3", 1, None))  # median 3

    assert late(view, 7) == {}  # 6 s is twice the median, not more
    assert late(view, 7.1) == {"Part 3": pytest.approx(3.1)}
    assert late(view, 11) == {"Part 3": 7}


def test_nobody_is_late_before_half_of_the_others_are_done() -> None:
    view = team(("1", 1, 2), ("2", 1, None), ("3", 1, None), ("4", 1, None))

    assert late(view, 99) == {}


def test_half_of_those_that_have_begun_is_enough() -> None:
    view = team(("1", 1, 2), ("2", 1, None))
    waiting = project(RESEARCH, log(begun(), planned(1, sub("1"), sub("2"), *(sub(n, "2") for n in "3456")),
                                    spawned(1, "1"), spawned(1, "2"), ended(2, "1")))  # fmt: skip

    assert late(view, 9) == late(waiting, 9) == {"Part 2": 7}


def test_a_second_over_the_median_is_not_late() -> None:
    view = team(("1", 1, 1.25), ("2", 1, 1.25), ("3", 1, None))

    assert late(view, 2.25) == {}
    assert late(view, 2.5) == {"Part 3": 1.25}


def test_who_failed_at_once_does_not_make_the_others_late() -> None:
    view = project(RESEARCH, log(
        begun(), planned(1, sub("1"), sub("2"), sub("3")), spawned(1, "1"), spawned(1, "2"), spawned(1, "3"),
        ended(1.1, "1", "failed", ""), ended(1.1, "2", "failed", ""),
    ))  # fmt: skip

    assert late(view, 99) == {}
    assert median_s(view) is None


def test_the_median_is_that_of_the_finished() -> None:
    assert median_s(team(("1", 1, 3), ("2", 1, 5), ("3", 1, 9), ("4", 1, None))) == 4
    assert median_s(team(("1", 1, None))) is None


# -- the critical path -----------------------------------------------------------------------------


def titles(lanes: list[Lane]) -> list[str]:
    return [lane.title for lane in lanes]


def test_the_path_goes_back_through_what_was_waited_for() -> None:
    needs = {"3": ["1", "2"], "4": ["2"]}
    view = team(("1", 1, 3), ("2", 1, 5), ("3", 5, 6), ("4", 5, 9), needs=needs)

    assert titles(critical_path(view, 9)) == ["Plan", "Part 2", "Part 4"]


def test_the_path_goes_through_who_made_room() -> None:
    """Two places for three: the third began when the first ended."""
    view = team(("1", 1, 3), ("2", 1, 4), ("3", 3.01, 9))

    assert titles(critical_path(view, 9)) == ["Plan", "Part 1", "Part 3"]


def test_what_still_runs_is_the_last_so_far() -> None:
    view = team(("1", 1, 30), ("2", 1, None))

    assert titles(critical_path(view, 31)) == ["Plan", "Part 2"]


def test_a_lane_that_took_no_time_is_not_taken_for_one_that_runs() -> None:
    fast = Shape((Node("a", "A"), Node("b", "B"), Node("c", "C")), (("a", "c"), ("b", "c")), ("a", "b"))
    view = project(fast, log(begun(), node(0, 0, "a:1"), node(0, 2, "b:1"), node(2, 3, "c:1")))

    assert titles(critical_path(view, 3)) == ["B", "C"]


def test_nested_work_is_inside_its_node_and_not_beside_it() -> None:
    view = project(Shape((Node("a", "A"), Node("b", "B")), (("a", "b"),), ("a",)), log(
        begun(), node(0, 2, "a:1"), node(2, None, "b:1"), says(3, 5, "b:1|inner:1", "x"),
        ev(6, "node.finished", "b:1", "run", state="done"), ev(6, "run.finished", answer="x"),
    ))  # fmt: skip

    assert titles(critical_path(view, 6)) == ["A", "B"]
    assert serial_s(view, 6) == floor_s(view, 6) == 6
    assert speedup(view) == 1


def test_nothing_has_no_path() -> None:
    view = RunView(RESEARCH)

    assert critical_path(view, 0) == []
    assert serial_s(view, 0) == floor_s(view, 0) == 0
    assert speedup(view) is median_s(view) is None


# -- how much the team was worth -------------------------------------------------------------------


def test_serial_floor_and_speed_up_of_a_run_that_had_to_queue() -> None:
    """Plan 1 s; 1 and 2 take 2 s each, but 2 had to wait for a free place; 3 needs 1 and takes 1 s; write 2 s."""
    view = project(RESEARCH, log(
        begun(), planned(1, sub("1"), sub("2"), sub("3", "1")),
        spawned(1, "1"), ended(3, "1"), spawned(3, "2"), ended(5, "2"), spawned(5, "3"), ended(6, "3"),
        written(6, 8, "A."),
    ))  # fmt: skip

    assert serial_s(view, 8) == 1 + 2 + 2 + 1 + 2
    assert floor_s(view, 8) == 1 + max(2 + 1, 2) + 2
    assert speedup(view) == 8 / 8


def test_side_by_side_is_faster() -> None:
    view = project(RESEARCH, log(
        begun(), planned(1, *(sub(n) for n in "1234")),
        *(spawned(1, n) for n in "1234"), *(ended(3, n) for n in "1234"),
        written(3, 4, "A."),
    ))  # fmt: skip

    assert serial_s(view, 4) == 1 + 4 * 2 + 1
    assert floor_s(view, 4) == 4
    assert speedup(view) == 10 / 4


def test_tasks_of_one_node_that_ran_at_once_count_each() -> None:
    fan = Shape((Node("work", "Work"), Node("join", "Join")), (("work", "join"),), ("work",))
    view = project(fan, log(begun(), node(0, None, "work:1"), node(0, None, "work:2"),
                            ev(1, "node.finished", "work:1", "run", state="done"),
                            ev(3, "node.finished", "work:2", "run", state="done"),
                            node(3, 4, "join:1"), ev(4, "run.finished", answer="")))  # fmt: skip

    assert serial_s(view, 4) == 1 + 3 + 1
    assert floor_s(view, 4) == 4
    assert titles(critical_path(view, 4)) == ["Work 2", "Join"]


def test_a_loop_counts_its_rounds_and_not_the_time_between() -> None:
    loop = Shape((Node("draft", "Draft"), Node("check", "Check")), (("draft", "check"), ("check", "draft")), ("draft",))
    view = project(loop, log(begun(), node(0, 2, "draft:1"), node(2, 3, "check:1"), node(3, 5, "draft:2"),
                             node(5, 6, "check:2"), ev(6, "run.finished", answer="")))  # fmt: skip

    assert serial_s(view, 6) == floor_s(view, 6) == 6
    assert titles(critical_path(view, 6)) == ["Draft", "Check"]


def test_the_time_without_a_worker_is_nobodys() -> None:
    view = project(RESEARCH, log(
        begun(), planned(1, sub("1"), sub("2")), spawned(1, "1"), spawned(1, "2"), ended(3, "1"),
        ev(4, "llm.started", "l", agent("2")), ev(60, "run.started", question="", graph="", model=""),
        spawned(60, "2"), ended(61, "2"), written(61, 62, "A."),
    ))  # fmt: skip

    assert median_s(view) == (2 + 4) / 2
    assert serial_s(view, 62) == 1 + 2 + 4 + 1


def test_a_plan_that_waits_for_itself_ends() -> None:
    view = project(RESEARCH, log(begun(), planned(1, sub("1", "2"), sub("2", "1")), spawned(1, "1"), spawned(1, "2")))

    assert floor_s(view, 5) <= serial_s(view, 5)
    assert critical_path(view, 5)


def made_room(before: Lane, after: Lane) -> bool:
    """`after` began when `before` ended."""
    return before.end is not None and after.start is not None and 0 <= after.start - before.end <= HANDOVER_S


@given(logs())
def test_of_any_run_floor_is_at_most_serial_and_the_path_is_in_order(events: list[RunEvent]) -> None:
    view = project(RESEARCH, events)
    now = view.ended if view.ended is not None else max(event.at for event in events) - events[0].at

    assert floor_s(view, now) <= serial_s(view, now) + 1e-6
    path = critical_path(view, now)
    assert len({lane.id for lane in path}) == len(path)
    assert all(before in view.lanes.before(after) or made_room(before, after) for before, after in pairwise(path))
    assert all(view.lanes[id_].running() and view.lanes[id_].kind == "agent" for id_ in late_s(view, now))
