"""What a graph looks like: read once from LangGraph, laid out once the plan is known, never moved during a run.

A node that holds an agent is drawn as its loop of reasoning and acting; a node that holds a team is drawn as the
sub-tasks of its plan, or as one node with a count when they are too many to see. Time goes to the right, or down where
that is what fits the panel; `app/layout.py` says where everything goes. Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.layout import Layout, arrange, peer_groups

NODE_HEIGHT = 30
TALL_NODE_HEIGHT = 46
"""Of a box whose title takes two lines."""
PANEL_WIDTH = 540
"""Room for a drawing; a wider one is shrunk until nobody can read it."""
MAX_ROWS = 10
"""Sub-tasks of a plan that are drawn one by one."""
_MIN_WIDTH, _MAX_WIDTH, _PADDING = 70, 156, 44


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a graph, before any run."""

    id: str
    title: str
    speaks: bool = False
    team: bool = False
    parts: bool = False
    """It has parts that can be done again by themselves, as a team has."""
    agent: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """Nodes in the order in which they were declared, and edges between them; START and END left out."""

    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]
    entries: tuple[str, ...] = ()
    """Nodes where a run may begin. They tell which arrow of a loop is the one back."""
    choices: tuple[tuple[str, str], ...] = ()
    """Edges that a run takes or not, as something in it decides."""

    def before(self) -> dict[str, tuple[str, ...]]:
        """Node -> nodes that lead to it, loops left out."""
        back = arrows_back([*self.entries, *(node.id for node in self.nodes)], self.edges)
        forward = [edge for edge in self.edges if edge not in back]
        return {node.id: tuple(source for source, target in forward if target == node.id) for node in self.nodes}


_Arrow = tuple[str, str]


def arrows_back(ids: Iterable[str], edges: Iterable[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    """Edges that close a loop, as seen by somebody who walks from the first of `ids`; the rest has none."""
    after: dict[str, list[str]] = {}
    for source, target in edges:
        after.setdefault(source, []).append(target)
    back: set[tuple[str, str]] = set()
    done: set[str] = set()

    def walk(id_: str, path: frozenset[str]) -> None:
        for target in after.get(id_, ()):
            if target in path:
                back.add((id_, target))
            elif target not in done:
                walk(target, path | {target})
        done.add(id_)

    for id_ in ids:
        if id_ not in done:
            walk(id_, frozenset({id_}))
    return frozenset(back)


def read_shape(compiled: Any) -> Shape:
    """Shape of a compiled LangGraph graph, with what its nodes say of themselves in their metadata."""
    drawn = compiled.get_graph()
    ends = {"__start__", "__end__"}
    nodes = tuple(_node(id_, drawn_node.metadata or {}) for id_, drawn_node in drawn.nodes.items() if id_ not in ends)
    arrows = list(dict.fromkeys((edge.source, edge.target) for edge in drawn.edges))
    edges = tuple(arrow for arrow in arrows if not ends.intersection(arrow))
    entries = tuple(target for source, target in arrows if source == "__start__" and target not in ends)
    chosen = {(edge.source, edge.target) for edge in drawn.edges if edge.conditional}
    return Shape(nodes, edges, entries, tuple(arrow for arrow in edges if arrow in chosen))


def _node(id_: str, metadata: Mapping[str, Any]) -> Node:
    title = str(metadata.get("title") or id_.replace("_", " ").capitalize())
    flags = {name: bool(metadata.get(name)) for name in ("speaks", "team", "agent")}
    return Node(id_, title, parts=flags["team"] or bool(metadata.get("parts")), **flags)


@dataclass(frozen=True, slots=True)
class Placed:
    """One box of the drawing; `lane` names the lane that it stands for."""

    id: str
    title: str
    lane: str
    x: float = 0
    y: float = 0
    w: float = 0
    h: float = 0


@dataclass(frozen=True, slots=True)
class Edge:
    """One arrow of the drawing, with its SVG path."""

    source: str
    target: str
    loop: bool = False
    path: str = ""
    choice: tuple[str, str] | None = None
    """The edge of the graph that it stands for, where a run takes that or not."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """Everything placed."""

    width: float
    height: float
    nodes: tuple[Placed, ...]
    edges: tuple[Edge, ...]


def draw(shape: Shape, plan: Sequence[Mapping[str, Any]] = (), *, across: bool = False) -> Drawing:
    """Place `shape`, with its team node spread into `plan`, as `sub_tasks` returns it.

    `across`: to the right, however wide that is.
    """
    boxes, arrows, entries = _spread(shape, plan)
    leader = {id_: group[0] for group in peer_groups(arrows) for id_ in group}
    merged = {arrow: (leader.get(arrow[0], arrow[0]), leader.get(arrow[1], arrow[1])) for arrow in arrows}
    ids = [leader.get(id_, id_) for id_ in [*entries, *(box.id for box in boxes)]]
    # a loop of the graph is one however many boxes a team is drawn as: a walk through those might take it for a way on
    over = arrows_back([*shape.entries, *(node.id for node in shape.nodes)], shape.edges)
    spread = {arrow for arrow, edge in arrows.items() if arrow != edge and edge in over}
    back = arrows_back(
        dict.fromkeys(ids), [pair for it, pair in merged.items() if it not in spread and len({*pair}) > 1]
    )
    loops = {it for it, pair in merged.items() if it in spread or pair in back or it[0] == it[1]}
    sizes = {box.id: _size(box.title) for box in boxes}
    layout = arrange(sizes, list(arrows), loops, down=False)
    if layout.width > PANEL_WIDTH and not across:
        layout = min(layout, arrange(sizes, list(arrows), loops, down=True), key=lambda it: it.width)
    places = {id_: {"x": it.x, "y": it.y, "w": it.w, "h": it.h} for id_, it in layout.places.items()}
    placed = tuple(Placed(box.id, box.title, box.lane, **places[box.id]) for box in boxes)
    return Drawing(layout.width, layout.height, placed, _edges(shape, arrows, loops, layout))


def _edges(shape: Shape, arrows: Mapping[_Arrow, _Arrow], loops: set[_Arrow], layout: Layout) -> tuple[Edge, ...]:
    return tuple(
        Edge(*arrow, arrow in loops, layout.paths[arrow], edge if edge in shape.choices else None)
        for arrow, edge in arrows.items()
    )


def lane_of_task(task_id: str) -> str:
    """Lane of one sub-task of the plan."""
    return f"task:{task_id}"


def sub_tasks(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A plan as any graph may report it, with every field there and dependencies only on what it holds."""
    given = [sub for sub in data.get("tasks") or () if isinstance(sub, Mapping) and "id" in sub]
    tasks = {str(sub["id"]): sub for sub in reversed(given)}
    return [
        {
            **sub,
            "id": id_,
            "title": str(sub.get("title") or id_),
            "question": str(sub.get("question") or ""),
            "role": str(sub.get("role") or ""),
            "depends_on": [need for need in dict.fromkeys(map(str, sub.get("depends_on") or ())) if need in tasks],
        }
        for id_, sub in reversed(tasks.items())
    ]


_Part = tuple[list[Placed], list[_Arrow], list[str], list[str]]
"""Boxes and arrows that one node is drawn as, the boxes where arrows arrive, and those where they leave."""


def _spread(shape: Shape, plan: Sequence[Mapping[str, Any]]) -> tuple[list[Placed], dict[_Arrow, _Arrow], list[str]]:
    """Boxes, arrows with the edge that each stands for, and the boxes where a run may begin; team and agent opened."""
    parts = {node.id: _part(node, plan) for node in shape.nodes}
    boxes = [box for part in parts.values() for box in part[0]]
    arrows = {arrow: arrow for part in parts.values() for arrow in part[1]}
    for source, target in shape.edges:
        arrows |= {(out, into): (source, target) for out in parts[source][3] for into in parts[target][2]}
    return boxes, arrows, [box for entry in shape.entries for box in parts[entry][2]]


def _part(node: Node, plan: Sequence[Mapping[str, Any]]) -> _Part:
    for tasks in (plan, [sub for sub in plan if not sub.get("within")]):  # the leads alone, where all are too many
        if node.team and 0 < len(tasks) <= MAX_ROWS:
            return _team(tasks)
    if node.agent:
        reason, act = f"{node.id}#reason", f"{node.id}#act"
        boxes = [Placed(reason, "Reason", node.id), Placed(act, "Act", node.id)]
        return boxes, [(reason, act), (act, reason)], [reason], [reason]
    return [Placed(node.id, node.title, node.id)], [], [node.id], [node.id]


def _team(plan: Sequence[Mapping[str, Any]]) -> _Part:
    """A plan's sub-tasks; one that has a plan of its own leads to the sub-tasks of that."""
    boxes = [Placed(lane_of_task(sub["id"]), sub["title"], lane_of_task(sub["id"])) for sub in plan]
    needed = {need for sub in plan for need in sub["depends_on"]}

    def leave(within: str) -> list[str]:
        """Where the plan within a sub-task, or the whole one, is left: what nothing in it waits for."""
        last = [sub["id"] for sub in plan if sub.get("within", "") == within and sub["id"] not in needed]
        return [out for id_ in last for out in leave(id_) or [lane_of_task(id_)]]

    arrows = []
    for sub in plan:
        ways = [out for need in sub["depends_on"] for out in leave(need) or [lane_of_task(need)]]
        if sub.get("within") and not ways:
            ways = [lane_of_task(sub["within"])]
        arrows += [(way, lane_of_task(sub["id"])) for way in ways]
    entries = [lane_of_task(sub["id"]) for sub in plan if not sub["depends_on"] and not sub.get("within")]
    return boxes, arrows, entries, leave("")


def _size(title: str) -> tuple[float, float]:
    """Width and height of a box: as wide as its title, up to a bound, and then as high as two lines."""
    wanted = sum(_char_width(char) for char in title) + _PADDING
    return min(_MAX_WIDTH, max(_MIN_WIDTH, wanted)), NODE_HEIGHT if wanted <= _MAX_WIDTH else TALL_NODE_HEIGHT


def _char_width(char: str) -> float:
    """About what a letter takes at 13 px in the page's typeface; the page measures and cuts what is wider."""
    if char in "iljtfrI.,:;'|!()[] -":
        return 3.9
    return 9.8 if char in "mwMW@%" else 7.7 if char.isupper() else 6.5
