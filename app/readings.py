"""What follows from a run's lanes: stragglers, the critical path, serial time, floor and speed-up. Pure."""

from statistics import median

from app.lanes import GOOD, Lane
from app.projection import RunView

LATE_FACTOR = 2.0
LATE_MIN_S = 1.0
HANDOVER_S = 0.1
"""Between the end of one lane and the start of the one that takes its place."""


def median_s(view: RunView) -> float | None:
    """Median seconds of the sub-agents that finished; who only leads others is none of them."""
    done = _finished_s(view.lanes.workers())
    return median(done) if done else None


def late_s(view: RunView, now: float) -> dict[str, float]:
    """Lane of a straggler -> seconds over the median of its siblings.

    A straggler runs while at least half of the siblings that have begun are finished, for more than twice their median
    and at least a second over it.
    """
    families: dict[str | None, list[Lane]] = {}
    for lane in view.team():
        families.setdefault(lane.parent_id, []).append(lane)
    return {id_: over for family in families.values() for id_, over in _late_among(family, now).items()}


def _late_among(siblings: list[Lane], now: float) -> dict[str, float]:
    running = [lane for lane in siblings if lane.running()]
    done = _finished_s(siblings) if running else []  # nobody who runs is in it, so it is the same for all of them
    others = sum(lane.start is not None for lane in siblings) - 1
    if not done or len(done) * 2 < others:
        return {}
    usual = median(done)
    spent = {lane.id: lane.seconds(now) for lane in running}
    return {id_: s - usual for id_, s in spent.items() if s > LATE_FACTOR * usual and s - usual > LATE_MIN_S}


def _finished_s(lanes: list[Lane]) -> list[float]:
    # one that failed at once says nothing about how long the work takes
    return [lane.seconds(0) for lane in lanes if lane.state in GOOD and lane.end is not None]


def critical_path(view: RunView, now: float) -> list[Lane]:
    """The chain of lanes that set the latency: from the one that ended last, back through what it waited for.

    A lane that did not begin when its inputs were there, but when some other lane ended, waited for that one's place.
    """
    path: dict[str, Lane] = {}
    lane = _last(view.lanes.top(), now)
    while lane is not None and lane.id not in path:
        path[lane.id] = lane
        before = _last(view.lanes.before(lane), now)
        lane = _gave_place(view, lane, before) or before
    return list(path.values())[::-1]


def _gave_place(view: RunView, lane: Lane, before: Lane | None) -> Lane | None:
    """The lane at whose end `lane` began, although its inputs had been there for longer."""
    ready = before.end if before else 0.0
    if lane.kind != "agent" or lane.start is None or ready is None or lane.start - ready <= HANDOVER_S:
        return None
    ended = [
        other
        for other in view.lanes.top()
        if other is not lane and other.start is not None and other.end is not None and other.start < lane.start
        and lane.start - HANDOVER_S <= other.end <= lane.start
    ]  # fmt: skip
    return _last(ended, 0.0)


def _last(lanes: list[Lane], now: float) -> Lane | None:
    begun = [lane for lane in lanes if lane.start is not None]
    return max(begun, key=lambda lane: now if lane.end is None else lane.end, default=None)


def serial_s(view: RunView, now: float) -> float:
    """Seconds if every lane had run after the other."""
    return sum(lane.seconds(now) for lane in view.lanes.top())


def floor_s(view: RunView, now: float) -> float:
    """Seconds that the dependencies alone would have taken: the longest chain of lane durations."""
    longest: dict[str, float] = {}

    def chain(lane: Lane, seen: frozenset[str]) -> float:
        if lane.id in seen:
            return 0.0  # a plan that waits for itself never ran
        if lane.id not in longest:
            waited = max((chain(before, seen | {lane.id}) for before in view.lanes.before(lane)), default=0.0)
            longest[lane.id] = waited + lane.seconds(now)
        return longest[lane.id]

    return max((chain(lane, frozenset()) for lane in view.lanes.top()), default=0.0)


def speedup(view: RunView) -> float | None:
    """How many times faster than one after the other the work was; None until the run ended."""
    if not view.ended or not view.worked_s:
        return None
    return serial_s(view, view.ended) / view.worked_s
