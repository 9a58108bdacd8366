"""Run a plan's DAG: a sub-task starts the moment its inputs are there, not at the end of a wave.

LangGraph's super-steps are barriers, so a plan of unequal parts is held by the slowest of each wave. Here one node
holds the plan and every sub-task is a LangGraph `@task`, whose result is a pending write of the node's checkpoint:
after a crash only unfinished sub-tasks run again.

Three traps decide the shape of this file:

- LangGraph derives a task's id from its name and the *order of calls* in the node. If a sub-task were called only when
  its inputs are there, a resumed run, in which finished ones return at once, would call in another order and match
  results to the wrong ids. So all are called up front, in plan order, and each waits for its inputs inside. What is
  done about a slow or a failed one (a twin, another try) happens inside its own task for the same reason.
- An exception that leaves the node would cancel the siblings, which would run again on resume, tools included. So a
  failure is data: a `Finding` with a state.
- A sub-task may have finished and its worker died before anybody heard of it. So a resumed run tells of it once more.

Who may work and who is late is decided in `graphs/stragglers.py`, who waits for whom in `graphs/waiting.py`, what a
plan is worth in `graphs/plans.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from langchain_core.callbacks import adispatch_custom_event
from langgraph.errors import GraphBubbleUp, GraphInterrupt
from langgraph.func import task

from agents.allowance import Allowance
from agents.context import Limits
from agents.errors import BudgetExceeded, ModelRefusedRequest, ModelUnavailable, RunError, RunLost
from agents.planner import Plan, SubTask
from graphs.plans import BadPlan as BadPlan
from graphs.plans import Order, estimates, placed, runnable
from graphs.plans import checked as checked
from graphs.stragglers import Pace, Places, Turn
from graphs.waiting import END, Waits

State = Literal["done", "partial", "failed", "timed_out", "skipped", "cancelled"]
NO_OTHER_WAY = (ModelUnavailable, ModelRefusedRequest, BudgetExceeded)
"""Failures that another plan meets again."""
GOOD = frozenset({"done", "partial"})


@dataclass(frozen=True, slots=True)
class Finding:
    """What one sub-task came to."""

    task_id: str
    title: str
    state: State
    text: str = ""
    reason: str = ""
    """Why there is no full result, as a sentence; empty when there is."""
    seconds: float = field(default=0.0, compare=False)
    """From its start to its end, other tries included."""


Work = Callable[[SubTask, Sequence[Finding]], Awaitable[Finding]]
"""Do one sub-task, given the findings of those it depends on."""


@dataclass(frozen=True, slots=True)
class Remedies:
    """What may be done about a sub-task that is late or fails. By default nothing."""

    twin: Callable[[SubTask], bool] | None = None
    """Whether a late one may be done twice at once: only if all that it may call can be repeated safely."""
    again: Callable[[SubTask, Finding], Awaitable[SubTask | None]] | None = None
    """Another sub-task in the place of one that failed or timed out, perhaps of another role; None gives it up."""
    late_by_s: float = 1.0
    """Nobody is late by less."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What runs and reports sub-tasks. A simulation puts plain coroutines on a loop whose time jumps here."""

    call: Callable[[Any], Callable[..., Awaitable[Finding]]] = task
    tell: Callable[[str, Mapping[str, Any]], Awaitable[None]] = adispatch_custom_event


LANGGRAPH = Engine()
NO_REMEDIES = Remedies()


async def run_plan(
    plan: Plan,
    work: Work,
    limits: Limits,
    allowance: Allowance,
    known: Mapping[str, Finding] | None = None,
    *,
    remedies: Remedies = NO_REMEDIES,
    usual_s: Mapping[str, float] | None = None,
    engine: Engine = LANGGRAPH,
) -> list[Finding]:
    """Findings in plan order, one for each sub-task that is switched on, whatever happened to it.

    At most `limits.max_parallel` work at once, the most urgent first, each within `limits.subtask_timeout_s` of its own
    start. Where the plan or the limits name a quorum, a step goes on with so many of the results that it waits for, and
    what nobody waits for any more is cancelled. When the run concludes, what has not begun is skipped and, if a person
    wants the answer now, what has begun is cut short. Sub-tasks with a `known` finding are not done again; `usual_s`
    is what roles usually take. Interrupts of several sub-tasks surface together, after the others ended.
    """
    run = Run(runnable(plan), work, limits, allowance, known or {}, remedies, usual_s, engine)
    return await run.findings()


async def sub_agent(run: "Run", sub: SubTask) -> Finding:
    """One sub-task, from its inputs to its finding: a LangGraph task."""
    return await run.one(sub)


async def twin(run: "Run", sub: SubTask, inputs: Sequence[Finding]) -> Finding:
    """The same sub-task once more, beside its first try: a LangGraph task inside that of the sub-task."""
    return await run.second(sub, inputs)


class Run:
    """One plan at work."""

    def __init__(
        self,
        plan: Plan,
        work: Work,
        limits: Limits,
        allowance: Allowance,
        known: Mapping[str, Finding],
        remedies: Remedies,
        usual_s: Mapping[str, float] | None,
        engine: Engine,
    ) -> None:
        self.plan, self.work, self.limits, self.allowance = plan, work, limits, allowance
        self.known, self.remedies, self.engine = known, remedies, engine
        width = 1 if plan.in_turn else placed(limits, allowance.budget).max_parallel
        self._urgency = Order(plan, estimates(plan, usual_s), width).urgency
        self._places = Places(width)
        self._pace = Pace(remedies.late_by_s, self._is_late if remedies.twin else None)
        self._told: set[str] = set()
        self._given_up: set[str] = set()
        self._waits = Waits(plan, limits.quorum, known)

    async def findings(self) -> list[Finding]:
        """All findings; or one interrupt with every question in it; or what else ended the node."""
        begin = self.engine.call(sub_agent)
        # dispatched in plan order, before any has had a chance to finish: see the first trap above
        calls = [(sub, begin(self, sub)) for sub in self.plan.tasks if sub.id not in self.known]
        watches = [asyncio.ensure_future(self._hurried())]
        if self._waits.is_early(END):
            watches.append(asyncio.ensure_future(self._ended_early()))
        try:
            outcomes = await asyncio.gather(*(self._publish(sub, it) for sub, it in calls), return_exceptions=True)
        finally:
            self._pace.stop()
            for watch in watches:
                watch.cancel()
            await asyncio.wait(watches)
        found = {finding.task_id: finding for finding in _settled(outcomes)}
        return [found.get(sub.id) or self.known[sub.id] for sub in self.plan.tasks]

    async def _publish(self, sub: SubTask, call: Awaitable[Finding]) -> Finding:
        """Wait for a sub-task's end, and let those begin that wait for it, should it not have told them itself."""
        try:
            finding = await call
        except BaseException:
            self._waits.settle(sub.id, None)
            raise
        if sub.id in self._told:
            self._waits.settle(sub.id, finding)
            return finding
        self._pace.remember(finding.seconds if finding.state in GOOD else 0.0)
        self._waits.settle(sub.id, finding)
        return await self._report(finding)

    # -- one sub-task ------------------------------------------------------------------------------------------------

    async def one(self, sub: SubTask) -> Finding:
        """Wait for its inputs and a place, do it, and tell."""
        inputs = await self._waits.enough(sub.id)
        self._told.add(sub.id)
        self._go_on(sub.id)
        if inputs and not any(finding.text for finding in inputs) and self._waits.wanted(sub.id):
            finding = Finding(sub.id, sub.title, "skipped", reason="nothing it depends on has a result")
            self._waits.settle(sub.id, finding)
            return await self._report(finding)
        async with self._places.place(self._urgency[sub.id]):
            finding = self._not_begun(sub) or await self._tries(sub, inputs)
            # before the place is free: those whose inputs are complete now line up for it like everybody else
            self._waits.settle(sub.id, finding)
        return await self._report(finding)

    def _not_begun(self, sub: SubTask) -> Finding | None:
        if not self._waits.wanted(sub.id):
            return Finding(sub.id, sub.title, "cancelled", reason="not begun: enough of the others were done")
        if not self.allowance.concluding():
            return None
        share, unit = self.allowance.share()
        why = f"not begun: {share:.0%} of the budget of {unit} was spent"
        if self.allowance.hurry.is_set():
            why = "not begun when the answer was asked for"
        return Finding(sub.id, sub.title, "skipped", reason=why)

    async def _tries(self, sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        """Do it and, where it failed, perhaps what is planned in its place."""
        about = {"task_id": sub.id, "title": sub.title, "role": sub.role, "question": sub.question}
        turn, finding = self._pace.begin(sub.id), None  # first: who is told of it may want it to stop
        try:
            await self.engine.tell("agent.spawned", about)
            finding = await self._raced(sub, partial(self.work, sub, inputs), turn, inputs)
            if self._may_go_again(sub, finding):
                finding = await self._raced(sub, partial(self._instead, sub, finding, inputs), turn)
        finally:
            seconds = self._pace.end(sub.id, finding is not None and finding.state in GOOD)
        return replace(finding, seconds=seconds)

    def _may_go_again(self, sub: SubTask, finding: Finding) -> bool:
        failed = finding.state in ("failed", "timed_out") and sub.id not in self._given_up
        return failed and self.remedies.again is not None and not self.allowance.concluding()

    async def _instead(self, sub: SubTask, failed: Finding, inputs: Sequence[Finding]) -> Finding:
        """Do what is planned in the place of one that failed; its finding when nothing is."""
        assert self.remedies.again is not None
        try:
            planned = await self.remedies.again(sub, failed)
        except (GraphBubbleUp, RunLost):
            raise
        except Exception as error:
            return replace(failed, reason=f"{failed.reason}; no other way was planned: {error}")
        if planned is None:
            return failed
        # whoever does it may call no more than a person left to it
        kept = {name: getattr(sub, name) for name in ("id", "depends_on", "tools")}
        planned = planned.model_copy(update=kept)
        about = {"task_id": sub.id, "title": planned.title, "role": planned.role, "question": planned.question}
        lost = {"reason": failed.reason, "state": failed.state, "was": sub.role}
        await self.engine.tell("plan.revised", {**about, **lost})
        second = await self._kept(sub, partial(self.work, planned, inputs))
        if second.state in GOOD:
            return second
        return replace(second, reason=f"{second.reason}; before that, {failed.reason}")

    async def _kept(self, sub: SubTask, work: Callable[[], Awaitable[Finding]]) -> Finding:
        """What the work comes to, its failure included."""
        try:
            return await work()
        except (GraphBubbleUp, RunLost):
            raise
        except asyncio.CancelledError:
            if (current := asyncio.current_task()) is None or current.cancelling():
                raise
            reason = "something it waited for was cancelled"  # nobody cancelled the sub-task
        except RunError as error:
            reason = str(error)
            if isinstance(error, NO_OTHER_WAY):
                self._given_up.add(sub.id)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        return Finding(sub.id, sub.title, "failed", reason=reason)

    # -- a race against time, and perhaps a twin ---------------------------------------------------------------------

    async def _raced(
        self, sub: SubTask, work: Callable[[], Awaitable[Finding]], turn: Turn, inputs: Sequence[Finding] | None = None
    ) -> Finding:
        """Do the work until it ends, its time is over, or it is told to stop. With `inputs` it may get a twin."""
        rivals = [self._rival(self._kept(sub, work), turn)]
        alarm = asyncio.get_running_loop().call_later(self.limits.subtask_timeout_s, turn.say, "time")
        try:
            while True:
                word = await turn.news()
                if (finding := _winner(rivals)) is not None:
                    return finding
                if word == "late":
                    rivals += (
                        [self._rival(self.engine.call(twin)(self, sub, inputs), turn)] if inputs is not None else []
                    )
                elif word is not None:
                    return self._cut(sub, word)
        finally:
            alarm.cancel()
            await self._end(sub, rivals)

    def _rival(self, work: Awaitable[Finding], turn: Turn) -> asyncio.Future[Finding]:
        rival = asyncio.ensure_future(work)
        rival.add_done_callback(turn.wake)
        return rival

    def _cut(self, sub: SubTask, word: str) -> Finding:
        if word == "hurry":
            return Finding(sub.id, sub.title, "partial", reason="cut short when the answer was asked for")
        if word == "enough":
            return Finding(sub.id, sub.title, "cancelled", reason="enough of the others were done")
        limit_s = self.limits.subtask_timeout_s
        return Finding(sub.id, sub.title, "timed_out", reason=f"not finished within {limit_s:g} s")

    async def second(self, sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        """A twin's part: wait for a place, tell, and do the same work."""
        async with self._places.place(self._urgency[sub.id]):
            usual_s, turn = self._pace.usual_s() or 0.0, self._pace.turns[sub.id]
            late = {"usual_s": usual_s, "elapsed_s": asyncio.get_running_loop().time() - turn.begun_at}
            await self.engine.tell("agent.twin_started", {"task_id": sub.id, "title": sub.title, **late})
            try:
                return await self._kept(sub, partial(self.work, sub, inputs))
            except GraphInterrupt:  # one question about one thing: the first asks it, if it comes to that
                return Finding(sub.id, sub.title, "failed", reason="a twin asks nobody")

    async def _end(self, sub: SubTask, rivals: Sequence[asyncio.Future[Finding]]) -> None:
        """Cancel whoever is still at work, and say what became of a pair."""
        still = [rival for rival in rivals if not rival.done()]
        for rival in still:
            rival.cancel()
        if still:
            await asyncio.wait(still)
        if len(rivals) == 2:
            first, twin = (None if rival in still else _ended(rival) for rival in rivals)
            if twin and twin.state in GOOD:
                which, lost, why = "first", first, "the other won"
            else:  # what a first try came to is what the sub-task came to
                which, lost = "twin", twin
                why = "the other won" if first and first.state in GOOD else "neither had a result"
            state, reason = (lost.state, lost.reason) if lost else ("cancelled", why)
            about = {"task_id": sub.id, "which": which, "reason": reason, "state": state}
            await self.engine.tell("agent.cancelled", about)

    def _is_late(self, id_: str) -> None:
        sub = next(sub for sub in self.plan.tasks if sub.id == id_)
        if self.remedies.twin and self.remedies.twin(sub) and not self.allowance.concluding():
            self._pace.turns[id_].say("late")

    # -- what ends the waiting ---------------------------------------------------------------------------------------

    async def _ended_early(self) -> None:
        """With a quorum, the end of the plan does not wait for all that nothing else waits for."""
        await self._waits.enough(END)
        self._go_on(END)

    def _go_on(self, step: str) -> None:
        """A step waits for its inputs no longer. What nobody waits for is not worth its price."""
        for id_ in self._waits.go_on(step):
            if turn := self._pace.turns.get(id_):
                turn.say("enough")
            elif id_ not in self._told:  # it still waits itself, and nothing has to be done for it
                self._go_on(id_)

    async def _hurried(self) -> None:
        await self.allowance.hurry.wait()
        for turn in self._pace.turns.values():
            turn.say("hurry")

    async def _report(self, finding: Finding) -> Finding:
        told = {name: getattr(finding, name) for name in finding.__slots__}  # a third of what `asdict` costs
        await self.engine.tell("agent.finished", told)
        return finding


def _winner(rivals: Sequence[asyncio.Future[Finding]]) -> Finding | None:
    """The first result; a failure only when nobody is left who could still have a result.

    Raises what ends a first try, or the run; a twin that ends so is out of the race.
    """
    ended = [rival for rival in rivals if rival.done() and not rival.cancelled()]
    for rival in ended:
        if (error := rival.exception()) and (rival is rivals[0] or isinstance(error, RunLost)):
            raise error
    findings = [rival.result() for rival in ended if not rival.exception()]
    if good := [finding for finding in findings if finding.state in GOOD]:
        return good[0]
    return findings[0] if findings and all(rival.done() for rival in rivals) else None


def _ended(rival: asyncio.Future[Finding]) -> Finding | None:
    """What a rival came to; None of one that was cut, or ended by an exception."""
    return None if rival.cancelled() or rival.exception() else rival.result()


def _settled(outcomes: Sequence[Finding | BaseException]) -> list[Finding]:
    """All findings; or one interrupt with every question in it; or what else ended the node."""
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, GraphInterrupt):
            raise outcome
    interrupts = [outcome for outcome in outcomes if isinstance(outcome, GraphInterrupt)]
    if interrupts:
        # a graph inside a sub-task hands up each of its questions twice: its node's and its task's
        questions = {question.id: question for interrupt in interrupts for question in interrupt.args[0]}
        raise GraphInterrupt(tuple(questions.values()))
    return [outcome for outcome in outcomes if isinstance(outcome, Finding)]
