"""What every agent is wrapped in: bounded steps, one level of retries, repaired tool calls, tools that cannot hang.

Order matters and is visible in `stack()`: the first is the outermost. Retries live here and nowhere else; the client
has none, nodes that hold agents have none. LangChain's own retry middleware is not used because it knows nothing of
`Retry-After`; its call-limit middleware ends a run with a canned sentence where ours asks for the answer so far.
"""

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain.agents.middleware.types import ExtendedModelResponse
from langchain.tools.tool_node import ToolCallRequest
from langchain_core.callbacks import adispatch_custom_event
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import ToolException
from langgraph.errors import GraphBubbleUp
from langgraph.types import Command

from agents.allowance import WARN_AT, Allowance
from agents.allowed import OnlyAllowed
from agents.effects import OnceOnly
from agents.errors import ModelUnavailable, RunError, RunLost, ToolFailed
from agents.guard import MarkOrigins
from agents.handing import EndAtHandover
from agents.offering import OfferRemote
from agents.pacing import Turns
from agents.paging import PageOut
from agents.tools.contract import contract_of

log = logging.getLogger(__name__)

MODEL_ATTEMPTS = 3
BACKOFF_BASE_S = 0.5
BACKOFF_MAX_S = 8.0
MAX_RETRY_AFTER_S = 30.0
MAX_REPAIRS = 2
MAX_OBSERVATION_CHARS = 24_000
NO_ANSWER = "I had to stop before I had an answer."

Answer = ModelResponse[Any] | AIMessage | ExtendedModelResponse[Any]
ModelHandler = Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
ToolHandler = Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]


class KeepBudget(AgentMiddleware[Any, Any]):
    """Every model call is paid from the run's allowance before it is made."""

    async def awrap_model_call(self, request: ModelRequest[Any], handler: ModelHandler) -> Answer:
        allowance = allowance_of(request)
        if allowance is None:
            return await handler(request)
        allowance.spend_step()
        response = await handler(request)
        for message in response.result:
            if isinstance(message, AIMessage) and message.usage_metadata:
                allowance.spend(message.usage_metadata["total_tokens"], message.response_metadata.get("cost_usd"))
        return response


def allowance_of(request: ModelRequest[Any]) -> Allowance | None:
    """The run's allowance; None for an agent that runs outside of a run."""
    return getattr(getattr(request.runtime, "context", None), "allowance", None)


class BoundSteps(AgentMiddleware[Any, Any]):
    """At most `max_steps` model calls per question; the last one must answer instead of calling tools.

    So must every call of a run that concludes, because its budget is nearly spent or a person wants the answer now.
    Only `tool_choice` changes: the request keeps its prefix, so a serving fleet's prefix cache still hits.
    """

    def __init__(self, max_steps: int, max_tokens: int | None = None, max_usd: float | None = None) -> None:
        super().__init__()
        self.max_steps, self.max_tokens, self.max_usd = max_steps, max_tokens or math.inf, max_usd or math.inf

    async def awrap_model_call(self, request: ModelRequest[Any], handler: ModelHandler) -> Answer:
        allowance = allowance_of(request)
        concluding = allowance is not None and allowance.concluding()
        calls, tokens, usd = spent_since_question(request)
        share = max(tokens / self.max_tokens, usd / self.max_usd)
        last = concluding or calls >= self.max_steps - 1 or share >= WARN_AT
        if not (request.tools and last):
            return await handler(request)
        return _without_calls(await handler(request.override(tool_choice="none")))


def _without_calls(response: ModelResponse[Any]) -> ModelResponse[Any]:
    """An answer, also from a model that does not take no for one: else its loop would go on for ever."""
    message = response.result[-1] if response.result else None
    if not isinstance(message, AIMessage) or not message.tool_calls:
        return response
    log.warning("a model called tools although it was told to answer")
    more = {name: value for name, value in message.additional_kwargs.items() if name != "tool_calls"}
    text = str(message.text).strip() or NO_ANSWER
    answer = message.model_copy(update={"content": text, "tool_calls": [], "additional_kwargs": more})
    return replace(response, result=[*response.result[:-1], answer])


def spent_since_question(request: ModelRequest[Any]) -> tuple[int, int, float]:
    """Model calls made, tokens used by them and what they cost in USD, since the person last spoke."""
    calls, tokens, usd = 0, 0, 0.0
    for message in reversed(request.messages):
        if isinstance(message, HumanMessage):
            break
        if isinstance(message, AIMessage):
            calls += 1
            tokens += message.usage_metadata["total_tokens"] if message.usage_metadata else 0
            usd += message.response_metadata.get("cost_usd") or 0.0
    return calls, tokens, usd


class RepairToolCalls(AgentMiddleware[Any, Any]):
    """A tool call that cannot be parsed is never executed: the model is told what was wrong, twice at most."""

    async def awrap_model_call(self, request: ModelRequest[Any], handler: ModelHandler) -> Answer:
        for _ in range(MAX_REPAIRS):
            response = await handler(request)
            broken = _unparsable(response)
            if not broken:
                return response
            complaint = HumanMessage(
                f"Your tool call could not be used: {broken}. Call the tool again with complete, valid JSON, or answer."
            )
            request = request.override(messages=[*request.messages, complaint])
        response = await handler(request)
        if broken := _unparsable(response):
            raise ToolFailed("tool call", f"still unusable after {MAX_REPAIRS} repairs: {broken}", "use another model")
        return response


def _unparsable(response: ModelResponse[Any]) -> str:
    """Why the last message's tool calls cannot run; empty when they can, or when there are none."""
    message = response.result[-1] if response.result else None
    if isinstance(message, AIMessage) and message.invalid_tool_calls and not message.tool_calls:
        return "; ".join(
            f"{call.get('name')}: {call.get('error') or 'unreadable'}" for call in message.invalid_tool_calls
        )
    return ""


class RetryModel(AgentMiddleware[Any, Any]):
    """Up to three attempts of one model call, with full jitter, honouring `Retry-After`."""

    def __init__(self, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """`pause`: how to wait for some seconds."""
        super().__init__()
        self._pause = pause

    async def awrap_model_call(self, request: ModelRequest[Any], handler: ModelHandler) -> Answer:
        for attempt in range(1, MODEL_ATTEMPTS + 1):
            try:
                return await handler(request)
            except ModelUnavailable as error:
                error.attempts = attempt
                pause_s = _pause_s(attempt, error.retry_after_s)
                if attempt == MODEL_ATTEMPTS or pause_s is None:
                    raise
                await adispatch_custom_event(
                    "llm.retry", {"attempt": attempt + 1, "reason": error.problem, "pause_s": round(pause_s, 2)}
                )
                await self._pause(pause_s)
        raise AssertionError("unreachable: the loop returns or raises")


def _pause_s(attempt: int, retry_after_s: float | None) -> float | None:
    """Seconds to wait, or None when the server asks for more than a person would wait."""
    if retry_after_s is not None:
        return retry_after_s if retry_after_s <= MAX_RETRY_AFTER_S else None
    ceiling = min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2 ** (attempt - 1))
    return random.uniform(0, ceiling)  # noqa: S311 - spreads load, guards nothing


class GuardTools(AgentMiddleware[Any, Any]):
    """A tool's contract enforced: rate, deadline, retries; a failure is an observation that the agent can act on."""

    def __init__(self, turns: Turns | None = None) -> None:
        """`turns`: the lines at tools that may be called only so often."""
        super().__init__()
        self._turns = turns or Turns()

    async def awrap_tool_call(self, request: ToolCallRequest, handler: ToolHandler) -> ToolMessage | Command[Any]:
        contract = contract_of(request.tool)
        problem = ""
        for attempt in range(1, contract.retries + 2):
            try:
                async with asyncio.timeout(contract.timeout_s) as deadline:
                    await self._turns.take(request.tool_call["name"], contract.rate_per_s, contract.timeout_s)
                    return _bounded(await handler(request))
            except (GraphBubbleUp, RunLost):
                raise
            except asyncio.CancelledError:
                if (current := asyncio.current_task()) is None or current.cancelling():
                    raise
                problem = "something that it waited for was cancelled"
                break
            except (RunError, ToolException) as error:
                problem = str(error)
                if not getattr(error, "retriable", False):
                    break
            except Exception as error:
                if not deadline.expired():
                    # a tool is somebody else's code: whatever it raises, the agent and its siblings go on
                    log.warning("tool %s failed", request.tool_call["name"], exc_info=error)
                    problem = f"{type(error).__name__}: {error}"
                    break
                problem = f"no answer within {contract.timeout_s:g} s (attempt {attempt} of {contract.retries + 1})"
                if contract.effect == "at_most_once":
                    problem += "; it may have happened all the same, so it must not be repeated"
                await adispatch_custom_event(
                    "tool.timeout", {"tool": request.tool_call["name"], "call_id": request.tool_call["id"]}
                )
        return ToolMessage(
            content=f"{request.tool_call['name']} failed: {problem}. {contract.fallback}",
            tool_call_id=request.tool_call["id"] or "",
            name=request.tool_call["name"],
            status="error",
        )


def _bounded(result: ToolMessage | Command[Any]) -> ToolMessage | Command[Any]:
    """Cut what no context window should hold, and say so."""
    if not isinstance(result, ToolMessage) or len(text := str(result.text)) <= MAX_OBSERVATION_CHARS:
        return result
    note = f"\n[cut: {len(text):,} characters, {MAX_OBSERVATION_CHARS:,} shown]"
    return result.model_copy(update={"content": text[:MAX_OBSERVATION_CHARS] + note})


def stack(
    max_steps: int,
    max_tokens: int | None = None,
    max_usd: float | None = None,
    shaping: AgentMiddleware[Any, Any] | None = None,
    paging: PageOut | None = None,
    turns: Turns | None = None,
    grants: frozenset[str] = frozenset(),
    offering: OfferRemote | None = None,
) -> list[AgentMiddleware[Any, Any]]:
    """The one middleware list, outermost first. `shaping` makes several calls of one: each is retried and paid."""
    offers = [offering] if offering else []
    turn: list[AgentMiddleware[Any, Any]] = [
        *offers, EndAtHandover(), OnlyAllowed(), paging or PageOut(), MarkOrigins(),
    ]  # fmt: skip
    loop: list[AgentMiddleware[Any, Any]] = [*turn, BoundSteps(max_steps, max_tokens, max_usd), RepairToolCalls()]
    call: list[AgentMiddleware[Any, Any]] = [RetryModel(), KeepBudget(), GuardTools(turns), OnceOnly(grants)]
    return [*loop, *([shaping] if shaping else []), *call]
