"""Documents that one role hands to the next: a brief of questions, an outline of cited statements.

A brief is an object with a list of short texts that are asked for; an outline is one with a list of sections, each with
a heading and a list of texts. The first is read from the request alone, the second from the passages at hand.
"""

from collections.abc import Callable, Mapping
from typing import Any

from app.demo_model.answer import Found
from app.demo_model.conversation import Conversation
from app.demo_model.demands import audience, most_words
from app.demo_model.fill import Filler
from app.demo_model.followup import on_its_own
from app.demo_model.parts import Parts, take_apart
from app.demo_model.titles import title_of
from app.demo_model.words import joined, word_set

_ASKED = word_set("questions points topics aspects requirements")
_SECTIONS = word_set("sections chapters parts blocks")
_HEADINGS = word_set("heading title name label")
_TOLD = word_set("statements claims sentences facts points bullets")
_MOST_PER_SECTION = 4


class Papers:
    """Fills briefs and outlines from one conversation; anything else it leaves alone."""

    def __init__(self, conversation: Conversation, found: Callable[[], Found]) -> None:
        self._conversation, self._found = conversation, found

    def brief(self, filler: Filler, schema: Mapping[str, Any]) -> dict[str, Any] | None:
        """An object with a list of texts that are asked for, and a title or a length."""
        fields: Mapping[str, Any] = schema.get("properties") or {}
        asked = next((name for name, inner in fields.items() if name in _ASKED and _texts(filler, inner)), "")
        if not asked or not (set(fields) - {asked}) & word_set("title audience max_words words length reader"):
            return None
        parts = take_apart(on_its_own(self._conversation))
        made: dict[str, Any] = {asked: list(parts.questions), "title": _title(parts)}
        for name in ("audience", "reader"):
            made[name] = audience(self._conversation.request) or "general readers"
        for name in ("max_words", "words", "length"):
            made[name] = most_words(self._conversation.request) or 250
        return {name: value for name, value in made.items() if name in fields}

    def outline(self, filler: Filler, schema: Mapping[str, Any]) -> dict[str, Any] | None:
        """An object with a list of sections: one for each part of the question, with what the passages say to it."""
        for name, inner in (schema.get("properties") or {}).items():
            item = filler.plain(filler.plain(inner).get("items"))
            fields: Mapping[str, Any] = item.get("properties") or {}
            heading = next((it for it in fields if it in _HEADINGS), "")
            told = next((it for it in fields if it in _TOLD and _texts(filler, fields[it])), "")
            if name in _SECTIONS and heading and told:
                return {name: [{heading: title, told: said} for title, said in self._sections()]}
        return None

    def _sections(self) -> list[tuple[str, list[str]]]:
        found = self._found()
        parts = found.parts
        made = []
        for at, question in enumerate(parts.questions):
            said = [sentence.cited for sentence in found.chosen[at][:_MOST_PER_SECTION]]
            title = parts.things[at] if parts.things else title_of(question).removesuffix(" in brief")
            made.append((_capital(title), said))
        across = [sentence.cited for sentence in found.across]
        return [*([("All of them", across)] if across else []), *made]


def _texts(filler: Filler, schema: Any) -> bool:
    """True for a list of strings."""
    plain = filler.plain(schema)
    return plain.get("type") == "array" and filler.plain(plain.get("items")).get("type") == "string"


def _title(parts: Parts) -> str:
    return _capital(joined(parts.things)) if parts.things else title_of(parts.question)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
