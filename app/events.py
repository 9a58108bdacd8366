"""The words on the wire, and the one translation out of LangGraph and LangChain into them.

A run is a tree of spans. A span's id is the LangGraph checkpoint namespace of the task that it is (`research:1f..|
sub_agent:9c..`) or, for one model or tool call, LangChain's run id; its parent is explicit in every event and never
guessed from a stack. `run` is the root.

Nodes come from LangGraph's `tasks` stream; model calls, tool calls and what an activity reports about itself come from
LangChain's callbacks, which also reach what a newcomer's node calls directly. So any graph has lanes without a line of
its own.

| type | data |
|---|---|
| `run.started` | graph, question, model |
| `run.finished`, `run.failed`, `run.cancelled` | answer, sources, missing; error {kind, message, fix} |
| `node.started`, `node.finished` | name; state, reason |
| `plan.proposed` | tasks [{id, title, question, role, depends_on}], note |
| `agent.spawned`, `agent.finished` | task_id, title, role, question; state, text, reason |
| `llm.started`, `llm.token`, `llm.finished`, `llm.retry` | model, speaks; text; usage, ttft_s, calls, text, error; attempt, reason, pause_s |
| `tool.started`, `tool.finished`, `tool.timeout` | name, args; ok, text, sources; tool |
"""

import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import LLMResult

ROOT = "run"
MAX_TYPE_CHARS = 32
MAX_TEXT_CHARS = 4_000
"""Cap of free text inside one event, tokens and findings aside."""

TERMINAL = frozenset({"run.finished", "run.failed", "run.cancelled"})

_AGENT_INNER_NODES = frozenset({"model", "tools"})
_TASK_PUSH = "__pregel_push"
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


def json_safe(value: Any) -> Any:
    """`value` with every string safe to store, whatever its depth."""
    if isinstance(value, str):
        return text_safe(value)
    if isinstance(value, Mapping):
        return {text_safe(str(key)): json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    return value if isinstance(value, int | float | bool | None) else text_safe(str(value))


def owner_of(namespace: str) -> str:
    """Span that a call made under this checkpoint namespace belongs to: the innermost task that is not an agent's inner node."""
    parts = namespace.split("|")
    while len(parts) > 1 and _is_inner(parts[-1].partition(":")[0]):
        parts.pop()
    return "|".join(parts)


def _is_inner(name: str) -> bool:
    # create_agent's own nodes: `model`, `tools`, and `Middleware.before_model` and the like
    return name in _AGENT_INNER_NODES or "." in name


def parent_of(span_id: str) -> str:
    """Enclosing span of a task's span."""
    above = span_id.rpartition("|")[0]
    return owner_of(above) if above else ROOT


class Translator(AsyncCallbackHandler):
    """LangGraph's stream parts and LangChain's callbacks in, RunEvents out, in the order in which they happened."""

    run_inline = True  # a token must be recorded before the next one is asked for

    def __init__(self, emit: Emit, clock: Callable[[], float] = time.time) -> None:
        self._emit, self._clock = emit, clock
        self._calls: dict[UUID, _Call] = {}

    def _event(self, type_: str, span_id: str, parent_id: str | None, **data: Any) -> None:
        self._emit(RunEvent(type_, span_id, parent_id, json_safe(data), self._clock()))

    # -- LangGraph's stream ------------------------------------------------------------------------------------------

    def part(self, part: Mapping[str, Any]) -> None:
        """Take one part of `astream(stream_mode=[...], subgraphs=True, version="v2")`."""
        if part["type"] == "tasks":
            self._task(part["ns"], part["data"])
        elif part["type"] == "custom":
            self._custom(part["ns"], part["data"])

    def _task(self, ns: tuple[str, ...], data: Mapping[str, Any]) -> None:
        if "triggers" in data:
            if _TASK_PUSH in data["triggers"] or (ns and _is_inner(data["name"])):
                return
            span = "|".join([*ns, f"{data['name']}:{data['id']}"])
            self._calls[UUID(data["id"])] = _Call(span, parent_of(span), self._clock())
            self._event("node.started", span, parent_of(span), name=data["name"])
        elif call := self._calls.pop(UUID(data["id"]), None):
            error = data.get("error")
            waiting = bool(data.get("interrupts"))
            state = "failed" if error else "waiting" if waiting else "done"
            self._event("node.finished", call.span, call.parent, state=state, reason=_sentence(error) if error else "")

    def _custom(self, ns: tuple[str, ...], data: Any) -> None:
        """What a node wrote with LangGraph's own stream writer."""
        span = owner_of("|".join(ns)) if ns else ROOT
        self._event("custom", span, None, value=data)

    # -- LangChain's callbacks ---------------------------------------------------------------------------------------

    async def on_custom_event(
        self, name: str, data: Any, *, run_id: UUID, metadata: dict[str, Any] | None = None, **_: Any
    ) -> None:
        span = owner_of(str((metadata or {}).get("langgraph_checkpoint_ns", ROOT)))
        payload = data if isinstance(data, Mapping) else {"value": data}
        self._event(name[:MAX_TYPE_CHARS], span, parent_of(span), **payload)

    async def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        metadata = metadata or {}
        call = self._open(run_id, metadata)
        speaks = bool(metadata.get("speaks")) and "|" not in call.parent
        self._event("llm.started", call.span, call.parent, model=metadata.get("ls_model_name", ""), speaks=speaks)

    async def on_llm_new_token(self, token: Any, *, run_id: UUID, **_: Any) -> None:
        call = self._calls.get(run_id)
        if call is None:
            return
        if call.first_token_at is None:
            call.first_token_at = self._clock()
        if token and isinstance(token, str):
            self._event("llm.token", call.span, call.parent, text=token)

    async def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_: Any) -> None:
        if (call := self._calls.pop(run_id, None)) is None:
            return
        generation = response.generations[0][0] if response.generations and response.generations[0] else None
        message = getattr(generation, "message", None)
        self._event("llm.finished", call.span, call.parent, **self._outcome(call, message))

    def _outcome(self, call: "_Call", message: BaseMessage | None) -> dict[str, Any]:
        if not isinstance(message, AIMessage):
            return {"error": "no message"}
        usage = message.usage_metadata
        return {
            "usage": {
                "in": usage["input_tokens"],
                "out": usage["output_tokens"],
                "cached": usage.get("input_token_details", {}).get("cache_read", 0),
            }
            if usage
            else None,
            "ttft_s": round(call.first_token_at - call.started_at, 4) if call.first_token_at else None,
            "calls": [call["name"] for call in message.tool_calls],
            "text": message.text,
            "cost_usd": message.response_metadata.get("cost_usd"),
        }

    async def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        if call := self._calls.pop(run_id, None):
            self._event("llm.finished", call.span, call.parent, error=_sentence(error))

    async def on_tool_start(
        self,
        serialized: dict[str, Any],
        input_str: str,
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        inputs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        call = self._open(run_id, metadata or {})
        args = {key: value for key, value in (inputs or {}).items() if key != "runtime"}
        self._event("tool.started", call.span, call.parent, name=serialized.get("name", "tool"), args=_short(args))

    async def on_tool_end(self, output: Any, *, run_id: UUID, **_: Any) -> None:
        if (call := self._calls.pop(run_id, None)) is None:
            return
        message = output if isinstance(output, ToolMessage) else None
        artifact = message.artifact if message and isinstance(message.artifact, Mapping) else {}
        self._event(
            "tool.finished",
            call.span,
            call.parent,
            ok=message is None or message.status != "error",
            text=(str(message.text) if message else str(output))[:MAX_TEXT_CHARS],
            sources=artifact.get("sources", []),
        )

    async def on_tool_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        if call := self._calls.pop(run_id, None):
            self._event("tool.finished", call.span, call.parent, ok=False, text=_sentence(error), sources=[])

    def tap_output_aiter(self, run_id: UUID, output: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Having this and its twin makes LangChain stream whatever model a node calls, so tokens arrive for all."""
        return output

    def tap_output_iter(self, run_id: UUID, output: Iterator[Any]) -> Iterator[Any]:
        """See `tap_output_aiter`."""
        return output

    def _open(self, run_id: UUID, metadata: Mapping[str, Any]) -> "_Call":
        parent = owner_of(str(metadata.get("langgraph_checkpoint_ns") or ROOT))
        self._calls[run_id] = call = _Call(str(run_id), parent, self._clock())
        return call


@dataclass(slots=True)
class _Call:
    span: str
    parent: str
    started_at: float
    first_token_at: float | None = None


def _sentence(error: Any) -> str:
    return (str(error) or type(error).__name__)[:MAX_TEXT_CHARS]


def _short(args: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value[:200] if isinstance(value, str) else value for key, value in args.items()}


def joined(events: list[RunEvent]) -> list[RunEvent]:
    """The same log with neighbouring tokens of one span in one event: a row per 50 ms and span, not per token."""
    out: list[RunEvent] = []
    last_token: dict[str, int] = {}
    for event in events:
        at = last_token.get(event.span_id)
        if event.type == "llm.token" and at is not None:
            out[at] = replace(out[at], data={"text": out[at].data["text"] + event.data["text"]})
            continue
        if event.type == "llm.token":
            last_token[event.span_id] = len(out)
        out.append(event)
    return out
