"""A person looks at a plan before it runs: what they are shown, and what their answer makes of it.

The edit is checked where it arrives, so that a mistake in it is told at once and the question stays open. The graph
checks it again, for whoever answers by another way.
"""

from collections.abc import Mapping
from typing import Any

from langgraph.types import interrupt
from pydantic import ValidationError

from agents.agent import roles_of, tools_of
from agents.context import Context, Limits
from agents.planner import Plan
from graphs.plans import BadPlan, checked, estimates, placed
from graphs.usual import Usual

KIND = "plan"
CHOICES = ("approve", "edit", "reject")


class NotWanted(Exception):
    """A person rejected the plan; the message is their reason."""


def reviewed(plan: Plan, context: Context, known: Usual) -> Plan:
    """The plan as a person wants it. Raises NotWanted when they reject it."""
    roles, seconds = roles_of(context), estimates(plan, known.seconds)
    limits = placed(context.limits, context.allowance.budget)
    asked = {
        "kind": KIND,
        "ref": KIND,
        "question": "Run this plan?",
        "what": plan.note,
        "plan": plan.model_dump(),
        "roles": roles,
        "tools": {role: [tool.name for tool in tools_of(context.agents[role])] for role in roles},
        "estimates": {sub.id: {"seconds": seconds[sub.id], "usd": known.usd.get(sub.role)} for sub in plan.tasks},
        "limits": {"max_parallel": limits.max_parallel, "max_subtasks": limits.max_subtasks},
        "choices": list(CHOICES),
    }
    answer = interrupt(asked)
    decision = answer.get("decision") if isinstance(answer, Mapping) else None
    if decision == "approve":
        return plan
    if decision == "edit":
        return edited(asked, answer.get("plan"))
    raise NotWanted(str(answer.get("reason") or "") if isinstance(answer, Mapping) else "")


def edited(asked: Mapping[str, Any], given: Any) -> Plan:
    """The plan that a person sent back. Raises BadPlan, with the field, when it cannot be run."""
    try:
        plan = Plan.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "tasks"
        raise BadPlan(f"{field}: {first['msg']}", field) from error
    limits = Limits(max_subtasks=int(asked["limits"]["max_subtasks"]))
    return checked(plan, asked["roles"], limits, asked["tools"])
