"""Lanes: the rows of a run's time axis, each a node of its graph or a sub-agent, and the stretches they are made of.

Times are seconds since the run started. A lane that nobody works on any more has an end, whatever its state says, so
that nothing looks as if it still ran.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.events import ROOT, parent_of
from app.shapes import lane_of_task

GOOD = frozenset({"done", "partial", "cached"})
ENDED = GOOD | {"failed", "timed_out", "cancelled", "not_taken"}

MAX_ACTIVITY_CHARS = 120
NO_WORKER = "waits for a worker"
UNATTENDED = "no worker had it"
_PASSING = frozenset({"started", "writing", "waiting for the first token", NO_WORKER})
"""What a lane does at a moment; none of it is worth saying once it has ended."""


@dataclass(slots=True)
class Segment:
    """A stretch of a lane: waiting for the first token, model, tool, or a gap (back-off, no worker)."""

    kind: str
    start: float
    end: float | None = None
    failed: bool = False
    label: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    """Of a model call that has ended: seconds, first token, tokens, money."""


def call_figures(data: Mapping[str, Any]) -> dict[str, Any]:
    """What `llm.finished` says that a person may want to know of one call; without what nobody measured."""
    usage = data.get("usage") or {}
    known = {**{name: data.get(name) for name in ("latency_s", "ttft_s", "cost_usd")}, **usage}
    return {name: value for name, value in known.items() if value is not None}


@dataclass(slots=True)
class Lane:
    """One row of the time axis."""

    id: str
    title: str
    kind: str = "node"
    role: str = ""
    parent_id: str | None = None
    depth: int = 0
    node: str = ""
    """Lane that stands for all tasks of the same node: its own, unless several of them ran at once."""
    needs: tuple[str, ...] = ()
    """Nodes or sub-agents that must end first; a sub-agent without any starts when its team does."""
    state: str = "pending"
    activity: str = ""
    start: float | None = None
    end: float | None = None
    idle_s: float = 0
    """Between its start and its end, but not its time: other nodes of a loop, or no worker."""
    tokens: int = 0
    cost_usd: float | None = None
    attempt: int = 1
    rounds: int = 0
    """How often a loop of the graph came by."""
    turns: int = 0
    """Model calls, failed ones left out."""
    acts: int = 0
    """Tool calls."""
    segments: list[Segment] = field(default_factory=list)
    text: str = ""
    reason: str = ""
    lost: bool = False
    """A try that was given up. It is below the lane on which the next one is made."""

    def __post_init__(self) -> None:
        self.node = self.node or self.id

    def seconds(self, now: float) -> float:
        """Time spent so far, 0 before the start."""
        if self.start is None:
            return 0.0
        return (now if self.end is None else self.end) - self.start - self.idle_s

    def running(self) -> bool:
        """Started and not ended."""
        return self.start is not None and self.end is None

    def begin(self, at: float) -> None:
        """Start, or go on."""
        if self.start is None:
            self.start = at
        elif self.end is not None:
            self.idle_s += max(0.0, at - self.end)
            if self.activity == NO_WORKER:
                self.segments.append(Segment("gap", self.end, at, label=UNATTENDED))
                self.attempt += 1
        self.end, self.state, self.activity = None, "running", "started"

    def call(self, kind: str, at: float, label: str) -> Segment:
        """Open a stretch; a back-off before it is over."""
        self.end_gap(at)
        self.segments.append(Segment(kind, at, label=label))
        if self.running():
            self.state = "running"
        return self.segments[-1]

    def end_gap(self, at: float) -> None:
        """End the back-off that the lane is in, if it is."""
        if self.segments and self.segments[-1].kind == "gap" and self.segments[-1].end is None:
            self.segments[-1].end = at

    def retry(self, at: float, attempt: int, reason: str) -> None:
        """A call in it failed, and is made again after a pause."""
        self.state, self.attempt = "retrying", attempt
        self.activity = f"try {attempt}: {reason}"
        self.segments.append(Segment("gap", at, label=reason))

    def suspend(self, at: float) -> None:
        """Its worker is gone or gave it back: whatever was open is lost, and somebody will go on from a checkpoint."""
        self._cut(at, failed=True)
        self.end, self.state, self.activity = at, "ready", NO_WORKER

    def wait_for_person(self) -> None:
        """It asked something, and nobody works on it until somebody answers."""
        self.state, self.activity = "waiting", "waits for your answer"

    def close(self, at: float, state: str) -> None:
        """End. One that was suspended ended, as far as anybody knows, when it was last heard of."""
        self._cut(at, failed=state in ("failed", "timed_out"))
        if self.start is None and state != "not_taken":
            self.start = at
        if self.start is not None and self.end is None:
            self.end = at
        self.state = state
        if self.activity in _PASSING:
            self.activity = self.reason

    def _cut(self, at: float, failed: bool) -> None:
        for segment in self.segments:
            if segment.end is None:
                segment.end, segment.failed = at, failed


@dataclass(slots=True)
class Call:
    """A model or tool call in flight."""

    lane: str
    segment: Segment
    is_model: bool
    speaks: bool = False
    text: str = ""
    call_id: str | None = None
    tool: str = ""

    def first_token(self, lane: Lane, at: float) -> None:
        """The answer begins."""
        if self.segment.kind == "ttft":
            self.segment.end = at
            self.segment = Segment("model", at, label=self.segment.label)
            lane.segments.append(self.segment)


@dataclass(slots=True)
class Meters:
    """What the run has used. A call that was lost with its worker is made again, and counts once."""

    calls: int = 0
    tools: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    cost_usd: float | None = None

    def spend(self, lane: Lane, data: Mapping[str, Any]) -> None:
        """Count what a model call that ended has used, for the run and for its lane."""
        if usage := data.get("usage"):
            self.tokens_in += usage["in"]
            self.tokens_out += usage["out"]
            self.tokens_cached += usage["cached"]
            lane.tokens += usage["in"] + usage["out"]
        if (cost := data.get("cost_usd")) is not None:
            self.cost_usd = (self.cost_usd or 0) + cost
            lane.cost_usd = (lane.cost_usd or 0) + cost

    def uncount(self, call: Call, lane: Lane) -> None:
        """A call without an answer, which will be made again."""
        if call.is_model:
            self.calls, lane.turns = self.calls - 1, lane.turns - 1
        else:
            self.tools, lane.acts = self.tools - 1, lane.acts - 1


class Lanes(dict[str, Lane]):
    """All lanes of a run by id, in the order in which they are drawn; a new one never moves those already there."""

    def __init__(self, lanes: Iterable[Lane] = ()) -> None:
        super().__init__((lane.id, lane) for lane in lanes)
        self._of_span: dict[str, str] = {}

    def of(self, span_id: str) -> Lane:
        """Lane of a task's span: that of its node, or one more when another task of the node is still at work."""
        if (known := self._of_span.get(span_id, "")) in self:
            return self[known]
        lane = self._for_task(span_id)
        lane.rounds += 1
        self._of_span[span_id] = lane.id
        return lane

    def tell(self, span_id: str, said: Any) -> None:
        """Show what a node says of itself, in an event of its own whose value has a `text`."""
        if span_id != ROOT and isinstance(said, Mapping) and isinstance(text := said.get("text"), str) and text.strip():
            self.of(span_id).activity = text.strip()[:MAX_ACTIVITY_CHARS]

    def bind(self, span_id: str, lane: Lane) -> None:
        """Let `lane` be the one of that span."""
        self._of_span[span_id] = lane.id

    def entered(self, span_id: str, at: float) -> Lane:
        """Lane of a task in which a call is made; begun by it, if nothing said so before."""
        is_new = span_id not in self._of_span
        lane = self.of(span_id)
        if not lane.running() and (is_new or lane.state not in ENDED):
            lane.begin(at)
        return lane

    def above(self, span_id: str) -> Lane | None:
        """Lane around a task's span; None at the top."""
        parent = parent_of(span_id)
        return None if parent in (None, ROOT) else self.of(str(parent))

    def _for_task(self, span_id: str) -> Lane:
        above, name = self.above(span_id), span_id.rpartition("|")[2].partition(":")[0]
        id_ = f"{above.id}/{name}" if above else name
        parent_id, depth = (above.id, above.depth + 1) if above else (None, 0)
        node = self.get(id_)
        if node is None:
            return self.place(Lane(id_, name.replace("_", " ").capitalize(), parent_id=parent_id, depth=depth))
        if not node.running():
            return node
        words = f"{node.title} {sum(lane.node == id_ for lane in self.values()) + 1}"
        return self.place(Lane(span_id, words, parent_id=parent_id, depth=depth, node=id_, needs=node.needs))

    def place(self, lane: Lane) -> Lane:
        """Add a lane right behind its kin."""
        kin = {lane.node, lane.parent_id or lane.node}
        order = list(self.values())
        at = len(order)
        for place, other in enumerate(order, 1):
            if other.id in kin or other.parent_id in kin or other.node in kin:
                kin.add(other.id)
                at = place
        order.insert(at, lane)
        self.clear()
        self.update((it.id, it) for it in order)
        return lane

    def plan(self, above: Lane, tasks: Iterable[Mapping[str, Any]], depth: int) -> None:
        """One lane for each sub-task, below `above`, in plan order. Those already begun stay."""
        for lane in [lane for lane in self.team() if lane.parent_id == above.id and lane.start is None]:
            del self[lane.id]
        for sub in tasks:
            id_, needs = lane_of_task(sub["id"]), tuple(lane_of_task(need) for need in sub["depends_on"])
            if id_ not in self:
                state = "blocked" if needs else "ready"
                self.place(Lane(id_, sub["title"], "agent", sub["role"], above.id, depth, needs=needs, state=state))

    def set_aside(self, lane: Lane, at: float, state: str, reason: str) -> None:
        """Put what a lane did so far on a lane of its own below it: that try is lost, and the next one begins."""
        names = ("role", "start", "tokens", "cost_usd", "turns", "acts", "segments")
        did = {name: getattr(lane, name) for name in names}
        id_, words = f"{lane.id}/try{lane.attempt}", f"{lane.title}, try {lane.attempt}"
        lost = Lane(id_, words, parent_id=lane.id, depth=lane.depth + 1, reason=reason, lost=True, **did)
        lost.close(at, state)
        lost.activity = reason[:MAX_ACTIVITY_CHARS]
        self.place(lost)
        lane.tokens, lane.cost_usd, lane.turns, lane.acts, lane.segments, lane.text = 0, None, 0, 0, [], ""
        lane.attempt, lane.state = lane.attempt + 1, "running"
        lane.activity = f"planned again: {reason}"[:MAX_ACTIVITY_CHARS]

    def unblock(self) -> None:
        """Whoever waited for sub-agents that have all ended is ready."""
        for lane in self.team():
            if lane.state == "blocked" and all(before.state in ENDED for before in self.before(lane)):
                lane.state = "ready"

    def close(self, lane: Lane, at: float, state: str) -> None:
        """End a lane and what is still open below it."""
        below_it = "done" if state in GOOD else state if state == "waiting" else "cancelled"
        for below in self.values():
            if below.parent_id == lane.id and below.state not in ENDED and below is not lane:
                if below.start is not None:
                    self.close(below, at, below_it)
                elif state != "waiting":
                    self.close(below, at, "not_taken")
        lane.close(at, state)

    def team(self) -> list[Lane]:
        """Sub-agents."""
        return [lane for lane in self.values() if lane.kind == "agent"]

    def workers(self) -> list[Lane]:
        """Sub-agents that have none of their own."""
        leads = {id_ for lane in self.team() for id_ in self._around(lane)}
        return [lane for lane in self.team() if lane.id not in leads]

    def drawn(self) -> list[Lane]:
        """Lanes to show: a team's own row is left out once its sub-agents stand for it; a lead's row stays."""
        spread = {lane.parent_id for lane in self.team()}
        return [lane for lane in self.values() if lane.id not in spread or lane.kind == "agent"]

    def top(self) -> list[Lane]:
        """Drawn lanes that are inside no other drawn one: together they hold each second of work once."""
        drawn = {lane.id for lane in self.drawn()}
        return [lane for lane in self.drawn() if not drawn.intersection(self._around(lane))]

    def _around(self, lane: Lane) -> Iterator[str]:
        """Lanes that `lane` is inside of, the innermost first."""
        above = self.get(lane.parent_id or "")
        while above:
            yield above.id
            above = self.get(above.parent_id or "")

    def before(self, lane: Lane) -> list[Lane]:
        """Lanes that `lane` waits for, or has waited for."""
        needs = lane.needs
        if not needs and lane.kind == "agent" and lane.parent_id:
            needs = self[lane.parent_id].needs
        return [before for need in needs for before in self.standing_for(need)]

    def standing_for(self, id_: str) -> list[Lane]:
        """Lanes that a node is drawn as: its team's, else those of its tasks."""
        spread = [lane for lane in self.team() if lane.parent_id == id_]
        return spread or [lane for lane in self.values() if lane.node == id_]
