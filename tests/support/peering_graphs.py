"""Graphs whose plans name remote agents."""

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from agents.asking import ask
from agents.context import Context
from agents.planner import Plan, SubTask
from graphs.planning import remedies
from graphs.scheduling import Finding, run_plan
from graphs.state import ChatState, as_node, question_of


async def work_out(state: ChatState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Give the question to every role that it names, `bees, wasps: How?`; each of them is a remote agent."""
    context = runtime.context
    names, _, question = question_of(state).partition(": ")
    roles = names.split(", ")
    tasks = [SubTask(id=name, title=name, question=question, role=name, depends_on=[]) for name in roles]

    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        text = str((await ask(context, sub.role, sub.question)).text)
        return Finding(sub.id, sub.title, "done", text)

    found = await run_plan(
        Plan(tasks=tasks, note=""), work, context.limits, context.allowance, remedies=remedies(context)
    )
    told = [f"{finding.title}: {finding.state}: {finding.text or finding.reason}" for finding in found]
    return {"messages": [AIMessage("\n".join(told))]}


def peering_graphs() -> dict[str, Any]:
    """One graph."""
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(ChatState, context_schema=Context)
    builder.add_node("team", work_out, metadata=as_node("Team", team=True))
    return {"asks_peers": builder.add_edge(START, "team").add_edge("team", END)}
