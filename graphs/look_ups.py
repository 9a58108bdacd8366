"""What each branch of the help desk looks up, every part beside the others."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from langgraph.runtime import Runtime

from agents.context import Context
from agents.planner import Plan, SubTask
from agents.router import Kind
from graphs.evidence import keys_in, looked_up, without
from graphs.scheduling import Finding, run_plan
from graphs.state import ChatState, question_of

LOOK_UPS: dict[Kind, dict[str, str]] = {
    "general": {"Your question": ""},
    "billing": {"Your question": "", "Costs": "costs and figures", "Limits": "budgets and limits"},
    "technical": {"Your question": "", "Causes": "failures and their causes", "Remedies": "remedies and prevention"},
}
"""Branch -> what it looks up, each beside the others: a label, and with regard to what."""


class Looking(ChatState, total=False):
    """What a look-up reads: the conversation, and what it found before, where only the rest is looked up again."""

    findings: list[Finding]


def looking_up(kind: Kind) -> Callable[..., Awaitable[dict[str, Any]]]:
    """The node of one branch: its fixed plan, every part of it at once."""

    async def look_up(state: Looking, runtime: Runtime[Context]) -> dict[str, Any]:
        request, context = question_of(state), runtime.context

        async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
            found = await looked_up(context, "librarian", sub.question)
            text = without(found.text, set(keys_in(found.text)) - set(found.shown))
            return Finding(sub.id, sub.title, "done" if text else "failed", text, "" if text else "it answered nothing")

        tasks = [
            SubTask(id=label, title=label, question=_aimed(request, regard), role="librarian", depends_on=[])
            for label, regard in LOOK_UPS[kind].items()
        ]
        known = {it.task_id: it for it in state.get("findings", ()) if it.state == "done"}
        plan = Plan(tasks=tasks, note="")
        return {"findings": await run_plan(plan, work, context.limits, context.allowance, known)}

    return look_up


def _aimed(request: str, regard: str) -> str:
    return f"{request.rstrip(' ?.!')}, with regard to {regard}?" if regard else request
