"""Look something up in the documents without asking a model: the same tool, called by code, and seen as such.

It is a call of a service like an agent's: under its deadline, through its breaker, tried again within its budget, and
answered by its last answer, marked with its age, where it fails.
"""

import hashlib
import re
from collections.abc import Collection
from functools import partial
from typing import Any

from langchain.tools.tool_node import ToolCallRequest
from langchain_core.messages import ToolMessage
from langchain_core.messages.tool import tool_call
from langgraph.config import get_config
from langgraph.prebuilt import ToolRuntime

from agents.context import Context
from agents.policy import STALE, CallService, GuardTools
from agents.tools.search import search_documents


async def look_up(context: Context, query: str, but: Collection[str] = ()) -> str:
    """Passages under their keys, as an agent would be shown them, `but` for some keys; or that the search failed."""
    call_id = f"look_{hashlib.sha256(query.encode(errors='replace')).hexdigest()[:8]}"
    runtime: ToolRuntime[Any, Any] = ToolRuntime(
        state={}, context=context, config=get_config(), stream_writer=_unheard, tool_call_id=call_id, store=None
    )
    call = tool_call(name=search_documents.name, args={"query": query}, id=call_id)
    made = partial(CallService(context.calling).awrap_tool_call, handler=_searched)
    found = await GuardTools(context.calling).awrap_tool_call(
        ToolCallRequest(call, search_documents, {}, runtime), made
    )
    assert isinstance(found, ToolMessage)  # the search returns nothing else
    text = str(found.text)
    if found.status == "error":
        return text
    note, text = text.split("\n", 1) if text.startswith(STALE) else ("", text)
    passages = re.split(r"\n\n(?=\[[0-9a-f]+\] )", text)
    kept = (it for it in passages if it[1:].partition("]")[0] not in but)
    return "\n\n".join([*filter(None, [note]), *kept])


async def _searched(request: ToolCallRequest) -> ToolMessage:
    call = request.tool_call
    message = await search_documents.ainvoke({**call, "args": {**call["args"], "runtime": request.runtime}})
    assert isinstance(message, ToolMessage)
    return message


def _unheard(_: object) -> None:
    """The search reports nothing while it works."""
