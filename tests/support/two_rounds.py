"""A graph of one node that runs a plan, then perhaps what is still needed, as `research` does: for crashes."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypedDict

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.func import task
from langgraph.graph import END, START, StateGraph

from agents.allowance import Allowance
from agents.context import Limits
from agents.planner import Plan, SubTask
from graphs.scheduling import NO_REMEDIES, Finding, Remedies, Work, run_plan

More = Callable[[Plan, Sequence[Finding]], Awaitable[Plan]]


class PlanState(TypedDict):
    """A plan and what came of it."""

    plan: Plan
    findings: list[Finding]


def planned(*tasks: str, **more: Any) -> Plan:
    """`planned("a", "b", "c < a b")`: `c` needs `a` and `b`."""
    parts = [text.partition("<") for text in tasks]
    subs = [
        SubTask(id=id_.strip(), title=id_.strip().upper(), question=f"{id_.strip()}?", role="researcher",
                depends_on=needs.split())
        for id_, _, needs in parts
    ]  # fmt: skip
    return Plan(tasks=subs, note="", **more)


def two_rounds(
    work: Work, saver: BaseCheckpointSaver[str] | None, *, more: More | None = None, remedies: Remedies = NO_REMEDIES
) -> Any:
    """The compiled graph."""

    async def research(state: PlanState) -> dict[str, Any]:
        limits, allowance = Limits(), Allowance()
        found = await run_plan(state["plan"], work, limits, allowance, remedies=remedies)
        if more is None:
            return {"findings": found}
        whole = await task(more)(state["plan"], found)
        known = {finding.task_id: finding for finding in found}
        return {"plan": whole, "findings": await run_plan(whole, work, limits, allowance, known, remedies=remedies)}

    builder = StateGraph(PlanState).add_node(research).add_edge(START, "research").add_edge("research", END)
    return builder.compile(checkpointer=saver)
