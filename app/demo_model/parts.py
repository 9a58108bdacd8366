"""A question taken apart: the things it names, one whole question for each, and whether they are compared.

By grammar alone: lists, `compare`, `versus`, questions joined by `and`, bullet points, `overview of`. A question in
which nothing of the kind is found has one part, itself.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from app.demo_model.words import STOP, content_words, joined, word_set

MOST = 6

_ASK = r"(?:what|how|why|when|where|who|which|whose|can|could|does|do|did|is|are|should|will|must)"
POLITE = re.compile(
    r"^(?:(?:hi|hello|hey|ok|okay|so|well|please|and)\b[,.! ]*)*(?:(?:can|could|would|will) you(?: please)?"
    r"(?=\s+(?:tell|explain|compare|describe|give|show|list|summari[sz]e|define|find|research|write|say|help)\b)|"
    r"(?:i(?:'d| would) like to (?:know|understand)|i (?:want|need) to (?:know|understand)|do you know|tell me|"
    r"let me know|help me understand|please)\b[,:]?\s+)?(?:please\s+)?",
    re.IGNORECASE,
)
_IDIOMS = re.compile(
    r"\b(pros and cons|terms and conditions|trial and error|research and development|supply and demand|"
    r"health and safety|salt and pepper|search and replace|read and write|drag and drop|client and server|"
    r"black and white|do's and don'ts|back and forth|up and down|by and large|more and more|profit and loss|"
    r"law and order|rock and roll|wear and tear|mac and cheese|q and a|r and d|each and every|if and when)\b",
    re.IGNORECASE,
)
_TAIL = (
    r"(?:in terms of|with respect to|with regard to|regarding|concerning|in|for|of|on|when|by|during|under|at|within|"
    r"inside|across|to|from|that|which|while|if|as|using|based on)"
)
_GLUE = "\u2060"
"""Stands for a blank that must not be split at; no blank to `\\s`."""
_COMPARE = (
    re.compile(r"^(?:compare|contrast|comparison of|a comparison of)\s+(?P<list>.+)$", re.I),
    re.compile(
        r"\b(?:differences?|distinctions?|trade-?offs?|comparison|choice) (?:between|of|among)\s+(?P<list>.+)$",
        re.I,
    ),
    re.compile(r"^how (?:do|does|are|is|did)\s+(?P<list>.+?)\s+(?:differ|compare|different)\b(?P<tail>.*)$", re.I),
    re.compile(
        r"\b(?:which|what|who) (?:one )?(?:is|are|works|scales|performs|costs|fits) [\w ]{0,40}?(?:better|best|faster|"
        r"cheaper|safer|more \w+|less)[^:,]*[:,]\s*(?P<list>.+?)$",
        re.I,
    ),
    re.compile(
        r"\b(?:should|do|shall|can) (?:i|we|you|one) (?:rather )?(?:use|choose|pick|prefer|take|go with|buy|need)\s+"
        r"(?P<list>.+? or .+)$",
        re.I,
    ),
    re.compile(r"^(?P<list>.+?\s+(?:vs\.?|versus)\s+.+)$", re.I),
    re.compile(r"^how does (?P<list>.+? compare (?:to|with) .+)$", re.I),
    re.compile(r"^(?:is|are) (?P<list>.+? (?:better|faster|cheaper|safer|slower|stronger) than .+)$", re.I),
)
_BETWEEN = re.compile(
    r",?\s+(?:vs\.?|versus|compared? (?:to|with)|(?:better|faster|cheaper|safer|slower|stronger) than)\s+", re.I
)
_OVERVIEW = re.compile(
    r"^(?:(?:give|write|make|prepare|create|do|provide|draft)\s+(?:me |us )?)?(?:an?\s+|the\s+|some\s+)?(?:\w+\s+)?"
    r"(?:overview|survey|introduction|guide|primer|report|deep dive|briefing|brief|research|everything|all there is)"
    r"(?:\s+(?:of|to|on|about|into))?\s+(?P<thing>.+)$",
    re.I,
)
_LIST_HEAD = re.compile(
    r"^(?P<head>what(?:'s| is| are| was| were| does| do)|how(?: (?:do|does|can|should|did|to|are|is))?|explain|"
    r"describe|define|summari[sz]e|list|discuss|research|about|who (?:is|are|was|were)|when (?:is|are)|"
    r"where (?:is|are)|why (?:is|are|do|does))\s+(?P<rest>.+)$",
    re.I,
)
_VERBS = word_set(
    """work works handle handles differ interact relate behave scale help helps affect store stores use uses do does
    make makes mean means cost need apply happen compare fit prevent prevents protect support supports deal run react
    get gets become becomes influence look know say says have has"""
)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a question asks for, part by part."""

    question: str
    questions: tuple[str, ...]
    """One whole sentence for each part; the question itself when there is one part."""
    things: tuple[str, ...] = ()
    """The thing that each part is about, when the parts are things; as many as `questions`."""
    compared: bool = False
    tail: str = ""
    """What the things are asked about, as in ` for small teams`; starts with a blank or is empty."""
    aspects: bool = False
    """Whether the parts are aspects of one thing, of which an overview was asked."""

    @property
    def several(self) -> bool:
        return len(self.questions) > 1

    @property
    def comparing_question(self) -> str:
        return f"How do {joined(self.things)} differ{self.tail}?"


def take_apart(text: str) -> Parts:
    """Parts of a question, at most six."""
    whole = " ".join(text.split())
    plain = POLITE.sub("", whole).strip() or whole
    asked = re.sub(r"^(?:explain|describe)(?: to me)?\s+(?=(?:how|what|why|when|where|who)\b)", "", plain, flags=re.I)
    for read in (_bullets, _overview, _sentences, _compared, _clauses, _listed):
        if (found := read(text if read is _bullets else asked)) and found.several:
            return Parts(whole, found.questions[:MOST], found.things[:MOST], found.compared, found.tail, found.aspects)
    return Parts(whole, (as_question(plain),))


def to_look_up(text: str) -> Parts:
    """Parts for one reader: an overview starts from the thing itself."""
    parts = take_apart(text)
    return Parts(parts.question, parts.questions[:1]) if parts.aspects else parts


def as_question(text: str) -> str:
    """A whole sentence: capital first, ended."""
    text = text.strip().rstrip(",;:")
    text = text[:1].upper() + text[1:]
    if text.endswith((".", "!", "。", "？")):
        return text
    return text.rstrip("?") + ("?" if re.match(rf"{_ASK}\b", text, re.I) or not text.isascii() else ".")


def _bullets(text: str) -> Parts | None:
    lines = re.findall(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+(\S.*)$", text, re.MULTILINE)
    if len(lines) < 2:
        return None
    asked = tuple(as_question(line) if is_clause(line) else about(line.strip(" .;,")) for line in lines)
    return Parts(text, asked)


def is_clause(text: str) -> bool:
    return bool(re.match(rf"\s*(?:{_ASK}|explain|describe|define|compare|list)\b", text, re.I))


def _sentences(text: str) -> Parts | None:
    """Several questions one after another; statements among them are background."""
    asked = [found.strip() for found in re.findall(r"[^.?!]*(?:[.](?=\w)[^.?!]*)*\?", text)]
    asked = [question for question in asked if content_words(question)]
    if len(asked) < 2:
        return None
    return Parts(text, _without_pronouns(asked))


AUXILIARIES = "is|are|was|were|do|does|did|can|could|should|will|would|must|has|have"
_COMPLETE = re.compile(
    rf"(?!.*\beach\b)(?:(?:how|why|when|where|who) (?:{AUXILIARIES})\b.|(?:what|which|who|whose)(?: \S+){{2,}}|"
    rf"how (?:many|much|long|often|\w+) \S+|(?:{AUXILIARIES}) \S+ \S+)",
    re.I,
)


def _clauses(text: str) -> Parts | None:
    """`What is X and how does it fail?`"""
    pieces = re.split(
        rf"\s*[,;]?\s+(?:and|and also|but|;)\s+(?={_ASK}\b(?!\s+(?:each|it|they|to)\b\s*\w*[?.]?$))", text
    )
    pieces = [piece for piece in pieces if piece.strip()]
    if len(pieces) < 2 or not is_clause(pieces[0]) or not all(_COMPLETE.match(piece) for piece in pieces[1:]):
        return None
    asked = _without_pronouns(pieces)
    return Parts(text, asked) if all(len(content_words(question)) > 0 for question in asked) else None


def _without_pronouns(asked: Sequence[str]) -> tuple[str, ...]:
    """Each question understandable alone: `it` becomes what the first one asked about."""
    thing = _pronoun_stands_for(subject_of(asked[0])) or _last_thing(asked[0])
    whole = [as_question(asked[0].rstrip(" ,;"))]
    for question in asked[1:]:
        question = question.strip(" ,;")
        if thing and len(thing.split()) <= 6:
            question = re.sub(r"\b(it|they|them)\b", thing, question, count=1)
            question = re.sub(r"\b(?:its|their) (\w+)", rf"the \1 of {thing}", question, count=1)
            if re.search(r"\bone\??$", question):
                question = re.sub(r"\bone(\??)$", rf"{thing}\1", question)
        whole.append(as_question(question))
    return tuple(whole)


def _last_thing(question: str) -> str:
    """`Is it safe to eat raw eggs` -> `raw eggs`."""
    tokens = question.strip(" ?.!,;").split()
    return " ".join(word for word in tokens[-2:] if word.lower() not in STOP)


def _pronoun_stands_for(subject: str) -> str:
    """`the maximum size of a table` -> `a table`: one goes on asking about the thing, not about its property."""
    found = re.search(r" of ((?:an?|the) .+)$", subject)
    return found[1] if found else subject


def subject_of(question: str) -> str:
    """What a question is about, with its article: `an idempotency key`."""
    text = question.strip(" ?.!")
    found = re.match(
        r"(?:what(?:'s| is| are| was| were)|who (?:is|was|are)|explain|describe|define|how (?:do|does|can|is|are)|"
        r"why (?:do|does|is|are)|when (?:do|does|is|are)|where (?:do|does|is|are))\s+(?P<thing>.+)$",
        text,
        re.I,
    )
    thing = found["thing"] if found else ""
    thing = re.split(rf"\s+(?:{'|'.join(sorted(_VERBS))})\b", thing)[0]
    return thing.strip() if content_words(thing) else ""


def _compared(text: str) -> Parts | None:
    for pattern in _COMPARE:
        found = pattern.search(text.rstrip(" ?.!"))
        if not found:
            continue
        listed = found["list"]
        if pattern is _COMPARE[0] and not re.search(r",|\band\b|\bor\b", listed):
            listed = re.sub(r"\s+(?:with|to|against)\s+", ", ", listed, count=1)
        things, tail = _items(listed, found.groupdict().get("tail") or "", compared=True)
        if len(things) > 1:
            asked = tuple(f"What is known about {thing}{_each(tail)}?" for thing in things)
            return Parts(text, asked, tuple(things), True, tail)
    return None


def _each(tail: str) -> str:
    """The tail as said of one thing."""
    return re.sub(r"\b(when|how|why|where) (?:each|they|both)(?: one)?\b", r"\1 it", tail)


def _items(listed: str, tail: str = "", *, compared: bool = False, verb_follows: bool = False) -> tuple[list[str], str]:
    """Things in `A, B and C`, and what follows the last one."""
    listed, colon, criteria = listed.partition(":")
    if colon:
        tail = f": {criteria.strip()}"
    else:
        dash = re.split(r"\s+[-–—]\s+", listed, maxsplit=1)
        if len(dash) == 2:
            listed, tail = dash[0], f": {dash[1].strip()}"
    listed = re.sub(r"^(?:both |these |either )+", "", listed.strip(), flags=re.I)
    listed = _BETWEEN.sub(", ", listed)
    pieces = _split_list(listed)
    if len(pieces) < 2:
        return [], tail
    last, more = _cut_tail(pieces[-1], pieces[:-1], compared, verb_follows)
    things = _shared_head([*pieces[:-1], last])
    if any(not _is_thing(thing) for thing in things):
        return [], tail
    return [_unhide(thing) for thing in things], _unhide(_said(more, tail))


def _shared_head(things: list[str]) -> list[str]:
    """`the costs of agents`, `teams` -> `the costs of agents`, `the costs of teams`."""
    head = re.match(r"((?:the )?\w+s of )(?=\w)", things[0], re.I)
    if head and not any(" of " in thing for thing in things[1:]):
        return [things[0], *(head[1] + thing for thing in things[1:])]
    return things


def _said(more: str, tail: str) -> str:
    parts = [part for part in (more.strip(), tail.strip()) if part]
    text = " ".join(parts).rstrip(" ?.!,")
    return (text if text.startswith(":") else f" {text}") if text else ""


def _split_list(text: str) -> list[str]:
    text = _IDIOMS.sub(lambda found: found[0].replace(" ", _GLUE), text)
    pieces = re.split(r"\s*(?:,\s*(?:and|or)\s+|,\s+|\s+(?:and|or|&)\s+)", text)
    return [piece.strip() for piece in pieces if piece.strip()]


def _unhide(text: str) -> str:
    return text.replace(_GLUE, " ")


def _cut_tail(last: str, others: Sequence[str], compared: bool, verb_follows: bool) -> tuple[str, str]:
    """The last thing apart from what follows it: `C for small teams` -> `C`, `for small teams`."""
    tokens = last.split()
    longest = max(len(other.split()) for other in others)
    for at in range(1, len(tokens)):
        word = tokens[at].lower().strip(",")
        if re.fullmatch(_TAIL.replace(" ", "_"), word) or (word in _VERBS and not compared):
            return " ".join(tokens[:at]), " ".join(tokens[at:])
        if (word == "with" and longest == 1) or (verb_follows and at >= longest):
            return " ".join(tokens[:at]), " ".join(tokens[at:])
    return last, ""


def _is_thing(text: str) -> bool:
    """A short noun phrase, as far as that can be told."""
    tokens = text.split()
    if not 0 < len(tokens) <= 7 or not content_words(text):
        return False
    first = re.sub(r"^(?:an?|the)\s+", "", text.lower()).split()[0]
    return not (re.fullmatch(_ASK, first) or (first in STOP and first not in ("no", "self", "main")))


def _listed(text: str) -> Parts | None:
    """`How do A, B and C handle load?`, `What are the rights and duties of a tenant?`"""
    found = _LIST_HEAD.match(text.rstrip(" ?.!"))
    if not found:
        return None
    head, rest = found["head"].lower(), found["rest"]
    things, tail = _items(rest, verb_follows=head.split()[0] in ("how", "why", "when", "where"))
    if len(things) == 2 and not re.search(r"\b(?:and|or)\b|&", rest):
        return None  # "San Francisco, CA" is one thing
    if len(things) < 2 or (len(things) == 2 and any(len(t.split()) > 6 for t in things)):
        return None
    if len({thing.lower() for thing in things}) < len(things):
        return None
    return Parts(text, tuple(_ask_about(head, thing, tail) for thing in things), tuple(things), False, tail)


def _ask_about(head: str, thing: str, tail: str) -> str:
    article = "the " if tail.startswith(" of ") else ""
    if article:
        thing = re.sub(r"^the\s+", "", thing, flags=re.I)
    many = is_plural(thing)
    if head.startswith("how"):
        verb = head.split()[1] if " " in head else "do"
        if verb in ("do", "does"):
            return f"How {'do' if many else 'does'} {thing}{tail}?"
        if verb in ("are", "is"):
            return f"How {'are' if many else 'is'} {thing}{tail}?"
        return f"How {verb} {thing}{tail}?"
    if head.startswith(("who", "when", "where", "why")):
        word, verb = head.split()[0].capitalize(), head.split()[1]
        single = {"are": "is", "were": "was", "do": "does"}
        verb = verb if many else single.get(verb, verb)
        return f"{word} {verb} {thing}{tail}?"
    if head.startswith("what") and head.endswith(("does", "do")):
        return f"What {'do' if many else 'does'} {thing}{tail}?"
    return f"What {'are' if many else 'is'} {article}{thing}{tail}?"


def is_plural(thing: str) -> bool:
    head = re.split(rf"\s+{_TAIL}\s+", thing)[0].split()[-1].lower()
    return head.endswith("s") and not head.endswith(("ss", "us", "is", "as", "ics"))


def about(thing: str) -> str:
    return f"What is known about {thing}?"


def _overview(text: str) -> Parts | None:
    found = _OVERVIEW.match(text.rstrip(" ?.!"))
    if not found:
        return None
    thing = re.sub(r"^(?:how|what|why)\s+", "", found["thing"]).strip()
    listed = _listed(f"explain {thing}")
    if listed:
        return listed
    if not content_words(thing) or len(thing.split()) > 10:
        return None
    be, do = ("are", "do") if is_plural(thing) else ("is", "does")
    asked = (
        f"What {be} {thing} and why {do} {'they' if be == 'are' else 'it'} matter?",
        f"What is known about {thing}: parts, steps and rules?",
        f"What is known about {thing}: examples and benefits in practice?",
        f"What is known about {thing}: limits, failures and costs?",
    )
    return Parts(text, asked, aspects=True)
