"""Puts the approved tools of remote servers beside an agent's own: those that there are at the moment of each call.

An agent is assembled once, a server comes and goes. So its tools are no part of the agent: they are added to each
request to the model, and a call of one finds it by its name. Both happen before any other middleware looks, so that a
remote tool passes the same choice, marks, approvals, ledger and deadlines as one of ours.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain.tools.tool_node import ToolCallRequest
from langchain_core.messages import ToolMessage
from langgraph.types import Command

from agents.remote.remotes import Remotes
from agents.tools.remote import find_tool, offered_tools

ModelHandler = Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
ToolHandler = Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]


class OfferRemote(AgentMiddleware[Any, Any]):
    """What one role may call of others."""

    def __init__(self, role: str = "") -> None:
        super().__init__()
        self._role = role

    async def awrap_model_call(self, request: ModelRequest[Any], handler: ModelHandler) -> ModelResponse[Any]:
        if (remotes := _remotes(request.runtime)) and (more := offered_tools(remotes, self._role)):
            request = request.override(tools=[*request.tools, *more])
        return await handler(request)

    async def awrap_tool_call(self, request: ToolCallRequest, handler: ToolHandler) -> ToolMessage | Command[Any]:
        remotes = _remotes(request.runtime) if request.tool is None else None
        if remotes and (tool := find_tool(remotes, self._role, request.tool_call["name"])):
            request = request.override(tool=tool.within(request.runtime))
        return await handler(request)


def _remotes(runtime: Any) -> Remotes | None:
    return getattr(getattr(runtime, "context", None), "remotes", None)
