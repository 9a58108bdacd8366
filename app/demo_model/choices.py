"""Choices: of texts, the one whose cited statements answer most directly; of people, whose field it is."""

import re
from collections.abc import Mapping
from typing import Any

from app.demo_model.conversation import Conversation
from app.demo_model.evidence import claims_in, rank
from app.demo_model.fill import Filler
from app.demo_model.question import Question
from app.demo_model.words import clipped, content_stems, word_set

_CHOSEN = word_set("best winner chosen choice preferred pick")
_REASONS = word_set("reason reasoning rationale explanation why")
_OPTION = re.compile(r"^(?:proposal|option|candidate)\s+([A-Z0-9]{1,2})\s*:[ \t]*$", re.M | re.I)
_REST = re.compile(r"^passages:", re.M | re.I)


def choice(conversation: Conversation, filler: Filler, schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """An object that names one of the labelled texts of the request, `Proposal A:` and so on."""
    fields: Mapping[str, Any] = schema.get("properties") or {}
    named = next((name for name in fields if name.lower() in _CHOSEN), "")
    options = labelled(conversation.request)
    if not named or len(options) < 2 or filler.plain(fields[named]).get("type") != "string":
        return None
    asked = Question(conversation.question)
    direct = {label: rank(asked, claims_in(text))[:1] for label, text in options.items()}
    # of equals the first: a later one says nothing more
    best = max(options, key=lambda label: direct[label][0].score if direct[label] else -1.0)
    said = direct[best][0].sentence.text if direct[best] else ""
    told = f"It holds the most direct statement: “{clipped(said, 160)}”" if said else "None of them cites anything."
    return {named: best} | {name: told for name in fields if name.lower() in _REASONS}


def labelled(text: str) -> dict[str, str]:
    """Label -> the text below it."""
    body = text[: rest.start()] if (rest := _REST.search(text)) else text
    heads = list(_OPTION.finditer(body))
    ends = [*(head.start() for head in heads[1:]), len(body)]
    return {head[1]: body[head.end() : end].strip() for head, end in zip(heads, ends, strict=False)}


def better_placed(question: str, own: str, fields: Mapping[str, str]) -> str:
    """Who of `fields`, name -> what belongs to them, knows more of the question than one's `own` field does."""
    asked = content_stems(question)
    fits = {name: len(content_stems(field) & asked) for name, field in fields.items()}
    best = max(fits, key=lambda name: fits[name], default="")
    return best if best and fits[best] > len(content_stems(own) & asked) else ""
