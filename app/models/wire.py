"""What goes to a model: messages as JSON, tools as strict schemas, a Pydantic class as a response format.

Each message is converted and encoded once, and its bytes are spliced into every later request, so a long history
costs its length in bytes and not a walk through it at every turn. A message that was changed since is encoded again.
"""

import copy
import json
import re
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel

from app.models.faults import to_json

UNUSABLE = "] "
"""Put before arguments that must not run: every JSON parser refuses them, one that completes cut text too."""
UNKNOWN_TOOL = "unknown"
SHOWN_CHARS = 2_000
MAX_SCHEMA_DEPTH = 32

Schema = dict[str, Any]


def request_body(params: dict[str, Any], messages: Sequence[bytes]) -> bytes:
    """The request with its already encoded messages."""
    return b'{"messages":[' + b",".join(messages) + b"]," + to_json(params)[1:]


class Memo:
    """A value derived from an object, kept as long as the object lives and looks the same.

    Messages and tools are neither hashable nor frozen: the key is the identity, checked by a weak reference, and a
    copy of what the value depends on tells a change.
    """

    def __init__(self, looks: Callable[[Any], tuple[Any, ...]]) -> None:
        self._looks = looks
        self._kept: dict[int, tuple[weakref.ref[Any], tuple[Any, ...], Any]] = {}

    def get(self, thing: Any) -> Any:
        kept = self._kept.get(id(thing))
        return kept[2] if kept and kept[0]() is thing and kept[1] == self._looks(thing) else None

    def keep(self, thing: Any, value: Any) -> None:
        key = id(thing)
        reference = weakref.ref(thing, lambda _: self._kept.pop(key, None))
        self._kept[key] = (reference, tuple(_copied(part) for part in self._looks(thing)), value)

    def __len__(self) -> int:
        return len(self._kept)


def _copied(part: Any) -> Any:
    return part if part is None or isinstance(part, str) else copy.deepcopy(part)


def message_memo() -> Memo:
    """For messages as JSON bytes."""
    return Memo(_message_looks)


def _message_looks(message: BaseMessage) -> tuple[Any, ...]:
    fields = message.__dict__  # attribute access on a missing field costs ten times as much
    return (
        message.content,
        fields.get("type"),
        fields.get("role"),
        fields.get("name"),
        fields.get("additional_kwargs"),
        fields.get("tool_calls"),
        fields.get("invalid_tool_calls"),
        fields.get("tool_call_id"),
    )


def message_json(message: BaseMessage, wire: dict[str, Any]) -> bytes:
    """Encode LangChain's conversion of a message.

    Chat templates parse the arguments of earlier calls: unusable ones travel as text inside an object.
    """
    if isinstance(message, AIMessage) and message.invalid_tool_calls:
        for call in wire["tool_calls"][len(message.tool_calls) :]:
            said = (call["function"]["arguments"] or "").removeprefix(UNUSABLE)
            call["function"]["arguments"] = to_json({"unusable": said[:SHOWN_CHARS]}).decode()
            call["function"]["name"] = call["function"]["name"] or UNKNOWN_TOOL
    return to_json(wire)


def tool_memo() -> Memo:
    """For tools in wire form. Deriving a schema costs about a millisecond, and agents bind tools at every turn."""
    return Memo(_tool_looks)


def _tool_looks(tool: object) -> tuple[Any, ...]:
    return (tool.name, tool.description, tool.args_schema, tool.extras) if isinstance(tool, BaseTool) else ()


def wire_tool(tool: Any, strict: bool) -> dict[str, Any]:
    """OpenAI's form of a tool, `strict` where its schema can be: then arguments are enforced, not only the name."""
    wire = convert_to_openai_tool(tool)
    function = wire.get("function")
    if not strict or wire.get("type") != "function" or not isinstance(function, dict) or "strict" in function:
        return wire
    schema = strict_schema(function.get("parameters") or {"type": "object", "properties": {}})
    return wire if schema is None else {**wire, "function": {**function, "parameters": schema, "strict": True}}


def response_format(schema: type[BaseModel]) -> dict[str, Any]:
    """A class as a `json_schema` response format."""
    loose = schema.model_json_schema()
    strict = strict_schema(loose)
    name = re.sub(r"[^\w-]", "_", schema.__name__)[:64]
    named = {"name": name, "schema": strict or loose, "strict": strict is not None}
    return {"type": "json_schema", "json_schema": named}


def strict_format(form: dict[str, Any]) -> dict[str, Any]:
    """A ready-made `json_schema` format, strict where its schema can be and nothing was said about it."""
    named = form.get("json_schema")
    if not isinstance(named, dict) or "strict" in named or not isinstance(named.get("schema"), dict):
        return form
    strict = strict_schema(named["schema"])
    return form if strict is None else {**form, "json_schema": {**named, "schema": strict, "strict": True}}


class _OpenEnded(Exception):
    """A part of a schema allows what strict mode cannot say."""


def strict_schema(schema: Schema) -> Schema | None:
    """The same schema with every object closed and every key required; None where that would change what it means.

    A map with free keys, or a value of any type, would become an empty object: such a tool is better sent as it is.
    A default would never be used and strict servers refuse the word, so it moves into the description.
    """
    try:
        return _closed(schema, 0)
    except _OpenEnded:
        return None


_LOOSE_WORDS = frozenset(
    "oneOf allOf not if then else patternProperties propertyNames prefixItems contains "  # noqa: SIM905 - reads better
    "dependentRequired dependentSchemas unevaluatedProperties unevaluatedItems".split()
)


def _closed(node: Any, depth: int) -> Schema:
    if depth > MAX_SCHEMA_DEPTH or not isinstance(node, dict) or node.keys() & _LOOSE_WORDS:
        raise _OpenEnded
    closed = _described_default(node)
    kinds = node.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "properties" in node or "object" in kinds:
        _close_object(node, closed, depth)
    if "array" in kinds:
        closed["items"] = _closed(node.get("items"), depth + 1)
    if "anyOf" in node:
        closed["anyOf"] = [_closed(option, depth + 1) for option in node["anyOf"]]
    if not node.keys() & {"type", "properties", "anyOf", "enum", "const", "$ref"}:
        raise _OpenEnded
    for defs in node.keys() & {"$defs", "definitions"}:
        closed[defs] = {name: _closed(part, depth + 1) for name, part in node[defs].items()}
    return closed


def _close_object(node: Schema, closed: Schema, depth: int) -> None:
    properties = node.get("properties")
    if node.get("additionalProperties") not in (None, False) or (properties is None and depth):
        raise _OpenEnded
    closed["properties"] = {name: _closed(part, depth + 1) for name, part in (properties or {}).items()}
    closed["required"] = list(closed["properties"])
    closed["additionalProperties"] = False


def _described_default(node: Schema) -> Schema:
    described = {key: value for key, value in node.items() if key != "default"}
    if node.get("default") is not None:
        hint = f"Default: {json.dumps(node['default'], ensure_ascii=False, default=str)}."
        described["description"] = f"{node.get('description', '')} {hint}".strip()
    return described
