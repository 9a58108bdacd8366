"""Citations inside a text: `[3f9a1c]`, or `[3f9a1c, 77ab01]`. Brackets around anything else are brackets."""

import re

CITATION = re.compile(r"\[([^\[\]]{1,80})\]")
CITATION_CHARS = 82
"""Longest citation, brackets included."""
_KEY = re.compile(r"[0-9a-f]{6,12}")


def cited_keys(text: str) -> list[str]:
    """Citation keys in order of first appearance."""
    keys = (key.strip() for group in CITATION.findall(text) for key in re.split(r"[,;]", group))
    return list(dict.fromkeys(key for key in keys if _KEY.fullmatch(key)))
