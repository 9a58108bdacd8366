"""What may come in: every border checks here, and says which field, what limit, what was given and what to do."""

import re
from typing import Any

MAX_ID_CHARS = 100
_ID = re.compile(r"[A-Za-z0-9._:-]+")


class Rejected(ValueError):
    """A request that cannot be taken: which field, what limit, what was given, what to do."""

    def __init__(
        self, code: str, message: str, *, field: str, limit: Any = None, actual: Any = None, fix: str = ""
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.field = code, message, field
        self.limit, self.actual, self.fix = limit, actual, fix


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
    if found := re.search("[\x00\ud800-\udfff]", text):
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
