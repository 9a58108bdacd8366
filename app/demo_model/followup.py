"""Follow-up questions: what `the second one`, `it` and `and the cost?` lean on."""

import re

from app.demo_model.conversation import Conversation
from app.demo_model.parts import about, as_question, is_clause, subject_of, to_look_up
from app.demo_model.words import joined

_ORDINALS = {"first": 0, "former": 0, "second": 1, "latter": 1, "third": 2, "fourth": 3, "last": -1}


ORDINAL = re.compile(rf"\bthe ({'|'.join(_ORDINALS)})\b(?: one)?", re.I)


def leaned_on(conversation: Conversation) -> str:
    """What a follow-up leans on: the earlier question, or the thing of it that `the second one` means."""
    things = to_look_up(conversation.background).things if conversation.background else ()
    found = ORDINAL.search(conversation.question)
    at = _ORDINALS[found[1].lower()] if found else 0
    return things[at] if found and at < len(things) else conversation.background


def standing_alone(conversation: Conversation) -> str:
    """The question without the words that only point back, and without addresses, which only say where to look."""
    question = without_addresses(conversation.question)
    return ORDINAL.sub(" ", question) if conversation.background else question


_ADDRESS = re.compile(r"\s*(?:,?\s*(?:says?|on|at|from|in|of|does|according to)(?: the page)?)?\s*https?://\S+", re.I)


def without_addresses(text: str) -> str:
    """The question with nothing in it but words; all of it when there is nothing else."""
    plain = re.sub(r"\s+([?.!])", r"\1", _ADDRESS.sub("", text)).strip()
    return plain if re.search(r"\w{3}", plain) else text


_PRONOUN = re.compile(r"\b(?:it|they|them|this|that|these|those)\b", re.I)


def on_its_own(conversation: Conversation) -> str:
    """The question as somebody can read it who has not seen the conversation."""
    question = conversation.question
    if not conversation.background:
        return question
    things = to_look_up(conversation.background).things
    thing = leaned_on(conversation)
    if thing == conversation.background:
        thing = joined(things) or subject_of(thing) or thing.rstrip("?. ")
    plain = re.sub(r"^(?:(?:and|or|but|also)\s+)?(?:(?:what|how) about\s+)?", "", question, flags=re.I)
    for pattern in (ORDINAL, _PRONOUN):
        if pattern.search(plain):
            return as_question(pattern.sub(lambda _: thing, plain, count=1))
    plain = f"{plain.rstrip('?. ')}, with regard to {thing}"
    return as_question(plain) if is_clause(plain) else about(plain)
