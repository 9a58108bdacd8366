"""Tokens, counted and cut: an estimate that behaves like a tokenizer's, and an imitation of a prefix cache.

`"".join(pieces(text)) == text` always, so a stream of pieces is the text. An embedding is a hash of words, which needs
no model and gives texts that share words a high cosine.
"""

import hashlib
import math
import re
from collections import Counter, OrderedDict
from collections.abc import Iterable
from functools import lru_cache

from app.demo_model.words import STOP, stem, words

DIMENSIONS = 384
CACHED_PREFIXES = 4096
CACHE_BLOCK_TOKENS = 16
"""vLLM caches whole blocks of this many tokens."""
_PIECE = re.compile(r" ?[^\W\d_]{1,7}| ?\d{1,3}| ?[^\w\s]{1,3}|_+|\s+")
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def pieces(text: str) -> list[str]:
    """The text in token-like pieces; a character of a script without spaces is one piece."""
    found: list[str] = []
    for piece in _PIECE.findall(text):
        found.extend(piece if _WIDE.search(piece) else [piece])
    return found


@lru_cache(maxsize=4096)
def _count(text: str) -> int:
    return len(pieces(text))


def count_tokens(text: str) -> int:
    """Number of pieces; remembered, since a conversation repeats its messages."""
    return _count(text) if len(text) < 20_000 else len(pieces(text))


class PrefixCache:
    """Remembers which beginnings of conversations were read before."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def cached_tokens(self, model: str, parts: Iterable[tuple[bytes, int]]) -> int:
        """Tokens at the start of this prompt that an earlier one began with; remembers this one.

        `parts` are the prompt's messages in order: content and tokens of each.
        """
        chain = hashlib.blake2b(model.encode(), digest_size=16).digest()
        cached = tokens = 0
        hit = True
        for content, count in parts:
            chain = hashlib.blake2b(chain + content, digest_size=16).digest()
            tokens += count
            hit = hit and chain in self._seen
            cached = tokens if hit else cached
            self._seen[chain] = None
            self._seen.move_to_end(chain)
        while len(self._seen) > CACHED_PREFIXES:
            self._seen.popitem(last=False)
        return cached // CACHE_BLOCK_TOKENS * CACHE_BLOCK_TOKENS


@lru_cache(maxsize=20_000)
def _places(stemmed: str) -> tuple[tuple[int, float], ...]:
    """Where a stem lies in the vector: four signed dimensions."""
    digest = hashlib.blake2b(stemmed.encode(), digest_size=16).digest()
    cells = (int.from_bytes(digest[at : at + 4], "big") for at in range(0, 16, 4))
    return tuple((cell % DIMENSIONS, 1.0 if cell >> 31 else -1.0) for cell in cells)


def embedding(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    """Unit vector of the text's words; the empty text has one too."""
    vector = [0.0] * DIMENSIONS
    for word, times in Counter(word.lower() for word in words(text) or [""]).items():
        weight = (0.15 if word in STOP else 1.0) * (1 + math.log(times))
        for place, sign in _places(stem(word)):
            vector[place] += sign * weight
    vector = vector[:dimensions]
    norm = math.sqrt(sum(value * value for value in vector))
    return [value / norm for value in vector] if norm else [1.0, *[0.0] * (len(vector) - 1)]
