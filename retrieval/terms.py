"""Cut text into index terms: lower case, Snowball stems, function words dropped. English.

A compound such as `max_connections` counts whole and by its parts, so the exact name wins and loose wording still finds
it. Apart from `lexical` because the parser process needs terms but no index.
"""

from __future__ import annotations

import re

import Stemmer

_WORD = re.compile(r"\w+")
_PART = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
MAX_TERM_CHARS = 64
_FUNCTION_WORDS = """
a about am an and are as at be been being but by can could did do does doing for from had has have having he her here
his how i if in into is it its me might must my no nor not of on or our ours please shall she should so some such than
that the their theirs them then there these they this those to too very was we were what when where which while who
whom whose why will with would you your s t d m ll re ve
"""
STOPWORDS = frozenset(_FUNCTION_WORDS.split())


def terms(text: str, *, keep_stopwords: bool = False) -> list[str]:
    """Cut text into index terms, in order and with repeats."""
    words: list[str] = []
    for word in _WORD.findall(text):
        lowered = word.lower()
        parts = _PART.findall(_CAMEL.sub("_", word)) if _is_compound(word) else ()
        words.append(lowered)
        words += [part.lower() for part in parts if len(parts) > 1]
    kept = [word[:MAX_TERM_CHARS] for word in words if keep_stopwords or word not in STOPWORDS]
    return list(Stemmer.Stemmer("english").stemWords(kept))


def query_terms(query: str) -> list[str]:
    """Terms of a question, each once; one made of function words alone (`to be or not to be`) keeps them."""
    found = terms(query) or terms(query, keep_stopwords=True)
    return list(dict.fromkeys(found))


def _is_compound(word: str) -> bool:
    return "_" in word or _CAMEL.search(word) is not None
