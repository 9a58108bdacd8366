"""A model that says what its script says and objects to everything else: to a call too many and to a step left over.

It streams word by word, takes tools and JSON schemas, and keeps what it was asked. A step is a message, an exception to
raise, or a coroutine function of the request, with which a test holds a call back until it has seen what it wants.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import BaseModel, PrivateAttr


@dataclass(frozen=True, slots=True)
class Asked:
    """One call of the model."""

    messages: Sequence[BaseMessage]
    tools: Sequence[Any] = ()
    tool_choice: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """All that was sent, as one text."""
        return "\n".join(str(message.text) for message in self.messages)

    @property
    def opening(self) -> str:
        """What the conversation began with."""
        return next((str(message.text) for message in self.messages if message.type == "human"), "")


Step = AIMessage | Exception | Callable[[Asked], Awaitable[AIMessage]]
Script = Sequence[Step] | Mapping[str, Sequence[Step]]


def says(text: str, *, tokens_in: int = 10, tokens_out: int = 5, **more: Any) -> AIMessage:
    """An answer in text."""
    usage = {"input_tokens": tokens_in, "output_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}
    return AIMessage(text, usage_metadata=usage, **more)


def calls(*wanted: tuple[str, Mapping[str, Any]], text: str = "", first_id: int = 1) -> AIMessage:
    """A turn that calls tools, all at once; their ids are `call_1`, `call_2` and so on."""
    made = [
        {"type": "tool_call", "name": name, "args": dict(args), "id": f"call_{at}"}
        for at, (name, args) in enumerate(wanted, first_id)
    ]
    return says(text).model_copy(update={"tool_calls": made})


def garbles(name: str = "search_documents", args: str = "no JSON") -> AIMessage:
    """A turn whose only tool call cannot be read; not cut JSON, which LangChain's chunks would complete."""
    broken = {"type": "invalid_tool_call", "name": name, "args": args, "id": "call_1", "error": None}
    return says("").model_copy(update={"invalid_tool_calls": [broken]})


def fills(value: BaseModel) -> AIMessage:
    """An answer in the JSON of a schema."""
    return says(value.model_dump_json())


class ScriptedModel(BaseChatModel):
    """`script`: its steps in order, or words that a conversation opens with -> the steps of that conversation."""

    script: Any
    _asked: list[Asked] = PrivateAttr(default_factory=list)
    _unscripted: list[str] = PrivateAttr(default_factory=list)
    _steps: dict[str, list[Step]] = PrivateAttr()

    def __init__(self, script: Script, **more: Any) -> None:
        super().__init__(script=script, **more)
        by_opening = script if isinstance(script, Mapping) else {"": script}
        self._steps = {opening: list(steps) for opening, steps in by_opening.items()}

    @property
    def asked(self) -> list[Asked]:
        """Every call so far, in order."""
        return self._asked

    def check_used_up(self) -> None:
        """Fail when a call was not in the script, or a step of it was never taken."""
        left = {opening: steps for opening, steps in self._steps.items() if steps}
        assert not self._unscripted, f"unscripted calls: {self._unscripted}"
        assert not left, f"never taken: {left}"

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        return self.bind(tools=list(tools), **kwargs)

    async def _step(self, messages: Sequence[BaseMessage], options: dict[str, Any]) -> AIMessage:
        asked = Asked(messages, options.pop("tools", ()), options.pop("tool_choice", None), options)
        self._asked.append(asked)
        steps = next((steps for opening, steps in self._steps.items() if opening in asked.opening), None)
        if not steps:
            self._unscripted.append(asked.text)
            raise AssertionError(f"unscripted call: {asked.text}")
        step = steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step if isinstance(step, AIMessage) else await step(asked)

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        raise NotImplementedError("nothing here is synchronous")

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **options: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=await self._step(messages, options))])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **options: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        message = await self._step(messages, options)
        for token in words(str(message.text)):
            chunk = ChatGenerationChunk(message=AIMessageChunk(token))
            if run_manager:
                await run_manager.on_llm_new_token(token, chunk=chunk)
            yield chunk
        parts = {name: getattr(message, name) for name in ("tool_calls", "invalid_tool_calls", "usage_metadata")}
        yield ChatGenerationChunk(
            message=AIMessageChunk("", response_metadata=message.response_metadata, chunk_position="last", **parts)
        )


def words(text: str) -> list[str]:
    """The tokens in which a text is streamed; joined they are the text again."""
    return re.findall(r"\s*\S+|\s+$", text)
