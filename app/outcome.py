"""What a run comes to: its answer with numbered sources, what is missing, or an error for a person to read. Pure."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from langchain_core.messages import AIMessage
from langgraph.errors import GraphRecursionError

from agents.allowance import Allowance
from agents.errors import BudgetExceeded, RunError
from app.advice import advise
from app.borders import BUDGET_UNITS
from app.projection import RunView, cited_keys

log = logging.getLogger(__name__)

SUPERSTEPS = 200
"""Root super-steps that a run takes before it needs a person's word to go on, and after it, as many again. Agents bound
themselves, so only a graph that loops for ever meets this."""


def described(failure: BaseException) -> dict[str, str]:
    """An error for a person: what, and what to do. Never a traceback."""
    if isinstance(failure, RunError):
        return {
            "kind": type(failure).__name__,
            "message": f"{failure.thing}: {failure.problem}",
            "fix": failure.next_move,
        }
    if isinstance(failure, GraphRecursionError):
        message = f"The graph took more than {SUPERSTEPS} steps without coming to an end."
        return {
            "kind": "BudgetExceeded",
            "message": message,
            "fix": "Resume it for as many steps again, ask something narrower, or bound the graph's loop.",
        }
    message = f"Something unforeseen happened: {type(failure).__name__}: {failure}"[:500]
    return {"kind": "internal", "message": message, "fix": "Try again; the server's log has the details."}


def numbered(text: str, numbers: Mapping[str, int]) -> str:
    """`[3f9a1c]` -> `[1]`; a key that no search returned was invented, and disappears."""

    def replaced(match: re.Match[str]) -> str:
        keys = cited_keys(match[0])
        if not keys:
            return match[0]
        return "".join(f"[{numbers[key]}]" for key in keys if key in numbers)

    return re.sub(r"\[[^\[\]]{1,80}\]", replaced, text)


def output_of(answer: str, view: RunView, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a run leaves behind: the answer as written, the answer as read, its sources, what is missing.

    A graph adds to it through two fields of its state: `missing`, parts it had to go on without, and `rounds`, what
    each round of a loop came to.
    """
    values = values or {}
    answer = answer or view.answer or findings_so_far(view)
    view.answer = answer
    numbers = view.numbers()
    cited = [key for key in cited_keys(answer) if key in view.sources]
    missing = [
        {"title": lane.title, "reason": lane.reason or lane.state.replace("_", " ")}
        for lane in view.team()
        if lane.state not in ("done", "cached")
    ]
    gaps = (gap for gap in values.get("missing") or () if isinstance(gap, Mapping))
    missing += [{name: str(gap.get(name, "")) for name in ("title", "reason")} for gap in gaps]
    meters = {name: getattr(view.meters, name) for name in view.meters.__slots__}
    return {
        "answer": answer,
        "text": numbered(answer, numbers),
        "sources": [{"n": numbers[key], **view.sources[key]} for key in cited],
        "artefacts": list(view.evidence.artefacts.values()),
        "missing": missing,
        "meters": meters,
        "budget_reached": None,
        **({"rounds": values["rounds"]} if values.get("rounds") else {}),
    }


def budget_reached(allowance: Allowance, command: str | None) -> dict[str, Any]:
    """Which limit a run came to, what it has used of it, and the command and budget with which it goes on.

    The next budget is twice the old one, or twice what was used where calls in flight went past the limit.
    """
    share, unit = allowance.share()
    limits = {name: limit for name, limit in asdict(allowance.budget).items() if limit is not None}
    limit, actual = limits[unit], getattr(allowance, unit)
    raised = BUDGET_UNITS[unit](2 * max(limit, actual))
    more = {"command": command, "budget": {**limits, unit: raised}} if command else None
    return {"unit": unit, "limit": limit, "actual": round(actual, 4), "share": round(share, 3), "more": more}


def spent_by(failure: BaseException, allowance: Allowance) -> dict[str, Any] | None:
    """Which limit a failed run came to; None when it failed over something else."""
    if isinstance(failure, GraphRecursionError):
        # a plain resume gives it as many again, so there is nothing to raise
        return {"unit": "supersteps", "limit": SUPERSTEPS, "actual": SUPERSTEPS, "share": 1.0, "more": None}
    spent = isinstance(failure, BudgetExceeded) and allowance.share()[0] >= 1
    return budget_reached(allowance, "resume") if spent else None


def timing_of(view: RunView) -> dict[str, Any] | None:
    """Where the time of an ended run went; None of a single step. What goes wrong in here costs nobody an answer."""
    try:
        told = advise(view) if len(view.drawn_lanes()) > 1 else None
    except Exception:
        log.exception("nobody can say where the time of a run went")
        return None
    return told.brief() if told else None


def answer_in(values: Any) -> str:
    """The answer that a graph's state ends with, if it does."""
    messages: Sequence[Any] = values.get("messages", ()) if isinstance(values, Mapping) else ()
    return str(messages[-1].text) if messages and isinstance(messages[-1], AIMessage) else ""


def findings_so_far(view: RunView) -> str:
    """What sub-agents have found, for a run that ends before its answer is written."""
    return "\n\n".join(f"## {lane.title}\n\n{lane.text}" for lane in view.team() if lane.text)
