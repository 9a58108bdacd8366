"""The one shape every format is read into: a flat run of headings, paragraphs, items, code and tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["heading", "text", "item", "code", "table"]


@dataclass(frozen=True, slots=True)
class Block:
    kind: Kind
    text: str
    """Tables hold one row per line, cells parted by ` | `; code keeps its line breaks."""
    level: int = 0
    """1 to 6 for a heading; 1 for a table whose first row is its header."""
    page: int | None = None


@dataclass(frozen=True, slots=True)
class Parsed:
    title: str
    media_type: str
    blocks: tuple[Block, ...]
    pages: int | None = None
    notes: tuple[str, ...] = ()
    """What could not be read although the rest could."""


class Unreadable(Exception):
    """A file this package can't turn into text: why, and what its owner can do."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(f"{reason}; {fix}")
        self.reason = reason
        self.fix = fix


def squash(text: str) -> str:
    """Collapse white space, no-break spaces included, into single blanks."""
    return " ".join(text.split())


def row(cells: list[str]) -> str:
    """Join a table row; the bar is what parts cells, so it can't stay inside one."""
    return " | ".join(squash(cell).replace(" | ", " / ") for cell in cells)


def title_of(blocks: tuple[Block, ...] | list[Block], name: str) -> str:
    """Take the first heading, else the file's own name without its ending."""
    for block in blocks:
        if block.kind == "heading":
            return block.text
    stem = name.rsplit("/", 1)[-1]
    return stem.rsplit(".", 1)[0] or stem
