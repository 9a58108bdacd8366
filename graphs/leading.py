"""One lead and their workers: a graph inside the team's graph. It knows its brief, and nothing of the job around it."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypedDict

from langchain_core.callbacks import adispatch_custom_event
from langchain_core.messages import HumanMessage
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from agents.asking import ask
from agents.context import Context
from agents.planner import Plan, SubTask
from graphs.asked_once import asked_once
from graphs.briefs import brief
from graphs.gaps import spared
from graphs.planning import planned
from graphs.plans import checked, single
from graphs.scheduling import Finding, run_plan
from graphs.state import as_node

WORKERS = {"researcher": "finds and cites facts", "scribe": "saves a note"}
"""Roles that a lead may give a task to."""
FINDS = frozenset(["researcher"])
"""Roles whose answer is a finding, so that one will do for all who ask the same; a note is saved for each wish."""
MAX_WORKERS = 5
"""Tasks of one brief."""
REPORT_CHARS = 1_200
"""Longest report: what it is made of may be as long as it likes."""
STEPS = 3
"""Split, work, sum up. Each may take as long as a sub-task, so a lead may take three times as long."""


class LeadState(TypedDict, total=False):
    """All that one lead knows."""

    task: str
    """Id of the brief; the ids of its workers' tasks begin with it."""
    brief: str
    plan: Plan
    findings: list[Finding]
    report: str


async def split(state: LeadState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Tasks for workers; a lead that cannot plan gives its whole brief to one of them."""
    context, given, limits = runtime.context, state["brief"], replace(runtime.context.limits, max_subtasks=MAX_WORKERS)
    planning = planned(context, [HumanMessage(given)], given, lambda plan: checked(plan, WORKERS, limits), "lead")
    tasks = (await spared("Lead", context, planning))[0]
    tasks = _numbered(tasks or single(given, "researcher", "No plan: one worker takes the whole brief."), state["task"])
    await adispatch_custom_event("plan.proposed", {**tasks.model_dump(), "within": state["task"]})
    return {"plan": tasks}


async def work(state: LeadState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Let the workers of one lead work side by side. What one of them asks a person reaches the run."""
    context = runtime.context

    async def do(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        told = [sub.question, *(f"Result of {finding.title}:\n{finding.text}" for finding in inputs)]

        async def answer() -> str:
            return str((await ask(context, sub.role, "\n\n".join(told))).text).strip()

        alone = inputs or sub.role not in FINDS
        text = await (answer() if alone else asked_once(context, sub, answer))
        return Finding(sub.id, sub.title, "done" if text else "failed", text, "" if text else "it answered nothing")

    return {"findings": await run_plan(state["plan"], do, context.limits, context.allowance)}


async def sum_up(state: LeadState, runtime: Runtime[Context]) -> dict[str, Any]:
    """The report, within its bound: one finding as it is, a summary of several, else the beginning of each."""
    texts = [finding.text for finding in state["findings"] if finding.text]
    said = None
    if len(texts) > 1:
        asking = ask(runtime.context, "summariser", brief(state["brief"], state["findings"]))
        said = (await spared("Summary", runtime.context, asking))[0]
    summary = str(said.text).strip() if said else ""
    report = summary or "\n\n".join(_clipped(text, REPORT_CHARS // len(texts)) for text in texts)
    return {"report": _clipped(_plain(report), REPORT_CHARS)}


def _numbered(plan: Plan, task: str) -> Plan:
    """The plan with ids that no other lead's workers have."""
    tasks = [
        sub.model_copy(update={"id": f"{task}.{sub.id}", "depends_on": [f"{task}.{need}" for need in sub.depends_on]})
        for sub in plan.tasks
    ]
    return plan.model_copy(update={"tasks": tasks})


def _plain(text: str) -> str:
    """A report is a section of what is made of it, so it has no headings of its own."""
    return re.sub(r"^#+ +(.+?)[.:]?$", r"**\1:**", text, flags=re.M)


def _clipped(text: str, most: int) -> str:
    """At most so many characters, cut where a sentence ends."""
    if len(text) <= most:
        return text
    cut = text[: most - 1]
    return cut[: max(cut.rfind(". "), cut.rfind("] "), cut.rfind("\n"), most // 2) + 1].rstrip() + "…"


def lead_graph() -> StateGraph[LeadState, Context]:
    """START -> split -> work -> sum_up -> END: a graph that runs inside of another one."""
    return (
        StateGraph(LeadState, context_schema=Context)
        .add_node(split, metadata=as_node("Split"))
        .add_node(work, metadata=as_node("Work", team=True))
        .add_node(sum_up, metadata=as_node("Sum up"))
        .add_edge(START, "split")
        .add_edge("split", "work")
        .add_edge("work", "sum_up")
        .add_edge("sum_up", END)
    )
