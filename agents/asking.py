"""One question to one agent of the team: its answer as a message, or as a value of the shape that it declares."""

from typing import Any, TypeVar

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from pydantic import BaseModel

from agents.agent import recursion_limit
from agents.context import Context
from agents.errors import Unreadable
from agents.middleware import NO_ANSWER

Shape = TypeVar("Shape", bound=BaseModel)


async def ask(context: Context, name: str, *messages: str | AnyMessage) -> AIMessage:
    """What agent `name` answers. Texts are put as the person's. Raises RunError, and interrupts pass through.

    The sentence of an agent that was made to stop before it had an answer is none: who asks gets an empty one, so that
    a part that came to nothing is called missing and can be tried again.
    """
    answer = (await _asked(context, name, messages))["messages"][-1]
    assert isinstance(answer, AIMessage)  # an agent's loop ends with nothing else
    return answer.model_copy(update={"content": ""}) if answer.text == NO_ANSWER else answer


async def ask_for(context: Context, name: str, shape: type[Shape], *messages: str | AnyMessage) -> Shape:
    """What agent `name`, whose output is `shape`, answers. Raises Unreadable when it never had that shape."""
    value = (await _asked(context, name, messages)).get("structured_response")
    if not isinstance(value, shape):
        raise Unreadable.of(name, shape.__name__, f"the answer was {type(value).__name__}")
    return value


async def _asked(context: Context, name: str, messages: tuple[str | AnyMessage, ...]) -> dict[str, Any]:
    put = [HumanMessage(message) if isinstance(message, str) else message for message in messages]
    config = {"recursion_limit": recursion_limit(context.limits)}
    result: dict[str, Any] = await context.agents[name].ainvoke({"messages": put}, config, context=context)
    return result
