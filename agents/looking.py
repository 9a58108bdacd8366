"""Look something up in the documents without asking a model: the same tool, called by code, and seen as such."""

import asyncio
import hashlib
import logging
import re
from collections.abc import Collection
from typing import Any

from langgraph.config import get_config
from langgraph.prebuilt import ToolRuntime

from agents.context import Context
from agents.errors import RunLost
from agents.tools.contract import contract_of
from agents.tools.search import search_documents

log = logging.getLogger(__name__)


async def look_up(context: Context, query: str, but: Collection[str] = ()) -> str:
    """Passages under their keys, as an agent would be shown them, `but` for some keys; or that the search failed."""
    call_id = f"look_{hashlib.sha256(query.encode()).hexdigest()[:8]}"
    runtime: ToolRuntime[Any, Any] = ToolRuntime(
        state={}, context=context, config=get_config(), stream_writer=_unheard, tool_call_id=call_id, store=None
    )
    call = {"type": "tool_call", "name": search_documents.name, "id": call_id}
    try:
        async with asyncio.timeout(contract_of(search_documents).timeout_s):
            found = await search_documents.ainvoke({**call, "args": {"query": query, "runtime": runtime}})
    except RunLost:
        raise
    except Exception as error:  # an index that is gone costs the evidence, not the run
        log.warning("a look-up failed", exc_info=error)
        return f"The search failed: {type(error).__name__}: {error}"
    passages = re.split(r"\n\n(?=\[[0-9a-f]+\] )", str(found.text))
    return "\n\n".join(it for it in passages if it[1:].partition("]")[0] not in but)


def _unheard(_: object) -> None:
    """The search reports nothing while it works."""
