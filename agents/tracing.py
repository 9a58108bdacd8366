"""Traces of LangSmith, which LangChain wraps around every hook of every middleware: free where nobody traces.

Each hook of each model call is wrapped, and each wrapping sends its bookkeeping to a thread and back, twice, also where
tracing is off: with ten middlewares half of the CPU of a call. So ours go to LangChain as one, and without a trace the
bookkeeping of that one is done on the spot, where it takes microseconds. Who traces sees the list as one span.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from functools import partial
from typing import Any

import langsmith
from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain.agents.middleware.types import ExtendedModelResponse
from langchain.tools.tool_node import ToolCallRequest
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.types import Command
from langsmith.utils import tracing_is_enabled

Answer = ModelResponse[Any] | AIMessage | ExtendedModelResponse[Any]
ModelHandler = Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
ToolHandler = Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]

_WRAPS = ("awrap_model_call", "awrap_tool_call")
_OTHERS = ("before_agent", "before_model", "after_model", "after_agent", "wrap_model_call", "wrap_tool_call")


class AsOne(AgentMiddleware[Any, Any]):
    """A list of middleware, outermost first, as LangChain would nest it."""

    def __init__(self, parts: Sequence[AgentMiddleware[Any, Any]]) -> None:
        """`parts` have no hooks but `awrap_model_call` and `awrap_tool_call`. Raises TypeError for any other."""
        super().__init__()
        for part in parts:
            if others := [hook for hook in (*_OTHERS, *(f"a{it}" for it in _OTHERS[:4])) if _has(part, hook)]:
                raise TypeError(f"{part.name} has {', '.join(others)}: give it to create_agent beside the others")
        self.parts = tuple(parts)
        self._inside_out = {hook: [getattr(it, hook) for it in reversed(parts) if _has(it, hook)] for hook in _WRAPS}

    async def awrap_model_call(self, request: ModelRequest[Any], handler: ModelHandler) -> Answer:
        for wrap in self._inside_out["awrap_model_call"]:
            handler = partial(_answered, wrap, handler)
        return await handler(request)

    async def awrap_tool_call(self, request: ToolCallRequest, handler: ToolHandler) -> ToolMessage | Command[Any]:
        for wrap in self._inside_out["awrap_tool_call"]:
            handler = partial(wrap, handler=handler)
        return await handler(request)


async def _answered(
    wrap: Callable[[ModelRequest[Any], ModelHandler], Awaitable[Answer]],
    handler: ModelHandler,
    request: ModelRequest[Any],
) -> ModelResponse[Any]:
    """What one middleware makes of a call, as the next one around it expects it."""
    answer = await wrap(request, handler)
    if isinstance(answer, ExtendedModelResponse):
        raise TypeError("a response with a command cannot be told by a middleware that is one of a list")
    return ModelResponse(result=[answer]) if isinstance(answer, AIMessage) else answer


def _has(part: AgentMiddleware[Any, Any], hook: str) -> bool:
    return getattr(type(part), hook) is not getattr(AgentMiddleware, hook)


def untraced_is_free() -> None:
    """Set it for this process."""
    langsmith.set_runtime_overrides(aio_to_thread=_where_it_is_cheapest)


async def _where_it_is_cheapest(
    to_thread: Callable[..., Awaitable[Any]], context: Context, do: Callable[..., Any], /, *args: Any, **kwargs: Any
) -> Any:
    if context.run(tracing_is_enabled):
        return await to_thread(context, do, *args, **kwargs)
    return context.run(do, *args, **kwargs)
