"""Values read from text: what fields of a schema are filled from, by the names of the fields."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from app.demo_model.titles import title_of
from app.demo_model.words import clipped, words


@dataclass
class Clues:
    """What values are read from."""

    text: str
    """The person's words, and whatever text came with them."""
    background: str = ""
    """System prompt: describes options, is never quoted as a value."""
    answer: Callable[[], str] = lambda: ""
    """The answer to the question, for fields that ask for one; made when needed."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Values already known by field name, such as a search query."""


USUAL = {"limit": 5, "k": 5, "top_k": 5, "num_results": 5, "max_results": 5, "page_size": 10, "page": 1, "offset": 0}
"""What callers put into fields that steer a search, rather than a number that happens to be in the question."""


def words_of(name: str) -> list[str]:
    return words(re.sub(r"([a-z])([A-Z])", r"\1 \2", name).replace("_", " ").lower())


def _email(clues: Clues) -> str:
    found = re.search(r"[\w.+-]{1,64}@[\w-]+\.[\w.-]+\w", clues.text)
    return found[0] if found else ""


def _url(clues: Clues) -> str:
    found = re.search(r"https?://[^\s<>\"')]+[^\s<>\"').,;]", clues.text)
    return found[0] if found else ""


def _date(clues: Clues) -> str:
    found = re.search(r"\b\d{4}-\d{2}-\d{2}(?:T[\d:.+Z-]+)?", clues.text)
    return found[0] if found else ""


def _code(clues: Clues) -> str:
    found = re.search(r"```\w*\n(.*?)```|`([^`]+)`", clues.text, re.S)
    return (found[1] or found[2]).strip() if found else ""


_DICTATED = re.compile(
    r"\b(?:note|save|remember|record|write (?:down|to)|say|says|saying|tell|text|message|reads?)\b[^:\n]{0,60}?"
    r"(?::|\bthat\b(?:\s+says\b)?)\s+(\S.*)",
    re.I | re.S,
)
_TITLED = re.compile(
    r"\b(?:titled|entitled|headed|note (?:called|named))\s+"
    r"(?:[\"“]([^\"”\n]{1,80})[\"”]|([A-Z][\w-]*(?:\s+[A-Z][\w-]*)*))"
)


def dictated(text: str) -> str:
    """What is to be written: `save a note: the rent is due` -> `the rent is due`."""
    found = _DICTATED.search(text[:4000])
    return found[1].strip() if found and len(found[1].split()) > 1 else ""


def titled(text: str) -> str:
    """The title that is asked for: `a note titled Budget that says ...` -> `Budget`."""
    found = _TITLED.search(text[:4000])
    return (found[1] or found[2]).strip() if found else ""


def _whole(clues: Clues) -> str:
    return clipped(clues.text, 2000)


READINGS: tuple[tuple[frozenset[str], Callable[[Clues], str]], ...] = (
    (frozenset(("email", "mail")), _email),
    (frozenset(("url", "link", "uri", "website")), _url),
    (frozenset(("date", "day", "deadline", "due")), _date),
    (frozenset(("code", "script", "sql", "program")), _code),
    (
        frozenset(
            ("answer", "summary", "response", "content", "result", "conclusion", "text", "body", "report", "draft")
        ),
        lambda clues: clues.answer() or dictated(clues.text),
    ),
    (
        frozenset(("title", "subject", "headline", "label")),
        lambda clues: titled(clues.text) or title_of(dictated(clues.text) or clues.answer() or clues.text),
    ),
    (frozenset(("message", "prompt", "instruction", "instructions", "input", "request", "task", "goal")), _whole),
)


def quoted(text: str) -> list[str]:
    """What stands in quotation marks."""
    found = re.findall(
        r"\"([^\"\n]{1,300})\"|“([^”\n]{1,300})”|(?<!\w)['‘]([^'’\n]{1,300})['’](?!\w)|「([^」]{1,300})」", text
    )
    return [next(part for part in groups if part).strip() for groups in found]


def described(option: str, text: str) -> str:
    """What a list of options says about one: `- billing: invoices and refunds`, `billing (invoices and refunds)`."""
    name = r"[\s_-]".join(map(re.escape, re.split(r"[_\s-]+", option)))
    found = re.findall(rf"(?:^|[-*•`'\";,(:]|\n)\s*{name}[`'\"*]*\s*(?:[:=–—-]|\()\s*([^\n;)]+)", text, re.I)
    return " ".join(found)
