"""A person's choice of tools for one sub-task, kept outside of the model: the others are neither shown nor run."""

from collections.abc import Awaitable, Callable
from typing import Any

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain.tools.tool_node import ToolCallRequest
from langchain_core.messages import ToolMessage
from langgraph.types import Command

ModelHandler = Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
ToolHandler = Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]


class OnlyAllowed(AgentMiddleware[Any, Any]):
    """Leaves an agent those of its tools that the context of the call names; all of them where it names none."""

    async def awrap_model_call(self, request: ModelRequest[Any], handler: ModelHandler) -> ModelResponse[Any]:
        if (allowed := _allowed(request.runtime)) is not None:
            request = request.override(tools=[tool for tool in request.tools if _name(tool) in allowed])
        return await handler(request)

    async def awrap_tool_call(self, request: ToolCallRequest, handler: ToolHandler) -> ToolMessage | Command[Any]:
        call, allowed = request.tool_call, _allowed(request.runtime)
        if allowed is None or call["name"] in allowed:
            return await handler(request)
        text = f"{call['name']} may not be called for this sub-task; go on without it."
        return ToolMessage(content=text, tool_call_id=call["id"] or "", name=call["name"], status="error")


def _allowed(runtime: Any) -> frozenset[str] | None:
    return getattr(getattr(runtime, "context", None), "tools", None)


def _name(tool: Any) -> str:
    return str(tool.get("name", "") if isinstance(tool, dict) else tool.name)
