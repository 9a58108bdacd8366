"""Blocks -> HTML for the page without scripts of ours: every text escaped, only known tags, links to http(s)."""

from collections.abc import Sequence
from html import escape
from typing import Any

_TAGS = frozenset(
    {"p", "h3", "h4", "ul", "ol", "li", "strong", "em", "code", "pre", "blockquote", "table", "thead", "tbody", "tr"}
    | {"th", "td"}
)
_EMPTY = frozenset({"hr", "br"})


def to_html(blocks: Sequence[Any]) -> str:
    """HTML of `blocks`; an unknown tag leaves its text."""
    return "".join(escape(block) if isinstance(block, str) else _element(*block) for block in blocks)


def _element(tag: str, attrs: dict[str, Any], children: Sequence[Any]) -> str:
    inner = to_html(children)
    if tag == "cite":
        return f"<sup>[{int(attrs['n'])}]</sup>"
    if tag == "a" and str(attrs.get("href", "")).startswith(("http://", "https://")):
        return f"<a href='{escape(attrs['href'])}' rel='noopener noreferrer nofollow' target='_blank'>{inner}</a>"
    if tag in _EMPTY:
        return f"<{tag}>"
    return f"<{tag}>{inner}</{tag}>" if tag in _TAGS else inner
