"""How a run went and the one change that would help most: figures, and a what-if for each change worth a thought.

Each what-if schedules the run's own lanes anew, by the list schedule that plans are estimated with, with one thing
changed: a straggler as quick as its siblings, one wait less, more places, a smaller model, one round less, no failed
tries. What it gains against the same schedule unchanged is the estimate. Pure.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from statistics import median
from typing import Any, Literal

from app.lanes import GOOD, UNATTENDED, Lane, Segment
from app.list_schedule import makespan
from app.projection import RunView
from app.readings import HANDOVER_S, LATE_FACTOR, LATE_MIN_S, critical_path, floor_s, serial_s

Kind = Literal["straggler", "pair", "wider", "small_model", "rounds", "tries"]

WORTH_S = 0.5
WORTH_SHARE = 0.05
"""A gain below either is not worth a change."""
SMALL_MODEL_TIME = 0.5
SMALL_MODEL_PRICE = 0.2
"""Of a routine step on the small model, against the same on the large one: an assumption, and called one."""
ASSUMED = "reckoned with half the time and a fifth of the price"
FREE_OF_DOUBT = frozenset({"straggler", "wider", "tries"})
DOUBT = 0.7
"""A change that may change the answer must gain more than one that cannot."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing to do differently, and what it is estimated to save."""

    kind: Kind
    text: str
    gain_s: float
    lane_ids: tuple[str, ...]
    gain_usd: float | None = None

    def shown(self) -> dict[str, Any]:
        """As the API tells it."""
        told = {name: getattr(self, name) for name in ("kind", "text", "lane_ids", "gain_usd")}
        return {**told, "gain_s": round(self.gain_s, 2)}

    @property
    def weight(self) -> float:
        """What it counts for when only one can be named."""
        return self.gain_s * (1.0 if self.kind in FREE_OF_DOUBT else DOUBT)


@dataclass(frozen=True, slots=True)
class Advice:
    """One run in figures, and one sentence."""

    took_s: float
    serial_s: float
    floor_s: float
    speedup: float
    ceiling: float | None
    """Speed-up that no number of agents could pass, for the steps that nothing ran beside; None without such steps."""
    path: tuple[tuple[str, str, float], ...]
    """Lane id, title and seconds of each step on the critical path."""
    change: Change | None
    text: str

    def shown(self) -> dict[str, Any]:
        """As the API tells it."""
        return {
            **{name: round(getattr(self, name), 2) for name in ("took_s", "serial_s", "floor_s", "speedup")},
            "ceiling": None if self.ceiling is None else round(self.ceiling, 2),
            "path": [{"lane_id": id_, "title": title, "seconds": round(s, 2)} for id_, title, s in self.path],
            "change": self.change.shown() if self.change else None,
            "text": self.text,
        }

    def brief(self) -> dict[str, Any]:
        """As an ended run keeps it, for rows of a batch and other programs: the same in fewer words."""
        shown = self.shown()
        return {
            **{name: shown[name] for name in ("took_s", "serial_s", "floor_s", "speedup")},
            "amdahl_ceiling": shown["ceiling"],
            "critical_path": [{name: step[name] for name in ("title", "seconds")} for step in shown["path"]],
            "best_change": self._brief_change(),
        }

    def _brief_change(self) -> dict[str, Any] | None:
        if self.change is None:
            return None
        return {name: value for name, value in self.change.shown().items() if name != "lane_ids"}


def advise(view: RunView) -> Advice | None:
    """What there is to say of a run that has ended; None of one that has not, or in which nothing was done."""
    work = Work(view)
    if view.ended is None or not work.lanes or not work.took_s:
        return None
    change = work.best_change() if view.status == "succeeded" else None
    return Advice(
        work.took_s, work.serial_s, work.floor_s, work.serial_s / work.took_s, work.ceiling,
        tuple((lane.id, lane.title, lane.seconds(view.ended)) for lane in work.path), change,
        change.text if change else work.nothing_to_change(),
    )  # fmt: skip


@dataclass(frozen=True)
class Work:
    """The lanes of a run as a plan that was carried out."""

    view: RunView
    lanes: dict[str, Lane] = field(init=False)
    needs: dict[str, tuple[str, ...]] = field(init=False)

    def __post_init__(self) -> None:
        top = {lane.id: lane for lane in self.view.lanes.top() if lane.start is not None and lane.end is not None}
        needs = {id_: [it.id for it in self.view.lanes.before(lane) if it.id in top] for id_, lane in top.items()}
        object.__setattr__(self, "lanes", top)
        object.__setattr__(self, "needs", _without_circles(needs))

    # -- figures -----------------------------------------------------------------------------------------------------

    @cached_property
    def took_s(self) -> float:
        """At work, without the queue and without waiting for a person."""
        return self.view.worked_s

    @cached_property
    def serial_s(self) -> float:
        """One lane after the other."""
        return serial_s(self.view, self.view.ended or 0.0)

    @cached_property
    def floor_s(self) -> float:
        """The longest chain of dependencies."""
        return floor_s(self.view, self.view.ended or 0.0)

    @cached_property
    def path(self) -> list[Lane]:
        """What set the latency."""
        return critical_path(self.view, self.view.ended or 0.0)

    @cached_property
    def seconds(self) -> dict[str, float]:
        """Of each lane."""
        return {id_: lane.seconds(0.0) for id_, lane in self.lanes.items()}

    @cached_property
    def ceiling(self) -> float | None:
        """Amdahl's bound: all work over the part that nothing could run beside."""
        above = {id_: _reach(id_, self.needs) for id_ in self.lanes}
        alone = [
            self.seconds[id_]
            for id_ in self.lanes
            if all(other == id_ or other in above[id_] or id_ in above[other] for other in self.lanes)
        ]
        return self.serial_s / sum(alone) if sum(alone) > 0 else None

    # -- what if -----------------------------------------------------------------------------------------------------

    def best_change(self) -> Change | None:
        """The one that gains most, if that is worth anything."""
        worth = max(WORTH_S, WORTH_SHARE * self.took_s)
        found = [change for change in self.changes() if change.gain_s >= worth]
        return max(found, key=lambda change: change.weight, default=None)

    def changes(self) -> Iterator[Change]:
        """Each change that could be made."""
        yield from self._quicker_straggler()
        yield from self._one_wait_less()
        yield from self._more_places()
        yield from self._small_model()
        yield from self._one_round_less()
        yield from self._no_failed_tries()

    def simulated_s(
        self,
        seconds: Mapping[str, float] | None = None,
        needs: Mapping[str, Sequence[str]] | None = None,
        width: int | None = None,
    ) -> float:
        """Seconds of the whole, with some of them changed."""
        return makespan({**self.seconds, **(seconds or {})}, {**self.needs, **(needs or {})}, width or self.width)

    @cached_property
    def as_it_was_s(self) -> float:
        """The same schedule with nothing changed: what a what-if is held against."""
        return self.simulated_s()

    def _gain_s(self, **changed: Any) -> float:
        return max(0.0, min(self.took_s, self.as_it_was_s - self.simulated_s(**changed)))

    @cached_property
    def width(self) -> int:
        """Places that there were, where lanes had to wait for one; else as many as lanes."""
        return self._most_at_once if self.waited else max(1, len(self.lanes))

    @cached_property
    def _most_at_once(self) -> int:
        spans = [(lane.start or 0.0, lane.end or 0.0) for lane in self.lanes.values()]
        return max(sum(a <= at < b for a, b in spans) for at, _ in spans) or 1

    @cached_property
    def waited(self) -> list[Lane]:
        """Sub-agents that began only when another one had ended, although their inputs were there."""
        return [
            later
            for before, later in pairwise(self.path)
            if later.kind == "agent" and before.kind == "agent" and before.id not in self.needs.get(later.id, ())
            and (later.start or 0.0) - max((self.lanes[id_].end or 0.0 for id_ in self.needs[later.id]), default=0.0)
            > HANDOVER_S
        ]  # fmt: skip

    # -- the changes -------------------------------------------------------------------------------------------------

    def _quicker_straggler(self) -> Iterator[Change]:
        agents = [lane for lane in self.lanes.values() if lane.kind == "agent"]
        for lane in agents:
            others = [self.seconds[it.id] for it in agents if it is not lane and it.state in GOOD]
            if len(others) < 2:
                continue
            usual, took = median(others), self.seconds[lane.id]
            if took > LATE_FACTOR * usual and took - usual > LATE_MIN_S:
                gain_s = self._gain_s(seconds={lane.id: usual})
                told = (
                    f"{_quoted(lane)} took {_s(took)}, its siblings {_s(usual)}: give such a part a second try early."
                )
                yield Change("straggler", told, gain_s, (lane.id,))

    def _one_wait_less(self) -> Iterator[Change]:
        for before, later in pairwise(self.path):
            if before.kind == later.kind == "agent" and before.id in self.needs[later.id]:
                gain_s = self._gain_s(needs={later.id: [id_ for id_ in self.needs[later.id] if id_ != before.id]})
                told = f"Let {_quoted(later)} start beside {_quoted(before)}, if it can do without its result."
                yield Change("pair", told, gain_s, (before.id, later.id))

    def _more_places(self) -> Iterator[Change]:
        if self.waited:
            told = f"Let more sub-agents work at once: {_quoted(self.waited[0])} was ready and waited for a place."
            gain_s = self._gain_s(width=max(1, len(self.lanes)))
            yield Change("wider", told, gain_s, tuple(lane.id for lane in self.waited))

    def _small_model(self) -> Iterator[Change]:
        """For a step that speaks to nobody and uses no tools, on the model that also writes the answer."""
        speakers = {node.id for node in self.view.shape.nodes if node.speaks}
        large = {label for id_ in speakers if id_ in self.lanes for label in _models(self.lanes[id_])}
        for lane in self.path:
            if lane.kind != "node" or lane.node in speakers or lane.acts or not _models(lane) & large:
                continue
            calls_s = _spent_s(lane, ("ttft", "model"))
            quicker = self.seconds[lane.id] - calls_s * (1 - SMALL_MODEL_TIME)
            saved = None if lane.cost_usd is None else lane.cost_usd * (1 - SMALL_MODEL_PRICE)
            told = f"Give {_quoted(lane)} to the small model: {ASSUMED}."
            yield Change("small_model", told, self._gain_s(seconds={lane.id: quicker}), (lane.id,), saved)

    def _one_round_less(self) -> Iterator[Change]:
        most = max((lane.rounds for lane in self.path if lane.kind == "node"), default=0)
        loop = [lane for lane in self.lanes.values() if lane.kind == "node" and lane.rounds == most]
        if most < 2:
            return
        fewer = {lane.id: self.seconds[lane.id] * (most - 1) / most for lane in loop}
        costs = [lane.cost_usd / most for lane in loop if lane.cost_usd is not None]
        names = " and ".join(_quoted(lane) for lane in loop[:2])
        told = f"Stop one round earlier, if the last one changed little: {names} came by {most} times."
        gain_s = self._gain_s(seconds=fewer)
        yield Change("rounds", told, gain_s, tuple(fewer), sum(costs) if costs else None)

    def _no_failed_tries(self) -> Iterator[Change]:
        for lane in self.path:
            lost_s = sum((it.end or it.start) - it.start for it in lane.segments if it.failed or _is_pause(it))
            lost_s += sum(it.seconds(0.0) for it in self.view.lanes.values() if it.lost and it.parent_id == lane.id)
            if lost_s > 0:
                told = f"Look at why calls of {_quoted(lane)} failed: failed tries and pauses took {_s(lost_s)}."
                gain_s = self._gain_s(seconds={lane.id: max(0.0, self.seconds[lane.id] - lost_s)})
                yield Change("tries", told, gain_s, (lane.id,))

    def nothing_to_change(self) -> str:
        """The sentence of a run that nothing is advised for."""
        if self.view.status != "succeeded":
            return "It did not come to its end, so there is nothing to advise."
        if len(self.lanes) == 1:
            return "Nothing worth changing: one agent did all of it."
        return f"Nothing worth changing: the work allows no less than {_s(self.floor_s)}."


def _is_pause(part: Segment) -> bool:
    return part.kind == "gap" and part.label != UNATTENDED


def _models(lane: Lane) -> set[str]:
    return {part.label for part in lane.segments if part.kind in ("ttft", "model") and part.label}


def _spent_s(lane: Lane, kinds: Sequence[str]) -> float:
    return sum((part.end or part.start) - part.start for part in lane.segments if part.kind in kinds)


def _reach(id_: str, needs: Mapping[str, Sequence[str]]) -> set[str]:
    found: set[str] = set()
    left = [id_]
    while left:
        fresh = set(needs[left.pop()]) - found
        found |= fresh
        left += fresh
    return found


def _without_circles(needs: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """The waits, without those that would close a circle: such a plan never ran as it was told."""
    kept: dict[str, tuple[str, ...]] = {id_: () for id_ in needs}
    for id_, waits in needs.items():
        for need in dict.fromkeys(waits):
            if need != id_ and id_ not in _reach(need, kept):
                kept[id_] = (*kept[id_], need)
    return kept


def _quoted(lane: Lane) -> str:
    return f"“{lane.title[:60]}”"


def _s(seconds: float) -> str:
    return f"{seconds:.1f} s"
