"""Counts and calls in words, as lanes and status lines say them. Pure."""

from collections.abc import Mapping
from typing import Any


def count_of(n: int, noun: str) -> str:
    """`1 passage`, `2 passages`."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def call_words(name: str, args: Mapping[str, Any]) -> str:
    """`search documents “Acme SLA”`: what a tool is doing, with its argument."""
    words = name.replace("_", " ")
    first = next((str(value) for value in args.values() if isinstance(value, str | int | float)), "")
    return f"{words} “{first[:80]}”" if first else words
