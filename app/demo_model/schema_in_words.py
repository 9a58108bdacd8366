"""A JSON schema that is asked for in the text of a message, by whoever knows of no other way to ask.

Such a request is read as what it means: the sentence and its schema are taken out of the messages, and the answer has
to fill the schema. A demand that came with a complaint about an answer takes that answer out with it.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

_DEMAND = re.compile(r"(?:\A|\n\n)(?:(?!\n\n).)*?\bJSON schema:?\s*(?=\{)", re.IGNORECASE | re.DOTALL)
_COMPLAINT = re.compile(r"(?:that|this|your answer) (?:is|was) (?:no|not)\b", re.IGNORECASE)
MAX_SCHEMA_CHARS = 100_000


def understood(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The request with its demand in words made a `response_format`; as it is where it has none, or has one already."""
    messages = list(body["messages"])
    if body.get("response_format") or not messages or messages[-1].get("role") != "user":
        return body
    parted = [_parted(message) for message in messages]
    schema = parted[-1][1]
    if schema is None:
        return body
    kept = [message for message, _ in parted]
    if not str(kept[-1]["content"]).strip():
        kept.pop()
        if kept and kept[-1].get("role") == "assistant":
            kept.pop()
    if not any(message.get("role") == "user" for message in kept):
        return body
    return {**body, "messages": kept, "response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}


def _parted(message: Mapping[str, Any]) -> tuple[Mapping[str, Any], dict[str, Any] | None]:
    """A person's message without its demand, and the schema of that."""
    text = message.get("content")
    if message.get("role") != "user" or not isinstance(text, str) or not (found := _DEMAND.search(text)):
        return message, None
    try:
        schema = orjson.loads(text[found.end() : found.end() + MAX_SCHEMA_CHARS].strip())
    except orjson.JSONDecodeError:
        return message, None
    if not isinstance(schema, dict) or "properties" not in schema:
        return message, None
    before = text[: found.start()]
    return {**message, "content": "" if _COMPLAINT.match(before) else before}, schema
