"""Drawings: nothing overlaps, time goes right, loops are the only arrows back."""

import re
from itertools import combinations
from typing import Any, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.graph import END, START, StateGraph
from runlogs import CHAT, RESEARCH, plans, sub

from app.activities import discover_activities
from app.shapes import PANEL_WIDTH, Drawing, Edge, Node, Placed, Shape, draw, read_shape, sub_tasks
from graphs.state import as_node


class State(TypedDict):
    """Nothing."""

    x: int


def overlapping(drawing: Drawing) -> list[tuple[str, str]]:
    return [
        (a.id, b.id)
        for a, b in combinations(drawing.nodes, 2)
        if a.x < b.x + b.w and b.x < a.x + a.w and a.y < b.y + b.h and b.y < a.y + a.h
    ]


def column(drawing: Drawing) -> dict[str, float]:
    return {box.id: box.x for box in drawing.nodes}


def arrows(drawing: Drawing, loop: bool = False) -> set[tuple[str, str]]:
    return {(edge.source, edge.target) for edge in drawing.edges if edge.loop == loop}


def points_of(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path)]


# -- reading a graph -------------------------------------------------------------------------------


def test_a_shape_is_read_with_what_nodes_say_of_themselves() -> None:
    def step(state: State) -> dict[str, Any]:
        return {}

    graph = (
        StateGraph(State)
        .add_node("check_facts", step)
        .add_node("draft", step, metadata=as_node("Write it", speaks=True, agent="writer"))
        .add_edge(START, "draft")
        .add_edge("draft", "check_facts")
        .add_conditional_edges("check_facts", lambda _: "draft", ["draft", END])
        .compile()
    )

    assert read_shape(graph) == Shape(
        (Node("check_facts", "Check facts"), Node("draft", "Write it", speaks=True, agent=True)),
        (("check_facts", "draft"), ("draft", "check_facts")),
        ("draft",),
        (("check_facts", "draft"),),
    )


def test_the_arrow_back_is_known_from_where_a_run_begins_not_from_the_order_of_declaration() -> None:
    shape = Shape(
        (Node("check", "Check"), Node("draft", "Draft")), (("check", "draft"), ("draft", "check")), ("draft",)
    )

    assert shape.before() == {"check": ("draft",), "draft": ()}
    drawing = draw(shape)
    assert arrows(drawing, loop=True) == {("check", "draft")}
    assert column(drawing)["draft"] < column(drawing)["check"]


def test_every_graph_of_the_product_can_be_drawn() -> None:
    for activity in discover_activities().values():
        drawing = draw(activity.shape)
        assert drawing.nodes
        assert not overlapping(drawing)


# -- one picture -----------------------------------------------------------------------------------


def test_an_agent_is_drawn_as_its_loop() -> None:
    drawing = draw(CHAT)

    assert [(box.id, box.title, box.lane) for box in drawing.nodes] == [
        ("answer#reason", "Reason", "answer"),
        ("answer#act", "Act", "answer"),
    ]
    assert arrows(drawing) == {("answer#reason", "answer#act")}
    assert arrows(drawing, loop=True) == {("answer#act", "answer#reason")}


def test_a_team_is_drawn_as_its_plan() -> None:
    drawing = draw(RESEARCH, [sub("1"), sub("2"), sub("3", "1")])

    assert arrows(drawing) == {
        ("plan", "task:1"), ("plan", "task:2"), ("task:1", "task:3"), ("task:2", "write"), ("task:3", "write"),
    }  # fmt: skip
    columns = column(drawing)
    assert columns["plan"] < columns["task:1"] == columns["task:2"] < columns["task:3"] < columns["write"]


def test_a_part_that_needs_a_later_one_stands_behind_it() -> None:
    drawing = draw(RESEARCH, [sub("1", "2"), sub("2")])

    assert column(drawing)["task:2"] < column(drawing)["task:1"] < column(drawing)["write"]
    assert arrows(drawing, loop=True) == set()


def test_sixty_parts_are_one_box() -> None:
    drawing = draw(RESEARCH, [sub(str(n)) for n in range(60)])

    assert [box.id for box in drawing.nodes] == ["plan", "research", "write"]
    assert drawing == draw(RESEARCH)


@pytest.mark.parametrize("count", [1, 10])
def test_ten_parts_are_ten_boxes(count: int) -> None:
    assert len(draw(RESEARCH, [sub(str(n)) for n in range(count)]).nodes) == 2 + count


def test_a_picture_is_the_same_each_time() -> None:
    tasks = [sub(str(n)) for n in range(7)]

    assert draw(RESEARCH, tasks) == draw(RESEARCH, [dict(task) for task in tasks])


SUPPORT = Shape(
    tuple(Node(name, name.capitalize()) for name in
          ("route", "billing", "technical", "shipping", "general", "draft", "policy", "revise", "send")),
    (*(("route", kind) for kind in ("billing", "technical", "shipping", "general")),
     *((kind, "draft") for kind in ("billing", "technical", "shipping", "general")),
     ("draft", "policy"), ("policy", "revise"), ("policy", "send"), ("revise", "policy"), ("revise", "send")),
    ("route",),
)  # fmt: skip


def test_what_is_too_wide_for_the_panel_goes_down() -> None:
    drawing, wide = draw(SUPPORT), draw(SUPPORT, across=True)

    assert drawing.width <= PANEL_WIDTH < wide.width
    assert arrows(drawing, loop=True) == arrows(wide, loop=True) == {("revise", "policy")}
    rows = {box.id: box.y for box in drawing.nodes}
    assert rows["route"] < rows["billing"] == rows["general"] < rows["draft"] < rows["policy"] < rows["send"]


def test_four_who_hand_over_to_each_other_stand_in_one_column() -> None:
    names = ("flights", "hotels", "cars", "refunds")
    every = tuple((a, b) for a in names for b in names if a != b)
    nodes = (Node("triage", "Triage"), *(Node(name, name.capitalize()) for name in names))
    drawing = draw(Shape(nodes, (*(("triage", name) for name in names), *every), ("triage",)))

    assert not overlapping(drawing)
    columns = column(drawing)
    assert columns["triage"] < columns["flights"] == columns["hotels"] == columns["cars"] == columns["refunds"]
    assert len({edge.path for edge in drawing.edges}) == 4 + 12
    assert not arrows(drawing, loop=True)


def test_a_long_title_has_two_lines() -> None:
    nodes = (Node("a", "Plan"), Node("b", "Planning with parallel sub-agents"))
    short, long = draw(Shape(nodes, (("a", "b"),), ("a",))).nodes

    assert short.h < long.h
    assert short.w < long.w


def test_a_graph_without_nodes_has_no_size() -> None:
    assert draw(Shape((), ())) == Drawing(0, 0, (), ())


def test_an_arrow_to_itself_has_two_feet() -> None:
    drawing = draw(Shape((Node("a", "A"),), (("a", "a"),), ("a",)))

    xs = [float(x) for x, _ in points_of(drawing.edges[0].path)]
    assert drawing.edges[0].loop
    assert max(xs) - min(xs) >= 20


# -- any picture -----------------------------------------------------------------------------------


@st.composite
def shapes(draw_: st.DrawFn) -> Shape:
    """Any graph of a few nodes of any kind, with loops and parts that nothing leads to."""
    ids = [f"n{n}" for n in range(draw_(st.integers(1, 6)))]
    kinds = st.fixed_dictionaries({"team": st.booleans(), "agent": st.booleans()})
    nodes = [Node(id_, draw_(st.text(max_size=60)), **draw_(kinds)) for id_ in ids]
    seen = False
    for at, node in enumerate(nodes):  # one team at most: a plan belongs to one
        nodes[at] = Node(node.id, node.title, team=node.team and not seen, agent=node.agent)
        seen = seen or node.team
    edges = draw_(st.lists(st.tuples(st.sampled_from(ids), st.sampled_from(ids)), unique=True, max_size=12))
    return Shape(tuple(nodes), tuple(edges), tuple(draw_(st.lists(st.sampled_from(ids), unique=True, max_size=2))))


@given(shapes(), plans(most=12) | st.just([]))
def test_boxes_never_overlap_and_arrows_forward_go_right(shape: Shape, plan: list[dict[str, Any]]) -> None:
    drawing = draw(shape, plan)
    boxes = {box.id: box for box in drawing.nodes}

    assert len(boxes) == len(drawing.nodes)
    assert not overlapping(drawing)
    for box in drawing.nodes:
        assert 0 <= box.x <= box.x + box.w <= drawing.width + 0.2
        assert 0 <= box.y <= box.y + box.h <= drawing.height + 0.2
    forward = [
        (boxes[it.source], boxes[it.target]) for it in drawing.edges if not it.loop and not is_mutual(drawing, it)
    ]
    assert all(a.x + a.w < b.x for a, b in forward) or all(a.y + a.h < b.y for a, b in forward)
    for edge in drawing.edges:
        assert all(0 <= x <= drawing.width and 0 <= y <= drawing.height for x, y in points_of(edge.path))
    drawn_across = draw(shape, plan, across=True)
    assert drawing.width <= max(PANEL_WIDTH, drawn_across.width)


def is_mutual(drawing: Drawing, edge: Edge) -> bool:
    return (edge.target, edge.source) in {(it.source, it.target) for it in drawing.edges if not it.loop}


@given(shapes(), plans(most=12) | st.just([]))
def test_no_arrow_forward_or_back_runs_through_a_box(shape: Shape, plan: list[dict[str, Any]]) -> None:
    drawing = draw(shape, plan)
    for edge in drawing.edges:
        if is_mutual(drawing, edge):
            continue
        for box in drawing.nodes:
            if box.id not in (edge.source, edge.target):
                assert not runs_through(edge.path, box), (edge, box)


def runs_through(path: str, box: Placed) -> bool:
    """True when a straight piece of the path has its middle inside the box."""
    at, inside = (0.0, 0.0), False
    for command, numbers in re.findall(r"([MLQC])([^MLQC]+)", path):
        points = points_of(numbers)
        if command == "L":
            x, y = (at[0] + points[-1][0]) / 2, (at[1] + points[-1][1]) / 2
            inside |= box.x < x < box.x + box.w and box.y < y < box.y + box.h
        at = points[-1]
    return inside


@given(shapes())
def test_what_comes_before_never_goes_round(shape: Shape) -> None:
    before = shape.before()

    def reachable(id_: str) -> set[str]:
        out, left = set[str](), [id_]
        while left:
            new = [source for source in before[left.pop()] if source not in out]
            out.update(new)
            left += new
        return out

    assert all(id_ not in reachable(id_) for id_ in before)


# -- plans as graphs report them -------------------------------------------------------------------


def test_a_plan_is_put_in_order() -> None:
    given = {"tasks": [{"id": 2, "depends_on": ["1", 1, "9"], "title": ""}, {"id": "1", "extra": True}, {"id": "1"}, 7]}

    assert sub_tasks(given) == [
        {"id": "2", "title": "2", "question": "", "role": "", "depends_on": ["1"]},
        {"id": "1", "title": "1", "question": "", "role": "", "depends_on": [], "extra": True},
    ]
