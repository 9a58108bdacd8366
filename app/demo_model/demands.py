"""What a request demands beside an answer: how long it is, for whom, and what is to be done as well."""

import re

from app.demo_model.program import program_in

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

_DEED = re.compile(
    r"(?:\A|(?<=[.?!]))\s*((?:(?:and|then|also|please)[, ]+)*(?:save|store|keep|send|remember|write down)\s+\S.*)\Z",
    re.IGNORECASE | re.DOTALL,
)

_PROGRAM = re.compile(
    r"(?:\A|[,.;?!]?\s+(?:and|then|also)(?:\s+also)?\s+|[.;?!]\s+)"
    r"((?:plot|draw|chart|sketch|simulate|visuali[sz]e|compute|throw|roll|flip)\s+\S.*)\Z",
    re.IGNORECASE | re.DOTALL,
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


def with_deed(text: str) -> tuple[str, str]:
    """What is asked, and what is to be done: `How does X work? Save a note: Y.` -> both sentences apart.

    To be done is also what a program can do, as in `What is X, and plot sin(x)`.
    """
    if found := _DEED.search(text):
        return text[: found.start()].strip(), found[1].strip()
    for found in _PROGRAM.finditer(text):
        if program_in(found[1]):
            return text[: found.start()].strip(), found[1].strip()
    return text, ""
