"""Mend a draft by rule: take out what has no source, shorten, add what was not addressed. No sentence is rewritten.

A request to mend holds a line `Draft:` with the draft behind it, and either a list of `Defects:` or begins with a word
such as `Edit` or `Shorten`. Defects that are no matter of rules, such as a dull style, stay as they are.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from app.demo_model.demands import most_words
from app.demo_model.evidence import CITED, KEY, Sentence
from app.demo_model.words import content_words

MAX_CHARS = 20_000
"""Of a request to mend; a longer one is read like any other."""
_DRAFT = re.compile(r"^draft:[ \t]*\n(?P<draft>.*?)(?:^defects:[ \t]*\n(?P<defects>.*))?\Z", re.I | re.M | re.S)
_EDITS = re.compile(r"\W*(?:please )?(?:edit|shorten|tighten|revise|mend|improve|proofread)\b", re.IGNORECASE)
_BARE = re.compile(r"\bno citation\b|\buncited\b|\bwithout (?:a )?(?:citation|source)\b", re.IGNORECASE)
_TOO_LONG = re.compile(r"\bwords of at most (\d[\d,]{0,6})", re.IGNORECASE)
_INVENTED = re.compile(r"\bno search returned\b|\binvented\b", re.IGNORECASE)
_MISSED = re.compile(r"\b(?:not|never) (?:address|mention|cover|speak of)\w*\s+[“\"']?([^”\"'.\n]+)", re.IGNORECASE)
_SENTENCE = re.compile(rf".+?(?:[.!?][*_]*(?:\s*{KEY})*(?=\s|$)|$)")
_NO_PROSE = re.compile(r"^\s*(?:#|\||$)")


@dataclass(frozen=True, slots=True)
class Mending:
    """A draft, what is wrong with it, and how long it may be."""

    draft: str
    defects: tuple[str, ...]
    max_words: int | None

    @property
    def missed(self) -> list[str]:
        """What it does not speak of."""
        return [found[1].strip() for defect in self.defects if (found := _MISSED.search(defect))]


def to_mend(request: str) -> Mending | None:
    """The draft that a request wants mended; None when it wants something else."""
    found = _DRAFT.search(request)
    if not found or len(request) > MAX_CHARS or not (found["defects"] or _EDITS.match(request)):
        return None
    defects = tuple(line.strip(" -*•\t") for line in (found["defects"] or "").splitlines() if line.strip())
    told = _TOO_LONG.search("\n".join(defects))
    most = int(told[1].replace(",", "")) if told else most_words(request[: found.start()])
    return Mending(found["draft"].strip(), defects, most)


def mended(mending: Mending, about: Callable[[str], Sequence[Sentence]]) -> str:
    """The draft again. `about`: sentences that tell of something that it does not speak of."""
    lines = [_Line(line) for line in mending.draft.splitlines()]
    if any(_BARE.search(defect) for defect in mending.defects):
        for line in lines:
            line.keep(lambda sentence: bool(CITED.search(sentence)) or len(content_words(sentence)) < 2)
    invented = {key for it in mending.defects if _INVENTED.search(it) for key in re.findall(KEY, it)}
    for line in lines:
        line.keep(lambda sentence: not (keys := set(re.findall(KEY, sentence))) or not keys <= invented)
    for point in mending.missed:
        told = " ".join(sentence.cited for sentence in about(point)[:1])
        lines += [_Line(""), _Line(told)] if told else []
    if mending.max_words:
        _shorten(lines, mending.max_words)
    return _joined(lines)


class _Line:
    """A line of the draft: its sentences, or a heading, a row of a table, a blank, which stay as they are."""

    def __init__(self, text: str) -> None:
        self.prose = not _NO_PROSE.match(text)
        self.sentences = [found.strip() for found in _SENTENCE.findall(text)] if self.prose else [text]
        self.had = bool(text.strip())

    def keep(self, good: Callable[[str], bool]) -> None:
        if self.prose:
            self.sentences = [sentence for sentence in self.sentences if good(sentence)]

    @property
    def text(self) -> str:
        return " ".join(self.sentences)

    def words(self) -> int:
        return sum(map(_count, self.sentences))


def _shorten(lines: Sequence[_Line], most: int) -> None:
    """Drop sentences until it fits: the last one where most are said, then the longest, never the very first."""
    left = sum(line.words() for line in lines)
    while left > most:
        prose = [line for line in lines if line.prose and line.sentences]
        if len(prose) == 1 and len(prose[0].sentences) == 1:
            return
        fullest = max(prose, key=lambda line: len(line.sentences))
        cut = fullest if len(fullest.sentences) > 1 else max(prose[1:], key=_Line.words)
        left -= _count(cut.sentences.pop())


@lru_cache(maxsize=4096)
def _count(text: str) -> int:
    return len(re.findall(r"\w[\w'’.,-]*", CITED.sub("", text)))


def _joined(lines: Sequence[_Line]) -> str:
    """The text, without lines that were emptied and without headings that have lost their section."""
    left = [line for line in lines if line.text.strip() or not line.had]
    kept: list[str] = []
    for at, line in enumerate(left):
        after = next((it for it in left[at + 1 :] if it.text.strip()), None)
        if line.text.lstrip().startswith("#") and (after is None or after.text.lstrip().startswith("#")):
            continue
        kept.append(line.text)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()
