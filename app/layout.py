"""Where boxes and arrows of a drawing go: layers along one axis, rows across it, arrows back round the outside. Pure.

Time goes along the axis, which runs to the right, or down when that is what fits. Everything is placed as
(along, across) and turned at the end. An arrow that skips layers gets a free row in each, so it runs through no box; an
arrow back runs outside of all boxes it passes, each on a track of its own; boxes that all lead to each other stand in
one layer, with arcs between them on both sides.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import hypot

Arrow = tuple[str, str]
Point = tuple[float, float]

GAP_ALONG = 30.0
GAP_ACROSS = 14.0
FREE_ROW = 6.0
"""Width of the row that an arrow past a layer is given."""
TRACK = 10.0
LOOP_FOOT = 14.0
ARC = 13.0
ROUND = 7.0
HEAD = 4.5
SWEEPS = 4


@dataclass(frozen=True, slots=True)
class Place:
    """A box: its corner and its size."""

    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True, slots=True)
class Layout:
    """All that was placed, from the corner on."""

    width: float
    height: float
    places: Mapping[str, Place]
    paths: Mapping[Arrow, str]


@dataclass(slots=True)
class _Box:
    """A box, or the free row of an arrow, while it is being placed."""

    length: float
    breadth: float
    layer: int = 0
    along: float = 0.0
    across: float = 0.0

    @property
    def end(self) -> float:
        return self.along + self.length

    @property
    def foot(self) -> float:
        return self.across + self.breadth

    @property
    def middle(self) -> float:
        return self.across + self.breadth / 2


@dataclass(slots=True)
class _Grid:
    """What is known of a drawing before its paths."""

    boxes: dict[str, _Box]
    layers: list[list[str]] = field(default_factory=list)
    rows: dict[Arrow, list[str]] = field(default_factory=dict)
    """Arrow -> the free rows that it runs through."""


def arrange(
    sizes: Mapping[str, tuple[float, float]], arrows: Sequence[Arrow], back: Iterable[Arrow], *, down: bool
) -> Layout:
    """Place boxes of these (width, height), in this order of preference; `back` are the arrows that close a loop."""
    turned = {id_: (h, w) if down else (w, h) for id_, (w, h) in sizes.items()}
    peers, back = peer_groups(arrows), frozenset(back)
    grid = _Grid({id_: _Box(*size) for id_, size in turned.items()})
    leader = {id_: group[0] for group in peers for id_ in group}
    forward = [arrow for arrow in arrows if arrow not in back and not _among(peers, arrow)]
    _rank(grid, forward, leader)
    _free_rows(grid, forward)
    _order(grid, forward)
    _spread(grid, peers)
    strokes = _strokes(grid, arrows, back, peers)
    return _finished(grid, strokes, list(sizes), down=down)


def peer_groups(arrows: Iterable[Arrow]) -> list[list[str]]:
    """Groups of three or more boxes of which each leads to each other."""
    known = dict.fromkeys(arrows)
    mutual = {arrow for arrow in known if arrow[::-1] in known and arrow[0] != arrow[1]}
    groups: list[list[str]] = []
    for id_ in dict.fromkeys(source for source, _ in known):
        group = next((group for group in groups if all((id_, other) in mutual for other in group)), None)
        if group is not None:
            group.append(id_)
        else:
            groups.append([id_])
    return [group for group in groups if len(group) > 2]


def _among(peers: Iterable[Sequence[str]], arrow: Arrow) -> bool:
    return any(arrow[0] in group and arrow[1] in group for group in peers)


# -- layers and rows ---------------------------------------------------------------------------------------------------


def _rank(grid: _Grid, forward: Sequence[Arrow], leader: Mapping[str, str]) -> None:
    """Layer of each box: one more than the furthest box before it; peers share theirs."""
    before: dict[str, list[str]] = {leader.get(id_, id_): [] for id_ in grid.boxes}
    for source, target in forward:
        before[leader.get(target, target)].append(leader.get(source, source))
    known: dict[str, int] = {}

    def rank(id_: str, path: frozenset[str]) -> int:
        if id_ not in known:
            ahead = (rank(it, path | {id_}) + 1 for it in before[id_] if it not in path and it != id_)
            known[id_] = max(ahead, default=0)
        return known[id_]

    for id_, box in grid.boxes.items():
        box.layer = rank(leader.get(id_, id_), frozenset())
    grid.layers = [[] for _ in range(max((box.layer for box in grid.boxes.values()), default=-1) + 1)]
    for id_, box in grid.boxes.items():
        grid.layers[box.layer].append(id_)


def _free_rows(grid: _Grid, forward: Sequence[Arrow]) -> None:
    for source, target in forward:
        for layer in range(grid.boxes[source].layer + 1, grid.boxes[target].layer):
            row = f"{source}\0{target}\0{layer}"
            grid.boxes[row] = _Box(0, FREE_ROW, layer)
            grid.layers[layer].append(row)
            grid.rows.setdefault((source, target), []).append(row)


def _order(grid: _Grid, forward: Sequence[Arrow]) -> None:
    """Fewer crossings: each box near the middle of those that it is joined with. What is tied keeps its order."""
    joined: dict[str, list[str]] = {id_: [] for id_ in grid.boxes}
    for arrow in forward:
        line = [arrow[0], *grid.rows.get(arrow, ()), arrow[1]]
        for one, other in pairwise(line):
            joined[one].append(other)
            joined[other].append(one)
    for sweep in range(SWEEPS):
        at = {id_: (row + 0.5) / len(layer) for layer in grid.layers for row, id_ in enumerate(layer)}
        step = -1 if sweep % 2 == 0 else 1
        for number, layer in enumerate(grid.layers):
            places = {
                id_: [at[other] for other in joined[id_] if grid.boxes[other].layer == number + step] for id_ in layer
            }
            layer.sort(key=lambda id_: sum(places[id_]) / len(places[id_]) if places[id_] else at[id_])


def _spread(grid: _Grid, peers: Sequence[Sequence[str]]) -> None:
    """Give every box its place: layers behind each other, each in the middle across."""
    heights = [sum(grid.boxes[id_].breadth for id_ in layer) + GAP_ACROSS * (len(layer) - 1) for layer in grid.layers]
    along = 0.0
    for layer, height in zip(grid.layers, heights, strict=True):
        side = max((ARC * len(group) for group in peers if group[0] in layer), default=0.0)  # room for the arcs
        along += side
        length = max((grid.boxes[id_].length for id_ in layer), default=0.0)
        across = (max(heights) - height) / 2
        for id_ in layer:
            box = grid.boxes[id_]
            box.along, box.across, box.length = along, across, length
            across += box.breadth + GAP_ACROSS
        along += length + GAP_ALONG + side


# -- paths -------------------------------------------------------------------------------------------------------------

_Stroke = list[tuple[str, list[Point]]]
"""SVG commands with their points, as (along, across)."""


def _strokes(
    grid: _Grid, arrows: Sequence[Arrow], back: frozenset[Arrow], peers: Sequence[Sequence[str]]
) -> dict[Arrow, _Stroke]:
    strokes: dict[Arrow, _Stroke] = {}
    # the shortest way back is the innermost
    loops = sorted(
        (arrow for arrow in arrows if arrow in back and not _among(peers, arrow)),
        key=lambda arrow: grid.boxes[arrow[0]].layer - grid.boxes[arrow[1]].layer,
    )
    tracks: list[tuple[int, int, float]] = []
    for arrow in loops:
        strokes[arrow] = _loop(grid, arrow, tracks)
    for source, target in arrows:
        if _among(peers, (source, target)):
            strokes[source, target] = _arc(grid, source, target)
        elif (source, target) not in back:
            rows = grid.rows.get((source, target), ())
            strokes[source, target] = _forward([grid.boxes[id_] for id_ in (source, *rows, target)])
    return strokes


def _forward(line: Sequence[_Box]) -> _Stroke:
    stroke: _Stroke = [("M", [(line[0].end, line[0].middle)])]
    for one, other in pairwise(line):
        bend = min((other.along - one.end) / 2, GAP_ALONG)
        if stroke[-1][1][-1] != (one.end, one.middle):
            stroke.append(("L", [(one.end, one.middle)]))
        stroke.append(("C", [(one.end + bend, one.middle), (other.along - bend, other.middle),
                             (other.along, other.middle)]))  # fmt: skip
    return stroke


def _loop(grid: _Grid, arrow: Arrow, tracks: list[tuple[int, int, float]]) -> _Stroke:
    """Back round the outside: out of the box's foot, or of its end where another box is below, and in likewise."""
    source, target = grid.boxes[arrow[0]], grid.boxes[arrow[1]]
    first, last = target.layer, source.layer
    passed = [grid.boxes[id_].foot for layer in grid.layers[first : last + 1] for id_ in layer]
    taken = [foot for a, b, foot in tracks if a <= last and first <= b]
    foot = max([max(passed) + LOOP_FOOT, *(it + TRACK for it in taken)])
    tracks.append((first, last, foot))
    apart = min(source.length, target.length) / 4 if arrow[0] == arrow[1] else 0.0
    out, into = source.along + source.length / 2 + apart, target.along + target.length / 2 - apart
    head: Point = (0.0, -1.0)
    if _outermost(grid, source):
        points: list[Point] = [(out, source.foot), (out, foot)]
    else:
        points = [(source.end, source.middle + 6), (source.end + LOOP_FOOT, source.middle + 6),
                  (source.end + LOOP_FOOT, foot)]  # fmt: skip
    if _outermost(grid, target):
        points += [(into, foot), (into, target.foot)]
    else:
        before = target.along - LOOP_FOOT
        points += [(before, foot), (before, target.middle + 6), (target.along, target.middle + 6)]
        head = (1.0, 0.0)
    return [*_rounded(points), *_head(points[-1], head)]


def _outermost(grid: _Grid, box: _Box) -> bool:
    return box.foot >= max(grid.boxes[id_].foot for id_ in grid.layers[box.layer])


def _arc(grid: _Grid, source: str, target: str) -> _Stroke:
    """Between peers: those towards the end of the row on one side, those back on the other."""
    one, other = grid.boxes[source], grid.boxes[target]
    layer = grid.layers[one.layer]
    far = abs(layer.index(source) - layer.index(target))
    onward = one.across < other.across
    turn = 1 if onward else -1
    edge = one.end if onward else one.along
    out, into = one.middle + turn * one.breadth / 5, other.middle - turn * other.breadth / 5
    deep = edge + turn * ARC * far * 4 / 3
    end = (edge, into)
    return [("M", [(edge, out)]), ("C", [(deep, out), (deep, into), end]), *_head(end, (-float(turn), 0.0))]


def _rounded(points: Sequence[Point]) -> _Stroke:
    """Straight lines with round corners."""
    stroke: _Stroke = [("M", [points[0]])]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        stroke.append(("L", [_towards(corner, before)]))
        stroke.append(("Q", [corner, _towards(corner, after)]))
    return [*stroke, ("L", [points[-1]])]


def _towards(here: Point, there: Point) -> Point:
    way = hypot(there[0] - here[0], there[1] - here[1])
    part = min(ROUND, way / 2) / way if way else 0.0
    return here[0] + (there[0] - here[0]) * part, here[1] + (there[1] - here[1]) * part


def _head(tip: Point, way: Point) -> _Stroke:
    """An open arrow head that points along `way`."""
    (x, y), (dx, dy) = tip, way
    wings = [(x - HEAD * (dx - side * dy * 0.8), y - HEAD * (dy + side * dx * 0.8)) for side in (1, -1)]
    return [("M", [wings[0]]), ("L", [tip]), ("L", [wings[1]])]


# -- turned and moved to the corner ------------------------------------------------------------------------------------


def _finished(grid: _Grid, strokes: Mapping[Arrow, _Stroke], shown: Sequence[str], *, down: bool) -> Layout:
    points = [point for stroke in strokes.values() for _, many in stroke for point in many]
    points += [(box.along, box.across) for box in (grid.boxes[id_] for id_ in shown)]
    points += [(box.end, box.foot) for box in (grid.boxes[id_] for id_ in shown)]
    if not points:
        return Layout(0, 0, {}, {})
    left, top = min(x for x, _ in points), min(y for _, y in points)

    def turned(point: Point) -> Point:
        along, across = round(point[0] - left, 1), round(point[1] - top, 1)
        return (across, along) if down else (along, across)

    places = {}
    for id_ in shown:
        box = grid.boxes[id_]
        (x, y), (x1, y1) = turned((box.along, box.across)), turned((box.end, box.foot))
        places[id_] = Place(x, y, round(x1 - x, 1), round(y1 - y, 1))
    paths = {
        arrow: "".join(f"{command}{' '.join(f'{x:g} {y:g}' for x, y in map(turned, many))}" for command, many in stroke)
        for arrow, stroke in strokes.items()
    }
    size = turned((max(x for x, _ in points), max(y for _, y in points)))
    return Layout(*size, places, paths)
