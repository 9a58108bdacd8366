"""A planner splits the question, sub-agents work side by side, a writer joins their findings with citations."""

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import adispatch_custom_event
from langchain_core.messages import HumanMessage
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from agents.agent import discover_agents, recursion_limit, team_roles
from agents.context import Context
from agents.errors import Unreadable
from agents.planner import Plan, SubTask
from graphs.scheduling import BadPlan, Finding, checked, run_plan
from graphs.state import ChatState, as_node, question_of

EXAMPLES = {
    "Compare ReAct, planning with parallel sub-agents, and debate: latency, cost and when each pays": (
        "Plans, works side by side, writes with citations"
    ),
}


class ResearchState(ChatState):
    """The conversation, the plan in force, and what came of it."""

    plan: Plan
    findings: list[Finding]


async def plan(state: ResearchState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Ask for a plan; one that cannot be run goes back once with the reason, then a plan of one sub-task does it."""
    question, roles = question_of(state), team_roles(discover_agents())
    ask = [*state["messages"]]
    for _ in range(2):
        try:
            result = await runtime.context.agents["planner"].ainvoke({"messages": ask}, context=runtime.context)
            proposed = checked(result["structured_response"], roles, runtime.context.limits)
            break
        except (BadPlan, Unreadable) as error:
            ask = [*state["messages"], HumanMessage(f"That plan cannot be run: {error}. Plan again: {question}")]
    else:
        only = SubTask(id="1", title="The question", question=question, role="researcher", depends_on=[])
        proposed = Plan(tasks=[only], note="No plan could be run, so one researcher takes the whole question.")
    await adispatch_custom_event("plan.proposed", proposed.model_dump())
    return {"plan": proposed, "findings": []}


async def research(state: ResearchState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Let the team work on the plan; whatever happens to one of them stays with that one.

    When the failed part of a run is tried again, the findings that are there are kept.
    """
    limits, allowance = runtime.context.limits, runtime.context.allowance
    known = {finding.task_id: finding for finding in state.get("findings", ()) if finding.state == "done"}

    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        agent = runtime.context.agents[sub.role]
        known = "".join(f"\n\nResult of {finding.title}:\n{finding.text}" for finding in inputs)
        ask = {"messages": [HumanMessage(sub.question + known)]}
        result = await agent.ainvoke(ask, {"recursion_limit": recursion_limit(limits)}, context=runtime.context)
        text = str(result["messages"][-1].text).strip()
        return Finding(sub.id, sub.title, "done" if text else "failed", text, "" if text else "it answered nothing")

    return {"findings": await run_plan(state["plan"], work, limits, allowance, known)}


async def write(state: ResearchState, runtime: Runtime[Context]) -> dict[str, Any]:
    """One answer from all findings; a part that has none is named in it."""
    ask = HumanMessage(brief(question_of(state), state["findings"]))
    result = await runtime.context.agents["writer"].ainvoke({"messages": [ask]}, context=runtime.context)
    return {"messages": [result["messages"][-1]]}


def brief(question: str, findings: Sequence[Finding]) -> str:
    """What the writer reads."""
    parts = [f"Question: {question}"]
    parts += [f"## {finding.title}\n{finding.text}" for finding in findings if finding.text]
    missing = [
        f"- {finding.title}: {finding.reason or finding.state}" for finding in findings if finding.state != "done"
    ]
    return "\n\n".join([*parts, *(["Missing:\n" + "\n".join(missing)] if missing else [])])


def build() -> StateGraph[ResearchState, Context]:
    """START -> plan -> research -> write -> END."""
    return (
        StateGraph(ResearchState, context_schema=Context)
        .add_node(plan, metadata=as_node("Plan"))
        .add_node(research, metadata=as_node("Research", team=True))
        .add_node(write, metadata=as_node("Write", speaks=True))
        .add_edge(START, "plan")
        .add_edge("plan", "research")
        .add_edge("research", "write")
        .add_edge("write", END)
    )
