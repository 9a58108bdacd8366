"""A question as weighted stems: what it is about, what it names, and what kind of answer it wants."""

import re
from functools import cached_property

from app.demo_model.words import WEAK, content_stems, content_words, stem, words

NAMED = 1.8
"""Weight of a name, an identifier or a quoted word over another content word."""

_KINDS = (
    ("difference", r"\b(differ\w*|compar\w+|versus|vs|contrast|distinguish\w*|better|trade-?offs?)\b"),
    ("number", r"\bhow (many|much|long|often|large|big|old|far|fast|high|hot|deep)\b"),
    ("figure", r"\b(percentage|number|amount|size|limit|price|cost|fee|rate|temperature|default|period|duration|"
               r"timeout|deadline|port|age|dose|weight|rent|salary|deposit|total|penalty|maximum|minimum)\b"),
    ("why", r"\bwhy\b|\breasons?\b|\bcauses?\b"),
    ("when", r"\bwhen\b|\bwhat (date|year|day|time)\b|\bdeadline\b|\bunder what\b"),
    ("who", r"\bwho(m|se)?\b"),
    ("where", r"\bwhere\b"),
    ("how", r"\bhow (do|does|can|should|is|are|to|did)\b|\bsteps?\b"),
    ("define", r"\bwhat(?: is|'s| are| does .* mean)\b|\bdefin\w+\b|\bmeaning of\b|\bexplain\b|\bdescribe\b"),
)  # fmt: skip


class Question:
    """What is asked, as weighted stems.

    `Thing: this and that` asks for this and that of the thing, which an answer must be about.
    """

    def __init__(self, text: str, background: str = "") -> None:
        self.text = text
        self.background = background
        thing, colon, aspects = re.sub(r"^what is known about\b", "", text, flags=re.I).partition(": ")
        self.focus = content_stems(thing) if colon and aspects.strip() else frozenset()
        lower = text.lower()
        self.kinds = [kind for kind, pattern in _KINDS if re.search(pattern, lower)]
        if self.focus and "define" in self.kinds:
            self.kinds.remove("define")

    @cached_property
    def terms(self) -> dict[str, float]:
        """Stem -> weight, before rarity."""
        named = _named(self.text)
        terms = {stem(w): _importance(w, named) for w in content_words(self.text)}
        for word in content_words(self.background):
            terms.setdefault(stem(word), 0.6)
        return terms

    @cached_property
    def names(self) -> frozenset[str]:
        """Stems of what it calls by name."""
        return _named(self.text) & frozenset(self.terms)

    @cached_property
    def subject(self) -> str:
        """The thing a direct answer would begin with, as in `What is a write-ahead log?`."""
        found = _SUBJECT.search(self.text)
        return re.sub(r"\s+(?:do|work|mean|differ|used|for)$", "", found[1].strip().lower()) if found else ""


_SUBJECT = re.compile(
    r"\b(?:what is known about|what(?:'s| is| are| does| do)|how (?:does|do|is|are)|why (?:does|do|is|are)|define|"
    r"explain|describe|about)\s+(?:an?\s+|the\s+)?([^?.,;:]+)",
    re.I,
)


def _importance(word: str, named: frozenset[str]) -> float:
    if stem(word) in named:
        return NAMED
    return 0.4 if word.lower() in WEAK else 1.0


def _named(text: str) -> frozenset[str]:
    """Stems of names: capitals inside a sentence, identifiers, acronyms, quoted words."""
    found: set[str] = set()
    for match in re.finditer(r"[\w-]+", text):
        word = match.group()
        inside = match.start() > 0 and not re.search(r"[.!?:]\s*$", text[: match.start()])
        capital = word[0].isupper() and (inside or word[1:].lower() != word[1:])
        if capital or "_" in word or (any(c.isdigit() for c in word) and any(c.isalpha() for c in word)):
            found.update(stem(part) for part in words(word))
    for quoted in re.findall(r"[\"“'‘`]([^\"”'’`]{2,60})[\"”'’`]", text):
        found.update(content_stems(quoted))
    return frozenset(found)
