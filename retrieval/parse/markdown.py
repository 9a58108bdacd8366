"""Read Markdown (CommonMark and tables): headings kept, markup gone, embedded HTML read as HTML."""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.token import Token

from retrieval.parse.blocks import Block, Parsed, Unreadable, row, squash, title_of
from retrieval.parse.html import blocks_of_html

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(---|\.\.\.)[ \t]*(\n|\Z)", re.S)
_TITLE_LINE = re.compile(r"^title:[ \t]*(.+?)[ \t]*$", re.M)


def parse_markdown(text: str, name: str) -> Parsed:
    body, title = _without_front_matter(text.replace("\r\n", "\n").replace("\r", "\n"))
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    blocks = tuple(block for block in _Reader(tokens).blocks() if block.text.strip())
    if not blocks:
        raise Unreadable("no text in it", "check what was saved")
    return Parsed(title or title_of(blocks, name), "text/markdown", blocks)


def _without_front_matter(text: str) -> tuple[str, str]:
    """Cut a leading YAML block; of it only the title is wanted."""
    found = _FRONT_MATTER.match(text)
    if not found:
        return text, ""
    title = _TITLE_LINE.search(found.group(1))
    return text[found.end() :], squash(title.group(1).strip("\"'")) if title else ""


class _Reader:
    """Walks the flat token list once; nesting matters for list items and tables only."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.item_depth = 0

    def blocks(self) -> list[Block]:
        found: list[Block] = []
        position = 0
        while position < len(self.tokens):
            token = self.tokens[position]
            self.item_depth += token.nesting if token.type.startswith("list_item") else 0
            if token.type == "table_open":
                position, block = self._table(position)
                found.append(block)
            else:
                found += self._read(token, self.tokens[position - 1] if position else token)
            position += 1
        return found

    def _read(self, token: Token, before: Token) -> list[Block]:
        if token.type == "inline":
            text = plain(token)
            if before.type == "heading_open":
                return [Block("heading", text, level=int(before.tag[1]))]
            return [Block("item", f"- {text}") if self.item_depth else Block("text", text)]
        if token.type in ("fence", "code_block"):
            return [Block("code", token.content.strip("\n"))]
        if token.type == "html_block":
            return blocks_of_html(token.content)
        return []

    def _table(self, start: int) -> tuple[int, Block]:
        """Read up to `table_close`: one line per row, the first is the header."""
        rows: list[list[str]] = []
        position = start
        while self.tokens[position].type != "table_close":
            token = self.tokens[position]
            if token.type == "tr_open":
                rows.append([])
            elif token.type == "inline":
                rows[-1].append(plain(token))
            position += 1
        return position, Block("table", "\n".join(row(cells) for cells in rows), level=1)


def plain(token: Token) -> str:
    """Text of an inline token as a reader sees it: no stars, no link targets, pictures by their description."""
    parts = []
    for child in token.children or ():
        if child.type in ("softbreak", "hardbreak"):
            parts.append(" ")
        elif child.type in ("text", "code_inline", "image"):
            parts.append(child.content)
    return squash("".join(parts))
