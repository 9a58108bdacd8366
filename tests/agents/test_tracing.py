"""Middleware costs no thread where nobody traces, and its traces leave the loop alone where somebody does."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context, copy_context
from typing import Any

import langsmith
import pytest
from langchain.agents import create_agent
from langsmith import tracing_context
from langsmith._runtime_overrides import get_runtime_overrides
from scripted import ScriptedModel, says

from agents.middleware import stack
from agents.tracing import untraced_is_free


class Counted(ThreadPoolExecutor):
    """Threads that count what they are given."""

    given = 0

    def submit(self, do: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.given += 1
        return super().submit(do, *args, **kwargs)


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    yield
    langsmith.set_runtime_overrides()


async def threads_of_a_turn() -> int:
    """How often one call of an agent with the whole middleware list went to a thread."""
    agent = create_agent(ScriptedModel([says("Hello.")]), [], middleware=stack(max_steps=3))
    threads = Counted()
    asyncio.get_running_loop().set_default_executor(threads)
    answer = await agent.ainvoke({"messages": [("user", "hello")]})
    assert answer["messages"][-1].text == "Hello."
    return threads.given


async def test_without_a_trace_no_hook_goes_to_a_thread() -> None:
    assert await threads_of_a_turn() > 2, "LangSmith does so by itself; else agents/tracing.py can go"

    untraced_is_free()

    assert await threads_of_a_turn() == 0


async def test_with_a_trace_its_bookkeeping_goes_to_a_thread() -> None:
    untraced_is_free()
    anywhere = get_runtime_overrides().aio_to_thread
    assert anywhere

    async def to_thread(context: Context, do: Callable[..., Any], *args: Any) -> Any:
        return "thread", context.run(do, *args)

    assert await anywhere(to_thread, copy_context(), abs, -1) == 1
    with tracing_context(enabled=True):
        assert await anywhere(to_thread, copy_context(), abs, -1) == ("thread", 1)
