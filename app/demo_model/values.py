"""Plain values that a JSON schema allows: strings by `format` or `pattern`, numbers by bounds and multiples.

A pattern is met by a candidate from the text when one fits, else by the shortest string that a plain reading of the
regular expression gives: literals, classes, groups, alternatives, counts and anchors. What that cannot make is left.
"""

import math
import re
import string
from collections.abc import Iterable, Mapping
from datetime import datetime
from fractions import Fraction
from typing import Any

_FORMATS = {
    "date-time": (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)", "2024-01-01T00:00:00Z"),
    "date": (r"\d{4}-\d\d-\d\d", "2024-01-01"),
    "time": (r"\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d)", "00:00:00Z"),
    "duration": (r"P\d+D", "P1D"),
    "email": (r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", "someone@example.com"),
    "uri": (r"https?://\S+", "https://example.com/"),
    "url": (r"https?://\S+", "https://example.com/"),
    "hostname": (r"(?=.*\.)[a-z0-9-]+(?:\.[a-z0-9-]+)+", "example.com"),
    "ipv4": (r"\d{1,3}(?:\.\d{1,3}){3}", "127.0.0.1"),
    "ipv6": (r"[0-9a-f]*:[0-9a-f:]+", "::1"),
    "uuid": (r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", "00000000-0000-4000-8000-000000000000"),
}


def matching(kind: str | None, pattern: str | None, candidates: Iterable[str]) -> str | None:
    """A string of that format or pattern, or None when neither is asked for or can be met."""
    wanted, fallback = _FORMATS.get(kind or "", ("", ""))
    if not wanted and not pattern:
        return None
    for candidate in candidates:
        if has_format(kind or "", candidate) and (not pattern or _search(pattern, candidate)):
            return candidate
    if wanted:
        return fallback
    made = shortest(pattern or "")
    return made if _search(pattern or "", made) else None


def has_format(kind: str, text: str) -> bool:
    """Whether the text has that format; an unknown format is met by any text."""
    wanted = _FORMATS.get(kind, ("", ""))[0]
    return not wanted or (re.fullmatch(wanted, text) is not None and _exists(kind, text))


def _exists(kind: str | None, text: str) -> bool:
    """Dates must be in the calendar."""
    if kind not in ("date", "date-time"):
        return True
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _search(pattern: str, text: str) -> bool:
    try:
        return len(text) < 1000 and re.search(pattern, text) is not None
    except re.error:
        return False


def shortest(pattern: str) -> str:
    """About the shortest string that the pattern describes."""
    return _Reader(pattern).alternatives()


class _Reader:
    """Reads a regular expression and writes one string for it."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0

    def alternatives(self) -> str:
        """The first alternative, up to a closing bracket or the end; the others are read over."""
        made = self._sequence()
        while self._peek() == "|":
            self.at += 1
            self._sequence()
        return made

    def _sequence(self) -> str:
        made = ""
        while self.at < len(self.pattern) and self._peek() not in "|)":
            made += self._atom()
        return made

    def _peek(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def _atom(self) -> str:
        char = self._peek()
        self.at += 1
        if char in "^$":
            return ""
        if char == "(":
            piece = self._group()
        elif char == "[":
            piece = self._class()
        elif char == "\\":
            piece = self._escape()
        else:
            piece = "a" if char == "." else char
        return piece * self._count()

    def _group(self) -> str:
        looks = re.compile(r"\?(?:[:=!]|<[=!]|P?<\w+>)").match(self.pattern, self.at)
        if looks:
            self.at = looks.end()
        made = self.alternatives()
        self.at += 1
        return "" if looks and looks.group()[-1] in "=!" else made

    def _class(self) -> str:
        negated = self._peek() == "^"
        self.at += negated
        members = ""
        while self._peek() and (self._peek() != "]" or not members):
            char = self._peek()
            self.at += 1
            members += self._escape() if char == "\\" else char
            if self._peek() == "-" and self.pattern[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 2  # a range is met by its first member
                if negated:
                    members += _range(members[-1], self.pattern[self.at - 1])
        self.at += 1
        if negated:
            return next((c for c in string.ascii_letters + string.digits + "_-. " if c not in members), "a")
        return members[:1]

    def _escape(self) -> str:
        char = self._peek()
        self.at += 1
        return {"d": "0", "w": "a", "s": " ", "D": "a", "W": "-", "S": "a", "n": "\n", "t": "\t", "b": "", "B": "",
                "A": "", "Z": "", "z": ""}.get(char, char)  # fmt: skip

    def _count(self) -> int:
        found = re.compile(r"([*+?]|\{(\d+)?(?:,\d*)?\})[?+]?").match(self.pattern, self.at)
        if not found:
            return 1
        self.at = found.end()
        if found[1] in "*?":
            return 0
        return 1 if found[1] == "+" else int(found[2] or 0)


def _range(first: str, last: str) -> str:
    return "".join(chr(code) for code in range(ord(first), ord(last) + 1)) if ord(last) - ord(first) < 300 else ""


def numbers(text: str) -> list[float]:
    found = re.findall(r"(?<![\w.])-?\d{1,3}(?:,\d{3})+(?:\.\d+)?|(?<![\w.])-?\d+(?:\.\d+)?(?![\w-])", text)
    return [float(number.replace(",", "")) for number in found]


def bounds(schema: Mapping[str, Any], *, whole: bool) -> tuple[float | None, float | None]:
    """Lowest and highest value, both allowed."""
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if whole:
        low = None if low is None else math.ceil(low)
        high = None if high is None else math.floor(high)
    if isinstance(above, int | float) and not isinstance(above, bool):
        least = math.floor(above) + 1 if whole else math.nextafter(above, math.inf)
        low = least if low is None else max(low, least)
    if isinstance(below, int | float) and not isinstance(below, bool):
        most = math.ceil(below) - 1 if whole else math.nextafter(below, -math.inf)
        high = most if high is None else min(high, most)
    return low, high


def within(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


def allowed(value: float, low: float | None, high: float | None, step: float | None, whole: bool) -> bool:
    if whole and value != int(value):
        return False
    if step and (Fraction(str(value)) % Fraction(str(step))):
        return False
    return within(value, low, high)


def exactly(value: float, whole: bool) -> int | float:
    return int(value) if whole or value == int(value) else value


def nearest(low: float | None, high: float | None, step: float | None, whole: bool) -> int | float:
    """The allowed value nearest to 0; in an open interval of fractions, its middle."""
    value: float = 0
    if not within(0, low, high):
        value = low if low is not None and low > 0 else (high if high is not None else 0)
        if not whole and low is not None and high is not None and not step:
            value = low + (high - low) / 2
    if not step:
        return exactly(value, whole)
    unit = Fraction(str(step))
    if whole and unit.denominator != 1:
        unit = Fraction(unit.numerator)  # the least whole number that is a multiple of a fraction
    times = Fraction(str(value)) / unit
    whole_times = math.ceil(times) if value > 0 else math.floor(times)
    exact = whole_times * unit
    return int(exact) if exact.denominator == 1 else float(exact)
