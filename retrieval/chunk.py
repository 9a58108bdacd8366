"""Cut blocks into chunks: whole sentences, packed under one heading, about 200 words each.

A chunk holds what can be cited: it ends at a sentence, a row or a line, never inside one that fits. Consecutive chunks
share their bordering sentence, so a fact that leans on the one before it is whole somewhere. Sections too short to
stand alone are packed with their neighbours under the headings they share.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from retrieval.parse.blocks import Block, Parsed

MAX_WORDS = 240
TARGET_WORDS = 200
"""For what is split for its size alone: long tables, long code."""
MIN_WORDS = 60
OVERLAP_WORDS = 40
_CHARS_PER_WORD = 8
"""Code, tables and scripts without blanks weigh by characters: 8 a word, no fewer than prose has."""

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]”’]*\s+(?=[\"'(\[“‘]*[A-Z0-9])|(?<=[。！？])")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:e\.g|i\.e|etc|cf|vs|mr|mrs|ms|dr|prof|st|no|nos|fig|figs|sec|ch|vol|pp?|approx|al|inc|ltd|[A-Z])\.$",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Section:
    """One chunk, before it has an identity."""

    heading: str
    page: int | None
    text: str


@dataclass(frozen=True, slots=True)
class _Unit:
    """What is never cut: a sentence, an item, some rows, some lines."""

    text: str
    words: int
    path: tuple[str, ...]
    page: int | None
    joint: str
    """What stands between this unit and the one before."""
    is_sentence: bool = False


def chunk(parsed: Parsed) -> list[Section]:
    return [
        _section(run, parsed.title) for run in _packed(_units(block for block in parsed.blocks if block.text.strip()))
    ]


def weigh(text: str) -> int:
    return max(len(text.split()), len(text) // _CHARS_PER_WORD)


def sentences(text: str) -> list[str]:
    found: list[str] = []
    for part in _SENTENCE_END.split(text):
        if found and _ABBREVIATION.search(found[-1]):
            found[-1] += f" {part}"
        elif part:
            found.append(part)
    return found


def _units(blocks: Iterable[Block]) -> Iterator[_Unit]:
    stack: list[Block] = []
    bare: Block | None = None
    """A heading with nothing under it so far; if nothing comes, it is text itself."""
    for block in blocks:
        if block.kind != "heading":
            bare = None
            yield from _block_units(block, stack)
            continue
        if bare is not None and block.level <= bare.level:
            yield from _block_units(replace(bare, kind="text"), stack[:-1])
        stack = [heading for heading in stack if heading.level < block.level] + [block]
        bare = block
    if bare is not None:
        yield from _block_units(replace(bare, kind="text"), stack[:-1])


def _block_units(block: Block, stack: Sequence[Block]) -> Iterator[_Unit]:
    path = tuple(heading.text for heading in stack)
    sentence = block.kind in ("text", "item")
    first = True
    for text in _parts(block):
        if text.strip():
            yield _Unit(text, weigh(text), path, block.page, _joint(block, first=first), sentence)
            first = False


def _joint(block: Block, *, first: bool) -> str:
    if block.kind == "item":
        return "\n" if first else " "
    if first:
        return "\n\n"
    return " " if block.kind == "text" else "\n"


def _parts(block: Block) -> Iterator[str]:
    if weigh(block.text) <= MAX_WORDS and block.kind in ("code", "table", "item"):
        yield block.text
    elif block.kind == "table":
        yield from _table_parts(block)
    elif block.kind == "code":
        yield from _grouped(block.text.split("\n"), "\n")
    else:
        for sentence in sentences(block.text):
            yield from [sentence] if weigh(sentence) <= MAX_WORDS else _grouped(sentence.split(" "), " ")


def _table_parts(block: Block) -> Iterator[str]:
    """Split by rows; a header is repeated, for rows mean little without it."""
    rows = block.text.split("\n")
    header = rows[0] if block.level and weigh(rows[0]) < MIN_WORDS else ""
    for group in _grouped(rows[1:] if header else rows, "\n"):
        yield f"{header}\n{group}" if header else group


def _grouped(parts: list[str], joint: str) -> Iterator[str]:
    """Pack parts up to the target; a part that is too long by itself is cut by characters."""
    group: list[str] = []
    words = 0
    for part in parts:
        weight = weigh(part)
        if group and words + weight > TARGET_WORDS:
            yield joint.join(group)
            group, words = [], 0
        if weight > MAX_WORDS:
            yield from _cut(part)
            continue
        group.append(part)
        words += weight
    if group and any(part.strip() for part in group):
        yield joint.join(group)


def _cut(text: str) -> Iterator[str]:
    """The last resort, for a line of 100,000 characters: at a blank where there is one near."""
    size = TARGET_WORDS * _CHARS_PER_WORD
    while text:
        end = text.rfind(" ", size // 2, size) if len(text) > size else len(text)
        end = end if end > 0 else size
        yield text[:end]
        text = text[end:].lstrip(" ")


def _packed(units: Iterable[_Unit]) -> list[list[_Unit]]:
    """Group units into chunks. A section that needs several is cut into even ones, so no scrap is left at its end."""
    runs: list[list[_Unit]] = []
    run: list[_Unit] = []
    for _, group in groupby(units, key=lambda unit: (unit.path, unit.page)):
        section = list(group)
        if run and not _joins(run, section[0]):
            runs.append(run)
            run = []
        share, filled = _share(section), 0
        for unit in section:
            if run and (filled >= share or _words(run) + unit.words > MAX_WORDS):
                runs.append(run)
                run, filled = _overlap(run, unit), 0
            run.append(unit)
            filled += unit.words
    return [*runs, run] if run else runs


def _words(units: Iterable[_Unit]) -> int:
    return sum(unit.words for unit in units)


def _share(section: list[_Unit]) -> float:
    total = _words(section)
    return total / max(1, math.ceil(total / MAX_WORDS))


def _joins(run: list[_Unit], unit: _Unit) -> bool:
    """Whether a new section may go on in the chunk before: that one is short, near, and on the same page.

    A citation names one page, and it must be the right one.
    """
    return _words(run) < MIN_WORDS and unit.page == run[-1].page and _related(run, unit)


def _related(run: list[_Unit], unit: _Unit) -> bool:
    """Whether two sections hang under one heading, or one under the other."""
    shared = _shared(run[0].path, unit.path)
    return bool(shared) or len(run[0].path) <= 1


def _overlap(run: list[_Unit], unit: _Unit) -> list[_Unit]:
    last = run[-1]
    same = (last.path, last.page) == (unit.path, unit.page)
    if same and len(run) > 1 and last.is_sentence and unit.is_sentence and last.words <= OVERLAP_WORDS:
        return [last]
    return []


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return one[:count]


def _section(run: list[_Unit], title: str) -> Section:
    """Join a run. Headings below the shared ones stay in the text, where they part what they head."""
    path = run[0].path
    for unit in run:
        path = _shared(path, unit.path)
    parts: list[str] = []
    current = path
    for unit in run:
        if unit.path != current:
            below = unit.path[len(_shared(current, unit.path)) :]
            parts.append("\n\n" + "\n".join(below) + "\n")
            unit = replace(unit, joint="")
            current = unit.path
        parts.append(unit.joint + unit.text if parts else unit.text)
    shown = path[1:] if path and path[0] == title else path
    return Section(" > ".join(shown), run[0].page, "".join(parts).strip())
