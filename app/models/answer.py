"""What came back from a model: text and reasoning passed on, tool calls only once they are known to be whole.

A tool call is executable when it is named, its arguments are one JSON object, and nothing cut the answer inside it.
All others become LangChain's `invalid_tool_calls` with the reason: servers report a call that the token limit cut as
a finished one, and LangChain's chunks complete cut JSON into something that parses. So a stream announces a call by
name at once and gives its arguments at the end, all together.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.tool import invalid_tool_call, tool_call

from app.models.faults import from_json, to_json
from app.models.wire import UNKNOWN_TOOL, UNUSABLE

REASONS = "unusable_tool_calls"
"""Key in `additional_kwargs`: tool call id -> why it cannot run."""
REASONING = "reasoning_content"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What an answer is held against."""

    messages: Sequence[BaseMessage]
    tools: Sequence[Json]
    parse: bool
    """The caller asked for an object of a class: put it into `additional_kwargs["parsed"]`."""

    def needs_no_arguments(self, name: str) -> bool:
        functions = (tool["function"] for tool in self.tools if "function" in tool)
        return any(f["name"] == name and not (f.get("parameters") or {}).get("properties") for f in functions)

    def used_ids(self) -> set[str]:
        calls = (c for m in self.messages if isinstance(m, AIMessage) for c in (*m.tool_calls, *m.invalid_tool_calls))
        return {call["id"] for call in calls if call["id"]}


@dataclass(slots=True)
class Call:
    """One tool call as the server tells it."""

    id: str
    name: str
    pieces: list[str] = field(default_factory=list)
    announced: bool = False

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)


class Calls:
    """The tool calls of one answer, with ids that are unique in it and in the conversation."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._slots: dict[Any, tuple[str, Call]] = {}
        self._ids: set[str] | None = None
        self.all: list[Call] = []

    def add(self, delta: Json) -> None:
        """Take a whole call or a piece of one. The same index under another id is another call."""
        function = delta.get("function") or {}
        server_id = delta.get("id") or ""
        index = delta.get("index", server_id or max(len(self.all) - 1, 0))
        known_id, call = self._slots.get(index, ("", None))
        if call is None or (server_id and known_id and server_id != known_id):
            call = Call(self._unique(server_id), "")
            self.all.append(call)
        self._slots[index] = (server_id or known_id, call)
        call.name = call.name or function.get("name") or ""
        arguments = function.get("arguments")
        if arguments is not None:
            call.pieces.append(arguments if isinstance(arguments, str) else to_json(arguments).decode())

    def _unique(self, server_id: str) -> str:
        if self._ids is None:
            self._ids = self._asked.used_ids()
        unique, count = server_id or f"call_{uuid4().hex}", 1
        while unique in self._ids:
            count += 1
            unique = f"{server_id}_{count}"
        self._ids.add(unique)
        return unique

    def verdicts(self, finish_reason: str | None) -> list[tuple[Call, Json | None, str]]:
        """Each call with its arguments, or with None and the reason why it must not run."""
        if finish_reason == "tool_calls" and not self.all:
            self.add({"function": {"name": UNKNOWN_TOOL}})
            return [(self.all[0], None, "the answer announced tool calls and held none")]
        last = self.all[-1] if finish_reason in ("length", "content_filter") and self.all else None
        return [(call, *self._verdict(call, cut=call is last)) for call in self.all]

    def _verdict(self, call: Call, *, cut: bool) -> tuple[Json | None, str]:
        if not call.name:
            return None, "the call names no tool"
        if cut:
            return None, "the answer ended inside this call, at the token limit"
        if not call.arguments.strip():
            return ({}, "") if self._asked.needs_no_arguments(call.name) else (None, "the arguments are missing")
        try:
            arguments = from_json(call.arguments, _no_constant)
        except ValueError as error:
            return None, f"the arguments are not JSON, or cut: {error}"
        if not isinstance(arguments, dict):
            return None, f"the arguments are a JSON {type(arguments).__name__}, not an object"
        return arguments, ""


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def parsed_object(text: str) -> Json | None:
    """The JSON object that a structured answer holds; None when it is cut or is something else."""
    try:
        parsed = from_json(text)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def settle(message: AIMessage, wire: Json, finish_reason: str | None, asked: Asked) -> None:
    """Complete LangChain's message of a whole answer with what its conversion leaves out."""
    calls = Calls(asked)
    for index, delta in enumerate(wire.get("tool_calls") or ()):
        calls.add({**delta, "index": index})
    message.tool_calls, message.invalid_tool_calls = [], []
    for call, arguments, reason in calls.verdicts(finish_reason):
        if arguments is None:
            broken = invalid_tool_call(name=call.name, args=call.arguments, id=call.id, error=reason)
            message.invalid_tool_calls.append(broken)
        else:
            message.tool_calls.append(tool_call(name=call.name, args=arguments, id=call.id))
    if reasoning := wire.get("reasoning_content") or wire.get("reasoning"):
        message.additional_kwargs[REASONING] = reasoning
    message.additional_kwargs.update(_extras(wire.get("content"), wire.get("refusal"), asked))


def _extras(text: Any, refusal: Any, asked: Asked) -> Json:
    extras: Json = {"refusal": refusal} if refusal else {}
    if asked.parse and text and (parsed := parsed_object(text)) is not None:
        extras["parsed"] = parsed
    return extras


def name_reasons(message: BaseMessage) -> None:
    """Give a message that was summed from chunks what summing loses: why its invalid calls are invalid."""
    if isinstance(message, AIMessage) and message.invalid_tool_calls:
        reasons = message.additional_kwargs.pop(REASONS, {})
        for call in message.invalid_tool_calls:
            call["args"] = (call["args"] or "").removeprefix(UNUSABLE)
            call["error"] = call["error"] or reasons.get(call["id"], "the arguments cannot be read")


class StreamedAnswer:
    """A stream's events summed into OpenAI-shaped chunks, one per network read, and one last one."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._calls = Calls(asked)
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._logprobs: list[Json] = []
        self._whole: list[str] = []
        self._last: Json = {}
        self.finish_reason: str | None = None

    def feed(self, events: Iterable[Json]) -> None:
        for event in events:
            self._last |= {
                k: event[k] for k in ("model", "usage", "service_tier", "system_fingerprint") if event.get(k)
            }
            for choice in (event.get("choices") or ())[:1]:
                self._take(choice.get("delta") or {})
                self.finish_reason = choice.get("finish_reason") or self.finish_reason
                self._logprobs += (choice.get("logprobs") or {}).get("content") or ()

    def _take(self, delta: Json) -> None:
        for kept, piece in (
            (self._text, delta.get("content")),
            (self._reasoning, delta.get("reasoning_content") or delta.get("reasoning")),
            (self._refusal, delta.get("refusal")),
        ):
            if piece:
                kept.append(piece)
        for piece in delta.get("tool_calls") or ():
            self._calls.add(piece)

    def next(self) -> tuple[Json, Json] | None:
        """What came since the last chunk, as a chunk and its `additional_kwargs`; None when nothing to show did."""
        calls = [
            self._announced(index) for index, call in enumerate(self._calls.all) if call.name and not call.announced
        ]
        if not (calls or self._text or self._reasoning or self._logprobs):
            return None
        return self._chunk(calls)

    def last(self) -> tuple[Json, Json]:
        """The rest: finish reason, usage, and the arguments of all tool calls, judged."""
        calls, reasons = [], {}
        for index, (call, arguments, reason) in enumerate(self._calls.verdicts(self.finish_reason)):
            text = UNUSABLE + call.arguments if arguments is None else to_json(arguments).decode()
            named = {} if call.announced else {"id": call.id, "name": call.name or UNKNOWN_TOOL}
            calls.append(_wire_call(index, text, **named))
            if arguments is None:
                reasons[call.id] = reason
        chunk, extras = self._chunk(calls)
        chunk["choices"][0]["finish_reason"] = self.finish_reason
        extras |= _extras("".join(self._whole), "".join(self._refusal), self._asked)
        return chunk | self._last, extras | ({REASONS: reasons} if reasons else {})

    def _announced(self, index: int) -> Json:
        call = self._calls.all[index]
        call.announced = True
        return _wire_call(index, "", id=call.id, name=call.name)

    def _chunk(self, calls: list[Json]) -> tuple[Json, Json]:
        text, reasoning = "".join(self._text), "".join(self._reasoning)
        choice: Json = {"delta": {"role": "assistant", "content": text, "tool_calls": calls}}
        if self._logprobs:
            choice["logprobs"] = {"content": self._logprobs}
        if self._asked.parse:
            self._whole.append(text)
        self._text, self._reasoning, self._logprobs = [], [], []
        return {"choices": [choice]}, {REASONING: reasoning} if reasoning else {}


def _wire_call(index: int, arguments: str, id: str | None = None, name: str | None = None) -> Json:
    return {"index": index, "id": id, "function": {"name": name, "arguments": arguments}}
