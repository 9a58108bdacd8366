"""What a plan is worth before it runs: whether it can be run, how long it would take, whether a team pays.

Sub-tasks cost seconds, not microseconds, so a plan is scheduled like a data pipeline: the most urgent first, where the
urgency of a sub-task is the longest chain of work that hangs on it. A team pays where the coordination of it and the
longest chain together are shorter than all sub-tasks one after the other. Pure: knows nothing of LangGraph.
"""

import heapq
import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter

from agents.allowance import Budget
from agents.context import Limits
from agents.planner import Plan, SubTask

USUAL_S = 8.0
"""Of a sub-task of which neither the planner nor any earlier run says anything."""
MAX_ESTIMATE_S = 3600.0
COORDINATION_S = 0.01
PER_SUB_TASK_S = 0.005
"""What a team costs beside the work itself; measured by tests/bench/makespan.py and fan_out.py on two slow cores."""
TRIED_ORDERS = 96
NEAR_ENOUGH = 1.005
"""Of the least that any order could take."""
MAX_QUESTION_CHARS = 20_000
MAX_LABEL_CHARS = 200


class BadPlan(ValueError):
    """The plan cannot be run; the message says why, for the planner or the person who wrote it to read."""

    def __init__(self, message: str, field: str = "tasks") -> None:
        super().__init__(message)
        self.field = field
        """Where in the plan: `tasks.2.role`."""


def checked(
    plan: Plan, roles: Mapping[str, str], limits: Limits, tools: Mapping[str, Sequence[str]] | None = None
) -> Plan:
    """The plan if it can be run, else BadPlan: width, ids, an empty question, an unknown role, tool or input, a cycle.

    `tools`: role -> names of its tools; without it, a plan's choice of tools is not looked at.
    """
    ids = [sub.id for sub in plan.tasks]
    if not 1 <= len(ids) <= limits.max_subtasks:
        raise BadPlan(f"tasks: {len(ids)} of 1 to {limits.max_subtasks}")
    if len(set(ids)) != len(ids):
        raise BadPlan(f"ids repeat: {', '.join(sorted({i for i in ids if ids.count(i) > 1}))}")
    if not any(sub.enabled for sub in plan.tasks):
        raise BadPlan("tasks: all are switched off")
    for at, sub in enumerate(plan.tasks):
        _check_words(sub, at)
        if sub.role not in roles:
            known = ", ".join(sorted(roles))
            raise BadPlan(f"sub-task {sub.id}: unknown role {sub.role!r}; there are {known}", f"tasks.{at}.role")
        if missing := [needed for needed in sub.depends_on if needed not in ids]:
            problem = f"depends on {', '.join(missing)}, which the plan does not hold"
            raise BadPlan(f"sub-task {sub.id}: {problem}", f"tasks.{at}.depends_on")
        if strange := [name for name in sub.tools if name not in (tools or {}).get(sub.role, sub.tools)]:
            raise BadPlan(f"sub-task {sub.id}: {sub.role} has no tool {', '.join(strange)}", f"tasks.{at}.tools")
    _check_order(plan)
    return plan


def _check_words(sub: SubTask, at: int) -> None:
    for name in ("id", "question"):
        if not getattr(sub, name).strip():
            raise BadPlan(f"sub-task {sub.id or at + 1}: its {name} is empty", f"tasks.{at}.{name}")
    sizes = (("id", MAX_LABEL_CHARS), ("title", MAX_LABEL_CHARS), ("question", MAX_QUESTION_CHARS))
    for name, most in sizes:
        if (size := len(getattr(sub, name))) > most:
            raise BadPlan(f"sub-task {at + 1}: {name} of {size:,} characters of at most {most:,}", f"tasks.{at}.{name}")


def _check_order(plan: Plan) -> None:
    try:
        TopologicalSorter({sub.id: sub.depends_on for sub in plan.tasks}).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        at = next(at for at, sub in enumerate(plan.tasks) if sub.id == circle[0])
        raise BadPlan(f"sub-tasks wait for each other: {' -> '.join(circle)}", f"tasks.{at}.depends_on") from error


def runnable(plan: Plan) -> Plan:
    """The plan without what is switched off; nothing waits for that."""
    kept = {sub.id for sub in plan.tasks if sub.enabled}
    if len(kept) == len(plan.tasks):
        return plan
    tasks = [
        sub.model_copy(update={"depends_on": [need for need in sub.depends_on if need in kept]})
        for sub in plan.tasks
        if sub.id in kept
    ]
    return plan.model_copy(update={"tasks": tasks})


# -- how long it takes -------------------------------------------------------------------------------------------------


def estimates(plan: Plan, usual_s: Mapping[str, float] | None = None) -> dict[str, float]:
    """Seconds of each sub-task: what the planner said, else what its role usually takes, else a constant."""
    return {
        sub.id: sub.estimate_s if 0 < sub.estimate_s <= MAX_ESTIMATE_S else (usual_s or {}).get(sub.role, USUAL_S)
        for sub in plan.tasks
    }


class Order:
    """Which of the ready sub-tasks comes first when fewer places are free than are wanted.

    The longest chain of work that hangs on a sub-task decides. Where that leaves the plan longer than it has to be, a
    few dozen orders near it are played through, then exchanges in the best of them: a sub-task takes seconds, an order
    0.1 ms.
    """

    def __init__(self, plan: Plan, seconds: Mapping[str, float], width: int) -> None:
        self._seconds, self._width = seconds, width
        self._needs = {sub.id: len(set(sub.depends_on)) for sub in plan.tasks}
        self._after: dict[str, list[str]] = {sub.id: [] for sub in plan.tasks}
        for sub in plan.tasks:
            for need in dict.fromkeys(sub.depends_on):
                self._after[need].append(sub.id)
        self.urgency = self._chains()
        self.makespan = self._played(self.urgency)
        self._improve()

    def _chains(self) -> dict[str, float]:
        """Longest chain of work from the beginning of each sub-task to the end of the plan."""
        found: dict[str, float] = {}
        for id_ in TopologicalSorter(self._after).static_order():  # whatever hangs on a sub-task comes before it
            found[id_] = self._seconds[id_] + max((found[later] for later in self._after[id_]), default=0.0)
        return found

    def _improve(self) -> None:
        chains, ids, dice = self.urgency, list(self.urgency), random.Random(0)  # noqa: S311 - guards nothing
        floor = max(max(chains.values(), default=0.0), math.fsum(self._seconds.values()) / self._width)
        at = chains
        for nth in range(TRIED_ORDERS):
            if self.makespan <= floor * NEAR_ENOUGH:
                return
            if nth < TRIED_ORDERS // 2:
                tried = {id_: chain * dice.uniform(0.5, 1.5) for id_, chain in chains.items()}
            else:
                one, other = dice.choice(ids), dice.choice(ids)
                tried = {**at, one: at[other], other: at[one]}
            if (takes := self._played(tried)) <= self.makespan:
                at = tried  # also when it is no better: the way to a better one may lead through it
                if takes < self.makespan:
                    self.urgency, self.makespan = tried, takes

    def _played(self, urgency: Mapping[str, float]) -> float:
        """Seconds that the plan takes in this order."""
        blocked, at_work, now = dict(self._needs), list[tuple[float, str]](), 0.0
        ready = [(-urgency[id_], at, id_) for at, (id_, needs) in enumerate(blocked.items()) if not needs]
        heapq.heapify(ready)
        came = itertools.count(len(blocked))
        while ready or at_work:
            while ready and len(at_work) < self._width:
                id_ = heapq.heappop(ready)[2]
                heapq.heappush(at_work, (now + self._seconds[id_], id_))
            now = at_work[0][0]
            while at_work and at_work[0][0] <= now:
                for later in self._after[heapq.heappop(at_work)[1]]:
                    blocked[later] -= 1
                    if not blocked[later]:
                        heapq.heappush(ready, (-urgency[later], next(came), later))
        return now


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a plan is expected to take."""

    seconds: Mapping[str, float]
    """Of each sub-task."""
    parallel_s: float
    """Side by side, without the coordination."""
    serial_s: float
    overhead_s: float
    """Coordination of the team."""

    @property
    def pays(self) -> bool:
        """True when a team is quicker than one after the other."""
        return len(self.seconds) > 1 and self.overhead_s + self.parallel_s < self.serial_s

    @property
    def is_chain(self) -> bool:
        """True when no two sub-tasks could be done at once."""
        return self.parallel_s >= self.serial_s

    def shown(self) -> dict[str, float]:
        """As the plan's event carries it."""
        return {name: round(getattr(self, name), 3) for name in ("parallel_s", "serial_s", "overhead_s")}

    def decision(self) -> str:
        """The sentence for whoever looks at the plan."""
        if len(self.seconds) == 1:
            return "One sub-task: no team starts."
        together = f"about {_s(self.overhead_s + self.parallel_s)} with {_s(self.overhead_s)} of coordination"
        if self.pays:
            return f"Side by side: {together}, {_s(self.serial_s)} one after the other."
        if self.is_chain:
            return f"One after the other, about {_s(self.serial_s)}: no two of them could be at work at once."
        return f"One after the other, {_s(self.serial_s)}: side by side would take {together}."


def placed(limits: Limits, budget: Budget) -> Limits:
    """The limits, with no more places than a run may have by its budget."""
    return replace(limits, max_parallel=min(limits.max_parallel, budget.width or limits.max_parallel))


def forecast(plan: Plan, seconds: Mapping[str, float], limits: Limits) -> Forecast:
    """What the plan is expected to take, by these estimates."""
    overhead_s = COORDINATION_S + PER_SUB_TASK_S * len(plan.tasks)
    parallel_s = Order(plan, seconds, limits.max_parallel).makespan
    return Forecast(seconds, parallel_s, math.fsum(seconds.values()), overhead_s)


def single(question: str, role: str, note: str) -> Plan:
    """A plan of one sub-task that takes the whole question."""
    only = SubTask(id="1", title="The question", question=question, role=role, depends_on=[])
    return Plan(tasks=[only], note=note)


def settled(plan: Plan, question: str, expected: Forecast) -> Plan:
    """The plan that is worth running: as it is where a team pays or nothing could be done at once, else in one go.

    Sub-tasks of one role become one sub-task, which is what one agent would do in turns anyway; those of several roles
    are done one after the other.
    """
    if expected.pays or expected.is_chain:
        return plan
    roles = {sub.role for sub in plan.tasks}
    if len(roles) > 1:
        return plan.model_copy(update={"in_turn": True})
    return single(question, roles.pop(), f"{plan.note} {expected.decision()} So one agent takes the whole.".strip())


def _s(seconds: float) -> str:
    return f"{seconds:.3g} s"
