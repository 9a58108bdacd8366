"""How long each role usually takes and what a sub-task of it usually costs: remembered over runs, for estimates.

Only figures are kept, the newest few of each role, shared by all owners. Two runs that end at once may forget one of
each other's figures, which an estimate can stand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from langgraph.store.base import BaseStore

from agents.planner import Plan
from graphs.scheduling import GOOD, Finding

KEPT = 20
"""Figures of each role."""
_PLACE = ("usual",)


@dataclass(frozen=True, slots=True)
class Usual:
    """Medians by role."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    usd: Mapping[str, float] = field(default_factory=dict)


async def usual(store: BaseStore | None) -> Usual:
    """What is known; nothing without a store."""
    items = await store.asearch(_PLACE, limit=100) if store else []
    seconds = {item.key: median(item.value["seconds"]) for item in items if item.value.get("seconds")}
    usd = {item.key: median(item.value["usd"]) for item in items if item.value.get("usd")}
    return Usual(seconds, usd)


async def remember(store: BaseStore | None, plan: Plan, findings: Sequence[Finding], usd: float) -> None:
    """Add what a plan's sub-tasks took, and their equal shares of `usd`, where it cost anything."""
    if store is None:
        return
    roles = {sub.id: sub.role for sub in plan.tasks}
    took: dict[str, list[float]] = {}
    for finding in findings:
        if finding.state in GOOD and finding.seconds > 0:
            took.setdefault(roles[finding.task_id], []).append(round(finding.seconds, 3))
    for role, seconds in took.items():
        known = await store.aget(_PLACE, role)
        before = known.value if known else {}
        shares = [usd / len(findings)] if usd > 0 else []
        value = {
            "seconds": [*before.get("seconds", ()), *seconds][-KEPT:],
            "usd": [*before.get("usd", ()), *shares][-KEPT:],
        }
        await store.aput(_PLACE, role, value, index=False)
