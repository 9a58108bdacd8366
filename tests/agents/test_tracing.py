"""Middleware costs no thread where nobody traces, and its traces leave the loop alone where somebody does."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context, copy_context
from typing import Any

import langsmith
import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langsmith import tracing_context
from langsmith._runtime_overrides import get_runtime_overrides
from scripted import ScriptedModel, calls, says

from agents.middleware import stack
from agents.tracing import AsOne, untraced_is_free


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


async def threads_of_a_turn(middleware: Sequence[AgentMiddleware[Any, Any]]) -> int:
    """How often one call of an agent with this middleware went to a thread."""
    agent = create_agent(ScriptedModel([says("Hello.")]), [], middleware=middleware)
    threads = Counted()
    asyncio.get_running_loop().set_default_executor(threads)
    answer = await agent.ainvoke({"messages": [("user", "hello")]})
    assert answer["messages"][-1].text == "Hello."
    return threads.given


async def test_without_a_trace_no_hook_goes_to_a_thread() -> None:
    hooks = sum(type(it).awrap_model_call is not AgentMiddleware.awrap_model_call for it in stack(max_steps=3))
    assert await threads_of_a_turn(stack(max_steps=3)) == 2 * hooks, "else agents/tracing.py can go"
    assert await threads_of_a_turn([AsOne(stack(max_steps=3))]) == 2

    untraced_is_free()

    assert await threads_of_a_turn([AsOne(stack(max_steps=3))]) == 0


async def test_with_a_trace_its_bookkeeping_goes_to_a_thread() -> None:
    untraced_is_free()
    anywhere = get_runtime_overrides().aio_to_thread
    assert anywhere

    async def to_thread(context: Context, do: Callable[..., Any], *args: Any) -> Any:
        return "thread", context.run(do, *args)

    assert await anywhere(to_thread, copy_context(), abs, -1) == 1
    with tracing_context(enabled=True):
        assert await anywhere(to_thread, copy_context(), abs, -1) == ("thread", 1)


# -- a list as one ---------------------------------------------------------------------------------


class Noted(AgentMiddleware[Any, Any]):
    """Notes when it is gone through."""

    def __init__(self, name: str, notes: list[str]) -> None:
        super().__init__()
        self.nick, self.notes = name, notes

    @property
    def name(self) -> str:
        return self.nick

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        self.notes.append(f"{self.nick} asks")
        answer = await handler(request)
        self.notes.append(f"{self.nick} has {type(answer).__name__} {answer.result[-1].text}")
        return AIMessage(f"{answer.result[-1].text} {self.nick}")

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        self.notes.append(f"{self.nick} calls")
        return await handler(request)


async def test_a_list_as_one_is_gone_through_like_the_list() -> None:
    @tool
    async def look_up() -> str:
        """Look it up."""
        return "found"

    told = []
    for one in (False, True):
        notes: list[str] = []
        parts = [Noted("a", notes), Noted("b", notes), Noted("c", notes)]
        request: Any = ModelRequest(model=ScriptedModel([]), messages=[], system_message=None, tools=[])

        async def model(_: Any) -> Any:
            return ModelResponse(result=[AIMessage("said")])

        if one:
            answer: Any = await AsOne(parts).awrap_model_call(request, model)
            assert answer.result[-1].text == "said c b a"
        script = [calls(("look_up", {})), says("Done.")]
        agent = create_agent(ScriptedModel(script), [look_up], middleware=[AsOne(parts)] if one else parts)
        notes.clear()
        await agent.ainvoke({"messages": [("user", "hello")]})
        told.append(notes)

    assert told[0] == told[1]
    assert told[0][:3] == ["a asks", "b asks", "c asks"]


def test_what_has_other_hooks_is_no_part_of_a_list() -> None:
    class Before(AgentMiddleware[Any, Any]):
        async def abefore_model(self, state: Any, runtime: Any) -> None:
            """Nothing."""

    with pytest.raises(TypeError, match="abefore_model"):
        AsOne([Before()])
