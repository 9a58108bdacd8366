"""`/mcp`: where MCP clients reach us over streamable HTTP. The gate says who asks; here it is seen from whose page.

A page of another site that a browser shows must not speak for the person in front of it, whatever name it reached us
by: an `Origin` that is neither ours nor allowed is refused, with or without a key. Everything that a client hears comes
as the answer to something it asked, so the standing stream of the protocol is not offered (405, as it foresees).
"""

import asyncio
from collections.abc import Callable
from importlib import import_module
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.compose import App
from app.gate import of_this_host, owner_of
from app.replies import Streams, error_response

METHODS = ("POST", "DELETE")


class McpEndpoint:
    """The ASGI application at that path."""

    def __init__(self, get_app: Callable[[], App], streams: Streams, allowed_origins: tuple[str, ...]) -> None:
        self._get_app, self._streams, self._allowed_origins = get_app, streams, allowed_origins
        self._sessions: dict[int, Any] = {}
        self._opening = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        owner = owner_of(Request(scope))
        if refusal := self._refusal(scope["method"], Headers(scope=scope)):
            await refusal(scope, receive, send)
        elif not self._streams.take(owner):
            await self._streams.refusal(owner)(scope, receive, send)
        else:
            try:
                sessions = await self._opened(self._get_app())
                await sessions.handle(scope, receive, send, owner)
            finally:
                self._streams.give_back(owner)

    def _refusal(self, method: str, headers: Headers) -> Response | None:
        if method not in METHODS:
            refused = error_response(405, "method_not_allowed", "mcp: POST and DELETE are spoken here",
                                     fix="POST a message; answers come with it")  # fmt: skip
            refused.headers["Allow"] = ", ".join(METHODS)
            return refused
        origin = headers.get("origin")
        ours = origin is None or origin in self._allowed_origins or of_this_host(origin, headers)
        return None if ours else error_response(403, "cross_site", "request: it comes from another site's page",
                                                fix="allow that site in SEXTANT_CORS_ORIGINS")  # fmt: skip

    async def _opened(self, app: App) -> Any:
        """The sessions of this app. The SDK is imported with the first, half a second away from the loop."""
        async with self._opening:
            if id(app) not in self._sessions:
                module = await asyncio.to_thread(import_module, "app.protocols.mcp_server")
                self._sessions = {id(app): module.Sessions(app)}
        return self._sessions[id(app)]
