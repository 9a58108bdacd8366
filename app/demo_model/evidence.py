"""Passages and how well their sentences fit a question.

A passage comes as a search tool shows it: a line `[3f9a1c] Document > Heading (page 4)`, then its text. A sentence
scores by the share of the question's words that it holds, rare words more; its heading and document count for half.
Cues add a little: a definition for `what is`, a number for `how many`, a reason for `why`. Nothing else is known.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.demo_model.question import Question
from app.demo_model.words import (
    alike,
    content_stems,
    content_words,
    headed_sentences,
    similarity,
    stem,
    stems,
    words,
)

KEY = r"\[[0-9a-z]{6,64}\]"
CITED = re.compile(rf"(?:\s*{KEY})+")
_HEADER = re.compile(r"(?:\A|\n[ \t]*\n)[ \t]*\[(?P<key>[0-9a-z]{6,64})\][ \t]+(?P<place>\S[^\n]*)")
_PAGE = re.compile(r"\s*\((?:page|p\.)\s*(\d+)\)\s*$")

MAX_QUOTE_CHARS = 600
MAX_CANDIDATES = 100
"""Sentences looked at when choosing; the rest are worse anyway."""
_LOOKS_LIKE_KEY = re.compile(r"\s*\[(?=[a-z]*[0-9])[0-9a-z]{6,64}\]")
ENOUGH = 0.42
"""Share of the question's weight that a sentence with its heading must hold to count as an answer."""


@dataclass(frozen=True, slots=True)
class Passage:
    key: str
    document: str
    heading: str
    page: str
    text: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence and where it stands."""

    text: str
    keys: tuple[str, ...] = ()
    """Of the passage it stands in; a statement of somebody else may cite several."""
    document: str = ""
    heading: str = ""
    passage: int = 0
    """Rank of its passage in the search result, from 0."""
    at: int = 0
    """Position in the passage, from 0."""

    @property
    def key(self) -> str:
        return self.keys[0] if self.keys else ""

    @property
    def cited(self) -> str:
        return " ".join([self.text, *(f"[{key}]" for key in self.keys)])


def passages_in(text: str) -> list[Passage]:
    """Passages of a search result, each key once."""
    headers = [found for found in _HEADER.finditer(text) if _is_key(found["key"], found["place"])]
    ends = [*(found.start() for found in headers[1:]), len(text)]
    found: dict[str, Passage] = {}
    for header, end in zip(headers, ends, strict=False):
        passage = _passage(header["key"], header["place"], text[header.end() : end].strip())
        found.setdefault(passage.key, passage)
    return list(found.values())


def _is_key(key: str, place: str) -> bool:
    """An all-letter key such as `options` is more likely a bracketed word of the document."""
    return any(char.isdigit() for char in key) or set(key) <= set("abcdef") or " > " in place


def _passage(key: str, place: str, text: str) -> Passage:
    page = _PAGE.search(place)
    document, _, heading = _PAGE.sub("", place).partition(" > ")
    return Passage(key, document.strip(), heading.strip(), page[1] if page else "", text)


def sentences_of(passages: Sequence[Passage]) -> list[Sentence]:
    return [
        Sentence(text, (passage.key,) if passage.key else (), passage.document, heading or passage.heading, rank, at)
        for rank, passage in enumerate(passages)
        for at, (heading, text) in enumerate(_quotable(passage.text))
    ]


def _quotable(text: str) -> list[tuple[str, str]]:
    """Sentences that can stand in an answer: no images, no half markup, no keys of others, nothing endless."""
    kept = []
    for heading, sentence in headed_sentences(text):
        if "![" in sentence or "<img" in sentence or len(sentence) > MAX_QUOTE_CHARS:
            continue
        for mark in ("**", "`", "*"):
            if sentence.count(mark) % 2:
                sentence = sentence.replace(mark, "")
        sentence = _LOOKS_LIKE_KEY.sub("", sentence).strip()
        if sentence:
            kept.append((heading, sentence))
    return kept


_CUES = {
    "difference": re.compile(
        r"\b(whereas|while|unlike|instead|rather than|than|both|differ\w*|in contrast|but|only|cheaper|faster)\b",
        re.I,
    ),
    "number": re.compile(r"\d|\b(one|two|three|four|five|six|seven|eight|nine|ten|twelve|hundred|thousand)\b", re.I),
    "figure": re.compile(r"\d|\b(one|two|three|four|five|six|seven|eight|nine|ten|twelve|hundred|thousand)\b", re.I),
    "why": re.compile(
        r"\b(because|since|so that|therefore|thus|reason|due to|otherwise|to avoid|in order to|causes?|leads? to)\b",
        re.I,
    ),
    "when": re.compile(r"\b(?:when|if|whenever|unless|pays|within|\d{4})\b", re.I),
    "who": re.compile(r"(?<!^)(?<![.!?] )\b[A-Z][a-z]+|\b(person|people|party|team|user|owner|tenant|manager)s?\b"),
    "where": re.compile(r"\b(in|at|on|under|inside|near|located|stored|kept)\b", re.I),
    "how": re.compile(
        r"\b(by \w+ing|to \w+|use|using|run|set|add|first|then|must|you can|call|create|press|start|mix|heat)\b", re.I
    ),
}
LEANS = re.compile(r"^\W*(?:this|these|that|those|it|they|he|she|its|their|such)\b", re.IGNORECASE)
"""A sentence that begins so is only understood after the one before it."""
_LEANS = re.compile(
    r"^(this|these|that|those|it|they|he|she|its|their|however|therefore|thus|hence|but|and|also|so|then|"
    r"in (?:this|that|such|these|those|the) (?:case|example|way)s?|for (?:this|that|example|instance)|such|otherwise|"
    r"moreover|note|see|both|alternatively|instead|likewise|similarly|additionally|furthermore|finally|in particular|"
    r"(?:to do|without|after|before|with) (?:this|that)|as (?:shown|described|mentioned|noted))\b",
    re.IGNORECASE,
)
_CODE = re.compile(r";\s*$|^(?:\$|>>>|#) |^[A-Z]{3,} [A-Z]{2,} \S")
_POINTS = re.compile(
    r"\b(?:figures?|tables?|lists?|examples?|diagrams?|sections?) (?:below|above)\b|^the (?:table|figure|following)\b|"
    r"^(?:\w+ ){1,5}(?:this|these|those) (?!is\b|are\b|was\b|were\b)\w+",
    re.I,
)
"""Points at something that the quotation leaves behind."""
_VERB = re.compile(
    r"\b(is|are|was|were|has|have|had|can|may|must|should|will|would|does|do|did|be|\w{3,}(?:s|ed|ing|en))\b", re.I
)


@dataclass(frozen=True, slots=True)
class Scored:
    sentence: Sentence
    score: float
    covered: frozenset[str]
    """Stems of the question that the sentence itself holds."""
    share: float
    """Weight of the question that sentence and heading hold, 0 to 1."""
    about: float
    """The same of heading and document alone."""

    focused: bool = True
    """Whether it is about the thing that an answer must be about."""

    @property
    def useful(self) -> bool:
        """True when it answers a good part of the question."""
        return self.focused and self.share >= ENOUGH and (bool(self.covered) or self.about >= 0.8)


def rank(question: Question, found: Sequence[Sentence]) -> list[Scored]:
    """Every sentence with its score, best first. Ties keep the order of the search."""
    weights = _weights(question.terms, found)
    total = sum(weights.values()) or 1.0
    scored = [_score(question, sentence, weights, total) for sentence in found]
    return sorted(scored, key=lambda s: (-round(s.score, 6), s.sentence.passage, s.sentence.at))


def _weights(terms: Mapping[str, float], found: Sequence[Sentence]) -> dict[str, float]:
    """Rarer is heavier; a word that occurs nowhere is the heaviest: it is what the text fails to hold."""
    held = [
        stems(sentence.text) | stems(f"{sentence.heading} {_FILE.sub('', sentence.document)}") for sentence in found
    ]
    counts = Counter(term for stemmed in held for term in terms if _match(term, stemmed))
    n = len(found)
    rarity = {t: math.log(1 + (n - counts[t] + 0.5) / (counts[t] + 0.5)) for t in terms}
    top = max(rarity.values(), default=1.0) or 1.0
    return {
        # a name that does occur needs no more than its due
        t: (min(weight, 1.2) if counts[t] else weight) * (0.7 + 0.3 * rarity[t] / top)
        for t, weight in terms.items()
    }


def _match(term: str, stemmed: frozenset[str]) -> float:
    """1 for the word, 0.9 for its parts, 0.7 for a word that begins alike, 0.5 for one of about the same meaning."""
    if term in stemmed:
        return 1.0
    if "-" in term:
        if stem(term.replace("-", "")) in stemmed:
            return 1.0
        return 0.9 if all(stem(part) in stemmed for part in term.split("-") if part) else 0.0
    if len(term) >= 5:
        begin, least = term[: max(5, len(term) - 1)], max(5, len(term) - 1)
        if any(other.startswith(begin) or (len(other) >= least and term.startswith(other)) for other in stemmed):
            return 0.7
    return 0.5 if alike(term) & stemmed else 0.0


def _score(question: Question, sentence: Sentence, weights: Mapping[str, float], total: float) -> Scored:
    inside = _held(weights, stems(sentence.text))
    around = _around(weights, sentence)
    held = sum(weights[t] * max(inside.get(t, 0.0), 0.5 * around.get(t, 0.0)) for t in weights)
    share = sum(weights[t] * max(inside.get(t, 0.0), 0.9 * around.get(t, 0.0)) for t in weights) / total
    about = sum(weights[t] * match for t, match in around.items()) / total
    if not inside and about < 0.8:
        share *= 0.4  # a heading alone promises more than its sentences keep
    if question.names and not any(name in inside or name in around for name in question.names):
        share *= 0.9  # what the question names is not here
    for kind in {"number", "figure", "who"} & set(question.kinds):
        # what is asked for, a figure or a person, is there or is not
        if _CUES[kind].search(sentence.text):
            share += 0.1
        elif kind != "figure":
            share *= 0.8
    score = held / total + _bonus(question, sentence, about) - _fault(sentence)
    focused = _focused(question.focus, inside, around)
    if question.focus and focused:
        aspects = [term for term in weights if term not in question.focus]
        focused = any(term in inside or term in around for term in aspects)
        share += ENOUGH / 2  # it is about the thing: one of the aspects is enough
    return Scored(sentence, score, frozenset(inside), share, about, focused)


def _held(terms: Iterable[str], stemmed: frozenset[str]) -> dict[str, float]:
    return {term: match for term in terms if (match := _match(term, stemmed))}


_FILE = re.compile(r"^.*/|\.\w{1,5}$")


def _around(terms: Iterable[str], sentence: Sentence) -> dict[str, float]:
    """Terms in heading or document name; a heading that names much else promises less."""
    found: dict[str, float] = {}
    for place in (sentence.heading, _FILE.sub("", sentence.document)):
        held = _held(terms, stems(place))
        special = min(1.0, 0.3 + 0.7 * len(held) / max(1, len(content_stems(place))))
        for term, match in held.items():
            found[term] = max(found.get(term, 0.0), match * special)
    return found


def _focused(focus: frozenset[str], inside: Mapping[str, float], around: Mapping[str, float]) -> bool:
    """At least half of the thing's words in the sentence, or nearly all in a heading that names little else."""
    if not focus:
        return True
    own = sum(inside.get(term, 0.0) for term in focus) / len(focus)
    place = sum(around.get(term, 0.0) for term in focus) / len(focus)
    return own >= 0.5 or place >= 0.75


_WITHOUT = re.compile(r"\bwithout (?:any |an? |the )?([\w-]+)", re.I)


def _bonus(question: Question, sentence: Sentence, about: float) -> float:
    bonus = 0.3 / (1 + sentence.passage) + (0.05 if sentence.at == 0 else 0.0)
    bonus += 0.25 * about
    if thing := question.focus or content_stems(question.subject):
        begin = stems(" ".join(sentence.text.split()[:6]))
        bonus += (0.3 if question.focus else 0.2) * len(thing & begin) / len(thing)
        if (lacking := _WITHOUT.search(sentence.text)) and stems(lacking[1]) & thing:
            bonus -= 0.25
    if any((cue := _CUES.get(kind)) and cue.search(sentence.text) for kind in question.kinds):
        bonus += 0.12
    if "define" in question.kinds and question.subject:
        bonus += 0.3 * _defines(question.subject, sentence.text)
    return bonus


_SAYS = re.compile(
    r"(?:(?:an?|the)\s+)?(.{1,60}?)\s+(?:\([^)]*\)\s+)?(is|are|means|refers to|denotes|[a-z]{3,}s)\b\s*(.*)", re.I
)


def _defines(subject: str, text: str) -> float:
    """1 when the sentence begins by saying what the subject is, less when it begins with it or a part of it."""
    wanted = content_stems(subject)
    found = _SAYS.match(text)
    named = content_stems(found[1]) if found else frozenset()
    if not found or not wanted or not named:
        return 0.0
    if named == wanted:
        what = found[2].lower() in ("is", "are", "means", "refers to", "denotes")
        return 1.0 if what and re.match(r"(?:an?|the|one|any|when|what|how)\b", found[3]) else 0.8 if what else 0.6
    first = stem(content_words(subject)[0])
    return 0.4 if first in named and (named <= wanted or stem(content_words(found[1])[0]) in wanted) else 0.0


def _fault(sentence: Sentence) -> float:
    """What makes a sentence a poor quotation."""
    text = sentence.text
    count = len(text.split())
    fault = 0.0
    fault += 0.2 if _LEANS.match(text) else 0.0
    fault += 0.35 if text.endswith("?") else 0.0
    fault += 0.5 if text.endswith(":") else 0.0
    fault += 0.3 if count < 5 and text.isascii() else 0.0
    fault += 0.3 if re.match(r"[a-z]+\b(?![_(])", text) else 0.0
    fault += 0.2 if not re.search(r"[.!?。！？)\"”’*`:]$", text) else 0.0
    fault += 0.1 if text.startswith("(") else 0.0
    fault += 0.25 if _POINTS.search(text) else 0.0
    fault += 0.4 if _CODE.search(text) else 0.0
    fault += 0.25 if text.isascii() and not _VERB.search(text) else 0.0
    fault += 0.1 if count > 55 else 0.0
    fault += 0.3 if sum(char in "|=<>{}_/\\" for char in text) > len(text) / 12 else 0.0
    return fault


def pick(scored: Sequence[Scored], most: int, taken: Sequence[Sentence] = (), near: float = 0.6) -> list[Sentence]:
    """The best `most` sentences, each adding something and at least `near` as good as the best, best first."""
    if not scored:
        return []
    chosen: list[Scored] = []
    floor, enough = near * scored[0].score, near * scored[0].share
    rest = [item for item in scored[:MAX_CANDIDATES] if item.score >= floor and item.share >= enough]
    while rest and len(chosen) < most:
        best = max(rest, key=lambda item: _worth(item, chosen))
        rest.remove(best)
        if not _repeats(best.sentence, [*taken, *(item.sentence for item in chosen)]):
            chosen.append(best)
    return [item.sentence for item in chosen]


def _worth(item: Scored, chosen: Sequence[Scored]) -> float:
    """Score, plus a little for new words of the question and for going on where another left off."""
    new = len(item.covered - frozenset().union(*(c.covered for c in chosen))) if chosen else 0
    follows = any(c.sentence.key == item.sentence.key and c.sentence.at + 1 == item.sentence.at for c in chosen)
    return item.score + 0.06 * min(new, 3) + (0.12 if follows else 0.0)


def _repeats(sentence: Sentence, others: Iterable[Sentence]) -> bool:
    return any(sentence.text == other.text or similarity(sentence.text, other.text) >= 0.75 for other in others)


_LABEL = re.compile(r"^(?:\*\*[^*\n]{1,80}[.:]?\*\*[.:]?\s+(?=[A-Z\d\"“`]))")
_ITEM = re.compile(r"^[\s>#]*(?:[-*•]\s+|\d{1,3}[.)]\s+)?")


def claims_in(text: str) -> list[Sentence]:
    """Statements of a finding that carry citations, with all of their keys."""
    found: list[Sentence] = []
    text = re.sub(r"^(?:results? of [^\n]*:|#+ .*)$", "", text, flags=re.I | re.M)
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*[-*•#]|\s*\d{1,3}[.)]\s)", text):
        start = 0
        for at, keys in enumerate(CITED.finditer(paragraph)):
            said = _LABEL.sub("", _ITEM.sub("", paragraph[start : keys.start()]).strip(" ,;"))
            start = keys.end()
            if words(said := _unmarked(" ".join(said.split()))):
                found.append(Sentence(said, tuple(dict.fromkeys(re.findall(r"\[(\w+)\]", keys[0]))), at=at))
    return found


def _unmarked(said: str) -> str:
    """Without bold marks that have lost their partner, and without a stop left over from the statement before."""
    if said.count("**") % 2 or said.startswith("**"):
        said = said.replace("**", "")
    return re.sub(r"^[.;]\s+", "", said)
