"""Run a plan's DAG: a sub-task starts the moment its inputs are there, not at the end of a wave.

LangGraph's super-steps are barriers, so a plan of unequal parts is held by the slowest of each wave. Here one node
holds the plan and every sub-task is a LangGraph `@task`, whose result is a pending write of the node's checkpoint:
after a crash only unfinished sub-tasks run again.

Three traps decide the shape of this file:

- LangGraph derives a task's id from its name and the *order of calls* in the node. If a sub-task were called only when
  its inputs are there, a resumed run, in which finished ones return at once, would call in another order and match
  results to the wrong ids. So all are called up front, in plan order, and each waits for its inputs inside.
- An exception that leaves the node would cancel the siblings, which would run again on resume, tools included. So a
  failure is data: a `Finding` with a state.
- A sub-task may have finished and its worker died before anybody heard of it. So a resumed run tells of it once more.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Literal

from langchain_core.callbacks import adispatch_custom_event
from langgraph.errors import GraphBubbleUp, GraphInterrupt
from langgraph.func import task

from agents.allowance import Allowance
from agents.context import Limits
from agents.errors import RunError, RunLost
from agents.planner import Plan, SubTask

State = Literal["done", "partial", "failed", "timed_out", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one sub-task came to."""

    task_id: str
    title: str
    state: State
    text: str = ""
    reason: str = ""
    """Why there is no full result, as a sentence; empty when there is."""


class BadPlan(ValueError):
    """The plan cannot be run; the message says why, for the planner to read."""


def checked(plan: Plan, roles: Mapping[str, str], limits: Limits) -> Plan:
    """The plan if it can be run, else BadPlan: width, ids, an empty question, an unknown role or input, a cycle."""
    ids = [sub.id for sub in plan.tasks]
    if not 1 <= len(ids) <= limits.max_subtasks:
        raise BadPlan(f"tasks: {len(ids)} of 1 to {limits.max_subtasks}")
    if len(set(ids)) != len(ids):
        raise BadPlan(f"ids repeat: {', '.join(sorted({i for i in ids if ids.count(i) > 1}))}")
    for sub in plan.tasks:
        if not sub.question.strip():
            raise BadPlan(f"sub-task {sub.id}: its question is empty")
        if sub.role not in roles:
            raise BadPlan(f"sub-task {sub.id}: unknown role {sub.role!r}; there are {', '.join(sorted(roles))}")
        if missing := [needed for needed in sub.depends_on if needed not in ids]:
            raise BadPlan(f"sub-task {sub.id}: depends on {', '.join(missing)}, which the plan does not hold")
    try:
        TopologicalSorter({sub.id: sub.depends_on for sub in plan.tasks}).prepare()
    except CycleError as error:
        raise BadPlan(f"sub-tasks wait for each other: {' -> '.join(error.args[1])}") from error
    return plan


Work = Callable[[SubTask, Sequence[Finding]], Awaitable[Finding]]
"""Do one sub-task, given the findings of those it depends on."""


async def run_plan(
    plan: Plan, work: Work, limits: Limits, allowance: Allowance, known: Mapping[str, Finding] | None = None
) -> list[Finding]:
    """Findings in plan order, one for each sub-task, whatever happened to it.

    At most `limits.max_parallel` work at once, each within `limits.subtask_timeout_s` of its own start. When the run
    concludes, what has not begun is skipped and, if a person wants the answer now, what has begun is cut short. Sub-
    tasks with a `known` finding are not done again. Interrupts of several sub-tasks surface together, after the
    others ended.
    """
    running = asyncio.Semaphore(limits.max_parallel)
    found: dict[str, asyncio.Future[Finding | None]] = {sub.id: asyncio.Future() for sub in plan.tasks}
    told: set[str] = set(known or ())

    @task
    async def sub_agent(sub: SubTask) -> Finding:
        if known and sub.id in known:
            return known[sub.id]
        inputs = [await found[needed] for needed in dict.fromkeys(sub.depends_on)]
        told.add(sub.id)
        ready = [finding for finding in inputs if finding is not None]
        if len(ready) < len(inputs):
            raise GraphInterrupt(())  # it waits for a sub-task that waits for a person
        if inputs and not any(finding.text for finding in ready):
            return await _report(Finding(sub.id, sub.title, "skipped", reason="nothing it depends on has a result"))
        async with running:
            if allowance.concluding():
                return await _report(Finding(sub.id, sub.title, "skipped", reason=_why_skipped(allowance)))
            return await _attempt(sub, ready, work, limits.subtask_timeout_s, allowance)

    async def publish(sub: SubTask, call: Awaitable[Finding]) -> Finding:
        try:
            finding = await call
        except BaseException:
            found[sub.id].set_result(None)
            raise
        found[sub.id].set_result(finding)
        return finding if sub.id in told else await _report(finding)

    # dispatched in plan order, before any has had a chance to finish: see the first trap above
    calls = [(sub, sub_agent(sub)) for sub in plan.tasks]
    outcomes = await asyncio.gather(*(publish(sub, call) for sub, call in calls), return_exceptions=True)
    return _settled(outcomes)


def _settled(outcomes: Sequence[Finding | BaseException]) -> list[Finding]:
    """All findings; or one interrupt with every question in it; or what else ended the node."""
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, GraphInterrupt):
            raise outcome
    interrupts = [outcome for outcome in outcomes if isinstance(outcome, GraphInterrupt)]
    if interrupts:
        raise GraphInterrupt(tuple(question for interrupt in interrupts for question in interrupt.args[0]))
    return [outcome for outcome in outcomes if isinstance(outcome, Finding)]


def _why_skipped(allowance: Allowance) -> str:
    if allowance.hurry.is_set():
        return "not begun when the answer was asked for"
    share, unit = allowance.share()
    return f"not begun: {share:.0%} of the budget of {unit} was spent"


async def _attempt(
    sub: SubTask, inputs: Sequence[Finding], work: Work, timeout_s: float, allowance: Allowance
) -> Finding:
    await adispatch_custom_event(
        "agent.spawned", {"task_id": sub.id, "title": sub.title, "role": sub.role, "question": sub.question}
    )
    return await _report(await _guarded(sub, inputs, work, timeout_s, allowance))


async def _report(finding: Finding) -> Finding:
    await adispatch_custom_event("agent.finished", asdict(finding))
    return finding


async def _guarded(
    sub: SubTask, inputs: Sequence[Finding], work: Work, timeout_s: float, allowance: Allowance
) -> Finding:
    """Do the work until it ends, its time is over, or a person wants the answer now."""
    job = asyncio.ensure_future(work(sub, inputs))
    now = asyncio.ensure_future(allowance.hurry.wait())
    try:
        await asyncio.wait({job, now}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if job.cancelled():  # by something inside it: nobody cancelled the sub-task
            return Finding(sub.id, sub.title, "failed", reason="something it waited for was cancelled")
        if job.done():
            return job.result()
        if now.done():
            return Finding(sub.id, sub.title, "partial", reason="cut short when the answer was asked for")
        return Finding(sub.id, sub.title, "timed_out", reason=f"not finished within {timeout_s:g} s")
    except (GraphBubbleUp, RunLost):
        raise
    except RunError as error:
        return Finding(sub.id, sub.title, "failed", reason=str(error))
    except Exception as error:
        return Finding(sub.id, sub.title, "failed", reason=f"{type(error).__name__}: {error}")
    finally:
        job.cancel()
        now.cancel()
        await asyncio.wait({job, now})
