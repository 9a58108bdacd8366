"""Events -> RunView: what a run looks like at this moment. Pure; the same for browser, terminal, report and tests.

A lane is one row on the shared time axis: a node of the graph, or a sub-agent. Lanes exist before anything happens in
them, so that rows never change their order. Times inside a view are seconds since the run started.
State is never inferred from silence: an open call stays open until an event closes it or its parent.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from app.events import ROOT, RunEvent, parent_of
from app.shapes import Shape, lane_of_task

CITATION = re.compile(r"\[([^\[\]]{1,80})\]")
_KEY = re.compile(r"[0-9a-f]{6,12}")

LATE_FACTOR = 2.0
LATE_MIN_S = 1.0

ENDED = frozenset({"done", "partial", "failed", "timed_out", "cancelled", "not_taken", "cached"})
RUN_STATUS = {"run.finished": "succeeded", "run.failed": "failed", "run.cancelled": "cancelled"}


@dataclass(slots=True)
class Segment:
    """A stretch of a lane: waiting for the first token, model, tool, or back-off."""

    kind: str
    start: float
    end: float | None = None
    failed: bool = False
    label: str = ""


@dataclass(slots=True)
class Lane:
    """One row of the time axis."""

    id: str
    title: str
    kind: str = "node"
    role: str = ""
    parent_id: str | None = None
    depth: int = 0
    needs: tuple[str, ...] = ()
    """Lanes that must end first."""
    state: str = "pending"
    activity: str = ""
    start: float | None = None
    end: float | None = None
    tokens: int = 0
    cost_usd: float | None = None
    attempt: int = 1
    segments: list[Segment] = field(default_factory=list)
    text: str = ""
    reason: str = ""

    def seconds(self, now: float) -> float:
        """Elapsed so far, 0 before the start."""
        return 0.0 if self.start is None else (self.end if self.end is not None else now) - self.start

    def running(self) -> bool:
        """Started and not ended."""
        return self.start is not None and self.end is None


@dataclass(slots=True)
class Call:
    """A model or tool call in flight."""

    lane: str
    segment: Segment
    is_model: bool
    speaks: bool = False
    text: str = ""


@dataclass(slots=True)
class Meters:
    """What the run has used."""

    calls: int = 0
    tools: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    cost_usd: float | None = None


class RunView:
    """Fold of a run's events. `apply` each in order of `seq`; read the fields at any time."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.status = "queued"
        self.question = ""
        self.seq = 0
        self.started_at: float | None = None
        self.ended: float | None = None
        self.plan: list[dict[str, Any]] = []
        self.note = ""
        self.lanes: dict[str, Lane] = {}
        self.calls: dict[str, Call] = {}
        self.meters = Meters()
        self.sources: dict[str, dict[str, Any]] = {}
        self.answer = ""
        self.final = False
        self.missing: list[dict[str, str]] = []
        self.error: dict[str, str] | None = None
        self._lane_of_span: dict[str, str] = {}
        self._cited: dict[str, None] = {}
        before = {node.id: [s for s, t in shape.edges if t == node.id and s != node.id] for node in shape.nodes}
        order = {node.id: at for at, node in enumerate(shape.nodes)}
        for node in shape.nodes:
            needs = tuple(source for source in before[node.id] if order[source] < order[node.id])
            self.lanes[node.id] = Lane(node.id, node.title, needs=needs)

    # -- folding -----------------------------------------------------------------------------------------------------

    def apply(self, event: RunEvent) -> None:
        """Take the next event; unknown types only move `seq`."""
        self.seq = max(self.seq, event.seq)
        if self.started_at is None and event.type != "run.queued":
            self.started_at = event.at
        at = event.at - (self.started_at or event.at)
        if step := getattr(self, "_on_" + event.type.replace(".", "_"), None):
            step(event, at)

    def _on_run_started(self, event: RunEvent, at: float) -> None:
        self.status, self.question = "running", str(event.data.get("question", ""))
        self.ended, self.error = None, None

    def _on_run_finished(self, event: RunEvent, at: float) -> None:
        self.status, self.ended = RUN_STATUS[event.type], at
        self.answer = str(event.data.get("answer") or self.answer)
        self.final = event.type == "run.finished"
        self.missing = list(event.data.get("missing", []))
        self.error = event.data.get("error")
        closing = {"run.finished": "done", "run.failed": "failed", "run.cancelled": "cancelled"}[event.type]
        for lane in self.lanes.values():
            if lane.running():
                self._close(lane, at, closing)
            elif lane.start is None and lane.state not in ENDED:
                lane.state = "not_taken"

    _on_run_failed = _on_run_cancelled = _on_run_finished

    def _on_node_started(self, event: RunEvent, at: float) -> None:
        lane = self._lane(event.span_id, str(event.data.get("name", "")))
        lane.attempt += lane.start is not None
        lane.start, lane.end, lane.state = at if lane.start is None else lane.start, None, "running"
        lane.activity = "started"

    def _on_node_finished(self, event: RunEvent, at: float) -> None:
        lane = self._lane(event.span_id)
        lane.reason = str(event.data.get("reason", ""))
        self._close(lane, at, str(event.data.get("state", "done")))

    def _on_plan_proposed(self, event: RunEvent, at: float) -> None:
        """Open one lane for each sub-task, right behind the team's own, in plan order."""
        self.plan = [dict(sub) for sub in event.data.get("tasks", [])]
        self.note = str(event.data.get("note", ""))
        planner = self._lane(event.span_id)
        planner.activity = f"wrote {len(self.plan)} sub-task{'s' if len(self.plan) != 1 else ''}"
        if not (team := next((node for node in self.shape.nodes if node.team), None)):
            return
        before = self.lanes[team.id].needs
        opened = {
            lane_of_task(sub["id"]): Lane(
                lane_of_task(sub["id"]),
                sub["title"],
                kind="agent",
                role=sub.get("role", ""),
                parent_id=team.id,
                depth=0,
                needs=tuple(lane_of_task(need) for need in sub["depends_on"]) or before,
                state="blocked" if sub["depends_on"] else "ready",
            )
            for sub in self.plan
        }
        lanes: dict[str, Lane] = {}
        for id_, lane in self.lanes.items():
            if id_ not in opened:
                lanes[id_] = replace(lane, needs=tuple(opened)) if team.id in lane.needs else lane
            if id_ == team.id:
                lanes |= opened
        self.lanes = lanes

    def _on_agent_spawned(self, event: RunEvent, at: float) -> None:
        id_ = lane_of_task(str(event.data.get("task_id", event.span_id)))
        self._lane_of_span[event.span_id] = id_
        lane = self._lane(event.span_id, str(event.data.get("title", "")))
        lane.kind, lane.role = "agent", str(event.data.get("role", lane.role))
        lane.start, lane.end, lane.state, lane.activity = at, None, "running", "started"
        for later in self.lanes.values():
            if later.state == "blocked" and all(self._ended(need) for need in later.needs):
                later.state = "ready"

    def _on_agent_finished(self, event: RunEvent, at: float) -> None:
        id_ = lane_of_task(str(event.data.get("task_id", event.span_id)))
        lane = self.lanes.get(id_) or self._lane(event.span_id)
        lane.text, lane.reason = str(event.data.get("text", "")), str(event.data.get("reason", ""))
        state = str(event.data.get("state", "done"))
        self._cite(lane.text)
        self._close(lane, at, "not_taken" if state == "skipped" else state)
        lane.activity = lane.reason or self._gist(lane)

    def _on_llm_started(self, event: RunEvent, at: float) -> None:
        lane = self._touch(event, at)
        self._end_gap(lane, at)
        lane.state, lane.activity = "running", "waiting for the first token"
        segment = Segment("ttft", at, label=str(event.data.get("model", "")))
        lane.segments.append(segment)
        self.calls[event.span_id] = Call(lane.id, segment, True, bool(event.data.get("speaks")))
        self.meters.calls += 1

    def _on_llm_token(self, event: RunEvent, at: float) -> None:
        if not (call := self.calls.get(event.span_id)):
            return
        lane = self.lanes[call.lane]
        if call.segment.kind == "ttft":
            self._first_token(call, lane, at)
        call.text += str(event.data.get("text", ""))
        lane.activity = "writing"
        if lane.kind == "agent":
            lane.text = call.text
        if call.speaks:
            self.answer = call.text
        self._cite(call.text[-len(event.data.get("text", "")) - 90 :])

    def _first_token(self, call: Call, lane: Lane, at: float) -> None:
        call.segment.end = at
        call.segment = Segment("model", at, label=call.segment.label)
        lane.segments.append(call.segment)

    def _on_llm_finished(self, event: RunEvent, at: float) -> None:
        if not (call := self.calls.pop(event.span_id, None)):
            return
        lane, data = self.lanes[call.lane], event.data
        ttft_s = data.get("ttft_s")
        if call.segment.kind == "ttft" and ttft_s and call.segment.start + ttft_s < at:
            self._first_token(call, lane, call.segment.start + ttft_s)
        call.segment.end, call.segment.failed = at, bool(data.get("error"))
        lane.activity = str(data.get("error") or lane.activity)
        self._count(lane, data)
        if data.get("calls"):  # what was said before a tool call is not the answer
            self.answer = "" if call.speaks else self.answer
            lane.text = "" if lane.kind == "agent" else lane.text
        elif text := data.get("text"):
            self.answer = str(text) if call.speaks else self.answer
            lane.text = str(text) if lane.kind == "agent" else lane.text

    def _count(self, lane: Lane, data: Mapping[str, Any]) -> None:
        if usage := data.get("usage"):
            self.meters.tokens_in += usage["in"]
            self.meters.tokens_out += usage["out"]
            self.meters.tokens_cached += usage["cached"]
            lane.tokens += usage["in"] + usage["out"]
        if (cost := data.get("cost_usd")) is not None:
            self.meters.cost_usd = (self.meters.cost_usd or 0) + cost
            lane.cost_usd = (lane.cost_usd or 0) + cost

    def _on_llm_retry(self, event: RunEvent, at: float) -> None:
        lane = self._lane(event.span_id)
        lane.state, lane.attempt = "retrying", int(event.data.get("attempt", lane.attempt + 1))
        lane.activity = f"try {lane.attempt}: {event.data.get('reason', '')}"
        lane.segments.append(Segment("gap", at))

    def _on_tool_started(self, event: RunEvent, at: float) -> None:
        lane = self._touch(event, at)
        self._end_gap(lane, at)
        label = _in_words(str(event.data.get("name", "tool")), event.data.get("args", {}))
        segment = Segment("tool", at, label=label)
        lane.segments.append(segment)
        lane.state, lane.activity = "running", label
        self.calls[event.span_id] = Call(lane.id, segment, False)
        self.meters.tools += 1

    def _on_tool_finished(self, event: RunEvent, at: float) -> None:
        if not (call := self.calls.pop(event.span_id, None)):
            return
        lane = self.lanes[call.lane]
        call.segment.end, call.segment.failed = at, not event.data.get("ok", True)
        found = event.data.get("sources", [])
        for source in found:
            known = self.sources.setdefault(source["key"], {**source, "found_by": []})
            known["score"] = max(known["score"], source["score"])
            if lane.title not in known["found_by"]:
                known["found_by"].append(lane.title)
        if found:
            lane.activity = f"read {_count_of(len(found), 'passage')} from {_count_of(len({s['document_id'] for s in found}), 'document')}"
        elif call.segment.failed:
            lane.activity = str(event.data.get("text", "the tool failed"))[:120]

    def _on_tool_timeout(self, event: RunEvent, at: float) -> None:
        lane = self._lane(event.span_id)
        for span, call in list(self.calls.items()):
            if (
                call.lane == lane.id
                and not call.is_model
                and call.segment.label.startswith(_words(str(event.data.get("tool", ""))))
            ):
                call.segment.end, call.segment.failed = at, True
                del self.calls[span]
                break

    # -- lanes -------------------------------------------------------------------------------------------------------

    def _lane(self, span_id: str, title: str = "") -> Lane:
        """Lane of a task's span: its node's, its sub-task's, or a new one under its parent."""
        if known := self._lane_of_span.get(span_id):
            if known in self.lanes:
                return self.lanes[known]
            id_ = known
        else:
            name = span_id.rpartition("|")[2].partition(":")[0]
            id_ = name if "|" not in span_id and name in self.lanes else span_id
        if id_ not in self.lanes:
            parent = parent_of(span_id)
            above = self._lane(parent) if parent not in (ROOT, span_id) else None
            words = title or _words(span_id.rpartition("|")[2].partition(":")[0]).capitalize()
            self.lanes[id_] = Lane(
                id_, words, parent_id=above.id if above else None, depth=above.depth + 1 if above else 0
            )
        self._lane_of_span[span_id] = id_
        return self.lanes[id_]

    def _touch(self, event: RunEvent, at: float) -> Lane:
        """Lane that a call belongs to, started now if nothing said so before."""
        lane = self._lane(event.parent_id or ROOT)
        if lane.start is None:
            lane.start, lane.state = at, "running"
        return lane

    def _close(self, lane: Lane, at: float, state: str) -> None:
        lane.state, lane.end = state, at
        lane.start = at if lane.start is None and state != "not_taken" else lane.start
        for segment in lane.segments:
            if segment.end is None:
                segment.end, segment.failed = at, state in ("failed", "timed_out")
        for span in [span for span, call in self.calls.items() if call.lane == lane.id]:
            del self.calls[span]
        if lane.kind == "node" and lane.activity in ("started", "writing"):
            lane.activity = lane.reason

    def _end_gap(self, lane: Lane, at: float) -> None:
        if lane.segments and lane.segments[-1].kind == "gap" and lane.segments[-1].end is None:
            lane.segments[-1].end = at

    def _ended(self, lane_id: str) -> bool:
        return lane_id in self.lanes and self.lanes[lane_id].state in ENDED

    def _cite(self, text: str) -> None:
        for key in cited_keys(text):
            self._cited.setdefault(key)

    def _gist(self, lane: Lane) -> str:
        keys = [key for key in cited_keys(lane.text) if key in self.sources]
        if not keys:
            return "found nothing to cite"
        return f"{_count_of(len(keys), 'finding')} from {_count_of(len({self.sources[k]['document_id'] for k in keys}), 'source')}"

    # -- reading -----------------------------------------------------------------------------------------------------

    def team(self) -> list[Lane]:
        """Sub-agents."""
        return [lane for lane in self.lanes.values() if lane.kind == "agent"]

    def drawn_lanes(self) -> list[Lane]:
        """Lanes to show: a team's own row is left out once its sub-agents stand for it."""
        spread = {lane.parent_id for lane in self.lanes.values() if lane.kind == "agent"}
        return [lane for lane in self.lanes.values() if lane.id not in spread]

    def numbers(self) -> dict[str, int]:
        """Citation key -> the number its reader sees: in the answer's order, then as findings cited them."""
        keys = [*cited_keys(self.answer), *self._cited]
        return {key: at for at, key in enumerate(dict.fromkeys(key for key in keys if key in self.sources), 1)}

    def median_s(self) -> float | None:
        """Median seconds of the sub-agents that finished."""
        done = [lane.end - lane.start for lane in self.team() if lane.start is not None and lane.end is not None]
        return median(done) if done else None

    def late_s(self, lane: Lane, now: float) -> float | None:
        """Seconds over the siblings' median of a straggler; None for everyone else."""
        siblings = [other for other in self.team() if other is not lane and other.start is not None]
        if lane.kind != "agent" or not lane.running() or not siblings:
            return None
        done = [other.end - other.start for other in siblings if other.end is not None and other.start is not None]
        if len(done) * 2 < len(siblings) or not done:
            return None
        over = lane.seconds(now) - median(done)
        return over if lane.seconds(now) > LATE_FACTOR * median(done) and over > LATE_MIN_S else None

    def critical_path(self, now: float) -> list[Lane]:
        """The chain of lanes that set the latency: from the one that ended last, back through what it waited for."""
        seen: list[Lane] = []
        lane = max(
            (lane for lane in self.drawn_lanes() if lane.start is not None), key=lambda it: it.end or now, default=None
        )
        while lane is not None and lane not in seen:
            seen.append(lane)
            needed = [
                self.lanes[need] for need in lane.needs if need in self.lanes and self.lanes[need].start is not None
            ]
            lane = max(needed, key=lambda it: it.end or now, default=None)
        return seen[::-1]

    def serial_s(self, now: float) -> float:
        """Seconds if every lane had run after the other."""
        return sum(lane.seconds(now) for lane in self.drawn_lanes())

    def floor_s(self, now: float) -> float:
        """Seconds that the dependencies alone would have taken: the longest chain of lane durations."""
        lanes = self.lanes
        longest: dict[str, float] = {}

        def chain(id_: str, seen: frozenset[str]) -> float:
            if id_ in seen or id_ not in lanes:
                return 0.0
            if id_ not in longest:
                before = max((chain(need, seen | {id_}) for need in lanes[id_].needs), default=0.0)
                longest[id_] = before + lanes[id_].seconds(now)
            return longest[id_]

        return max((chain(lane.id, frozenset()) for lane in self.drawn_lanes()), default=0.0)


def cited_keys(text: str) -> list[str]:
    """Citation keys in order of first appearance."""
    keys = (key.strip() for group in CITATION.findall(text) for key in re.split(r"[,;]", group))
    return list(dict.fromkeys(key for key in keys if _KEY.fullmatch(key)))


def project(shape: Shape, events: Iterable[RunEvent]) -> RunView:
    """The view after all of `events`."""
    view = RunView(shape)
    for event in events:
        view.apply(event)
    return view


def _count_of(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _in_words(name: str, args: Mapping[str, Any]) -> str:
    """`search documents “Acme SLA”`: what a tool is doing, with its argument."""
    first = next((str(value) for value in args.values() if isinstance(value, str | int | float)), "")
    return f"{_words(name)} “{first[:80]}”" if first else _words(name)
