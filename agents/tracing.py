"""Traces of LangSmith, which LangChain wraps around every hook of every middleware: free where nobody traces.

Each hook of each model call is wrapped, and each wrapping sends its bookkeeping to a thread and back, twice, also where
tracing is off. With nine middlewares that was a fifth of the CPU of a turn. So without a trace it is done on the spot,
where it takes microseconds; with one it goes to a thread as before.
"""

from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any

import langsmith
from langsmith.utils import tracing_is_enabled


def untraced_is_free() -> None:
    """Set it for this process."""
    langsmith.set_runtime_overrides(aio_to_thread=_where_it_is_cheapest)


async def _where_it_is_cheapest(
    to_thread: Callable[..., Awaitable[Any]], context: Context, do: Callable[..., Any], /, *args: Any, **kwargs: Any
) -> Any:
    if context.run(tracing_is_enabled):
        return await to_thread(context, do, *args, **kwargs)
    return context.run(do, *args, **kwargs)
