"""Turn an answer's markdown into Blocks: nested lists of plain data, drawn by a browser that parses no HTML.

Raw HTML stays text, an image becomes its alternative text (fetching it would tell its host what was asked),
and only `http` and `https` links keep their address. `[3f9a1c]` becomes a citation when that key is known;
code is left alone. Pure, and knows nothing about where text or keys come from.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

Node = str | list[Any]
"""A text, or `[tag, attributes, children]`."""
Blocks = list[Node]

# `reference` is off: a definition such as `[3f9a1c]: http://...` would turn a citation into somebody's link.
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
_MARKDOWN.disable(["reference", "html_block", "html_inline"])

_PLAIN = {"bullet_list": "ul", "list_item": "li", "blockquote": "blockquote", "strong": "strong", "em": "em",
          "table": "table", "thead": "thead", "tbody": "tbody", "tr": "tr"}  # fmt: skip
_BRACKETS = re.compile(r"\[([^\[\]\s,;]+(?:[,;]\s*[^\[\]\s,;]+)*)\]")
_SEPARATOR = re.compile(r"[,;]\s*")
# What a stream cut inside `[3f9a1c]` leaves at the end; drawn for a moment, it would flicker.
_UNFINISHED = re.compile(r"\s?\[[0-9A-Za-z_-]{0,40}(?:[,;]\s?[0-9A-Za-z_-]{0,40})*$")


def blocks(markdown: str, numbers: Mapping[str, int], *, streaming: bool = False) -> Blocks:
    """Parse `markdown`; `numbers` gives each known citation key the number its reader sees.

    With `streaming`, a citation that is only half there is held back until its other half arrives, and what has begun
    to be bold is bold.
    """
    text = _closed(_UNFINISHED.sub("", markdown)) if streaming else markdown
    root = SyntaxTreeNode(_MARKDOWN.parse(text))
    return _children(root, numbers)


def _closed(text: str) -> str:
    """The text with the bold words that its last line begins brought to an end."""
    line = text[text.rfind("\n") + 1 :]
    if line.count("**") % 2 == 0 or "`" in line or text.count("```") % 2:
        return text
    words = text.rstrip()
    if words.endswith("**"):
        return words[:-2]
    return words + ("*" if words.endswith("*") else "**")


def visible_host(href: str) -> str | None:
    """Host of an `http(s)` address, or None when the address may not be a link."""
    try:
        parts = urlsplit(href)
        host = parts.hostname
    except ValueError:
        return None
    return host if parts.scheme in ("http", "https") else None


def _children(node: SyntaxTreeNode, numbers: Mapping[str, int]) -> Blocks:
    drawn: Blocks = []
    for child in node.children:
        for item in _draw(child, numbers):
            if isinstance(item, str) and drawn and isinstance(drawn[-1], str):
                drawn[-1] += item  # neighbouring texts are one text: fewer nodes, steadier selection
            else:
                drawn.append(item)
    return drawn


def _draw(node: SyntaxTreeNode, numbers: Mapping[str, int]) -> Iterator[Node]:
    kind = node.type
    if kind == "text":
        yield from _cited(node.content, numbers)
    elif kind == "inline":
        yield from _children(node, numbers)
    elif kind == "paragraph":
        inner = _children(node, numbers)
        yield from inner if node.hidden else [["p", {}, inner]]
    elif kind in _PLAIN:
        yield [_PLAIN[kind], {}, _children(node, numbers)]
    elif kind == "ordered_list":
        start = int(node.attrs.get("start", 1))
        yield ["ol", {"start": start} if start != 1 else {}, _children(node, numbers)]
    elif kind == "heading":
        yield ["h3" if node.tag in ("h1", "h2") else "h4", {}, _children(node, numbers)]
    elif kind in ("th", "td"):
        yield [kind, _alignment(node), _children(node, numbers)]
    else:
        yield from _leaf(node, numbers)


def _leaf(node: SyntaxTreeNode, numbers: Mapping[str, int]) -> Iterator[Node]:
    """Code, breaks, links and pictures; anything the parser may learn later stays text."""
    kind = node.type
    if kind in ("fence", "code_block"):
        language = node.info.split(maxsplit=1)[0] if node.info else ""
        yield ["pre", {"lang": language} if language else {}, [node.content]]
    elif kind == "code_inline":
        yield ["code", {}, [node.content]]
    elif kind == "softbreak":
        yield "\n"
    elif kind == "hardbreak":
        yield ["br", {}, []]
    elif kind == "hr":
        yield ["hr", {}, []]
    elif kind == "image":
        yield node.content
    elif kind == "link":
        yield from _link(node, numbers)
    else:
        yield node.content


def _link(node: SyntaxTreeNode, numbers: Mapping[str, int]) -> Iterator[Node]:
    href, inner = str(node.attrs.get("href", "")), _children(node, numbers)
    host = visible_host(href)
    if host:
        yield ["a", {"href": href, "host": host}, inner]
    else:
        yield from inner


def _alignment(node: SyntaxTreeNode) -> dict[str, str]:
    style = str(node.attrs.get("style", ""))  # markdown-it writes `text-align:right`
    side = style.removeprefix("text-align:")
    return {"align": side} if side in ("right", "center") else {}


def _cited(text: str, numbers: Mapping[str, int]) -> Iterator[Node]:
    """Text with known `[key]` and `[key, key]` as citations; unknown brackets stay as written."""
    position = 0
    for match in _BRACKETS.finditer(text):
        keys = _SEPARATOR.split(match[1])
        if not all(key in numbers for key in keys):
            continue
        before = text[position : match.start()]
        if before:
            yield before
        yield from (["cite", {"n": numbers[key], "key": key}, []] for key in keys)
        position = match.end()
    if position < len(text):
        yield text[position:]
