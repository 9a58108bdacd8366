"""Rules that a help desk's reply keeps, as far as code can tell: sources, length, no promises, no personal data."""

import re
from collections.abc import Collection, Sequence

from graphs.checks import Checked, cited, short_enough

MAX_WORDS = 220

_PROMISE = re.compile(
    r"\b(?:we|i) (?:guarantee|promise|assure)\b|\b(?:we|i)(?: will|['’]ll) (?:refund|compensate|credit|pay)\b|"
    r"\byou (?:will|shall) (?:be refunded|get your money)\b",
    re.IGNORECASE,
)
_ASKS_SECRET = re.compile(
    r"\b(?:send|tell|give|share|confirm)\b[^.?!]{0,40}\b(?:password|passphrase|api key|secret|pin)\b", re.IGNORECASE
)
_EMAIL = re.compile(r"\b[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+\b")
_CARD = re.compile(r"\b(?:\d[ -]?){12,18}\d\b")


def check_reply(reply: str, shown_keys: Collection[str]) -> Checked:
    """The share of the rules that the reply keeps, and every breach as a sentence for whoever mends it."""
    sources = cited(reply, shown_keys)
    promise, secret = _PROMISE.search(reply), _ASKS_SECRET.search(reply)
    personal = _EMAIL.search(reply) or any(_is_card(number) for number in _CARD.findall(reply))
    rules: list[Sequence[str]] = [
        [] if reply.strip() else ["The reply is empty."],
        sources.defects if sources else [],
        short_enough(reply, MAX_WORDS).defects,
        [f"The reply promises something (“{promise[0]}”): say what the documents say instead."] if promise else [],
        [f"The reply asks for a secret (“{secret[0]}”): take that out."] if secret else [],
        ["The reply repeats personal data (an address or a card number): take it out."] if personal else [],
    ]
    kept = sum(not breaches for breaches in rules)
    return Checked(round(kept / len(rules), 3), tuple(breach for breaches in rules for breach in breaches))


def _is_card(number: str) -> bool:
    """Luhn's sum tells a card from any other long number."""
    digits = [int(it) for it in reversed(number) if it.isdigit()]
    doubled = [it if at % 2 == 0 else (2 * it - 9 if it > 4 else 2 * it) for at, it in enumerate(digits)]
    return len(digits) >= 13 and sum(doubled) % 10 == 0
