"""Short labels: two to five words that say what a question is about."""

import re

from app.demo_model.arithmetic import expression_in
from app.demo_model.parts import AUXILIARIES, POLITE
from app.demo_model.words import STOP, content_words

_TITLE_HEAD = re.compile(
    r"^(?:what(?:'s| is| are| was| were| do| does| happens (?:if|when|to))?|"
    r"how(?: do| does| can| should| to| are| is| did| many| much| long)?|"
    r"why(?: is| are| do| does)?|when(?: is| are| do| does| should)?|where(?: is| are| do| does)?|who(?: is| are)?|"
    r"which|can|could|does|do|is|are|should|explain|describe|define|compare|list|summari[sz]e|tell me about|give me|"
    r"find|show me|research|write)\b\s*(?:known about\s+)?(?:(?:i|we|you|one|me|us)\s+)?(?:an?\s+|the\s+)?",
    re.IGNORECASE,
)


def title_of(question: str) -> str:
    """Two to five words for a label, sentence case."""
    text = POLITE.sub("", " ".join(question.split()))
    text = re.sub(r"^(?:explain|describe)\s+(?=how\b)", "", text, flags=re.I)
    if expression_in(question):
        return "The calculation"
    if found := re.match(r"what is known about (.{1,60}?): (?:.*\bin )?(\w+)", text, re.I):
        text = f"{found[1]} in practice" if found[2] == "practice" else f"{found[2]} of {found[1]}"
    elif found := re.match(r"how (does|do) (.{1,60}?) work\b", text, re.I):
        text = f"How {found[2]} work{'s' if found[1].lower() == 'does' else ''}"
    elif found := re.match(rf"how many (.+?) (?:{AUXILIARIES})\b", text, re.I):
        text = f"Number of {found[1]}"
    elif found := re.match(rf"(?:what|which) ((?:\w+ ){{1,4}}?)(?:{AUXILIARIES})\b", text, re.I):
        text = found[1]
    elif not re.match(rf"how (?!(?:{AUXILIARIES}|to|long|many|much|often|far|fast|large|big|old)\b)", text, re.I):
        text = re.split(r"[?!;:]|\.(?:\s|$)|,? and (?:how|what|why|when|which)\b", text)[0]
        text = _TITLE_HEAD.sub("", text).strip(" ,.")
    return _short(text) or _short(" ".join(content_words(question)[:4])) or "The question"


def _short(text: str) -> str:
    tokens = text.strip(" ?.!").split()
    if len(tokens) > 5:
        text = re.sub(r"^(\w+) and \w+ (?=of )", r"\1 ", " ".join(tokens))
        tokens = text.split()
    if len(tokens) > 5:
        tokens = [token for token in tokens if token.lower() not in ("a", "an", "the")][:5]
    while tokens and tokens[-1].lower().strip(",") in STOP - {"works", "work"}:
        tokens.pop()
    if not tokens:
        return ""
    if not tokens[0].isascii():
        return " ".join(tokens)[:24]
    if len(tokens) == 1:
        tokens += ["in", "brief"]
    title = " ".join(tokens).strip(",")
    return title[:1].upper() + title[1:] if tokens[0].islower() else title
