"""OpenAI's chat completions on the wire: requests checked, answers and errors shaped.

Follows what vLLM does where it says more than OpenAI: `reasoning_content`, cached prompt tokens, an empty first delta
with the role, a last chunk without choices that carries usage.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from app.demo_model.reader import Reply
from app.demo_model.tokens import count_tokens, pieces

MAX_CONTEXT_TOKENS = 131_072
MODELS = ("demo-large", "demo-small", "demo-embed")
UNKNOWN_PREFIX = "missing-"
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_MESSAGE_OVERHEAD_TOKENS = 4


class Refused(Exception):
    """A request that gets an error instead of an answer."""

    def __init__(self, message: str, param: str | None = None, *, status: int = 400, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = error_body(message, status, param, code)


_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
}


def error_body(message: str, status: int, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


# -- requests


def read_object(raw: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Refused(f"the body is not valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refused(f"the body is {_kind(body)}, not an object")
    return body


def check_model(body: Mapping[str, Any]) -> str:
    model = _field(body, "model", str, required=True)
    if not model:
        raise Refused("model: empty; give a name such as demo-large", "model")
    if model.startswith(UNKNOWN_PREFIX):
        raise Refused(
            f"The model `{model}` does not exist; there are {', '.join(MODELS)}.",
            "model",
            status=404,
            code="model_not_found",
        )
    return str(model)


def check_chat(body: Mapping[str, Any]) -> None:
    """Raise Refused with the name of the first field that is wrong."""
    check_model(body)
    _check_messages(_field(body, "messages", list, required=True))
    _check_tools(body)
    for name in ("max_tokens", "max_completion_tokens"):
        if (limit := _field(body, name, int)) is not None and limit < 1:
            raise Refused(f"{name}: {limit} of at least 1", name)
    temperature = _field(body, "temperature", (int, float))
    if temperature is not None and not 0 <= temperature <= 2:
        raise Refused(f"temperature: {temperature} is not between 0 and 2", "temperature")
    if (n := _field(body, "n", int)) is not None and n != 1:
        raise Refused(f"n: {n}; this server gives one choice, ask again for another", "n")
    _field(body, "stream", bool)
    _field(body, "stream_options", dict)
    _stops(body)
    _check_format(_field(body, "response_format", dict))


def _field(body: Mapping[str, Any], name: str, kind: Any, *, required: bool = False) -> Any:
    value = body.get(name)
    if value is None:
        if required:
            raise Refused(f"{name}: missing", name)
        return None
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        wanted = " or ".join(k.__name__ for k in kind) if isinstance(kind, tuple) else kind.__name__
        raise Refused(f"{name}: {_kind(value)} where {wanted} is wanted", name)
    return value


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _check_messages(messages: Sequence[Any]) -> None:
    if not messages:
        raise Refused("messages: empty; at least one is needed", "messages")
    for at, message in enumerate(messages):
        where = f"messages[{at}]"
        if not isinstance(message, dict):
            raise Refused(f"{where}: {_kind(message)} where an object is wanted", where)
        if message.get("role") not in _ROLES:
            raise Refused(f"{where}.role: {message.get('role')!r} is not one of {', '.join(_ROLES)}", f"{where}.role")
        if not isinstance(message.get("content"), str | list | None):
            raise Refused(f"{where}.content: {_kind(message['content'])} where text is wanted", f"{where}.content")
        _check_parts(message.get("content"), where)
        calls = message.get("tool_calls")
        if calls is not None and not (isinstance(calls, list) and all(isinstance(call, dict) for call in calls)):
            raise Refused(f"{where}.tool_calls: a list of objects is wanted", f"{where}.tool_calls")
        if message["role"] == "tool" and not isinstance(message.get("tool_call_id"), str):
            raise Refused(f"{where}.tool_call_id: missing", f"{where}.tool_call_id")


def _check_parts(content: Any, where: str) -> None:
    for at, part in enumerate(content if isinstance(content, list) else ()):
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise Refused(f"{where}.content[{at}]: an object with a type is wanted", f"{where}.content[{at}]")


def _check_tools(body: Mapping[str, Any]) -> None:
    tools = _field(body, "tools", list) or []
    names = []
    for at, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
            raise Refused(f"tools[{at}].function.name: missing", f"tools[{at}].function.name")
        if not isinstance(function.get("parameters"), dict | None):
            raise Refused(f"tools[{at}].function.parameters: not a JSON schema", f"tools[{at}].function.parameters")
        names.append(function["name"])
    choice = body.get("tool_choice")
    if choice in (None, "none", "auto"):
        return
    if choice == "required":
        wanted = None
    elif isinstance(choice, dict) and isinstance(choice.get("function"), dict):
        wanted = choice["function"].get("name")
    else:
        raise Refused(f"tool_choice: {choice!r} is not auto, none, required or a named function", "tool_choice")
    if not tools or (wanted is not None and wanted not in names):
        raise Refused(
            f"tool_choice: {wanted or 'required'} where tools are {', '.join(names) or 'none'}", "tool_choice"
        )


def _check_format(wanted: Mapping[str, Any] | None) -> None:
    if wanted is None:
        return
    kind = wanted.get("type")
    if kind not in ("text", "json_object", "json_schema"):
        raise Refused(f"response_format.type: {kind!r} is not text, json_object or json_schema", "response_format.type")
    if kind == "json_schema":
        inner = wanted.get("json_schema")
        if not isinstance(inner, dict) or not isinstance(inner.get("schema"), dict):
            raise Refused("response_format.json_schema.schema: missing", "response_format.json_schema.schema")


def _stops(body: Mapping[str, Any]) -> list[str]:
    stop = body.get("stop")
    stops = [stop] if isinstance(stop, str) else stop or []
    if not isinstance(stops, list) or not all(isinstance(text, str) for text in stops):
        raise Refused("stop: text or a list of texts is wanted", "stop")
    return [text for text in stops if text]


def last_user_text(body: Mapping[str, Any]) -> str:
    """System prompts and the last user message, for rules that match on them."""
    messages = [m for m in body.get("messages") or () if isinstance(m, dict)]
    system = [str(m.get("content")) for m in messages if m.get("role") in ("system", "developer")]
    asked = [str(m.get("content")) for m in messages if m.get("role") == "user"]
    return "\n".join([*system, *asked[-1:]])


# -- answers


@dataclass(frozen=True, slots=True)
class ToolCall:
    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """One choice, complete, as it will be told in one piece or many."""

    model: str
    text: str
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    finish: str = "stop"
    prompt_tokens: int = 0
    cached_tokens: int = 0
    id: str = "chatcmpl-demo"
    created_s: int = field(default_factory=lambda: int(time.time()))

    @property
    def completion_tokens(self) -> int:
        return count_tokens(self.text) + count_tokens(self.reasoning) + sum(_call_tokens(c) for c in self.calls)

    @property
    def usage(self) -> dict[str, Any]:
        completion = self.completion_tokens
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": count_tokens(self.reasoning)},
        }


def _call_tokens(call: ToolCall) -> int:
    return count_tokens(call.name) + count_tokens(call.arguments)


def prompt_parts(body: Mapping[str, Any]) -> list[tuple[bytes, int]]:
    """The prompt in the order in which a server reads it: tools, then each message; content and tokens of each."""
    parts = []
    if body.get("tools"):
        tools = orjson.dumps(body["tools"])
        parts.append((tools, count_tokens(tools.decode())))
    for message in body["messages"]:
        raw = orjson.dumps(message)
        said = message.get("content")
        calls = message.get("tool_calls")
        text = (said if isinstance(said, str) else "") + (orjson.dumps(calls).decode() if calls else "")
        if isinstance(said, list):
            text += "".join(str(part.get("text") or "") for part in said)
        parts.append((raw, count_tokens(text) + _MESSAGE_OVERHEAD_TOKENS))
    return parts


def check_context(tokens: int) -> None:
    if tokens > MAX_CONTEXT_TOKENS:
        raise Refused(
            f"This model's maximum context length is {MAX_CONTEXT_TOKENS} tokens, but the messages have about "
            f"{tokens}. Shorten the messages.",
            "messages",
            code="context_length_exceeded",
        )


def wants_reasoning(body: Mapping[str, Any]) -> bool:
    template = body.get("chat_template_kwargs")
    thinking = template.get("enable_thinking") if isinstance(template, dict) else None
    return bool(thinking or body.get("include_reasoning") or body.get("reasoning_effort") not in (None, "none"))


def outcome(body: Mapping[str, Any], reply: Reply, prompt_tokens: int, cached_tokens: int, id: str) -> Outcome:
    """The reply as one choice, within `stop` and `max_tokens`."""
    text = reply.text
    for stop in _stops(body):
        text = text.split(stop, 1)[0]
    calls = tuple(
        ToolCall(_call_id(body, at), call.tool.name, orjson.dumps(call.arguments).decode())
        for at, call in enumerate(reply.calls)
    )
    made = Outcome(
        model=str(body["model"]),
        text=text,
        reasoning=reply.reasoning if wants_reasoning(body) else "",
        calls=calls,
        finish="tool_calls" if calls else "stop",
        prompt_tokens=prompt_tokens,
        cached_tokens=cached_tokens,
        id=id,
    )
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    return _limited(made, limit) if limit and made.completion_tokens > limit else made


def _call_id(body: Mapping[str, Any], at: int) -> str:
    """The same for the same conversation, so that an answer can be compared with an earlier one."""
    return "call_" + hashlib.blake2b(orjson.dumps([body["messages"], at]), digest_size=12).hexdigest()


def _limited(made: Outcome, limit: int) -> Outcome:
    """Cut where the tokens run out: reasoning first, then text, then calls."""
    reasoning = pieces(made.reasoning)[:limit]
    left = limit - len(reasoning)
    text = pieces(made.text)[:left]
    left -= len(text)
    calls = []
    for call in made.calls:
        left -= count_tokens(call.name)
        if left <= 0:
            break
        arguments = pieces(call.arguments)[:left]
        left -= len(arguments)
        calls.append(replace(call, arguments="".join(arguments)))
    return replace(made, reasoning="".join(reasoning), text="".join(text), calls=tuple(calls), finish="length")


def completion(made: Outcome) -> dict[str, Any]:
    """The answer in one piece."""
    message: dict[str, Any] = {"role": "assistant", "content": made.text if made.text or not made.calls else None}
    if made.reasoning:
        message["reasoning_content"] = made.reasoning
    if made.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in made.calls
        ]
    return {
        "id": made.id,
        "object": "chat.completion",
        "created": made.created_s,
        "model": made.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": made.finish}],
        "usage": made.usage,
    }


@dataclass(frozen=True, slots=True)
class Chunk:
    """One event of a stream."""

    data: dict[str, Any]
    tokens: int = 0
    """Tokens that are out once it is sent."""


def chunks(made: Outcome, *, include_usage: bool, pieces_per_chunk: int = 1) -> Iterator[Chunk]:
    """The answer in pieces. Together they are the same answer."""
    head = {"id": made.id, "object": "chat.completion.chunk", "created": made.created_s, "model": made.model}
    sent = 0

    def chunk(delta: dict[str, Any], finish: str | None = None) -> Chunk:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return Chunk({**head, "choices": [choice]}, sent)

    yield chunk({"role": "assistant", "content": ""})
    for delta, tokens in _deltas(made, pieces_per_chunk):
        sent += tokens
        yield chunk(delta)
    yield chunk({}, made.finish)
    if include_usage:
        yield Chunk({**head, "choices": [], "usage": made.usage}, sent)


def _deltas(made: Outcome, size: int) -> Iterator[tuple[dict[str, Any], int]]:
    for piece, tokens in _grouped(made.reasoning, size):
        yield {"reasoning_content": piece}, tokens
    for piece, tokens in _grouped(made.text, size):
        yield {"content": piece}, tokens
    for index, call in enumerate(made.calls):
        begin = {"index": index, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        yield {"tool_calls": [begin]}, count_tokens(call.name)
        for piece, tokens in _grouped(call.arguments, size):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, tokens


def _grouped(text: str, size: int) -> Iterator[tuple[str, int]]:
    found = pieces(text)
    for at in range(0, len(found), size):
        yield "".join(found[at : at + size]), len(found[at : at + size])
