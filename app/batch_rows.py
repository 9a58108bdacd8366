"""Rows of a batch: read one by one, checked, named; a bad one is a row with a problem, and the others go on. Pure."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any, NoReturn

from app.borders import Rejected, checked_question

JSON = dict[str, Any]

MAX_ROW_BYTES = 8_000_000
OURS = frozenset(
    ("line", "id", "question", "answer", "sources", "missing", "rounds", "error", "so_far", "budget_reached", "run_id",
     "seconds", "tokens", "calls", "tools", "cost_usd", "timing", "given")
)  # fmt: skip
"""Fields that an output row may have; a row's own field of such a name comes back under `given`."""
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the input."""

    number: int
    """Its place among the rows, from 1; blank lines are none."""
    line: int
    id: Any = None
    question: str = ""
    rest: JSON = field(default_factory=dict)
    key: str = ""
    """Name of its thread and run: the same for the same row of the same batch."""
    problem: JSON | None = None
    """Why it cannot be asked: code, message, fix."""

    def head(self) -> JSON:
        """How its output row begins."""
        return {"line": self.line} | ({"id": self.id} if self.id is not None else {})

    def tail(self) -> JSON:
        """What came with it and goes out again."""
        plain = {name: value for name, value in self.rest.items() if name not in OURS}
        given = {name: value for name, value in self.rest.items() if name in OURS}
        return plain | ({"given": given} if given else {})


def read_rows(file: IO[bytes], job: str, max_chars: int) -> Iterator[Row]:
    """Rows of a JSONL file. `job` sets its names apart from those of other batches with the same questions."""
    seen: Counter[bytes] = Counter()
    first_line_of: dict[str, int] = {}
    number = 0
    for line, text in _lines(file):
        if text is not None and not text.strip():
            continue
        number += 1
        yield _row(number, line, text, job, max_chars, seen, first_line_of)


def count_rows(file: IO[bytes]) -> int:
    """How many rows a file holds."""
    return sum(1 for _, text in _lines(file) if text is None or text.strip())


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Line numbers and lines; None for one that is too long to be read."""
    line = 0
    while text := file.readline(MAX_ROW_BYTES + 1):
        line += 1
        if line == 1:
            text = text.removeprefix(_BOM)
        if len(text) <= MAX_ROW_BYTES:
            yield line, text
            continue
        while not text.endswith(b"\n") and (text := file.readline(MAX_ROW_BYTES)):
            pass
        yield line, None


def _row(
    number: int, line: int, text: bytes | None, job: str, max_chars: int, seen: Counter[bytes], lines: dict[str, int]
) -> Row:
    fields: JSON = {}
    try:
        fields = _fields(text)
        question = fields.pop("question") if "question" in fields else fields.pop("input", None)
        if question is None:
            _refuse("question_missing", "it has no question", 'write {"question": "..."}')
        question = checked_question(question, max_chars)
        id_ = _checked_id(fields.get("id"), line, lines)
        return Row(number, line, id_, question, _without_id(fields), _key(job, id_, question, seen))
    except Rejected as error:
        said = {"code": error.code, "message": error.message, "fix": error.fix}
        return Row(number, line, _plain_id(fields.get("id")), "", _without_id(fields), problem=said)


def _fields(text: bytes | None) -> JSON:
    if text is None:
        _refuse("row_too_long", f"it is longer than {MAX_ROW_BYTES:,} bytes", "upload the long part as a document")
    try:
        value = json.loads(text.decode("utf-8"), parse_constant=_no_constant)
        json.dumps(value, allow_nan=False)  # 1e999 is read as infinity, which no JSON can say
    except UnicodeDecodeError as error:
        _refuse("row_not_json", f"byte {error.start + 1} is not UTF-8", "save the file as UTF-8")
    except json.JSONDecodeError as error:
        _refuse("row_not_json", f"it is not JSON ({error.msg}, column {error.colno})", "write one object in each line")
    except (ValueError, RecursionError) as error:
        _refuse("row_not_json", f"it is not JSON ({error})", "write one object in each line")
    if isinstance(value, str):
        return {"question": value}
    if not isinstance(value, dict):
        _refuse("row_not_object", f"it is a {type(value).__name__}", 'write {"question": "..."}')
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _checked_id(value: Any, line: int, lines: dict[str, int]) -> Any:
    if value is None:
        return None
    if not isinstance(value, str | int) or isinstance(value, bool):
        _refuse("id_not_text", "its id is neither a string nor a number", "give it a string")
    if (first := lines.setdefault(json.dumps(value), line)) != line:
        _refuse("id_repeated", f"its id {value!r} is that of line {first}", "give each row an id of its own")
    return value


def _plain_id(value: Any) -> Any:
    return value if isinstance(value, str | int) else None


def _without_id(fields: JSON) -> JSON:
    return {name: value for name, value in fields.items() if name != "id"}


def _key(job: str, id_: Any, question: str, seen: Counter[bytes]) -> str:
    """Rows that are the same in everything are told apart by their order among themselves."""
    same = hashlib.sha256(json.dumps([id_, question]).encode()).digest()
    seen[same] += 1
    name = hashlib.sha256(b"%s\n%d\n%s" % (same, seen[same], job.encode("utf-8", "surrogateescape")))
    return f"batch-{name.hexdigest()[:40]}"


def _refuse(code: str, message: str, fix: str) -> NoReturn:
    raise Rejected(code, message, field="row", fix=fix)


def encoded(row: JSON) -> bytes:
    """One line of output. A lone surrogate in a copied field goes out as it came in: as an escape."""
    try:
        return json.dumps(row, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(row).encode() + b"\n"
