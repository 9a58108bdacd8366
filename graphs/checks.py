"""What code can tell about a cited text: citations, length, points that were asked for, sums. Pure; no model is asked.

Each rule gives a share from 0 to 1 and defects in sentences that a writer can act on. The score of a text is the mean
of the rules that apply to it, so that the rounds of one job can be compared; it says nothing across jobs.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from langchain_core.tools import ToolException

from agents.tools.calculator import evaluate, shown
from graphs.evidence import CITATION, keys_in

MAX_NAMED = 4
"""Defects of one rule that are named one by one."""
_MIN_WORDS = 5
"""A shorter sentence is a label and needs no citation."""
_LIMIT = re.compile(
    r"\b(?:(?:in|of|with|using)\s+)?"
    r"(?:at most|up to|no more than|not more than|under|below|within|in|about|max(?:imum)?(?: of)?)\s+"
    r"(\d[\d,]{0,6})\s+words?\b",
    re.IGNORECASE,
)
_TOPIC = re.compile(r"\b(?:on|about|of|to|between|explain|compare|describe|introduce)\s+([^.?!:\n]+)", re.IGNORECASE)
_ASIDE = re.compile(r"\s*\b(?:for|in|with|at|under|up to|within)\s+(?:a|an|the|at most|most|\d)\b.*$", re.IGNORECASE)
_SMALL = """
    a an and are as at be by do does for from has have how in is it its of on or so than that the their them they this
    to was what when where which who why will with
"""
_STOP = frozenset(_SMALL.split())
_HONEST = re.compile(r"\b(?:nothing|not|no (?:passage|document|source)s?)\b.{0,40}\bfound\b|\bfound nothing\b", re.I)
_RESULT = re.compile(r"=\s*\$?(-?\d[\d,]*(?:\.\d+)?)")
_LEFT = re.compile(r"[(\d](?=[^=]*[+\-*/×÷−^])[\d\s.,()+\-*/×÷−^]*\Z")
_LEFT_CHARS = 80
_TOLERANCE = 0.005


@dataclass(frozen=True, slots=True)
class Checked:
    """What the rules found."""

    score: float
    defects: tuple[str, ...] = ()


def check_text(text: str, shown_keys: Collection[str], max_words: int, points: Sequence[str]) -> Checked:
    """`text` against all rules. A text without a word scores 0."""
    if not text.strip():
        return Checked(0.0, ("The text is empty.",))
    results = [cited(text, shown_keys), short_enough(text, max_words), addressed(text, points), sums_right(text)]
    applying = [result for result in results if result]
    score = sum(result.score for result in applying) / len(applying)
    return Checked(round(score, 3), tuple(defect for result in applying for defect in result.defects))


def cited(text: str, shown_keys: Collection[str]) -> Checked | None:
    """Every statement carries a citation, and every citation was shown; None when there is no statement."""
    invented = [key for key in keys_in(text) if key not in shown_keys]
    said = statements(text)
    bare = [line for line in said if not any(key in shown_keys for key in keys_in(line))]
    if not said:
        return None
    defects = [f"No search returned [{key}]: take the citation out, or cite what was shown." for key in invented]
    defects += [f"This statement carries no citation: “{_clipped(line)}”" for line in bare]
    return Checked(1 - len(bare) / len(said), tuple(defects[:MAX_NAMED]))


def short_enough(text: str, max_words: int) -> Checked:
    """Not longer than was asked for."""
    words = word_count(text)
    if words <= max_words:
        return Checked(1.0)
    return Checked(max_words / words, (f"The text has {words} words of at most {max_words}.",))


def addressed(text: str, points: Sequence[str]) -> Checked | None:
    """Every point that was asked for is spoken of."""
    held = _words(text)
    missed = [point for point in points if not _speaks_of(held, point)]
    if not points:
        return None
    defects = tuple(f"The text does not address “{point}”." for point in missed[:MAX_NAMED])
    return Checked(1 - len(missed) / len(points), defects)


def sums_right(text: str) -> Checked | None:
    """Every sum that is written out comes to what it says; None when there is none."""
    plain = CITATION.sub("", text)
    found = [
        (_LEFT.search(plain[max(0, it.start() - _LEFT_CHARS) : it.start()]), it[1]) for it in _RESULT.finditer(plain)
    ]
    read = [(left[0].strip(), right.replace(",", "")) for left, right in found if left]
    worked = [(left, right, value) for left, right in read if (value := _value(left)) is not None]
    wrong = [it for it in worked if abs(float(it[1]) - it[2]) > _TOLERANCE * max(1.0, abs(it[2]))]
    if not worked:
        return None
    defects = tuple(f"{left} is {value:g}, not {right}." for left, right, value in wrong[:MAX_NAMED])
    return Checked(1 - len(wrong) / len(worked), defects)


def _value(expression: str) -> float | None:
    try:
        return float(shown(evaluate(expression.replace(",", ""))))
    except (ToolException, ValueError, OverflowError):
        return None


def words_asked(request: str, usual: int) -> int:
    """How many words were asked for at most."""
    found = _LIMIT.search(request)
    return max(1, int(found[1].replace(",", ""))) if found else usual


def points_asked(request: str) -> list[str]:
    """Points that a request names: what it lists after a colon, else the things that it is about."""
    plain = re.sub(r"\s+", " ", _LIMIT.sub("", request)).strip()
    listed = re.search(r":\s*([^:]+)$", plain)
    topic = _TOPIC.search(plain)
    source = listed[1] if listed else _ASIDE.sub("", topic[1]) if topic else ""
    parts = (part.strip(" .?!;") for part in re.split(r",\s*(?:and\s+)?|;\s*|\s+and\s+", source))
    return [part for part in dict.fromkeys(parts) if 0 < len(_words(part)) <= 8][:12]


def statements(text: str) -> list[str]:
    """Sentences that state something, each with its citations; no headings, no table rows, no honest misses."""
    found = []
    for line in text.splitlines():
        if line.lstrip().startswith(("#", "|")):
            continue
        # a citation behind the stop belongs to the sentence before it
        inside = re.sub(rf"([.!?][*_]*)((?:{CITATION.pattern})+)", r"\2\1", line.strip(" -*•>\t"))
        found += re.split(r"(?<=[.!?])[*_]*\s+(?=\S)", inside)
    return [it for it in found if word_count(it) >= _MIN_WORDS and not it.endswith(":") and not _HONEST.search(it)]


def word_count(text: str) -> int:
    """Words that a reader counts: without citations and marks."""
    return len(re.findall(r"\w[\w'’.,-]*", CITATION.sub("", text)))


def _words(text: str) -> frozenset[str]:
    found = re.findall(r"[^\W\d_]\w+|\d+", CITATION.sub("", text).lower())
    return frozenset(word for word in found if word not in _STOP)


def _speaks_of(held: Collection[str], point: str) -> bool:
    """At least half of the point's words are there, in one form or another."""
    wanted = _words(point)
    hits = sum(any(_alike(word, other) for other in held) for word in wanted)
    return not wanted or hits * 2 >= len(wanted)


def _alike(one: str, other: str) -> bool:
    """The same word but for its ending, as `detect` and `detection`."""
    stem = max(4, min(len(one), len(other)) - 3)
    return one == other or (len(one) >= 4 and one[:stem] == other[:stem])


def _clipped(text: str) -> str:
    plain = CITATION.sub("", text).strip()
    return plain if len(plain) <= 120 else f"{plain[:119].rstrip()}…"
