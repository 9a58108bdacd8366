"""What a person may say to a plan that waits for them: approve it, reject it, or send it back changed.

A changed plan is checked where it arrives, so that a mistake is told with its field and the question stays open.
"""

from collections.abc import Mapping
from typing import Any

from app.borders import Rejected, checked_json
from graphs.plans import BadPlan
from graphs.reviewing import CHOICES, edited

MAX_REASON_CHARS = 2_000


def checked_plan_answer(asked: Mapping[str, Any], answer: Any) -> dict[str, Any]:
    """An answer that the question `asked` about a plan can take. Raises Rejected with the field that cannot."""
    decision = answer.get("decision") if isinstance(answer, Mapping) else type(answer).__name__
    if not isinstance(answer, Mapping) or decision not in CHOICES:
        raise Rejected("decision_unknown", f"decision: {decision!r}", field="decision", actual=decision,
                       fix=f"choose one of {', '.join(CHOICES)}")  # fmt: skip
    if decision == "reject":
        return {"decision": decision, "reason": _reason(answer.get("reason"))}
    if decision == "approve":
        return {"decision": decision}
    checked_json(answer.get("plan"), "plan")
    try:
        return {"decision": decision, "plan": edited(asked, answer.get("plan")).model_dump()}
    except BadPlan as problem:
        field = f"plan.{problem.field}"
        raise Rejected("plan_invalid", f"{field}: {problem}", field=field, fix="mend that field") from problem


def _reason(given: Any) -> str:
    reason = "" if given is None else checked_json(given, "reason")
    if not isinstance(reason, str) or len(reason) > MAX_REASON_CHARS:
        size = len(reason) if isinstance(reason, str) else type(reason).__name__
        raise Rejected("reason_invalid", f"reason: {size} of at most {MAX_REASON_CHARS:,} characters", field="reason",
                       limit=MAX_REASON_CHARS, actual=size, fix="say it shorter, or leave it out")  # fmt: skip
    return reason
