"""Blocks for a terminal: the same parsed answer that the browser draws, as rich renderables.

Everything in it came from a model or a document, so control characters are taken out first: an escape sequence in a
PDF must not move somebody's cursor.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

JSON = dict[str, Any]

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""All of C0 and C1 but tab and newline, marks that turn the direction of writing, and halves of characters."""

CITATION = "cyan"
_INLINE = {"strong": "bold", "em": "italic", "code": "bold cyan", "a": "underline"}
_LISTS = ("ul", "ol")


def safe(value: Any) -> Any:
    """`value` with every string in it fit to be written to a terminal."""
    if isinstance(value, str):
        return _CONTROLS.sub("", value)
    if isinstance(value, Mapping):
        return {key: safe(item) for key, item in value.items()}
    return [safe(item) for item in value] if isinstance(value, list | tuple) else value


def console(stream: TextIO) -> Console:
    """A console that never guesses: nothing in what it prints is markup, a link or an emoji code."""
    return Console(file=stream, highlight=False, markup=False, emoji=False)


def drawn_blocks(blocks: Sequence[Any]) -> Group:
    """Blocks one below the other, with a blank line between them."""
    parts: list[RenderableType] = []
    for at, block in enumerate(_paragraphs(blocks)):
        parts += [Text("")] * bool(at) + [_block(block)]
    return Group(*parts)


def _paragraphs(blocks: Sequence[Any]) -> Iterator[Any]:
    """Stretches of loose inline nodes, as tight lists have them, become paragraphs."""
    loose: list[Any] = []
    for block in blocks:
        if isinstance(block, str) or block[0] in (*_INLINE, "cite", "br"):
            loose.append(block)
            continue
        if loose:
            yield ["p", {}, loose]
            loose = []
        yield block
    if loose:
        yield ["p", {}, loose]


def _block(block: Any) -> RenderableType:
    tag, attrs, children = block
    if tag in ("h3", "h4"):
        return _inline(children, "bold underline" if tag == "h3" else "bold")
    if tag in _LISTS:
        return _list(tag, int(attrs.get("start", 1)), children)
    if tag == "pre":
        return Padding(Text("".join(children).rstrip("\n"), style="cyan"), (0, 0, 0, 4))
    if tag == "blockquote":
        return Padding(drawn_blocks(children), (0, 0, 0, 4), style="italic")
    if tag == "table":
        return _table(children)
    return Rule(style="dim") if tag == "hr" else _inline(children)


def _list(tag: str, start: int, items: Sequence[Any]) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(ratio=1)
    for at, item in enumerate(items, start):
        body = list(_paragraphs(item[2]))
        grid.add_row(f" {at}." if tag == "ol" else " •", Group(*(_block(part) for part in body)))
    return grid


def _table(parts: Sequence[Any]) -> Table:
    rows = [row for part in parts for row in part[2]]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=bool(parts) and parts[0][0] == "thead")
    for _, attrs, children in rows[0][2] if rows else ():
        table.add_column(_inline(children), justify=attrs.get("align", "left"), overflow="fold")
    for row in rows[1:] if table.show_header else rows:
        table.add_row(*(_inline(cell[2]) for cell in row[2]))
    return table


def _inline(nodes: Iterable[Any], style: str = "") -> Text:
    out = Text(style=style)
    for node in nodes:
        if isinstance(node, str):
            out.append(node.replace("\n", " "))
        else:
            out.append_text(_inline_element(*node))
    return out


def _inline_element(tag: str, attrs: Mapping[str, Any], children: Sequence[Any]) -> Text:
    if tag == "cite":
        return Text(f"[{attrs['n']}]", style=CITATION)
    if tag == "br":
        return Text("\n")
    inner = _inline(children, _INLINE.get(tag, ""))
    if tag == "a":
        inner = Text.assemble(inner, (f" ({attrs['host']})", "dim"))
    return inner
