"""Effects that happen once: a ledger around every tool that changes the world, and a person before those that say so.

A tool call runs at least once, because a worker can die between an effect and its record. So an intent is written
before and the result after, through the run's fence. When the same call comes again:

- it had ended: its first result is returned and nothing runs;
- it had begun, and the tool takes a key (`keyed`): it runs again with the same key, and the service sees a repeat;
- it had begun, and the tool takes none (`at_most_once`): nobody knows, so the run stops and asks a person.

A call that was cut is told to the agent, who may ask for the same once more. That is another call with another key,
which no service would know for a repeat: so the same tool with the same arguments, begun and never ended, is a doubt of
the same kind. A call that was never made (`NotMade`) leaves nothing behind, and a tool's own word that it did nothing
is never taken for having done it.

A branch of a conversation is a run of its own, whose calls have other keys. A fork that goes on from the middle of a
run still does that run's work, so the same tool with the same arguments is the same call, and its first result is
returned without a word. A question that was asked anew in other words is another wish: the same call may be a leftover,
or just what is wanted a second time. No rule can tell these apart, and the world sees either mistake, so a person is
asked, once, and that word also counts as the approval.

`read` and `idempotent` tools do not pass here: to repeat them is safe.
"""

import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from langchain.agents.middleware import AgentMiddleware
from langchain.tools.tool_node import ToolCallRequest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, ToolException
from langgraph.errors import GraphBubbleUp
from langgraph.types import Command, interrupt

from agents.errors import RunLost
from agents.guard import why_ask
from agents.tools.contract import Contract, contract_of

log = logging.getLogger(__name__)

MAX_SHOWN_CHARS = 120
ToolHandler = Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]


@dataclass(frozen=True, slots=True)
class EffectKey:
    """Which call this is; equal again after a crash."""

    thread_id: str
    checkpoint_ns: str
    call_id: str

    def text(self) -> str:
        """The idempotency key that a service is given: 32 hex digits."""
        return hashlib.sha256(json.dumps([self.thread_id, self.checkpoint_ns, self.call_id]).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger knows of a call: never seen, begun, or ended with a result."""

    state: Literal["new", "begun", "ended"]
    result: Mapping[str, Any] | None = None
    tries: int = 0
    """How often it was begun before."""
    twin: bool = False
    """It is another call that was begun, of the same tool with the same arguments."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """The same call, done in another branch of the conversation."""

    result: Mapping[str, Any]
    ended_at: str
    """ISO 8601."""
    question: str
    """What the other branch was asked."""


class NotMade(ToolException):
    """The call never left this process, so it is no part of what has happened."""


class Ledger(Protocol):
    """Where effects are written down. Raises when this worker's claim of the run is over."""

    async def begin(self, key: EffectKey, tool: str, args: Mapping[str, Any], effect: str) -> Entry:
        """Write the intent unless there is one; what was known before."""
        ...

    async def elsewhere(self, tool: str, args: Mapping[str, Any]) -> Earlier | None:
        """The last time that this was done in a branch which the run does not go on from."""
        ...

    async def end(self, key: EffectKey, result: Mapping[str, Any]) -> None:
        """Write the result."""
        ...

    async def undo(self, key: EffectKey) -> None:
        """Strike out the intent: the call was never made."""
        ...

    def leave(self, key: EffectKey) -> None:
        """Nobody waits for this call any more, and how it ends will not be known."""
        ...

    async def again(self, key: EffectKey) -> None:
        """Count one more try: a person said that it did not happen."""
        ...


def key_of(runtime: Any) -> EffectKey:
    """Key of the call that `runtime` (a ToolRuntime) belongs to."""
    info = runtime.execution_info
    return EffectKey(str(info.thread_id), str(info.checkpoint_ns), str(runtime.tool_call_id))


class AskFirst(AgentMiddleware[Any, Any]):
    """A person before a call, where the contract or what was read before says so. Once, however often it is tried."""

    def __init__(self, grants: frozenset[str] = frozenset()) -> None:
        """`grants`: tools that the role may call without a person, whatever was read before."""
        super().__init__()
        self._grants = grants

    async def awrap_tool_call(self, request: ToolCallRequest, handler: ToolHandler) -> ToolMessage | Command[Any]:
        if request.tool is None:  # there is no such tool: LangGraph says so, and nobody needs to be asked
            return await handler(request)
        try:
            asked = await self._asked(request)
        except (GraphBubbleUp, RunLost):
            raise
        except Exception as error:
            log.warning("nobody could be asked about a call of %s", request.tool_call["name"], exc_info=error)
            return _observation(request, f"It was not called: nobody could be asked about it ({type(error).__name__}).")
        return await handler(asked) if isinstance(asked, ToolCallRequest) else asked

    async def _asked(self, request: ToolCallRequest) -> ToolCallRequest | ToolMessage:
        """The call that may be made, or what is to be observed instead of it."""
        contract, call = contract_of(request.tool), request.tool_call
        ledger = _ledger_of(request, contract)
        if ledger and (earlier := await ledger.elsewhere(call["name"], call["args"])):
            decision = _decided(_repeat(request, earlier))
            if decision.get("decision") == "use":
                return _restored(request, earlier.result)
            no = _observation(request, "A person decided not to do it a second time.")
            return request if decision.get("decision") == "again" else no
        why = why_ask(request, contract, self._grants)
        if not (why or contract.approval):
            return request
        decision = _decided(_approval(request, contract, why))
        if decision.get("decision") == "edit":
            return request.override(tool_call={**call, "args": dict(decision["args"])})
        if decision.get("decision") == "approve":
            return request
        return _observation(request, f"A person said no: {decision.get('reason') or 'no reason given'}.")


class OnceOnly(AgentMiddleware[Any, Any]):
    """Each effect happens once."""

    async def awrap_tool_call(self, request: ToolCallRequest, handler: ToolHandler) -> ToolMessage | Command[Any]:
        contract = contract_of(request.tool)
        ledger = _ledger_of(request, contract)
        if ledger is None or request.tool is None:
            return await handler(request)
        return await self._once(request, handler, contract, ledger)

    async def _once(
        self, request: ToolCallRequest, handler: ToolHandler, contract: Contract, ledger: Ledger
    ) -> ToolMessage | Command[Any]:
        key, call = key_of(request.runtime), request.tool_call
        entry = await ledger.begin(key, call["name"], call["args"], contract.effect)
        if entry.state == "ended" and entry.result is not None:
            return _restored(request, entry.result)
        try:
            return await self._begun(request, handler, contract, ledger, entry)
        finally:
            ledger.leave(key)

    async def _begun(
        self, request: ToolCallRequest, handler: ToolHandler, contract: Contract, ledger: Ledger, entry: Entry
    ) -> ToolMessage | Command[Any]:
        """Make the call whose intent is written, after a person's word where nobody else knows whether it happened."""
        key = key_of(request.runtime)
        if entry.state == "begun" and (entry.twin or contract.effect == "at_most_once"):
            # one question for each try, or the "again" of the first would be taken for the second's answer
            for nth in range(1, entry.tries + 1):
                decision = _decided(_doubt(request, nth))
                if decision.get("decision") == "happened":
                    text = f"A person confirmed that it happened: {decision.get('reason') or 'no details given'}."
                    message = _observation(request, text, status="success")
                    await ledger.end(key, _recorded(message))
                    return message
                if decision.get("decision") != "again":
                    return _observation(request, "A person decided not to try it again.")
            await ledger.again(key)
        try:
            result = await handler(request)
        except NotMade:
            if entry.state == "new":  # or an earlier try may have been made
                await ledger.undo(key)
            raise
        except ToolException as refusal:
            # the tool's own word that it did nothing: an end, unlike any other exception
            result = _observation(request, f"{request.tool_call['name']}: {refusal}")
        if isinstance(result, ToolMessage):
            await ledger.end(key, _recorded(result))
        return result


def _ledger_of(request: ToolCallRequest, contract: Contract) -> Ledger | None:
    """Where this call is written down; None for one that may be repeated, and where there is no run."""
    ledger: Ledger | None = getattr(request.runtime.context, "ledger", None)
    return None if contract.effect in ("read", "idempotent") else ledger


def _decided(question: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a person said to this question of the call.

    LangGraph hands out answers in the order in which a task asks, and after a crash may hand out one of them twice: the
    yes to an approval would answer whether something happened. So an answer says which question it is for.
    """
    while True:
        decision = interrupt(question)
        if isinstance(decision, Mapping) and decision.get("ref") == question["ref"]:
            return decision


def _approval(request: ToolCallRequest, contract: Contract, why: str) -> dict[str, Any]:
    schema: Any = request.tool.tool_call_schema if request.tool else None
    return {
        "kind": "approval",
        "ref": "approval",
        "ns": key_of(request.runtime).checkpoint_ns,
        "tool": request.tool_call["name"],
        "call_id": request.tool_call["id"],
        "args": request.tool_call["args"],
        "schema": schema if isinstance(schema, dict) else schema and schema.model_json_schema(),
        "what": effect_of(request.tool, contract, request.tool_call["args"]),
        "because": why,
        "undoable": contract.effect != "at_most_once",
        "choices": ["approve", "edit", "reject"],
    }


def effect_of(tool: BaseTool | None, contract: Contract, args: Mapping[str, Any]) -> str:
    """What a call does, in one sentence with its arguments; the tool's own first line where its contract has none."""
    shown = {name: _short(value) for name, value in args.items()}
    try:
        said = contract.sentence.format_map(shown)
    except (KeyError, IndexError, ValueError):  # an argument that the model left out
        said = ""
    return said or (tool.description.strip().splitlines()[0] if tool and tool.description.strip() else "")


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[: MAX_SHOWN_CHARS - 1]}…"


def _repeat(request: ToolCallRequest, earlier: Earlier) -> dict[str, Any]:
    return {
        "kind": "repeat",
        "ref": "repeat",
        "ns": key_of(request.runtime).checkpoint_ns,
        "tool": request.tool_call["name"],
        "call_id": request.tool_call["id"],
        "args": request.tool_call["args"],
        "what": "Exactly this was already done in another branch of this chat.",
        "done_at": earlier.ended_at,
        "asked_before": earlier.question,
        "choices": ["use", "again", "skip"],
    }


def _doubt(request: ToolCallRequest, nth: int) -> dict[str, Any]:
    return {
        "kind": "doubt",
        "ref": f"doubt {nth}",
        "ns": key_of(request.runtime).checkpoint_ns,
        "tool": request.tool_call["name"],
        "call_id": request.tool_call["id"],
        "args": request.tool_call["args"],
        "what": (
            f"{request.tool_call['name']} was begun, and its worker died or it was cut before its result was written "
            "down. It may or may not have happened, and it cannot be repeated safely. Look where its effect would show."
        ),
        "choices": ["happened", "again", "skip"],
    }


def _observation(request: ToolCallRequest, text: str, *, status: Literal["success", "error"] = "error") -> ToolMessage:
    call = request.tool_call
    return ToolMessage(content=text, tool_call_id=call["id"], name=call["name"], status=status)


def _recorded(message: ToolMessage) -> dict[str, Any]:
    return {"content": message.content, "status": message.status, "artifact": message.artifact}


def _restored(request: ToolCallRequest, result: Mapping[str, Any]) -> ToolMessage:
    call = request.tool_call
    return ToolMessage(
        content=result["content"],
        artifact=result.get("artifact"),
        tool_call_id=call["id"],
        name=call["name"],
        status=result["status"],
    )
