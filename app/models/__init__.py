"""Models by role: a lean client under LangChain's types, for any OpenAI-compatible URL.

LangChain's `ChatOpenAI` brings the message conversions, tool binding and structured output; the transport is ours
(`http.py`), because the stock client spends 71 % of an agent's turn re-walking the history. There are no
retries here: they live in the agents' middleware. `timeout`, `max_retries` and `http_client` have no effect.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, PrivateAttr, SecretStr, model_validator

from app.models.answer import REASONS, Asked, StreamedAnswer, name_reasons, settle
from app.models.events import stream_events
from app.models.http import SESSIONS, Call, Deadlines, Endpoint, post_json
from app.models.probe import Check, Probe, probe
from app.models.wire import (
    Memo,
    message_json,
    message_memo,
    request_body,
    response_format,
    strict_format,
    tool_memo,
    wire_tool,
)

__all__ = ["Check", "Deadlines", "Endpoint", "LeanChatModel", "Models", "Probe", "chat_model", "cost_usd"]

CHAT_PATH = "/chat/completions"
NOT_CHAT = ("embed", "rerank")
GAVE_UP = ("abort", "error")
"""Finish reasons by which vLLM says that it stopped in mid-answer."""

COST_USD = "cost_usd"

DEADLINES = Deadlines()

T = TypeVar("T")


class LeanChatModel(ChatOpenAI):
    """`ChatOpenAI` with our transport. Streams by itself inside a LangGraph run that streams messages."""

    deadlines: Deadlines = DEADLINES
    strict_tools: bool = True
    """Send tools as strict where their schema allows it: servers then enforce arguments, not only names."""
    price_in_usd_per_mtok: float | None = None
    price_out_usd_per_mtok: float | None = None
    """With both prices known, every answer says in `response_metadata["cost_usd"]` what it has cost."""
    stream_usage: bool | None = True
    use_responses_api: bool | None = False
    max_retries: int | None = 0

    _endpoint: Endpoint = PrivateAttr()
    _encoded: Memo = PrivateAttr()
    _tools: dict[bool, Memo] = PrivateAttr()

    @model_validator(mode="after")
    def validate_environment(self) -> "LeanChatModel":
        """Take the place of the parent's: no OpenAI clients are built, and no environment is read."""
        if not self.openai_api_base:
            raise ValueError("base_url is missing; give the OpenAI-compatible URL that ends in /v1")
        key = self.openai_api_key
        if key is not None and not isinstance(key, SecretStr):
            raise ValueError("api_key is a function; give the key itself")
        prices = (self.price_in_usd_per_mtok, self.price_out_usd_per_mtok)
        self._endpoint = Endpoint(self.openai_api_base, self.model_name, key, *prices)
        self._encoded = message_memo()
        self._tools = {True: tool_memo(), False: tool_memo()}
        return self

    @classmethod
    def is_lc_serializable(cls) -> bool:
        return False  # a saved model would be loaded as the stock one

    @property
    def _llm_type(self) -> str:
        return "sextant-lean"

    def bind_tools(
        self,
        tools: Sequence[Any],
        *,
        tool_choice: dict[str, Any] | str | bool | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools, strict where their schemas allow it. `strict` overrides `strict_tools` for this binding."""
        strict = self.strict_tools if strict is None else strict
        return super().bind_tools([self._wired(tool, strict) for tool in tools], tool_choice=tool_choice, **kwargs)

    def _wired(self, tool: Any, strict: bool) -> dict[str, Any]:
        if isinstance(tool, dict):  # has no weak references, and is ready-made
            return wire_tool(tool, strict)
        wired = self._tools[strict].get(tool)
        if wired is None:
            wired = wire_tool(tool, strict)
            self._tools[strict].keep(tool, wired)
        return cast(dict[str, Any], wired)

    def _ask(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, options: dict[str, Any]
    ) -> tuple[bytes, Asked]:
        """The request's bytes, and what the answer has to be held against."""
        memo = self._encoded
        encoded = [memo.get(message) for message in messages]
        fresh = [index for index, known in enumerate(encoded) if known is None]
        params = self._get_request_payload([messages[index] for index in fresh], stop=stop, **options)
        for index, wire in zip(fresh, params.pop("messages"), strict=True):
            encoded[index] = message_json(messages[index], wire)
            memo.keep(messages[index], encoded[index])
        params = _sendable(params)
        asked = Asked(messages, params.get("tools", ()), parse=isinstance(options.get("response_format"), type))
        return request_body(params, encoded), asked

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        body, asked = self._ask(messages, stop, {**kwargs, "stream": False})
        call, answer = await post_json(self._endpoint, CHAT_PATH, body, self.deadlines)
        if answer.get("error"):
            call.refuse_inside(answer)
        with call.making_sense():
            return self._settled(call, answer, asked)

    def _settled(self, call: Call, answer: dict[str, Any], asked: Asked) -> ChatResult:
        choices = answer["choices"]
        if not choices:
            raise ValueError("no choices")
        # the conversion sees no tool calls: ours are judged, its are only parsed
        plain = [{**c, "message": {**c["message"], "role": "assistant", "tool_calls": None}} for c in choices]
        result = self._create_chat_result({**answer, "choices": plain})
        for generation, choice in zip(result.generations, choices, strict=True):
            _refuse_torn(call, choice.get("finish_reason"))
            settle(cast(AIMessage, generation.message), choice["message"], choice.get("finish_reason"), asked)
            self._price(generation.message)
        return result

    def _price(self, message: BaseMessage) -> None:
        usage = message.usage_metadata if isinstance(message, AIMessage) else None
        if (cost := cost_usd(self._endpoint, usage)) is not None:
            message.response_metadata[COST_USD] = cost

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        *,
        stream_usage: bool | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        if self._should_stream_usage(stream_usage, **kwargs):
            kwargs["stream_options"] = {"include_usage": True}
        body, asked = self._ask(messages, stop, {**kwargs, "stream": True})
        async with Call(self._endpoint, CHAT_PATH, self.deadlines) as call:
            async for chunk in self._chunks(call, body, asked):
                if run_manager:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    async def _chunks(self, call: Call, body: bytes, asked: Asked) -> AsyncGenerator[ChatGenerationChunk, None]:
        """One chunk per network read that brought something, and a last one with everything that had to wait."""
        answer = StreamedAnswer(asked)
        async for events in stream_events(call, body):
            with call.making_sense():
                answer.feed(events)
                part = None if answer.finish_reason else answer.next()
                chunk = self._chunk(*part) if part else None
            if chunk:
                yield chunk
        _refuse_torn(call, answer.finish_reason)
        with call.making_sense():
            chunk = self._chunk(*answer.last())
            self._price(chunk.message)
            if REASONS not in chunk.message.additional_kwargs:  # else LangChain's own closing chunk keeps them visible
                cast(AIMessageChunk, chunk.message).chunk_position = "last"
        yield chunk

    def _chunk(self, wire: dict[str, Any], extras: dict[str, Any]) -> ChatGenerationChunk:
        chunk = cast(ChatGenerationChunk, self._convert_chunk_to_generation_chunk(wire, AIMessageChunk, None))
        chunk.message.additional_kwargs.update(extras)
        return chunk

    # Summing chunks loses the reasons of invalid calls; these two are where LangChain has just summed them.

    async def _agenerate_with_cache(self, *args: Any, **kwargs: Any) -> ChatResult:
        return _with_reasons(await super()._agenerate_with_cache(*args, **kwargs))

    def _generate_with_cache(self, *args: Any, **kwargs: Any) -> ChatResult:
        return _with_reasons(super()._generate_with_cache(*args, **kwargs))

    # Callers without an event loop borrow one.

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return BACKGROUND.run(self._agenerate(messages, stop=stop, **kwargs))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        chunks = self._astream(messages, stop=stop, **kwargs)
        try:
            while chunk := BACKGROUND.run(_next(chunks)):
                if run_manager:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk
        finally:
            BACKGROUND.run(chunks.aclose())


def _sendable(params: dict[str, Any]) -> dict[str, Any]:
    """LangChain's parameters as servers take them."""
    if not params.get("tools"):  # an empty list is refused, and so is a choice among nothing
        params = {k: v for k, v in params.items() if k not in ("tools", "tool_choice", "parallel_tool_calls")}
    form = params.get("response_format")
    if isinstance(form, type):
        params["response_format"] = _response_format(form)
    elif isinstance(form, dict) and form.get("type") == "json_schema":
        params["response_format"] = strict_format(form)
    return params | (params.pop("extra_body", None) or {})


@lru_cache(maxsize=256)
def _response_format(schema: type[BaseModel]) -> dict[str, Any]:
    return response_format(schema)


def _refuse_torn(call: Call, finish_reason: str | None) -> None:
    if finish_reason in GAVE_UP:
        call.fail("cut_stream", f"the server gave up in mid-answer (finish_reason {finish_reason})")


def _with_reasons(result: ChatResult) -> ChatResult:
    for generation in result.generations:
        name_reasons(generation.message)
    return result


async def _next(chunks: AsyncIterator[ChatGenerationChunk]) -> ChatGenerationChunk | None:
    return await anext(chunks, None)


class _Background:
    """One event loop in a daemon thread, started at first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for `work`; an interrupt of the waiting thread cancels it, and with it the request."""
        future = asyncio.run_coroutine_threadsafe(work, self._started())
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="model-calls", daemon=True).start()
            return self._loop

    async def aclose_session(self) -> None:
        if self._loop is not None:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(SESSIONS.aclose(), self._loop))


BACKGROUND = _Background()


@lru_cache(maxsize=256)
def chat_model(
    endpoint: Endpoint,
    deadlines: Deadlines = DEADLINES,
    *,
    temperature: float = 0.0,
    max_tokens: int | None = None,
    strict_tools: bool = True,
) -> LeanChatModel:
    """The model object of an endpoint: the same one for the same arguments."""
    return LeanChatModel(
        base_url=endpoint.url,
        model=endpoint.model,
        api_key=endpoint.api_key,
        deadlines=deadlines,
        price_in_usd_per_mtok=endpoint.price_in_usd_per_mtok,
        price_out_usd_per_mtok=endpoint.price_out_usd_per_mtok,
        temperature=temperature,
        max_completion_tokens=max_tokens,
        strict_tools=strict_tools,
    )


class Models(Mapping[str, BaseChatModel]):
    """Chat models by role. Embedding and reranking endpoints are kept beside them, for who speaks to those."""

    def __init__(self, endpoints: Mapping[str, Endpoint], deadlines: Deadlines = DEADLINES) -> None:
        self._endpoints = dict(endpoints)
        self._deadlines = deadlines

    def __getitem__(self, role: str) -> LeanChatModel:
        if role not in self._endpoints or role in NOT_CHAT:
            raise KeyError(f"no chat model for role {role!r}; there are {', '.join(self)}")
        return chat_model(self._endpoints[role], self._deadlines)

    def __iter__(self) -> Iterator[str]:
        return (role for role in self._endpoints if role not in NOT_CHAT)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def endpoint(self, role: str) -> Endpoint:
        return self._endpoints[role]

    async def probe(self, role: str) -> Probe:
        """Try for real what the product needs of this role's endpoint."""
        model = None if role in NOT_CHAT else self[role]
        return await probe(role, self._endpoints[role], self._deadlines, model)

    async def aclose(self) -> None:
        """Close pooled connections, of this event loop and of the one that sync callers borrow."""
        await SESSIONS.aclose()
        await BACKGROUND.aclose_session()


def cost_usd(endpoint: Endpoint, usage: UsageMetadata | None) -> float | None:
    """Price of one answer; None when usage or either price is unknown, rather than a wrong figure."""
    prices = (endpoint.price_in_usd_per_mtok, endpoint.price_out_usd_per_mtok)
    if usage is None or prices[0] is None or prices[1] is None:
        return None
    return (usage["input_tokens"] * prices[0] + usage["output_tokens"] * prices[1]) / 1e6
