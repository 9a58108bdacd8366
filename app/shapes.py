"""What a graph looks like: read once from LangGraph, laid out once the plan is known, never moved during a run.

Layered from left to right. A node that holds an agent is drawn as its loop of reasoning and acting; a node that holds a
team is drawn as the sub-tasks of its plan, or as one node with a count when they are too many to see. Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NODE_HEIGHT = 30
ROW_GAP = 14
COLUMN_GAP = 44
MAX_ROWS = 10
_MIN_WIDTH, _MAX_WIDTH, _CHAR_WIDTH, _PADDING = 70, 150, 7.2, 44


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


def read_shape(compiled: Any) -> Shape:
    """Shape of a compiled LangGraph graph, with what its nodes say of themselves in their metadata."""
    drawn = compiled.get_graph()
    ends = {"__start__", "__end__"}
    nodes = tuple(_node(id_, drawn_node.metadata or {}) for id_, drawn_node in drawn.nodes.items() if id_ not in ends)
    edges = tuple((edge.source, edge.target) for edge in drawn.edges if not {edge.source, edge.target} & ends)
    return Shape(nodes, edges)


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
    """Place `shape`, with its team node spread into `plan` (items with id, title, depends_on)."""
    boxes, arrows = _spread(shape, plan)
    layers = _layers([box.id for box in boxes], arrows)
    placed = _place(boxes, layers)
    edges = tuple(_routed(edge, placed, layers) for edge in arrows)
    width = max((box.x + box.w for box in placed.values()), default=0)
    lowest = max((box.y + NODE_HEIGHT for box in placed.values()), default=0)
    loops = any(layers[edge.source] >= layers[edge.target] for edge in edges)
    return Drawing(width, lowest + (22 if loops else 0), tuple(placed.values()), edges)


def lane_of_task(task_id: str) -> str:
    """Lane of one sub-task of the plan."""
    return f"task:{task_id}"


def _spread(shape: Shape, plan: Sequence[Mapping[str, Any]]) -> tuple[list[Placed], list[Edge]]:
    """Boxes and arrows, with team and agent nodes opened up."""
    boxes: list[Placed] = []
    arrows: list[Edge] = []
    doors: dict[str, tuple[list[str], list[str]]] = {}  # node -> boxes where arrows arrive, boxes where they leave
    for node in shape.nodes:
        if node.team and 0 < len(plan) <= MAX_ROWS:
            inner, inner_arrows, doors[node.id] = _team(plan)
        elif node.agent:
            inner, inner_arrows, doors[node.id] = _loop(node)
        else:
            inner, inner_arrows, doors[node.id] = [Placed(node.id, node.title, node.id)], [], ([node.id], [node.id])
        boxes += inner
        arrows += inner_arrows
    for source, target in shape.edges:
        arrows += [Edge(out, into) for out in doors[source][1] for into in doors[target][0]]
    return boxes, arrows


def _team(plan: Sequence[Mapping[str, Any]]) -> tuple[list[Placed], list[Edge], tuple[list[str], list[str]]]:
    boxes = [Placed(lane_of_task(sub["id"]), sub["title"], lane_of_task(sub["id"])) for sub in plan]
    arrows = [Edge(lane_of_task(need), lane_of_task(sub["id"])) for sub in plan for need in sub["depends_on"]]
    needed = {need for sub in plan for need in sub["depends_on"]}
    entries = [lane_of_task(sub["id"]) for sub in plan if not sub["depends_on"]]
    exits = [lane_of_task(sub["id"]) for sub in plan if sub["id"] not in needed]
    return boxes, arrows, (entries, exits)


def _loop(node: Node) -> tuple[list[Placed], list[Edge], tuple[list[str], list[str]]]:
    reason, act = f"{node.id}#reason", f"{node.id}#act"
    boxes = [Placed(reason, "Reason", node.id), Placed(act, "Act", node.id)]
    return boxes, [Edge(reason, act), Edge(act, reason, loop=True)], ([reason], [reason])


def _layers(ids: Iterable[str], edges: Iterable[Edge]) -> dict[str, int]:
    """Column of each box: one more than the furthest box before it. Arrows back do not count."""
    before: dict[str, list[str]] = {id_: [] for id_ in ids}
    order = {id_: at for at, id_ in enumerate(before)}
    for edge in edges:
        if not edge.loop and order[edge.source] < order[edge.target]:
            before[edge.target].append(edge.source)
    layers: dict[str, int] = {}
    for _ in before:
        for id_, sources in before.items():
            layers[id_] = max((layers.get(source, 0) + 1 for source in sources), default=0)
    return layers


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


def _routed(edge: Edge, placed: Mapping[str, Placed], layers: Mapping[str, int]) -> Edge:
    source, target = placed[edge.source], placed[edge.target]
    y0, y1 = source.y + NODE_HEIGHT / 2, target.y + NODE_HEIGHT / 2
    if layers[edge.source] < layers[edge.target]:
        x0, x1 = source.x + source.w, target.x
        bend = min((x1 - x0) / 2, COLUMN_GAP)
        path = f"M{x0:g} {y0:g}C{x0 + bend:g} {y0:g} {x1 - bend:g} {y1:g} {x1:g} {y1:g}"
        return Edge(edge.source, edge.target, edge.loop, path)
    # an arrow back runs under the boxes
    x0, x1, foot = source.x + source.w / 2, target.x + target.w / 2, max(source.y, target.y) + NODE_HEIGHT + 18
    path = f"M{x0:g} {source.y + NODE_HEIGHT:g}C{x0:g} {foot:g} {x1:g} {foot:g} {x1:g} {target.y + NODE_HEIGHT:g}"
    return Edge(edge.source, edge.target, True, path)
