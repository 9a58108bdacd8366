"""What a request demands of the form of a text, which is no part of what the text is about: how long, for whom."""

import re

_WORDS = re.compile(
    r",?\s*\b(?:(?:in|of|with|using)\s+)?(?:at most|up to|no more than|not more than|under|below|within|in|about|"
    r"max(?:imum)?(?: of)?)\s+(\d[\d,]{0,6})\s+words?\b",
    re.IGNORECASE,
)
_AUDIENCE = re.compile(
    r"\b(text|guide|briefing|brief|note|introduction|summary|report|memo|overview|page|article|paragraph)\s+"
    r"for\s+((?:[\w'’-]+\s+){1,5}?)(?=(?:on|about|of|to)\b)",
    re.IGNORECASE,
)


def most_words(text: str) -> int | None:
    """Longest text asked for, in words; None when nothing is said of it."""
    found = _WORDS.search(text)
    return int(found[1].replace(",", "")) if found else None


def audience(text: str) -> str:
    """For whom the text is; empty when nothing is said of it."""
    found = _AUDIENCE.search(text)
    return found[2].strip() if found else ""


def without_demands(text: str) -> str:
    """The request without them."""
    return _AUDIENCE.sub(r"\1 ", _WORDS.sub("", text)).strip()
