"""A plan inside a sub-task: its lanes, its boxes, and what is read from both."""

from typing import Any

from app.events import ROOT, RunEvent
from app.live import LiveView
from app.projection import RunView, project
from app.readings import late_s, median_s, serial_s
from app.shapes import Node, Shape, draw

SHAPE = Shape(
    (Node("delegate", "Delegate"), Node("lead", "Leads", team=True), Node("report", "Report", speaks=True)),
    (("delegate", "lead"), ("lead", "report")),
    ("delegate",),
)
LEADS, REST = "lead:0a", {"question": "?", "role": "lead"}


def tasks(*ids: str, needs: str = "") -> list[dict[str, Any]]:
    return [{"id": id_, "title": f"Part {id_}", "depends_on": needs.split(), **REST} for id_ in ids]


def planned(at: float, span: str, *ids: str, **more: Any) -> RunEvent:
    return RunEvent("plan.proposed", span, ROOT, {"tasks": tasks(*ids), **more}, at)


def spawned(at: float, span: str, id_: str) -> RunEvent:
    return RunEvent("agent.spawned", span, span.rpartition("|")[0], {"task_id": id_, "title": f"Part {id_}"}, at)


def finished(at: float, span: str, id_: str) -> RunEvent:
    return RunEvent("agent.finished", span, span.rpartition("|")[0], {"task_id": id_, "state": "done"}, at)


LEAD = f"{LEADS}|sub_agent:1b"
EVENTS = [
    RunEvent("run.started", ROOT, None, {"question": "?"}, 0),
    planned(0, "delegate:0d", "1", "2"),
    RunEvent("node.started", LEADS, ROOT, {"name": "lead"}, 1),
    spawned(1, LEAD, "1"),
    planned(1, f"{LEAD}|split:0e", "1.1", "1.2", within="1"),
    spawned(1, f"{LEADS}|sub_agent:2b", "2"),
    RunEvent("node.started", f"{LEAD}|work:0f", LEAD, {"name": "work"}, 2),
    spawned(2, f"{LEAD}|work:0f|sub_agent:1c", "1.1"),
    spawned(2, f"{LEAD}|work:0f|sub_agent:2c", "1.2"),
]
"""Two leads at work since second 1, the first of them with two workers since second 2."""


def view(*more: RunEvent) -> RunView:
    """After these events, and more."""
    return project(SHAPE, [*EVENTS, *more])


WORKER = f"{LEAD}|work:0f|sub_agent:1c"


def test_a_plan_inside_a_sub_task_takes_nothing_from_the_plan_around_it() -> None:
    seen = view()

    assert [(sub["id"], sub.get("within")) for sub in seen.plan] == [
        ("1", None), ("2", None), ("1.1", "1"), ("1.2", "1"),
    ]  # fmt: skip
    assert [lane.id for lane in seen.drawn_lanes()] == [
        "delegate", "task:1", "task:1/split", "task:1.1", "task:1.2", "task:2", "report",
    ]  # fmt: skip
    assert [lane.id for lane in seen.lanes.top()] == ["delegate", "task:1", "task:2", "report"]


def test_a_second_plan_of_the_same_sub_task_takes_the_place_of_the_first() -> None:
    seen = view(planned(3, f"{LEAD}|split:0e", "1.1", "1.3", within="1"))

    assert [sub["id"] for sub in seen.plan] == ["1", "2", "1.1", "1.3"]


def test_who_is_late_is_told_among_siblings_and_a_lead_is_no_worker() -> None:
    seen = view(finished(3, WORKER, "1.1"))

    assert median_s(seen) == 1.0
    assert late_s(seen, 9.0) == {"task:1.2": 6.0}  # the leads have no sibling that has finished


def test_a_second_of_work_counts_once_whoever_leads_it() -> None:
    seen = view(finished(3, WORKER, "1.1"))

    assert serial_s(seen, 5.0) == 4.0 + 4.0  # two leads since second 1


def test_boxes_go_from_a_lead_to_its_workers_and_on_from_those() -> None:
    arrows = {(edge.source, edge.target) for edge in draw(SHAPE, view().plan).edges}

    assert arrows == {
        ("delegate", "task:1"), ("delegate", "task:2"), ("task:1", "task:1.1"), ("task:1", "task:1.2"),
        ("task:1.1", "report"), ("task:1.2", "report"), ("task:2", "report"),
    }  # fmt: skip


def test_what_waits_for_a_lead_is_behind_its_workers() -> None:
    plan = [*tasks("1"), *tasks("2", needs="1"), *({**sub, "within": "1"} for sub in tasks("1.1", "1.2"))]

    arrows = {(edge.source, edge.target) for edge in draw(SHAPE, plan).edges}

    assert {("task:1.1", "task:2"), ("task:1.2", "task:2"), ("task:2", "report")} <= arrows
    assert ("task:1", "task:2") not in arrows


def test_where_all_are_too_many_the_leads_are_drawn_alone() -> None:
    plan = [*tasks("1", "2", "3"), *({**sub, "within": "1"} for sub in tasks(*(f"1.{n}" for n in range(9))))]

    drawn = {box.id for box in draw(SHAPE, plan).nodes}

    assert drawn == {"delegate", "task:1", "task:2", "task:3", "report"}


def test_the_loop_of_a_team_that_is_drawn_in_rounds_stays_a_loop() -> None:
    edges = (("seat", "argue"), ("argue", "weigh"), ("weigh", "argue"), ("weigh", "judge"))
    nodes = (Node("seat", "Seats"), Node("argue", "Round", team=True), Node("weigh", "Agreed?"), Node("judge", "Judge"))

    drawing = draw(Shape(nodes, edges, ("seat",)), tasks("1", "2", "3"))

    assert {(edge.source, edge.target) for edge in drawing.edges if edge.loop} == {
        ("weigh", f"task:{id_}") for id_ in "123"
    }


def test_the_way_from_a_lead_to_a_worker_is_taken_while_the_lead_is_at_work() -> None:
    run = dict.fromkeys(("run_id", "thread_id", "graph", "question"), "x")
    live = LiveView(run, SHAPE)
    live.apply(EVENTS)

    states = {(edge["source"], edge["target"]): edge["state"] for edge in live.whole(now=9.0)["shape"]["edges"]}

    assert states["task:1", "task:1.1"] == "taken"
    assert states["task:1.1", "report"] == "waiting"
