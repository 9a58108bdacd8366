"""Read HTML for its text: navigation, scripts and page furniture dropped, headings and tables kept.

The walk is one pass over lxml's event stream, so depth costs no stack. If nothing is left once the furniture is gone
(a page that is only a table of contents), the page is read again with its lists of links.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lxml import etree
from lxml import html as lxml_html

from retrieval.documents import clean_text
from retrieval.parse.blocks import Block, Parsed, Unreadable, row, squash, title_of
from retrieval.parse.text import decode

_NEVER = """
head title script style noscript template svg math iframe object embed canvas audio video button
select textarea datalist
"""
_FURNITURE = "navheader navfooter navbar navigation nav breadcrumb breadcrumbs toc site-header site-footer skip-link"
_BLOCKS = """
address article aside blockquote body center dd details dialog div dl dt fieldset figcaption figure hr li main ol p
section summary tbody td tfoot th thead tr ul caption legend option
"""
NEVER = frozenset(_NEVER.split())
FURNITURE_TAGS = frozenset(("nav", "footer", "header"))
FURNITURE_ROLES = frozenset(("navigation", "banner", "contentinfo", "search"))
FURNITURE_NAMES = frozenset(_FURNITURE.split())
HEADINGS = {f"h{level}": level for level in range(1, 7)}
BLOCK_TAGS = frozenset(_BLOCKS.split())
_CHARSET = re.compile(rb"""<(?:meta[^>]+charset|\?xml[^>]+encoding)\s*=\s*["']?\s*([\w-]+)""", re.I)
_XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_PERMALINK = re.compile(r"[\s#¶§]+$")


def decode_html(data: bytes) -> str:
    """Decode as text; where that is not UTF-8, believe the page's own word for its encoding."""
    said = _CHARSET.search(data[:4096])
    if said and not data.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            try:
                return clean_text(data.decode(said.group(1).decode("ascii"), errors="replace"))
            except LookupError:
                pass  # an encoding nobody knows: guess below
    return decode(data)


def parse_html(text: str, name: str) -> Parsed:
    root = _tree(text)
    if root is None:
        raise Unreadable("no HTML in it", "check what was saved")
    blocks = tuple(_Walk(_main(root), furniture=False).blocks())
    if not any(block.kind != "heading" for block in blocks):
        blocks = tuple(_Walk(root, furniture=True).blocks())
    if not blocks:
        raise Unreadable("the page has no text of its own", "save the page as a browser shows it, or as PDF")
    title = squash(root.findtext(".//title") or "")
    return Parsed(title or title_of(blocks, name), "text/html", blocks)


def blocks_of_html(fragment: str) -> list[Block]:
    """Read a fragment, such as HTML inside Markdown."""
    root = _tree(fragment)
    return [] if root is None else list(_Walk(root, furniture=False).blocks())


def _tree(text: str) -> etree._Element | None:
    parser = lxml_html.HTMLParser(huge_tree=True, no_network=True, remove_comments=True, remove_pis=True)
    source = _XML_DECLARATION.sub("", text)
    if not source.strip():
        return None
    try:
        return lxml_html.document_fromstring(source, parser=parser)
    except etree.ParserError:
        return None


def _main(root: etree._Element) -> etree._Element:
    """A page that names its main part means it."""
    found = root.findall(".//main") or root.xpath("//*[@role='main']")
    return found[0] if isinstance(found, list) and len(found) == 1 else root  # type: ignore[return-value]


class _Walk:
    """Gathers inline text until a block starts or ends, then lets it go as one block."""

    def __init__(self, root: etree._Element, *, furniture: bool) -> None:
        self.root = root
        self.furniture = furniture
        self.inline: list[str] = []
        self.item_depth = 0
        self.terms: list[str] = []
        self.skipped: etree._Element | None = None

    def blocks(self) -> Iterator[Block]:
        walk = etree.iterwalk(self.root, events=("start", "end"))
        for event, element in walk:
            if event == "start":
                yield from self._enter(element)
                if self.skipped is element:
                    walk.skip_subtree()
            else:
                yield from self._leave(element)
        yield from self._flush()

    def _enter(self, element: etree._Element) -> Iterator[Block]:
        tag = element.tag
        if self._unwanted(element):
            self.skipped = element
            return
        if tag in HEADINGS or tag == "pre" or (tag == "table" and not _is_layout(element)):
            self.skipped = element
            yield from self._flush()
            yield from self._whole(element)
            return
        if tag in BLOCK_TAGS:
            yield from self._flush()
            self.item_depth += tag == "li"
        self._add(" " if tag == "br" else element.text)

    def _leave(self, element: etree._Element) -> Iterator[Block]:
        if self.skipped is element:
            self.skipped = None
        elif element.tag == "dt":
            self.terms.append(squash("".join(self.inline)))
            self.inline.clear()
        elif element.tag in BLOCK_TAGS:
            yield from self._flush()
            self.item_depth -= element.tag == "li"
        if element is not self.root:
            self._add(element.tail)

    def _whole(self, element: etree._Element) -> Iterator[Block]:
        """Blocks that are read in one piece, whatever they hold."""
        if element.tag == "table":
            block = _table(element)
        elif element.tag == "pre":
            block = Block("code", _text(element).strip("\n").rstrip())
        else:
            block = Block("heading", _PERMALINK.sub("", squash(_text(element))), level=HEADINGS[str(element.tag)])
        if block.text.strip():
            if self.terms and block.kind != "heading":
                yield Block("item", f"- {self._take_terms()}:")
            yield block

    def _flush(self) -> Iterator[Block]:
        text = squash("".join(self.inline))
        self.inline.clear()
        if not text:
            return
        if self.terms:
            yield Block("item", f"- {self._take_terms()}: {text}")
        else:
            yield Block("item", f"- {text}") if self.item_depth else Block("text", text)

    def _take_terms(self) -> str:
        text = ", ".join(term for term in self.terms if term)
        self.terms.clear()
        return text

    def _add(self, text: str | None) -> None:
        if text:
            self.inline.append(text)

    def _unwanted(self, element: etree._Element) -> bool:
        if element.tag in NEVER or "hidden" in element.attrib:
            return True
        if self.furniture:
            return False
        if element.tag in FURNITURE_TAGS:
            return not any(parent.tag in ("main", "article") for parent in element.iterancestors())
        if element.get("role") in FURNITURE_ROLES:
            return True
        names = f"{element.get('class', '')} {element.get('id', '')}".lower().split()
        return not FURNITURE_NAMES.isdisjoint(names)


def _text(element: etree._Element) -> str:
    """Text below an element, scripts and styles left out, cells and lines parted."""
    parts: list[str] = []
    walk = etree.iterwalk(element, events=("start", "end"))
    for event, part in walk:
        if event == "start":
            if part.tag in NEVER:
                walk.skip_subtree()
            elif part.tag == "br":
                parts.append("\n")
            else:
                parts.append(part.text or "")
            continue
        if part.tag in BLOCK_TAGS:
            parts.append(" ")
        if part is not element:
            parts.append(part.tail or "")
    return "".join(parts)


def _is_layout(table: etree._Element) -> bool:
    """Tables that hold tables or headings arrange a page; they are no data."""
    return table.get("role") == "presentation" or any(
        True for part in table.iterdescendants() if part.tag == "table" or part.tag in HEADINGS
    )


def _table(table: etree._Element) -> Block:
    rows: list[str] = []
    has_header = False
    for line in table.iter("tr"):
        cells = [part for part in line if part.tag in ("td", "th")]
        texts = [squash(_text(cell)) for cell in cells]
        if any(texts):
            has_header |= not rows and all(cell.tag == "th" for cell in cells)
            rows.append(row(texts))
    return Block("table", "\n".join(rows), level=int(has_header))
