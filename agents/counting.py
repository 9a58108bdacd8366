"""Counting tokens before they are sent: the served model's own count where there is one, else an estimate.

The estimate cuts text as byte-pair tokenizers do: words, digits in threes, runs of signs, and bytes for what is not
ASCII. Measured on the field guide (58,000 characters) against the vocabularies of four served model families: +0.7 %,
+0.9 %, +0.7 % and -3.0 % in all, between -5 and +4 % for any one page; on this program's source 1 to 10 % too many. It
is no better than a guess outside English: German came out up to 37 % too few, Russian up to 180 % too many. The room
that a request leaves for its answer, a quarter of the window, takes that up.
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

from langchain_core.messages import AIMessage, AnyMessage

DEFAULT_WINDOW = 32_768
"""Tokens of context where neither a setting nor the server says: what small served models have."""
OVERHEAD = 4
"""Tokens around each message: its role and its end."""

_PIECE = re.compile(r"[^\W\d_]+|\d{1,3}|[^\w\s]+|_+|\n+")
_WORD_BYTES = 9
_WIDE_BYTES = 3


class Counter(Protocol):
    """One served model's way of counting."""

    async def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        ...

    async def window(self) -> int | None:
        """Tokens that a request and its answer may have together; None when the server does not say."""
        ...


@lru_cache(maxsize=8_192)
def estimated(text: str) -> int:
    """About how many tokens a text has; remembered, since a conversation repeats its messages."""
    return sum(_estimated(piece) for piece in _PIECE.findall(text))


def _estimated(piece: str) -> int:
    size = len(piece.encode("utf-8", "replace"))
    if piece[0].isdigit() or piece[0] == "\n":
        return 1
    if piece[0].isalpha() and size == len(piece):
        return -(-size // _WORD_BYTES)
    return -(-size // _WIDE_BYTES)


def text_of(message: AnyMessage) -> str:
    """All of a message that is sent as text, tool calls too."""
    calls = message.tool_calls if isinstance(message, AIMessage) else ()
    return str(message.text) + "".join(f"\n{call['name']} {json.dumps(call['args'], default=str)}" for call in calls)


def tools_text(tools: Sequence[Any]) -> str:
    """About what a server is told of the tools on offer."""
    return "\n".join(_told(tool) for tool in tools)


def _told(tool: Any) -> str:
    if isinstance(tool, Mapping):
        return json.dumps(tool, default=str)
    schema = tool.tool_call_schema
    shown = schema if isinstance(schema, dict) else schema.model_json_schema()
    return f"{tool.name} {tool.description} {json.dumps(shown)}"
