"""Read plain text: guess the encoding, part paragraphs at blank lines, keep the lines of what looks set by hand."""

from __future__ import annotations

import codecs
import re

from retrieval.documents import clean_text
from retrieval.parse.blocks import Block, Parsed, Unreadable, squash, title_of

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
_SET_BY_HAND = re.compile(r"^([ \t]{2,}|[-*•|>#] ?|\d+[.)] )", re.M)
_MAX_TITLE_CHARS = 120
_PROSE_LINE_CHARS = 30


def decode(data: bytes) -> str:
    """Decode by byte order mark, else UTF-8, else Windows-1252, which reads Latin-1 text right as well."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return clean_text(data.decode(encoding, errors="replace"))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    return clean_text(text)


def parse_text(text: str, name: str) -> Parsed:
    unified = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n")
    paragraphs = [part for part in _BLANK_LINES.split(unified) if part.strip()]
    if not paragraphs:
        raise Unreadable("the file holds only white space", "check what was saved")
    blocks = tuple(_block(paragraph) for paragraph in paragraphs)
    return Parsed(_title(paragraphs[0], name), "text/plain", blocks)


def _block(paragraph: str) -> Block:
    lines = paragraph.strip("\n").split("\n")
    average_chars = len(paragraph) / len(lines)
    if len(lines) > 1 and (_SET_BY_HAND.search(paragraph) or average_chars < _PROSE_LINE_CHARS):
        return Block("code", "\n".join(line.rstrip() for line in lines))
    return Block("text", squash(paragraph))


def _title(first: str, name: str) -> str:
    """A short first paragraph of one line, without a full stop, is what its writer called the text."""
    line = first.strip()
    if "\n" not in line and len(line) <= _MAX_TITLE_CHARS and not line.endswith((".", ":", ",", ";")):
        return squash(line)
    return title_of([], name)
