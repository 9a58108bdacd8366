"""The words on the wire, and the one translation out of LangGraph and LangChain into them.

A run is a tree of spans. A span's id is the LangGraph checkpoint namespace of the task that it is (`research:1f..|
sub_agent:9c..`) or, for one model or tool call, LangChain's run id; its parent is explicit in every event and never
guessed from a stack. `run` is the root.

Nodes come from LangGraph's `tasks` stream; model calls, tool calls and what an activity reports about itself come from
LangChain's callbacks, which also reach what a newcomer's node calls directly. So any graph has lanes without a line of
its own. A nested node's `node.started` may come after what happens inside it: the stream has a queue, callbacks none.

| type | data |
|---|---|
| `run.started`, `run.handed_back` | graph, question, model; reason. A second `run.started` is another worker's |
| `run.finished`, `run.failed`, `run.cancelled` | answer, missing; error {kind, message, fix} |
| `node.started`, `node.finished` | name; state, reason |
| `plan.proposed` | tasks [{id, title, question, role, depends_on}], note, within, parallel_s, serial_s, decision ... |
| `plan.revised` | task_id, title, role, question, was, reason, state: planned again in the place of one that failed |
| `agent.spawned`, `agent.finished` | task_id, title, role, question; state, text, reason, seconds |
| `agent.twin_started`, `agent.cancelled` | task_id, title, usual_s, elapsed_s; task_id, which of both, reason, state |
| `llm.started`, `llm.token` | model, speaks; text |
| `llm.finished`, `llm.retry` | usage, ttft_s, latency_s, calls, text, cost_usd, or error; attempt, reason, pause_s |
| `llm.unreadable` | role, shape, rung, problem: an answer that does not have the shape that it was asked for |
| `tool.started`, `tool.finished`, `tool.timeout` | name, args, call_id; ok, text, sources, artefacts; tool, call_id |
| `memory.written`, `memory.recalled` | place, key, version, author, text; items [{key, version, author, place}] |
| `memory.paged` | messages, pages: what left the context |
| `run.resumed` | a person wants it to go on |
| `run.waiting`, `interrupt.raised`, `interrupt.answered` | open; id, kind, what, choices ...; id, answer, by |
| `custom` | value, and name when it has one: whatever else a node reports |
| `checkpoint` | checkpoint_id, step, next: where the state of the graph itself is stored, which is never in an event |
"""

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import LLMResult
from langgraph.errors import GraphBubbleUp

ROOT = "run"
MAX_TEXT_CHARS = 4_000
"""Cap of free text inside one event, tokens and findings aside."""
MAX_ARG_CHARS = 200
MAX_ARGS = 20
MAX_DEPTH = 32
"""Containers inside containers that an event keeps; what is deeper becomes an ellipsis."""

TERMINAL = frozenset({"run.finished", "run.failed", "run.cancelled"})

_REPORTED = frozenset(
    {"plan.proposed", "plan.revised", "agent.spawned", "agent.finished", "agent.twin_started", "agent.cancelled"}
    | {"llm.retry", "llm.unreadable", "tool.timeout", "memory.written", "memory.recalled", "memory.paged"}
)
"""What activities and agents may say about themselves. Nobody but the worker ends a run."""
_SOURCE_FIELDS = frozenset(
    {"key", "chunk_id", "document_id", "document", "title", "heading", "page", "quote", "score"}
)  # fmt: skip
_ARTEFACT_FIELDS = frozenset({"id", "name", "media_type", "size"})
_AGENT_INNER_NODES = frozenset({"model", "tools"})
_PUSH = "__pregel_push"
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One thing that happened in one run."""

    type: str
    span_id: str
    parent_id: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    at: float = 0.0
    """Seconds since the epoch, by the clock of whoever did it."""
    attempt: int = 1
    seq: int = 0
    """Position in the run's log, from 1; 0 until it is stored."""


Emit = Callable[[RunEvent], None]


def text_safe(value: str) -> str:
    """What Postgres can hold: NUL and lone surrogates become U+FFFD. The one documented change to any text."""
    return _UNSTORABLE.sub("\ufffd", value)


def json_safe(value: Any, depth: int = MAX_DEPTH) -> Any:
    """`value` as JSON that every reader takes: Postgres, which knows no NaN, and parsers of 64-bit integers.

    A model writes what it likes into the arguments of a tool, and one row that is refused would cost the whole run.
    """
    if isinstance(value, str):
        return text_safe(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else f"{value:#x}"
    if isinstance(value, Mapping):
        return {text_safe(str(key)): json_safe(item, depth - 1) for key, item in value.items()} if depth else "…"
    if isinstance(value, list | tuple | set | frozenset):
        return [json_safe(item, depth - 1) for item in value] if depth else "…"
    return None if value is None else text_safe(str(value))


def owner_of(namespace: str) -> str:
    """Span that a call under this checkpoint namespace belongs to: its innermost task but for an agent's own nodes."""
    parts = namespace.split("|")
    while len(parts) > 1 and _is_inner(parts[-1].partition(":")[0]):
        parts.pop()
    return "|".join(parts)


def _is_inner(name: str) -> bool:
    # create_agent's own nodes: `model`, `tools`, and `Middleware.before_model` and the like; a number is LangGraph's
    # count of the agents that one task asks, from the second on
    return name in _AGENT_INNER_NODES or "." in name or name.isdigit()


def parent_of(span_id: str) -> str | None:
    """Enclosing span of a task's span; None for the root's."""
    above = span_id.rpartition("|")[0]
    return owner_of(above) if above else None if span_id == ROOT else ROOT


class Translator(AsyncCallbackHandler):
    """LangGraph's stream parts and LangChain's callbacks in, RunEvents out, in the order in which they happened."""

    run_inline = True  # a token must be recorded before the next one is asked for

    def __init__(self, emit: Emit, clock: Callable[[], float] = time.time) -> None:
        self._emit, self._clock = emit, clock
        self._calls: dict[UUID, _Call] = {}

    def _event(self, type_: str, span_id: str, parent_id: str | None, data: Mapping[str, Any]) -> None:
        self._emit(RunEvent(type_, span_id, parent_id, json_safe(data), self._clock()))

    # -- LangGraph's stream ------------------------------------------------------------------------------------------

    def part(self, part: Mapping[str, Any]) -> None:
        """Take one part of `astream(stream_mode=[...], subgraphs=True, version="v2")`."""
        if part["type"] == "tasks":
            self._task(part["ns"], part["data"])
        elif part["type"] == "custom":
            span = owner_of("|".join(part["ns"])) or ROOT
            self._event("custom", span, parent_of(span), {"value": part["data"]})
        elif part["type"] == "checkpoints" and not part["ns"]:
            saved = part["data"]
            where = {"checkpoint_id": saved["config"]["configurable"]["checkpoint_id"]}
            self._event("checkpoint", ROOT, None, {**where, "step": saved["metadata"]["step"], "next": saved["next"]})

    def _task(self, ns: tuple[str, ...], data: Mapping[str, Any]) -> None:
        if "triggers" in data:
            if _is_function_call(data) or (ns and _is_inner(data["name"])):
                return
            span = "|".join([*ns, f"{data['name']}:{data['id']}"])
            self._calls[UUID(data["id"])] = call = _Call(span, parent_of(span), self._clock())
            self._event("node.started", call.span, call.parent, {"name": data["name"]})
        elif known := self._calls.pop(UUID(data["id"]), None):
            error = data.get("error")
            state = "failed" if error else "waiting" if data.get("interrupts") else "done"
            outcome = {"state": state, "reason": _sentence(error) if error else ""}
            self._event("node.finished", known.span, known.parent, outcome)

    # -- LangChain's callbacks ---------------------------------------------------------------------------------------

    async def on_custom_event(
        self, name: str, data: Any, *, run_id: UUID, metadata: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """What an activity or an agent says about itself."""
        span = owner_of(_namespace(metadata))
        if name in _REPORTED and isinstance(data, Mapping):
            self._event(name, span, parent_of(span), data)
        else:
            self._event("custom", span, parent_of(span), {"name": name, "value": data})

    async def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """A model was asked."""
        call = self._open(run_id, metadata)
        known = metadata or {}
        self._event(
            "llm.started",
            call.span,
            call.parent,
            {"model": known.get("ls_model_name", ""), "speaks": bool(known.get("speaks")) and _is_voice(known)},
        )

    async def on_llm_new_token(self, token: Any, *, run_id: UUID, chunk: Any = None, **_: Any) -> None:
        """A token came; one of a model's reasoning only ends the wait for the first."""
        if (call := self._calls.get(run_id)) is None:
            return
        if call.first_token_at is None:
            call.first_token_at = self._clock()
        text = token if isinstance(token, str) else str(getattr(getattr(chunk, "message", None), "text", ""))
        if text:
            self._event("llm.token", call.span, call.parent, {"text": text})

    async def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_: Any) -> None:
        """A model answered."""
        if call := self._calls.pop(run_id, None):
            generation = response.generations[0][0] if response.generations and response.generations[0] else None
            outcome = call.outcome(getattr(generation, "message", None))
            self._event("llm.finished", call.span, call.parent, {**outcome, **call.latency(self._clock())})

    async def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """A model failed, or nobody waits for it any more."""
        if call := self._calls.pop(run_id, None):
            outcome = {"error": _sentence(error), **call.latency(self._clock())}
            self._event("llm.finished", call.span, call.parent, outcome)

    async def on_tool_start(
        self,
        serialized: dict[str, Any],
        input_str: str,
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        inputs: dict[str, Any] | None = None,
        tool_call_id: str | None = None,
        **_: Any,
    ) -> None:
        """A tool was called."""
        call = self._open(run_id, metadata)
        name = (serialized or {}).get("name", "tool")
        about = {"name": name, "args": _short(inputs or {}), "call_id": tool_call_id}
        self._event("tool.started", call.span, call.parent, about)

    async def on_tool_end(self, output: Any, *, run_id: UUID, **_: Any) -> None:
        """A tool returned something, which may be that it failed."""
        if (call := self._calls.pop(run_id, None)) is None:
            return
        message = output if isinstance(output, ToolMessage) else None
        outcome = {
            "ok": message is None or message.status != "error",
            "text": str(message.text if message else output)[:MAX_TEXT_CHARS],
            "sources": _sources(message.artifact) if message else [],
        }
        if message and (made := _artefacts(message.artifact)):
            outcome["artefacts"] = made
        self._event("tool.finished", call.span, call.parent, outcome)

    async def on_tool_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """A tool raised. One that asks a person has not ended: it is called again with the answer."""
        call = self._calls.pop(run_id, None)
        if call and not isinstance(error, GraphBubbleUp):
            outcome = {"ok": False, "text": _sentence(error), "sources": []}
            self._event("tool.finished", call.span, call.parent, outcome)

    def tap_output_aiter(self, run_id: UUID, output: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Having this and its twin makes LangChain stream whatever model a node calls, so tokens arrive for all."""
        return output

    def tap_output_iter(self, run_id: UUID, output: Iterator[Any]) -> Iterator[Any]:
        """See `tap_output_aiter`."""
        return output

    def _open(self, run_id: UUID, metadata: Mapping[str, Any] | None) -> "_Call":
        self._calls[run_id] = call = _Call(str(run_id), owner_of(_namespace(metadata)), self._clock())
        return call


@dataclass(slots=True)
class _Call:
    """What is open: a node, a model call or a tool call."""

    span: str
    parent: str | None
    started_at: float
    first_token_at: float | None = None

    def latency(self, now: float) -> dict[str, float]:
        """From the request to the end of the answer."""
        return {"latency_s": round(now - self.started_at, 4)}

    def outcome(self, message: BaseMessage | None) -> dict[str, Any]:
        """How a model call ended."""
        if not isinstance(message, AIMessage):
            return {"error": "no message"}
        return {
            "usage": _usage(message),
            "ttft_s": None if self.first_token_at is None else round(self.first_token_at - self.started_at, 4),
            "calls": [call["name"] for call in message.tool_calls],
            "text": str(message.text),
            "cost_usd": message.response_metadata.get("cost_usd"),
        }


def _usage(message: AIMessage) -> dict[str, int] | None:
    if not (usage := message.usage_metadata):
        return None
    cached = usage.get("input_token_details", {}).get("cache_read") or 0
    return {"in": usage["input_tokens"], "out": usage["output_tokens"], "cached": cached}


def _namespace(metadata: Mapping[str, Any] | None) -> str:
    return str((metadata or {}).get("langgraph_checkpoint_ns") or ROOT)


def _is_voice(metadata: Mapping[str, Any]) -> bool:
    """Called by a node of the graph itself or as its agent's own model, not inside a tool or a sub-agent."""
    namespace = _namespace(metadata)
    owner = owner_of(namespace)
    inner = namespace[len(owner) + 1 :]
    count, _, rest = inner.partition("|")
    inner = rest if count.isdigit() else inner
    return "|" not in owner and "|" not in inner and (not inner or inner.startswith("model:"))


def _is_function_call(data: Mapping[str, Any]) -> bool:
    """A `@task`, not a node reached by an edge or by `Send`. The stream doesn't say in which node it was called."""
    match data["input"]:
        case (tuple(), dict()):
            return _PUSH in data["triggers"]
    return False


def _sentence(error: Any) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "stopped"
    return (str(error) or type(error).__name__)[:MAX_TEXT_CHARS]


def _short(args: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as a label needs them."""
    return {
        key: value if isinstance(value, int | float | None) else str(json_safe(value))[:MAX_ARG_CHARS]
        for key, value in islice(args.items(), MAX_ARGS)
    }


def _sources(artifact: Any) -> list[Mapping[str, Any]]:
    """Passages that a tool says it found; an artifact of any other kind is somebody else's."""
    found = artifact.get("sources") if isinstance(artifact, Mapping) else None
    return [
        source
        for source in (found if isinstance(found, list | tuple) else ())
        if isinstance(source, Mapping)
        and source.keys() >= _SOURCE_FIELDS
        and isinstance(source["score"], int | float)
        and math.isfinite(source["score"])
    ]


def _artefacts(artifact: Any) -> list[Mapping[str, Any]]:
    """What a tool says it has kept, each by its id."""
    found = artifact.get("artefacts") if isinstance(artifact, Mapping) else None
    return [
        {name: made[name] for name in _ARTEFACT_FIELDS}
        for made in (found if isinstance(found, list | tuple) else ())
        if isinstance(made, Mapping) and made.keys() >= _ARTEFACT_FIELDS
    ]


def joined(events: list[RunEvent]) -> list[RunEvent]:
    """The same log with all tokens of one span in the event of the first: a row per 50 ms and span, not per token."""
    out: list[RunEvent] = []
    first_token: dict[str, int] = {}
    for event in events:
        at = first_token.get(event.span_id)
        if event.type == "llm.token" and at is not None:
            out[at] = replace(out[at], data={"text": out[at].data["text"] + event.data["text"]})
            continue
        if event.type == "llm.token":
            first_token[event.span_id] = len(out)
        out.append(event)
    return out
