"""Turn a file's bytes into blocks. What the file holds decides how it is read; its name only breaks ties.

Text that is no known markup is read as plain text. Everything binary that is not PDF or DOCX is refused by name, and so
is text under the name of one of these: it is most often the page that says why a download failed.
"""

from __future__ import annotations

import re
import zipfile
from io import BytesIO

from retrieval.parse.blocks import Parsed, Unreadable
from retrieval.parse.docx import parse_docx
from retrieval.parse.html import decode_html, parse_html
from retrieval.parse.markdown import parse_markdown
from retrieval.parse.pdf import parse_pdf
from retrieval.parse.text import decode, parse_text
from retrieval.sources import is_archive, is_docx

MARKDOWN_ENDINGS = (".md", ".markdown", ".mdown", ".mkd")
BINARY_ENDINGS = (".pdf", ".docx")
HTML_ENDINGS = (".html", ".htm", ".xhtml")
_HTML_START = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?>(?:<!--.*?-->\s*)*)<(!doctype\s+html|html|head|body)\b", re.I | re.S
)
_HTML_TAG = re.compile(r"</?(p|div|h[1-6]|table|ul|span|a|br)\b[^>]{0,500}>", re.I)
_MARKDOWN_HINT = re.compile(r"^(#{1,6} \S|```|~~~)", re.M)
_BINARY = (
    (b"\xd0\xcf\x11\xe0", "an old Office file, or one with a password", "save it as DOCX without a password"),
    (b"{\\rtf", "RTF", "save it as DOCX or PDF"),
    (b"\x89PNG", "a picture", "put its text into a document"),
    (b"\xff\xd8\xff", "a picture", "put its text into a document"),
    (b"GIF8", "a picture", "put its text into a document"),
    (b"\x1f\x8b", "a gzip file", "unpack it first, or pack a ZIP"),
    (b"7z\xbc\xaf", "a 7z archive", "pack a ZIP instead"),
    (b"Rar!", "a RAR archive", "pack a ZIP instead"),
)
_READABLE = "use PDF, DOCX, Markdown, HTML or plain text"
_MANY_CONTROLS = 0.1
_CONTROL_BYTES = bytes(set(range(32)) - {9, 10, 12, 13, 27})


def parse(data: bytes, name: str) -> Parsed:
    """Read one file. Raises Unreadable with the reason and the next move."""
    if not data:
        raise Unreadable("the file is empty", "save it again and check its size")
    if b"%PDF-" in data[:1024]:
        return parse_pdf(data, name)
    if is_archive(data):
        return _parse_office(data, name)
    _refuse_binary(data)
    if name.lower().endswith(BINARY_ENDINGS):
        what = name.rpartition(".")[2].upper()
        raise Unreadable(f"named {what}, but only text is in it", "fetch it again; if the text is meant, name it .txt")
    return _parse_text(data, name)


def _parse_office(data: bytes, name: str) -> Parsed:
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            known = is_docx(archive)
    except zipfile.BadZipFile as error:
        raise Unreadable(f"a damaged ZIP or Office file ({error})", "save it again") from error
    if not known:
        raise Unreadable("a packed file that is no DOCX", _READABLE)
    return parse_docx(data, name)


def _refuse_binary(data: bytes) -> None:
    for magic, what, fix in _BINARY:
        if data.startswith(magic):
            raise Unreadable(f"{what}, which can't be read", fix)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return  # UTF-16: half of its bytes are zero
    head = data[:8192]
    controls = len(head) - len(head.translate(None, _CONTROL_BYTES))
    if controls > _MANY_CONTROLS * len(head):
        raise Unreadable("not text, and no format that can be read", _READABLE)


def _parse_text(data: bytes, name: str) -> Parsed:
    lowered = name.lower()
    text = decode(data)
    if _HTML_START.match(text[:4096]) or (lowered.endswith(HTML_ENDINGS) and _HTML_TAG.search(text)):
        return parse_html(decode_html(data), name)
    if lowered.endswith(MARKDOWN_ENDINGS) or ("." not in lowered.rsplit("/", 1)[-1] and _MARKDOWN_HINT.search(text)):
        return parse_markdown(text, name)
    return parse_text(text, name)
