"""Events -> RunView: what a run looks like at this moment. Pure; the same for browser, terminal, report and tests.

Lanes exist before anything happens in them, so that rows never change their order. Times inside a view are seconds
since the run started. State is never inferred from silence: a call stays open until an event closes it or its parent.
What follows from the lanes, such as the critical path, is read in `app/readings.py`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from app.citations import CITATION_CHARS, cited_keys
from app.events import ROOT, RunEvent
from app.evidence import Evidence
from app.lanes import ENDED, MAX_ACTIVITY_CHARS, Call, Lane, Lanes, Meters, Segment, call_figures
from app.memory_view import MemoryView
from app.shapes import Shape, lane_of_task, sub_tasks
from app.steps import Steps
from app.words import call_words, count_of
from app.work_clock import WorkClock

__all__ = ["ENDED", "Lane", "Meters", "RunView", "Segment", "cited_keys", "project"]

EXPECTED = ("parallel_s", "serial_s", "overhead_s", "decision")

_ENDS = {
    "run.finished": ("succeeded", "done"),
    "run.failed": ("failed", "cancelled"),  # who failed said so itself; whoever else was at work was stopped
    "run.cancelled": ("cancelled", "cancelled"),
}  # fmt: skip


class RunView:
    """Fold of a run's events. `apply` each in order of `seq`; read the fields at any time."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.status, self.question = "queued", ""
        self.seq = 0
        self.started_at: float | None = None
        self.ended: float | None = None
        self.plan: list[dict[str, Any]] = []
        self.note = ""
        self.expected: dict[str, Any] = {}
        """What the plan was expected to take, and the sentence that says whether a team pays."""
        self.calls: dict[str, Call] = {}
        self.meters = Meters()
        self.evidence = Evidence()
        self.memory = MemoryView()
        self.answer, self.final = "", False
        self.missing: list[dict[str, str]] = []
        self.error: dict[str, str] | None = None
        before = shape.before()
        self.lanes = Lanes(Lane(node.id, node.title, needs=before[node.id]) for node in shape.nodes)
        self.requests: dict[str, dict[str, Any]] = {}
        """Questions to a person, by interrupt id."""
        self.budget: dict[str, Any] = {}
        """Limits by unit: steps, tokens, usd, seconds; None is no limit."""
        self.budget_reached: dict[str, Any] | None = None
        self.unreadable: dict[tuple[str, str], int] = {}
        """Answers without the shape that they were asked for, by role and rung of the ladder."""
        self.steps = Steps()
        self.clock = WorkClock()
        self._latest, self._shut = 0.0, dict[str, str]()

    def apply(self, event: RunEvent) -> None:
        """Take the next event; unknown types only move `seq`."""
        self.seq = max(self.seq, event.seq)
        if self.started_at is None:
            self.started_at = event.at
        at = max(0.0, event.at - self.started_at)
        if step := _STEPS.get(event.type):
            step(self, event, at)
        self._latest = max(self._latest, at)

    # -- the run -----------------------------------------------------------------------------------------------------

    def _run_started(self, event: RunEvent, at: float) -> None:
        """Begin; the second time, go on in the hands of another worker."""
        self._suspend(self._latest)
        self.clock.answered(at)
        self._reopen()
        self.status, self.question = "running", str(event.data.get("question", ""))
        self.ended, self.error, self.final, self.missing = None, None, False, []
        self.budget_reached, self.budget = None, dict(event.data.get("budget") or {})
        self.clock.begin(at)

    def _run_handed_back(self, event: RunEvent, at: float) -> None:
        self._suspend(at)
        self.status = "queued"

    def _run_resumed(self, event: RunEvent, at: float) -> None:
        """Somebody wants it to go on; a worker will take it."""
        self.clock.pause(self._latest)  # if it was lost, nobody has said since when
        self.clock.answered(at)
        self._reopen()
        self.status, self.ended, self.error, self.final = "queued", None, None, False

    def _run_waiting(self, event: RunEvent, at: float) -> None:
        """The run let go of its worker: what it asked waits for a person."""
        self._suspend(at)
        self.clock.ask(at)
        self.status = "waiting"
        for request in self.requests.values():
            if request["answer"] is None and (lane := self._asker(request["span_id"])):
                lane.wait_for_person()

    def _interrupt_raised(self, event: RunEvent, at: float) -> None:
        lane = self._asker(event.span_id)
        where = {"span_id": event.span_id, "lane_id": lane.id if lane else None}
        asked = {**event.data, **where, "asked_s": at, "answer": None, "answered_by": None}
        self.requests.setdefault(str(event.data.get("id", "")), asked)

    def _interrupt_answered(self, event: RunEvent, at: float) -> None:
        if request := self.requests.get(str(event.data.get("id", ""))):
            request["answer"], request["answered_by"] = event.data.get("answer"), event.data.get("by")

    def _asker(self, span_id: str) -> Lane | None:
        """Lane that asked. A node's own `interrupt()` does not say which node it is: it is the one that waits."""
        if span_id != ROOT:
            return self.lanes.of(span_id)
        return next((lane for lane in self.lanes.values() if lane.state == "waiting"), None)

    @property
    def worked_s(self) -> float:
        """Seconds at work, without the time in the queue or waiting for a person."""
        return self.clock.worked_s(self._latest)

    def _suspend(self, at: float) -> None:
        """Nobody works on the run: calls that are open will never be answered, and are made again."""
        self.clock.pause(at)
        self._uncount(self.calls.values())
        self.calls.clear()
        for lane in self.lanes.values():
            if lane.running():
                lane.suspend(at)

    def _uncount(self, calls: Iterable[Call]) -> None:
        """Calls without an answer, which will be made again."""
        for call in calls:
            self.meters.uncount(call, self.lanes[call.lane])

    def _run_ended(self, event: RunEvent, at: float) -> None:
        self.status, closing = _ENDS[event.type]
        self.ended = at
        self.clock.pause(at)
        self.clock.answered(at)
        self.answer = str(event.data.get("answer") or self.answer)
        self.final = event.type == "run.finished"
        self.missing = list(event.data.get("missing", []))
        self.error = event.data.get("error")
        self.budget_reached = event.data.get("budget_reached")
        self._shut = {lane.id: lane.state for lane in self.lanes.values() if lane.state not in ENDED}
        for lane in reversed(self.lanes.values()):  # the innermost first
            if lane.id in self._shut:
                self._close(lane, at, "not_taken" if lane.start is None else closing)

    def _reopen(self) -> None:
        """A run that goes on does what its end had stopped."""
        for id_, state in self._shut.items():
            lane = self.lanes[id_]
            if lane.start is None:
                lane.state = state
            else:
                lane.suspend(lane.end or self._latest)
        self._shut = {}

    # -- nodes and sub-agents ----------------------------------------------------------------------------------------

    def _node_started(self, event: RunEvent, at: float) -> None:
        lane = self.lanes.of(event.span_id)
        if event.parent_id in (None, ROOT):
            self.steps.enter(lane.node, self._at_work, again=lane.state in ENDED)
        if not lane.running():  # else a call inside it was quicker
            lane.begin(at)

    def _at_work(self, node: str) -> bool:
        return any(lane.running() for lane in self.lanes.values() if lane.node == node)

    def _node_finished(self, event: RunEvent, at: float) -> None:
        lane = self.lanes.of(event.span_id)
        lane.reason = str(event.data.get("reason", ""))
        self._close(lane, at, str(event.data.get("state", "done")))

    def _plan_proposed(self, event: RunEvent, at: float) -> None:
        """Open one lane for each sub-task, right behind the team's own, in plan order. Those already begun stay.

        A sub-task may have a plan of its own: its lanes stand below that sub-task's.
        """
        within, tasks = str(event.data.get("within") or ""), sub_tasks(event.data)
        self.lanes.of(event.span_id).activity = f"wrote {count_of(len(tasks), 'sub-task')}"
        if within:
            others = [sub for sub in self.plan if sub.get("within") != within]
            self.plan = [*others, *({**sub, "within": within} for sub in tasks)]
        else:
            self.plan, self.note = tasks, str(event.data.get("note", ""))
            self.expected = {name: event.data[name] for name in EXPECTED if name in event.data}
        team = next((node.id for node in self.shape.nodes if node.team), "")
        above = self.lanes.get(lane_of_task(within) if within else team)
        if above is None:
            return
        self.lanes.plan(above, tasks, above.depth + 1 if within else above.depth)

    def _agent_spawned(self, event: RunEvent, at: float) -> None:
        lane, above = self._agent_lane(event), self.lanes.above(event.span_id)
        self.lanes.bind(event.span_id, lane)
        if above:  # which node of a sub-task's own graph is its team, is known only now
            lane.parent_id, lane.depth = above.id, above.depth
        lane.role = str(event.data.get("role", lane.role))
        lane.begin(at)

    def _plan_revised(self, event: RunEvent, at: float) -> None:
        """A sub-task that failed is done in another way. The try that is lost leaves the lane to the next one."""
        lane = self._agent_lane(event)
        self.calls = {span: call for span, call in self.calls.items() if call.lane != lane.id}
        self.lanes.set_aside(lane, at, str(event.data.get("state", "failed")), str(event.data.get("reason", "")))
        lane.role = str(event.data.get("role", lane.role))

    def _twin_started(self, event: RunEvent, at: float) -> None:
        """A late sub-agent gets a twin: a lane of its own below it, with what it costs."""
        lane = self.lanes.of(event.span_id)
        lane.title = f"{event.data.get('title', lane.title)}, twin"
        lane.begin(at)

    def _agent_cancelled(self, event: RunEvent, at: float) -> None:
        """One of two was quicker. The first has no lane apart from the sub-agent's, which ends with the result."""
        twin = self.lanes.get(f"{lane_of_task(str(event.data.get('task_id')))}/twin")
        if twin and event.data.get("which") == "twin":
            twin.reason = str(event.data.get("reason", ""))
            self._close(twin, at, str(event.data.get("state", "cancelled")))
        elif twin:
            twin.activity = "was quicker than the first"

    def _agent_finished(self, event: RunEvent, at: float) -> None:
        """The first report counts: a resumed run tells once more of those that ended before."""
        lane = self._agent_lane(event)
        if lane.state in ENDED:
            return
        lane.text, lane.reason = str(event.data.get("text", "")), str(event.data.get("reason", ""))
        state = str(event.data.get("state", "done"))
        self.evidence.cite(lane.text)
        self._close(lane, at, "not_taken" if state == "skipped" else state)
        lane.activity = lane.reason or self.evidence.gist(lane.text)
        self.lanes.unblock()

    def _memory_written(self, event: RunEvent, at: float) -> None:
        lane = self.lanes.of(event.span_id)
        lane.activity = self.memory.written(event.data, at, lane.id)

    # -- model calls -------------------------------------------------------------------------------------------------

    def _llm_started(self, event: RunEvent, at: float) -> None:
        lane = self.lanes.entered(event.parent_id or ROOT, at)
        segment = lane.call("ttft", at, str(event.data.get("model", "")))
        lane.activity = "waiting for the first token"
        self.calls[event.span_id] = Call(lane.id, segment, True, bool(event.data.get("speaks")))
        self.meters.calls, lane.turns = self.meters.calls + 1, lane.turns + 1

    def _llm_token(self, event: RunEvent, at: float) -> None:
        if not (call := self.calls.get(event.span_id)):
            return
        lane, token = self.lanes[call.lane], str(event.data.get("text", ""))
        call.first_token(lane, at)
        call.text += token
        lane.activity = "writing"
        if lane.kind == "agent":
            lane.text = call.text
        if call.speaks:
            self.answer = call.text
        self.evidence.cite(call.text[-len(token) - CITATION_CHARS :])

    def _llm_finished(self, event: RunEvent, at: float) -> None:
        if not (call := self.calls.pop(event.span_id, None)):
            return
        lane, data = self.lanes[call.lane], event.data
        ttft_s = data.get("ttft_s")
        if ttft_s is not None and call.segment.start + ttft_s <= at:
            call.first_token(lane, call.segment.start + ttft_s)
        call.segment.end, call.segment.failed = at, bool(data.get("error"))
        call.segment.figures = call_figures(data)
        if data.get("error"):
            lane.activity, lane.turns = str(data["error"])[:MAX_ACTIVITY_CHARS], lane.turns - 1
        self.meters.spend(lane, data)
        # what was said before a tool call is not the answer
        text = "" if data.get("calls") else str(data.get("text") or call.text)
        if call.speaks:
            self.answer = text
        if lane.kind == "agent":
            lane.text = text
        self.evidence.cite(text)

    def _llm_unreadable(self, event: RunEvent, at: float) -> None:
        of = (str(event.data.get("role", "")), str(event.data.get("rung", "")))
        self.unreadable[of] = self.unreadable.get(of, 0) + 1

    def _llm_retry(self, event: RunEvent, at: float) -> None:
        lane = self.lanes.of(event.span_id)
        lane.retry(at, int(event.data.get("attempt", lane.attempt + 1)), str(event.data.get("reason", "")))

    # -- tool calls --------------------------------------------------------------------------------------------------

    def _tool_started(self, event: RunEvent, at: float) -> None:
        lane = self.lanes.entered(event.parent_id or ROOT, at)
        lane.activity = call_words(name := str(event.data.get("name", "tool")), event.data.get("args", {}))
        segment = lane.call("tool", at, lane.activity)
        self.calls[event.span_id] = Call(lane.id, segment, False, tool=name, call_id=event.data.get("call_id"))
        self.meters.tools, lane.acts = self.meters.tools + 1, lane.acts + 1

    def _tool_finished(self, event: RunEvent, at: float) -> None:
        if not (call := self.calls.pop(event.span_id, None)):
            return
        lane = self.lanes[call.lane]
        call.segment.end, call.segment.failed = at, not event.data.get("ok", True)
        if words := self.evidence.told(event.data, lane.title, call.tool):
            lane.activity = words
        elif call.segment.failed:
            lane.activity = str(event.data.get("text", "the tool failed"))[:MAX_ACTIVITY_CHARS]

    def _tool_timeout(self, event: RunEvent, at: float) -> None:
        """A call that was cut off reports no end of its own."""
        lane, of = self.lanes.of(event.span_id), (False, event.data.get("call_id"))
        cut = (span for span, it in self.calls.items() if it.lane == lane.id and (it.is_model, it.call_id) == of)
        if (span := next(cut, None)) is not None:
            segment = self.calls.pop(span).segment
            segment.end, segment.failed = at, True
            lane.activity = f"{segment.label} took too long"

    # -- lanes -------------------------------------------------------------------------------------------------------

    def _agent_lane(self, event: RunEvent) -> Lane:
        """Lane of a sub-task: from the plan, or a new one under the node that spawned it."""
        id_ = lane_of_task(str(event.data.get("task_id", event.span_id)))
        if id_ not in self.lanes:
            above = self.lanes.above(event.span_id)
            title = str(event.data.get("title", id_))
            self.lanes.place(Lane(id_, title, "agent", "", above.id if above else None, above.depth if above else 0))
        return self.lanes[id_]

    def _close(self, lane: Lane, at: float, state: str) -> None:
        self.lanes.close(lane, at, state)
        if state == "waiting":
            self._uncount(call for call in self.calls.values() if not self.lanes[call.lane].running())
        self.calls = {span: call for span, call in self.calls.items() if self.lanes[call.lane].running()}

    # -- reading -----------------------------------------------------------------------------------------------------

    @property
    def sources(self) -> dict[str, dict[str, Any]]:
        """Passages that were found, by citation key."""
        return self.evidence.sources

    def team(self) -> list[Lane]:
        """Sub-agents."""
        return self.lanes.team()

    def drawn_lanes(self) -> list[Lane]:
        """Lanes to show."""
        return self.lanes.drawn()

    def numbers(self) -> dict[str, int]:
        """Citation key -> the number its reader sees."""
        return self.evidence.numbers(self.answer)


_STEPS: Mapping[str, Callable[[RunView, RunEvent, float], None]] = {
    "run.started": RunView._run_started,
    "run.handed_back": RunView._run_handed_back,
    "run.waiting": RunView._run_waiting,
    "run.resumed": RunView._run_resumed,
    "interrupt.raised": RunView._interrupt_raised,
    "interrupt.answered": RunView._interrupt_answered,
    **dict.fromkeys(_ENDS, RunView._run_ended),
    "node.started": RunView._node_started,
    "node.finished": RunView._node_finished,
    "plan.proposed": RunView._plan_proposed,
    "agent.spawned": RunView._agent_spawned,
    "agent.finished": RunView._agent_finished,
    "plan.revised": RunView._plan_revised,
    "agent.twin_started": RunView._twin_started,
    "agent.cancelled": RunView._agent_cancelled,
    "custom": lambda view, event, at: view.lanes.tell(event.span_id, event.data.get("value")),
    "memory.written": RunView._memory_written,
    "memory.recalled": lambda view, event, at: view.memory.recalled(event.data, at, view.lanes.of(event.span_id).id),
    "memory.paged": lambda view, event, at: view.memory.paged(event.data, at, event.span_id),
    "llm.started": RunView._llm_started,
    "llm.token": RunView._llm_token,
    "llm.finished": RunView._llm_finished,
    "llm.retry": RunView._llm_retry,
    "llm.unreadable": RunView._llm_unreadable,
    "tool.started": RunView._tool_started,
    "tool.finished": RunView._tool_finished,
    "tool.timeout": RunView._tool_timeout,
}


def project(shape: Shape, events: Iterable[RunEvent]) -> RunView:
    """The view after all of `events`."""
    view = RunView(shape)
    for event in events:
        view.apply(event)
    return view
