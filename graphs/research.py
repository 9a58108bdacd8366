"""A planner splits the question, sub-agents work side by side, a writer joins their findings with citations.

Pays when a question falls into parts that need little of each other.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from langchain_core.messages import AIMessage
from langgraph.func import task
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from agents.asking import ask
from agents.context import Context
from agents.planner import Plan, SubTask
from graphs.briefs import brief
from graphs.evidence import needed
from graphs.gaps import gaps_in, unnamed, with_gaps
from graphs.planning import announce, propose, remedies, second_plan
from graphs.plans import estimates, forecast, placed, runnable, settled
from graphs.reviewing import NotWanted, reviewed
from graphs.scheduling import Finding, run_plan
from graphs.state import ChatState, as_node, question_of
from graphs.usual import remember, usual

EXAMPLES = {
    "Compare ReAct, planning with parallel sub-agents, and debate: latency, cost and when each pays": (
        "Plans, works side by side, writes with citations"
    ),
}

PLANS = True
"""A person may look at the plan before it runs."""


class ResearchState(ChatState):
    """The conversation, the plan in force, and what came of it."""

    plan: Plan | None
    findings: list[Finding]


async def plan(state: ResearchState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Ask for a plan, see whether a team pays, and let a person change it if they asked to."""
    context, question, known = runtime.context, question_of(state), await usual(runtime.store)
    proposed = await propose(context, state["messages"], question)
    limits = placed(context.limits, context.allowance.budget)
    expected = forecast(proposed, estimates(proposed, known.seconds), limits)
    proposed = settled(proposed, question, expected)
    await announce(proposed, expected)
    if context.review_plan:
        try:
            proposed = runnable(reviewed(proposed, context, known))
        except NotWanted as no:
            said = f"The plan was not run: {no}" if str(no) else "The plan was not run."
            return {"plan": None, "findings": [], "messages": [AIMessage(said)]}
        await announce(proposed, forecast(proposed, estimates(proposed, known.seconds), limits))
    return {"plan": proposed, "findings": []}


def approved(state: ResearchState) -> str:
    """The team, unless a person rejected its plan."""
    return "research" if state["plan"] else END


async def research(state: ResearchState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Let the team work on the plan, and once more on what its findings ask for; what fails stays with one part.

    When the failed part of a run is tried again, the findings that are there are kept.
    """
    context, plan, known = runtime.context, state["plan"], await usual(runtime.store)
    assert plan is not None  # else it had ended

    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        given = "".join(f"\n\nResult of {finding.title}:\n{finding.text}" for finding in inputs)
        granted = replace(context, tools=frozenset(sub.tools) or None)
        text = str((await ask(granted, sub.role, sub.question + given)).text).strip()
        return Finding(sub.id, sub.title, "done" if text else "failed", text, "" if text else "it answered nothing")

    at_work = partial(run_plan, work=work, limits=context.limits, allowance=context.allowance,
                      remedies=remedies(context), usual_s=known.seconds)  # fmt: skip
    kept = {it.task_id: it for it in state.get("findings", ()) if it.state == "done"}
    spent_usd = context.allowance.usd
    found = await at_work(plan, known=kept)
    if plan.look_again and not context.allowance.concluding():
        # a task: after a crash the second plan is the same again, and so are the ids of its sub-tasks
        whole = await task(second_plan)(context, question_of(state), plan, found)
        if whole:
            plan = whole
            limits = placed(context.limits, context.allowance.budget)
            await announce(plan, forecast(plan, estimates(plan, known.seconds), limits))
            found = await at_work(plan, known={finding.task_id: finding for finding in found})
    fresh = [it for it in found if it.task_id not in kept]
    await remember(runtime.store, plan, fresh, context.allowance.usd - spent_usd)
    return {"plan": plan, "findings": found}


async def write(state: ResearchState, runtime: Runtime[Context]) -> dict[str, Any]:
    """One answer from all findings; a part that has none is named in it."""
    done = await needed(runtime.context, "writer", brief(question_of(state), state["findings"]))
    gaps = unnamed(gaps_in(state["findings"]), done.text)
    said = {"content": with_gaps(done.text, gaps)} if gaps else None
    return {"messages": [done.message.model_copy(update=said)]}


def build() -> StateGraph[ResearchState, Context]:
    """START -> plan -> research -> write -> END; a plan that is rejected ends it."""
    return (
        StateGraph(ResearchState, context_schema=Context)
        .add_node(plan, metadata=as_node("Plan"))
        .add_node(research, metadata=as_node("Research", team=True))
        .add_node(write, metadata=as_node("Write", speaks=True))
        .add_edge(START, "plan")
        .add_conditional_edges("plan", approved, ["research", END])
        .add_edge("research", "write")
        .add_edge("write", END)
    )
