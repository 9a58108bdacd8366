"""Read PDF page by page: running heads dropped, hyphens healed, bookmarks taken as headings.

The text layer only. A scan without one is refused with that reason; text recognition is somebody else's craft.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from io import BytesIO
from typing import Any

from pypdf import PdfReader
from pypdf.errors import DependencyError, FileNotDecryptedError, PyPdfError

from retrieval.documents import clean_text
from retrieval.parse.blocks import Block, Parsed, Unreadable, squash, title_of

MAX_PAGES = 20_000
MAX_BOOKMARKS = 5_000
_LEAST_CHARS_PER_PAGE = 8
_EDGE_LINES = 2
_LEAST_PAGES, _LEAST_LINES = 4, 6
"""Below these, a repeated line is as likely to be text as a running head."""
_DIGITS = re.compile(r"\d+")
_ENDS = (".", "!", "?", ":")
_SENTENCE_END = re.compile(r"[.!?]\s+")
_SPLIT_WORD = re.compile(r"(?<=[a-z])-\n(?=[a-z])")
_NO_TITLE = re.compile(r"^(untitled|anonymous|\(anonymous\)|microsoft word.*|.*\.(docx?|pdf|tex|indd))?$", re.I)
_HOSTILE = (PyPdfError, ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError, OverflowError)
_ENCRYPTED_FIX = "save a copy without a password and add that"


def parse_pdf(data: bytes, name: str) -> Parsed:
    reader = _open(data)
    pages = len(reader.pages)
    if pages > MAX_PAGES:
        raise Unreadable(f"{pages:,} pages of {MAX_PAGES:,} allowed", "split it and add the parts")
    texts, broken = _page_texts(reader, pages)
    if len(broken) == pages:
        raise Unreadable("none of its pages can be read", "open it in a viewer and print it to a new PDF")
    if sum(len(text.strip()) for text in texts) < _LEAST_CHARS_PER_PAGE * pages:
        raise Unreadable(f"no text on its {pages} pages, as in a scan", "run text recognition (OCR) on it first")
    lines = _without_running_heads([text.split("\n") for text in texts])
    bookmarks = _bookmarks(reader)
    blocks: list[Block] = []
    for number, page in enumerate(lines, start=1):
        found = _page_blocks(page, number, bookmarks.get(number, []))
        _finish_sentence(blocks, found)
        blocks += found
    return Parsed(_title(reader, blocks, name), "application/pdf", tuple(blocks), pages, _missing(broken))


def _open(data: bytes) -> PdfReader:
    try:
        reader = PdfReader(BytesIO(data), strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("it is encrypted with a password", _ENCRYPTED_FIX)
        len(reader.pages)
    except DependencyError as error:
        raise Unreadable("it is encrypted with AES, which needs the cryptography package", _ENCRYPTED_FIX) from error
    except FileNotDecryptedError as error:
        raise Unreadable("it is encrypted with a password", _ENCRYPTED_FIX) from error
    except _HOSTILE as error:
        raise Unreadable(f"a damaged PDF ({error})", "open it in a viewer and print it to a new PDF") from error
    return reader


def _page_texts(reader: PdfReader, pages: int) -> tuple[list[str], list[int]]:
    texts, broken = [], []
    for index in range(pages):
        try:
            texts.append(clean_text(reader.pages[index].extract_text()))
        except _HOSTILE:
            broken.append(index + 1)
            texts.append("")
    return texts, broken


def _without_running_heads(pages: list[list[str]]) -> list[list[str]]:
    """Drop first and last lines that most pages share, page numbers aside."""
    stripped = [[line.strip() for line in page if line.strip()] for page in pages]
    long_enough = [page for page in stripped if len(page) >= _LEAST_LINES]
    if len(long_enough) < _LEAST_PAGES:
        return stripped
    shared = Counter(shape for page in long_enough for shape in {_shape(line) for line in _edges(page)})
    running = {shape for shape, count in shared.items() if count * 2 > len(long_enough)}
    return [_trim(page, running) for page in stripped]


def _shape(line: str) -> str:
    return _DIGITS.sub("#", line)


def _edges(page: list[str]) -> list[str]:
    return page[:_EDGE_LINES] + page[-_EDGE_LINES:]


def _trim(page: list[str], running: set[str]) -> list[str]:
    first, last = 0, len(page)
    while first < last and first < _EDGE_LINES and _shape(page[first]) in running:
        first += 1
    while last > first and len(page) - last < _EDGE_LINES and _shape(page[last - 1]) in running:
        last -= 1
    return page[first:last]


def _bookmarks(reader: PdfReader) -> dict[int, list[tuple[int, str]]]:
    """Page number -> (level, title) of the bookmarks that point there. A broken outline is no reason to fail."""
    found: dict[int, list[tuple[int, str]]] = {}
    try:
        _gather(reader, reader.outline, 1, found)
    except _HOSTILE:
        return {}
    return found


def _gather(reader: PdfReader, entries: Any, level: int, found: dict[int, list[tuple[int, str]]]) -> None:
    for entry in entries[:MAX_BOOKMARKS]:
        if isinstance(entry, list):
            _gather(reader, entry, level + 1, found)
            continue
        index = reader.get_destination_page_number(entry)
        title = squash(clean_text(str(entry.title)))
        if index is not None and index >= 0 and title:
            found.setdefault(index + 1, []).append((min(level, 6), title))


def _page_blocks(lines: list[str], page: int, bookmarks: list[tuple[int, str]]) -> list[Block]:
    """Cut a page at the lines that a bookmark names; bookmarks without such a line stand at its top."""
    by_line: dict[int, list[Block]] = {}
    consumed: dict[int, int] = {}
    for level, title in bookmarks:
        at, length = _find_heading(lines, title)
        by_line.setdefault(at, []).append(Block("heading", title, level, page))
        consumed[at] = max(consumed.get(at, 0), length)
    blocks: list[Block] = []
    run: list[str] = []
    skip_to = 0
    for index, line in enumerate(lines):
        if index in by_line:
            blocks += _paragraphs(run, page) + by_line.pop(index)
            run, skip_to = [], index + consumed[index]
        if index >= skip_to:
            run.append(line)
    return blocks + _paragraphs(run, page)


def _finish_sentence(before: list[Block], page: list[Block]) -> None:
    """Move the end of a sentence that runs over the page's edge back to where it began."""
    if not (before and page and before[-1].kind == page[0].kind == "text"):
        return
    last, first = before[-1], page[0]
    if last.text.endswith(_ENDS) or not first.text[0].islower():
        return
    end = _SENTENCE_END.search(first.text)
    moved, rest = (first.text[: end.end()], first.text[end.end() :]) if end else (first.text, "")
    before[-1] = replace(last, text=f"{last.text} {moved.strip()}")
    page[:1] = [replace(first, text=rest)] if rest else []


def _find_heading(lines: list[str], title: str) -> tuple[int, int]:
    """Where a bookmark's title stands as one or two lines of its own: (line, lines); (0, 0) when it doesn't."""
    wanted = _letters(title)
    for index in range(len(lines)):
        for length in (1, 2):
            if wanted and _letters(" ".join(lines[index : index + length])).endswith(wanted):
                whole = _letters(" ".join(lines[index : index + length]))
                if len(whole) <= len(wanted) + 8:  # room for a section number
                    return index, length
    return 0, 0


def _letters(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum())


def _paragraphs(lines: list[str], page: int) -> list[Block]:
    """Join lines into paragraphs: one ends where a short line ends a sentence."""
    if not lines:
        return []
    widest = max(len(line) for line in lines)
    groups: list[list[str]] = [[]]
    for line in lines:
        groups[-1].append(line)
        if line.endswith(_ENDS) and len(line) < 0.8 * widest:
            groups.append([])
    joined = (squash(_SPLIT_WORD.sub("", "\n".join(group))) for group in groups)
    return [Block("text", text, page=page) for text in joined if text]


def _title(reader: PdfReader, blocks: list[Block], name: str) -> str:
    """Believe the metadata unless a program filled it in; a PDF without headings is called by its file name."""
    try:
        said = squash(clean_text(str(reader.metadata.title or ""))) if reader.metadata else ""
    except _HOSTILE:
        said = ""
    return title_of(blocks, name) if _NO_TITLE.match(said) else said


def _missing(broken: list[int]) -> tuple[str, ...]:
    if not broken:
        return ()
    shown = ", ".join(str(number) for number in broken[:10]) + (", ..." if len(broken) > 10 else "")
    return (f"{len(broken)} of its pages could not be read: {shown}",)
