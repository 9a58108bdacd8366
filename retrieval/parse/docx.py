"""Read DOCX: headings by style, paragraphs, lists and tables in the order they stand."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from docx import Document as open_docx
from docx.opc.exceptions import OpcError
from docx.table import Table

from retrieval.documents import clean_text
from retrieval.parse.blocks import Block, Parsed, Unreadable, row, squash, title_of

MAX_UNPACKED_BYTES = 500_000_000
MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_HEADING_STYLE = re.compile(r"^Heading ([1-6])$", re.I)


def parse_docx(data: bytes, name: str) -> Parsed:
    _refuse_bomb(data)
    try:
        document = open_docx(BytesIO(data))
    except (OpcError, KeyError, ValueError) as error:
        raise Unreadable(f"a damaged DOCX ({error})", "open it in a word processor and save it again") from error
    blocks = tuple(block for block in _blocks(document) if block.text)
    if not any(block.kind != "heading" for block in blocks):
        raise Unreadable("no text in it", "if its pages are pictures, run text recognition first")
    title = squash(clean_text(document.core_properties.title or ""))
    return Parsed(title or title_of(blocks, name), MEDIA_TYPE, blocks)


def _refuse_bomb(data: bytes) -> None:
    with zipfile.ZipFile(BytesIO(data)) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > MAX_UNPACKED_BYTES:
        reason = f"it unpacks to {unpacked:,} bytes of {MAX_UNPACKED_BYTES:,} allowed"
        raise Unreadable(reason, "take its pictures out, or save it as PDF")


def _blocks(document: Any) -> Iterator[Block]:
    for part in document.iter_inner_content():
        yield _table(part) if isinstance(part, Table) else _paragraph(part)


def _paragraph(paragraph: Any) -> Block:
    text = squash(clean_text(paragraph.text))
    style = paragraph.style.name if paragraph.style is not None else ""
    heading = _HEADING_STYLE.match(style)
    if heading or style == "Title":
        return Block("heading", text, level=int(heading.group(1)) if heading else 1)
    if style.startswith("List") and text:
        return Block("item", f"- {text}")
    return Block("text", text)


def _table(table: Any) -> Block:
    lines = []
    for line in table.rows:
        cells: list[str] = []
        seen: set[int] = set()
        for cell in line.cells:  # a merged cell comes once for each column that it spans
            if id(cell._tc) not in seen:
                seen.add(id(cell._tc))
                cells.append(clean_text(cell.text))
        lines.append(row(cells))
    return Block("table", "\n".join(line for line in lines if line.strip(" |")), level=1)
