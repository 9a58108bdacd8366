"""What may come in: every border checks here, and says which field, what limit, what was given and what to do."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import jsonschema

MAX_ID_CHARS = 100
BUDGET_UNITS: dict[str, Callable[[Any], float]] = {
    "steps": int,
    "tokens": int,
    "usd": float,
    "seconds": float,
    "width": int,
}
MAX_BUDGET = 1e12
MAX_DEPTH = 24
"""Objects and lists inside one another that data may have; what is stored keeps a few levels more."""
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")
_ID = re.compile(r"[A-Za-z0-9._:-]+")


class Rejected(ValueError):
    """A request that cannot be taken: which field, what limit, what was given, what to do."""

    def __init__(
        self, code: str, message: str, *, field: str, limit: Any = None, actual: Any = None, fix: str = ""
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.field = code, message, field
        self.limit, self.actual, self.fix = limit, actual, fix


class Conflict(Rejected):
    """A request that could be taken at another time."""


class NotFound(LookupError):
    """No such thread or run, or somebody else's."""


def checked_question(text: Any, max_chars: int) -> str:
    """A question that can be asked, or Rejected with what is wrong and what to do."""
    if not isinstance(text, str):
        raise Rejected("question_not_text", f"question: {type(text).__name__} given, text needed", field="question",
                       fix="send the question as a string")  # fmt: skip
    if not text.strip():
        raise Rejected("question_empty", "question: it is empty", field="question", fix="write a question")
    if len(text) > max_chars:
        raise Rejected(
            "question_too_long", f"question: {len(text):,} characters of at most {max_chars:,}", field="question",
            limit=max_chars, actual=len(text), fix="upload the long part as a document and ask about it",
        )  # fmt: skip
    if found := _NO_TEXT.search(text):
        raise Rejected(
            "question_not_text", f"question: character {found.start() + 1} is U+{ord(found[0]):04X}, which is not text",
            field="question", actual=f"U+{ord(found[0]):04X}", fix="remove that character and send it again",
        )  # fmt: skip
    return text


def checked_id(value: str, field: str) -> str:
    """An id that is safe everywhere ids go."""
    if not (0 < len(value) <= MAX_ID_CHARS and _ID.fullmatch(value)):
        raise Rejected(
            f"{field}_malformed", f"{field}: 1 to {MAX_ID_CHARS} of A-Z a-z 0-9 . _ : - are allowed", field=field,
            limit=MAX_ID_CHARS, actual=len(value), fix="leave it out to get a new one",
        )  # fmt: skip
    return value


def checked_json(value: Any, field: str, depth: int = MAX_DEPTH) -> Any:
    """Data that can be stored as it is: text in its strings, not too deep. Raises Rejected with where it is not."""
    if isinstance(value, str) and (found := _NO_TEXT.search(value)):
        code = f"U+{ord(found[0]):04X}"
        raise Rejected(f"{field.partition('.')[0]}_not_text", f"{field}: character {found.start() + 1} is {code}",
                       field=field, actual=code, fix="remove that character and send it again")  # fmt: skip
    if isinstance(value, int | float) and not -(2**63) <= value < 2**63:  # NaN is not either
        raise Rejected("number_invalid", f"{field}: not a number of 64 bits", field=field, fix="send it as text")
    if not isinstance(value, Mapping | list):
        return value
    if not depth:
        raise Rejected("too_deep", f"{field[:200]}: more than {MAX_DEPTH} levels", field=field[:200], limit=MAX_DEPTH,
                       fix="send it flatter")  # fmt: skip
    for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
        checked_json(str(key), field, 1)
        checked_json(item, f"{field}.{key}", depth - 1)
    return value


def checked_answer(asked: Mapping[str, Any], answer: Any) -> Any:
    """An answer that the question can take. Raises Rejected with what is allowed."""
    choices = asked.get("choices")
    if not choices:
        return answer
    if not isinstance(answer, Mapping) or answer.get("decision") not in choices:
        given = answer.get("decision") if isinstance(answer, Mapping) else type(answer).__name__
        raise Rejected("decision_unknown", f"decision: {given!r}", field="decision", actual=given,
                       fix=f"choose one of {', '.join(choices)}")  # fmt: skip
    if answer["decision"] == "edit":
        try:
            jsonschema.validate(answer.get("args"), asked.get("schema") or {"type": "object"})
        except jsonschema.ValidationError as error:
            field = ".".join(["args", *(str(part) for part in error.absolute_path)])
            raise Rejected("args_invalid", f"{field}: {error.message}", field=field, fix="mend that field") from error
    return dict(answer)


def checked_budget(budget: Any) -> dict[str, Any]:
    """A budget of known units, each limit above zero and whole where its unit is counted. Raises Rejected."""
    if not isinstance(budget, Mapping):
        raise Rejected("budget_invalid", "budget: not an object", field="budget", fix='give for example {"steps": 20}')
    return {unit: _checked_limit(unit, limit) for unit, limit in budget.items()}


def _checked_limit(unit: str, limit: Any) -> float:
    if unit not in BUDGET_UNITS:
        raise Rejected("budget_invalid", f"budget.{unit}: unknown unit", field=f"budget.{unit}", actual=unit,
                       fix=f"use any of {', '.join(BUDGET_UNITS)}")  # fmt: skip
    counted = BUDGET_UNITS[unit] is int
    number = isinstance(limit, int | float) and not isinstance(limit, bool)
    if not number or not 0 < limit < MAX_BUDGET or (counted and limit != int(limit)):
        needed = "a whole number from 1" if counted else "a number above 0"
        raise Rejected("budget_invalid", f"budget.{unit}: {limit!r}, and {needed} is needed", field=f"budget.{unit}",
                       limit=needed, actual=limit, fix="leave it out for the usual limit")  # fmt: skip
    return BUDGET_UNITS[unit](limit)
