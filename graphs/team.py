"""A manager delegates to leads, leads to workers; each level reads nothing but the summaries of the level below.

Pays when the results of all members would not fit into one context.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from langchain_core.callbacks import adispatch_custom_event
from langchain_core.messages import AIMessage
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from agents.agent import recursion_limit
from agents.context import Context
from agents.planner import Plan, SubTask
from graphs.briefs import brief
from graphs.evidence import needed
from graphs.gaps import gaps_in, unnamed, with_gaps
from graphs.leading import STEPS, LeadState, lead_graph
from graphs.planning import planned
from graphs.plans import checked, placed, single
from graphs.scheduling import Finding, State, run_plan
from graphs.state import ChatState, as_node, question_of

MAX_LEADS = 4
"""Briefs of one job: the manager reads so many reports of `REPORT_CHARS` at most, however much the workers found."""

EXAMPLES = {
    "What does a debate cost and how do debates fail? What does a swarm cost and how do swarms fail?": (
        "Two leads, each with two workers; the manager reads two summaries"
    ),
    "How does ReAct work and when does it fail? Save a note: ReAct before any team.": (
        "A worker of a lead asks you before it writes"
    ),
}


class TeamState(ChatState):
    """The conversation, the briefs, and what the leads reported."""

    plan: Plan
    findings: list[Finding]


async def delegate(state: TeamState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Briefs for leads; after two plans that cannot be run, one brief with the whole job."""
    question, limits = question_of(state), replace(runtime.context.limits, max_subtasks=MAX_LEADS)
    briefs = await planned(
        runtime.context, state["messages"], question, lambda plan: checked(plan, {"lead": ""}, limits), "manager"
    )
    briefs = briefs or single(question, "lead", "No plan could be run, so one lead takes the whole job.")
    await adispatch_custom_event("plan.proposed", briefs.model_dump())
    return {"plan": briefs, "findings": []}


async def lead(state: TeamState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Let all leads work side by side, each with a share of the workers that may be at work at once."""
    context, limits = runtime.context, runtime.context.limits
    known = {finding.task_id: finding for finding in state["findings"] if finding.state == "done"}
    places = placed(limits, context.allowance.budget).max_parallel
    share = replace(limits, max_parallel=places // min(places, len(state["plan"].tasks)))
    leading = lead_graph().compile(name="lead")  # what surrounds it lends it its checkpointer

    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        told = [sub.question, *(f"Result of {finding.title}:\n{finding.text}" for finding in inputs)]
        given = LeadState(task=sub.id, brief="\n\n".join(told))
        steps: Any = {"recursion_limit": recursion_limit(limits)}
        ended = await leading.ainvoke(given, steps, context=replace(context, limits=share))
        lost = [f"{it.title}: {it.reason or it.state}" for it in ended["findings"] if it.state != "done"]
        how: State = "done" if not lost else "partial" if ended["report"] else "failed"
        return Finding(sub.id, sub.title, how, ended["report"], "; ".join(lost))

    patient = replace(limits, subtask_timeout_s=STEPS * limits.subtask_timeout_s)
    return {"findings": await run_plan(state["plan"], work, patient, context.allowance, known)}


async def report(state: TeamState, runtime: Runtime[Context]) -> dict[str, Any]:
    """One answer from the leads' reports, which are all that is read; what is missing is named in it."""
    said = await needed(runtime.context, "writer", brief(question_of(state), state["findings"]))
    return {"messages": [AIMessage(with_gaps(said.text, unnamed(gaps_in(state["findings"]), said.text)))]}


def build() -> StateGraph[TeamState, Context]:
    """START -> delegate -> lead -> report -> END."""
    return (
        StateGraph(TeamState, context_schema=Context)
        .add_node(delegate, metadata=as_node("Delegate"))
        .add_node(lead, metadata=as_node("Leads", team=True))
        .add_node(report, metadata=as_node("Report", speaks=True))
        .add_edge(START, "delegate")
        .add_edge("delegate", "lead")
        .add_edge("lead", "report")
        .add_edge("report", END)
    )
