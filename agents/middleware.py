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
from urllib.parse import urlsplit

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain.agents.middleware.types import ExtendedModelResponse
from langchain_core.callbacks import adispatch_custom_event
from langchain_core.messages import AIMessage, HumanMessage

from agents.allowance import WARN_AT, Allowance
from agents.allowed import OnlyAllowed
from agents.breaker import Breakers, Open
from agents.effects import AskFirst, OnceOnly
from agents.errors import ModelRefusedRequest, ModelUnavailable, ToolFailed
from agents.guard import MarkOrigins
from agents.handing import EndAtHandover
from agents.offering import OfferRemote
from agents.paging import PageOut
from agents.policy import Calling, CallService, GuardTools, tell_open

log = logging.getLogger(__name__)

MODEL_ATTEMPTS = 3
BACKOFF_BASE_S = 0.5
BACKOFF_MAX_S = 8.0
MAX_RETRY_AFTER_S = 30.0
PROBED_WITHIN_S = 5.0
"""What a probe gets before whoever waits for its end asks again: asking sooner would use up the attempts."""
MAX_REPAIRS = 2
NO_ANSWER = "I had to stop before I had an answer."

Answer = ModelResponse[Any] | AIMessage | ExtendedModelResponse[Any]
ModelHandler = Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]


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
    """Up to three attempts of one model call, with full jitter, honouring `Retry-After`.

    An endpoint that fails has a breaker, like any service: while it is open nothing is sent there.
    """

    def __init__(
        self, pause: Callable[[float], Awaitable[None]] = asyncio.sleep, breakers: Breakers | None = None
    ) -> None:
        """`pause`: how to wait for some seconds."""
        super().__init__()
        self._pause, self._breakers = pause, breakers or Breakers()

    async def awrap_model_call(self, request: ModelRequest[Any], handler: ModelHandler) -> Answer:
        endpoint = endpoint_of(request.model)
        for attempt in range(1, MODEL_ATTEMPTS + 1):
            try:
                return await self._asked(request, handler, endpoint)
            except ModelUnavailable as error:
                error.attempts = attempt
                pause_s = _pause_s(attempt, error.retry_after_s)
                if attempt == MODEL_ATTEMPTS or pause_s is None or not self._may_retry(endpoint):
                    raise
                await adispatch_custom_event(
                    "llm.retry", {"attempt": attempt + 1, "reason": error.problem, "pause_s": round(pause_s, 2)}
                )
                await self._pause(pause_s)
        raise AssertionError("unreachable: the loop returns or raises")

    def _may_retry(self, endpoint: str) -> bool:
        # an open breaker costs no budget: waiting for the probe sends nothing
        still = not endpoint or self._breakers.standing(endpoint).state != "closed"
        return still or self._breakers.may_retry(endpoint)

    async def _asked(self, request: ModelRequest[Any], handler: ModelHandler, endpoint: str) -> ModelResponse[Any]:
        """One attempt, through the endpoint's breaker. Raises ModelUnavailable, made or not."""
        if not endpoint:
            return await handler(request)
        try:
            leave = await self._breakers.enter(endpoint)
        except Open as shut:
            await tell_open(shut)
            wait_s = shut.standing.retry_in_s or PROBED_WITHIN_S
            raise ModelUnavailable(endpoint, str(shut), kind="refused", url=endpoint, retry_after_s=wait_s) from shut
        try:
            response = await handler(request)
        except ModelUnavailable as error:
            await self._breakers.leave(leave, ok=error.kind == "rate_limited", why=error.problem)
            raise
        except ModelRefusedRequest:  # it answers
            await self._breakers.leave(leave, ok=True)
            raise
        except BaseException:  # called off, or never sent
            await self._breakers.give_back(leave)
            raise
        await self._breakers.leave(leave, ok=True)
        return response


def endpoint_of(model: Any) -> str:
    """The service behind a model, without credentials; "" for one that is no service."""
    url = urlsplit(getattr(model, "openai_api_base", None) or "")
    return (
        f"model {getattr(model, 'model_name', '')} at {url.hostname}:{url.port or url.scheme}" if url.hostname else ""
    )


def _pause_s(attempt: int, retry_after_s: float | None) -> float | None:
    """Seconds to wait, or None when the server asks for more than a person would wait."""
    if retry_after_s is not None:
        return retry_after_s if retry_after_s <= MAX_RETRY_AFTER_S else None
    ceiling = min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2 ** (attempt - 1))
    return random.uniform(0, ceiling)  # noqa: S311 - spreads load, guards nothing


def stack(
    max_steps: int,
    max_tokens: int | None = None,
    max_usd: float | None = None,
    shaping: AgentMiddleware[Any, Any] | None = None,
    paging: PageOut | None = None,
    calling: Calling | None = None,
    grants: frozenset[str] = frozenset(),
    offering: OfferRemote | None = None,
) -> list[AgentMiddleware[Any, Any]]:
    """The one middleware list, outermost first. `shaping` makes several calls of one: each is retried and paid."""
    calling = calling or Calling()
    offers = [offering] if offering else []
    turn: list[AgentMiddleware[Any, Any]] = [
        *offers, EndAtHandover(), OnlyAllowed(), paging or PageOut(), MarkOrigins(),
    ]  # fmt: skip
    loop: list[AgentMiddleware[Any, Any]] = [*turn, BoundSteps(max_steps, max_tokens, max_usd), RepairToolCalls()]
    call: list[AgentMiddleware[Any, Any]] = [
        RetryModel(breakers=calling.breakers),
        KeepBudget(),
        AskFirst(grants),
        GuardTools(calling),
        OnceOnly(),
        CallService(calling),
    ]
    return [*loop, *([shaping] if shaping else []), *call]
