"""Ends the turn of an agent that has handed the floor to another one: nothing more is asked of its model.

LangGraph offers another way, a tool that returns `Command(goto=..., graph=Command.PARENT)`. It leaves the agent's loop
as an exception: other tool calls of the same turn are cancelled, its own call never gets a result, and the hand-over
exists nowhere until the graph above has stored it. Here the tool's result is stored in the agent's own loop like any
other, and the node above reads it there. So after a crash the model is not asked once more whether it still wants to,
and the transcript that a later turn sends has a result for every call.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.messages import AIMessage, AnyMessage, ToolMessage

from agents.tools.handover import HAND_OVER, Handover

Handler = Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
_KEY = "handover"


class EndAtHandover(AgentMiddleware[Any, Any]):
    """After a hand-over the turn ends with an empty message that says to whom; see `handover_in`."""

    async def awrap_model_call(self, request: ModelRequest[Any], handler: Handler) -> ModelResponse[Any] | AIMessage:
        if handed := _handed(request.messages):
            return AIMessage("", additional_kwargs={_KEY: handed})
        return await handler(request)


def handover_in(message: AIMessage) -> Handover | None:
    """To whom the floor goes after an agent's last message; None when it answered."""
    return message.additional_kwargs.get(_KEY)


def _handed(messages: Sequence[AnyMessage]) -> Handover | None:
    """The first hand-over of the turn before this call; one that failed is an observation like any other."""
    handed: Handover | None = None
    for message in reversed(messages):
        if not isinstance(message, ToolMessage):
            break
        if message.name == HAND_OVER and message.status != "error":
            handed = message.artifact
    return handed
