"""The Agent Protocol: the same conversations and runs in the ecosystem's words, for `langgraph-sdk` and what uses it.

`langgraph_sdk.get_client(url="http://HOST:PORT/api/agent")` works unchanged. What differs from LangGraph's server:

- A resume goes on with the run that asked, under its id; there a new run does.
- An answer, an edit, a fork obey the page's rules: the first answer counts, no state changes under a worker.
- `updates` come at the end of their super-step. Without `stream_subgraphs`, tokens of an agent inside a node are told
  as the node's own; there they are left out.
- Graphs are set up on the server: `config` and `context` are kept with a run and change nothing.
- There are no crons, no stream of a whole thread, and assistants come from files alone.
- Refused with 422: static breakpoints, webhooks, delays, other stream modes, store items that expire or have an index.
"""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter

from app.agent_protocol.assistants import assistants_router
from app.agent_protocol.runs import runs_router
from app.agent_protocol.store import store_router
from app.agent_protocol.threads import threads_router
from app.compose import App
from app.replies import Streams


def agent_protocol_router(get_app: Callable[[], App], streams: Streams) -> APIRouter:
    """Everything under `/agent`."""
    router = APIRouter(prefix="/agent", tags=["agent protocol"])

    @router.get("/ok")
    async def ok() -> dict[str, bool]:
        """The server serves."""
        return {"ok": True}

    @router.get("/info")
    async def info() -> dict[str, Any]:
        """What is offered."""
        return {"version": version("sextant"), "flags": {"assistants": True, "crons": False}}

    router.include_router(assistants_router(get_app))
    router.include_router(threads_router(get_app))
    router.include_router(runs_router(get_app, streams))
    router.include_router(store_router(get_app))
    return router
