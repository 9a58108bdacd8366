"""Real files of every format, made on the spot, and a corpus to put them in."""

from __future__ import annotations

import zipfile
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
from docx import Document as new_docx
from reportlab.lib.pagesizes import A5
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

from retrieval.corpus import Corpus
from retrieval.embed import HashEmbedder

Page = Sequence[str]


@pytest.fixture
async def corpus(tmp_path: Path) -> AsyncIterator[Corpus]:
    async with await Corpus.open(tmp_path / "index", HashEmbedder(), parsers=1) as opened:
        yield opened


@pytest.fixture
def make_pdf(tmp_path: Path) -> Callable[..., Path]:
    """Pages of lines -> a PDF; `bookmarks` maps a page number to a title, `password` encrypts it."""

    def make(
        pages: Sequence[Page],
        *,
        name: str = "made.pdf",
        title: str = "",
        bookmarks: dict[int, str] | None = None,
        password: str | None = None,
    ) -> Path:
        path = tmp_path / name
        encryption = None if password is None else StandardEncryption(password, ownerPassword="owner", strength=128)
        canvas = Canvas(str(path), pagesize=A5, encrypt=encryption)
        canvas.setTitle(title)
        for number, lines in enumerate(pages, start=1):
            if bookmarks and number in bookmarks:
                canvas.bookmarkPage(f"p{number}")
                canvas.addOutlineEntry(bookmarks[number], f"p{number}", level=0)
            for row, line in enumerate(lines):
                canvas.drawString(40, 550 - 16 * row, line)
            canvas.showPage()
        canvas.save()
        return path

    return make


@pytest.fixture
def make_docx(tmp_path: Path) -> Callable[..., Path]:
    """A DOCX with a title, two headings, a list and a table."""

    def make(name: str = "made.docx") -> Path:
        document = new_docx()
        document.add_heading("Harbour handbook", level=0)
        document.add_heading("Pilots", level=1)
        document.add_paragraph("A pilot boards every ship above 80 metres.")
        document.add_paragraph("Book the pilot two hours ahead.", style="List Bullet")
        document.add_heading("Fees", level=2)
        table = document.add_table(rows=0, cols=2)
        for cells in (("Length", "Fee"), ("80 m", "410 euro"), ("120 m", "655 euro")):
            for cell, text in zip(table.add_row().cells, cells, strict=True):
                cell.text = text
        path = tmp_path / name
        document.save(str(path))
        return path

    return make


@pytest.fixture
def make_zip(tmp_path: Path) -> Callable[..., Path]:
    def make(members: dict[str, str | bytes], name: str = "made.zip") -> Path:
        path = tmp_path / name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in members.items():
                archive.writestr(member, content)
        return path

    return make
