"""What a graph looks like: read once from LangGraph, laid out once the plan is known, never moved during a run.

Layered from left to right. A node that holds an agent is drawn as its loop of reasoning and acting; a node that holds a
team is drawn as the sub-tasks of its plan, or as one node with a count when they are too many to see. Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NODE_HEIGHT = 30
ROW_GAP = 14
COLUMN_GAP = 30
LOOP_DEPTH = 22
MAX_ROWS = 10
"""Sub-tasks of a plan that are drawn one by one."""
_MIN_WIDTH, _MAX_WIDTH, _CHAR_WIDTH, _PADDING = 70, 138, 7.2, 44


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a graph, before any run."""

    id: str
    title: str
    speaks: bool = False
    team: bool = False
    agent: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """Nodes in the order in which they were declared, and edges between them; START and END left out."""

    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]
    entries: tuple[str, ...] = ()
    """Nodes where a run may begin. They tell which arrow of a loop is the one back."""

    def before(self) -> dict[str, tuple[str, ...]]:
        """Node -> nodes that lead to it, loops left out."""
        back = arrows_back([*self.entries, *(node.id for node in self.nodes)], self.edges)
        forward = [edge for edge in self.edges if edge not in back]
        return {node.id: tuple(source for source, target in forward if target == node.id) for node in self.nodes}


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
    return Shape(nodes, edges, entries)


def _node(id_: str, metadata: Mapping[str, Any]) -> Node:
    title = str(metadata.get("title") or id_.replace("_", " ").capitalize())
    flags = {name: bool(metadata.get(name)) for name in ("speaks", "team", "agent")}
    return Node(id_, title, **flags)


@dataclass(frozen=True, slots=True)
class Placed:
    """One box of the drawing; `lane` names the lane that it stands for."""

    id: str
    title: str
    lane: str
    x: float = 0
    y: float = 0
    w: float = 0


@dataclass(frozen=True, slots=True)
class Edge:
    """One arrow of the drawing, with its SVG path."""

    source: str
    target: str
    loop: bool = False
    path: str = ""


@dataclass(frozen=True, slots=True)
class Drawing:
    """Everything placed."""

    width: float
    height: float
    nodes: tuple[Placed, ...]
    edges: tuple[Edge, ...]


def draw(shape: Shape, plan: Sequence[Mapping[str, Any]] = ()) -> Drawing:
    """Place `shape`, with its team node spread into `plan`, as `sub_tasks` returns it."""
    boxes, arrows, entries = _spread(shape, plan)
    back = arrows_back([*entries, *(box.id for box in boxes)], arrows)
    layers = _layers([box.id for box in boxes], [arrow for arrow in arrows if arrow not in back])
    placed = _place(boxes, layers)
    edges = tuple(_routed(placed[source], placed[target], (source, target) in back) for source, target in arrows)
    width = max((box.x + box.w for box in placed.values()), default=0)
    lowest = max((box.y + NODE_HEIGHT for box in placed.values()), default=0)
    return Drawing(width, lowest + (LOOP_DEPTH if back else 0), tuple(placed.values()), edges)


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


_Arrow = tuple[str, str]
_Part = tuple[list[Placed], list[_Arrow], list[str], list[str]]
"""Boxes and arrows that one node is drawn as, the boxes where arrows arrive, and those where they leave."""


def _spread(shape: Shape, plan: Sequence[Mapping[str, Any]]) -> tuple[list[Placed], list[_Arrow], list[str]]:
    """Boxes and arrows, with team and agent nodes opened up, and the boxes where a run may begin."""
    parts = {node.id: _part(node, plan) for node in shape.nodes}
    boxes = [box for part in parts.values() for box in part[0]]
    arrows = [arrow for part in parts.values() for arrow in part[1]]
    for source, target in shape.edges:
        arrows += [(out, into) for out in parts[source][3] for into in parts[target][2]]
    return boxes, arrows, [box for entry in shape.entries for box in parts[entry][2]]


def _part(node: Node, plan: Sequence[Mapping[str, Any]]) -> _Part:
    if node.team and 0 < len(plan) <= MAX_ROWS:
        return _team(plan)
    if node.agent:
        reason, act = f"{node.id}#reason", f"{node.id}#act"
        boxes = [Placed(reason, "Reason", node.id), Placed(act, "Act", node.id)]
        return boxes, [(reason, act), (act, reason)], [reason], [reason]
    return [Placed(node.id, node.title, node.id)], [], [node.id], [node.id]


def _team(plan: Sequence[Mapping[str, Any]]) -> _Part:
    boxes = [Placed(lane_of_task(sub["id"]), sub["title"], lane_of_task(sub["id"])) for sub in plan]
    arrows = [(lane_of_task(need), lane_of_task(sub["id"])) for sub in plan for need in sub["depends_on"]]
    needed = {need for sub in plan for need in sub["depends_on"]}
    entries = [lane_of_task(sub["id"]) for sub in plan if not sub["depends_on"]]
    exits = [lane_of_task(sub["id"]) for sub in plan if sub["id"] not in needed]
    return boxes, arrows, entries, exits


def _layers(ids: Iterable[str], forward: Iterable[_Arrow]) -> dict[str, int]:
    """Column of each box: one more than the furthest box before it."""
    before: dict[str, list[str]] = {id_: [] for id_ in ids}
    for source, target in forward:
        before[target].append(source)
    layers: dict[str, int] = {}

    def layer(id_: str) -> int:
        if id_ not in layers:
            layers[id_] = max((layer(source) + 1 for source in before[id_]), default=0)
        return layers[id_]

    return {id_: layer(id_) for id_ in before}


def _place(boxes: Sequence[Placed], layers: Mapping[str, int]) -> dict[str, Placed]:
    columns: dict[int, list[Placed]] = {}
    for box in boxes:
        columns.setdefault(layers[box.id], []).append(box)
    pitch = NODE_HEIGHT + ROW_GAP
    tallest = max((len(column) for column in columns.values()), default=0) * pitch - ROW_GAP
    placed: dict[str, Placed] = {}
    x = 0.0
    for _, column in sorted(columns.items()):
        width = max(_width(box.title) for box in column)
        top = (tallest - (len(column) * pitch - ROW_GAP)) / 2
        for row, box in enumerate(column):
            placed[box.id] = Placed(box.id, box.title, box.lane, x, top + row * pitch, width)
        x += width + COLUMN_GAP
    return placed


def _width(title: str) -> float:
    return min(_MAX_WIDTH, max(_MIN_WIDTH, len(title) * _CHAR_WIDTH + _PADDING))


def _routed(source: Placed, target: Placed, loop: bool) -> Edge:
    y0, y1 = source.y + NODE_HEIGHT / 2, target.y + NODE_HEIGHT / 2
    if not loop:
        x0, x1 = source.x + source.w, target.x
        bend = min((x1 - x0) / 2, COLUMN_GAP)
        path = f"M{x0:g} {y0:g}C{x0 + bend:g} {y0:g} {x1 - bend:g} {y1:g} {x1:g} {y1:g}"
        return Edge(source.id, target.id, False, path)
    # an arrow back runs under the boxes; one to the same box needs two feet
    spread = source.w / 4 if source is target else 0
    x0, x1 = source.x + source.w / 2 + spread, target.x + target.w / 2 - spread
    foot = max(source.y, target.y) + NODE_HEIGHT + 18
    path = f"M{x0:g} {source.y + NODE_HEIGHT:g}C{x0:g} {foot:g} {x1:g} {foot:g} {x1:g} {target.y + NODE_HEIGHT:g}"
    return Edge(source.id, target.id, True, path)
