"""How like two texts are, and which of several most others agree with. By words: no model is asked. Pure."""

import re
from collections.abc import Collection, Mapping

from graphs.evidence import CITATION

SHINGLE = 3
"""Words in a row that are compared: long enough that a common topic alone does not count."""


def likeness(one: str, other: str) -> float:
    """Share of the word triples of both texts that both hold, 0 to 1; citations and marks do not count."""
    return _shared(_shingles(_words(one)), _shingles(_words(other)))


def agreement(one: str, other: str) -> float:
    """Share of the words of both texts' positions that both hold, 0 to 1."""
    return _shared(_words(position(one)), _words(position(other)))


def position(text: str) -> str:
    """The first sentence: what the text stands for."""
    plain = CITATION.sub("", text).replace("**", "").strip()
    return re.split(r"(?<=[.!?])\s+(?=\S)|\n", plain, maxsplit=1)[0].strip()


def all_agree(texts: Collection[str], share: float) -> bool:
    """True when there are several texts and any two positions share at least `share` of their words."""
    held = list(texts)
    return len(held) > 1 and all(agreement(one, other) >= share for one in held for other in held)


def voted(texts: Mapping[str, str], share: float) -> str:
    """Name of the text whose position most of the others share; of several the one that is most like all."""

    def votes(name: str) -> tuple[int, float]:
        others = [text for other, text in texts.items() if other != name]
        agreeing = sum(agreement(texts[name], text) >= share for text in others)
        return agreeing, sum(likeness(texts[name], text) for text in others)

    return max(texts, key=votes)


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", CITATION.sub("", text).lower())


def _shingles(words: list[str]) -> list[tuple[str, ...]]:
    """Runs of `SHINGLE` words; a shorter text is one run."""
    return [tuple(words[at : at + SHINGLE]) for at in range(max(1, len(words) - SHINGLE + 1))]


def _shared(one: Collection[object], other: Collection[object]) -> float:
    either = {*one} | {*other}
    return len({*one} & {*other}) / len(either) if either else 1.0
