"""An MCP server at an address, over streamable HTTP: the SDK's transport on a client that bounds what comes back.

The credentials of a server are its own client's headers: no other server, no redirect to another origin and no caller
of ours shares them. The standing event stream, on which a server may say anything at any time, is not opened.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
from mcp.client.streamable_http import streamable_http_client

from agents.remote.bounds import MAX_MESSAGE_BYTES, TooLarge
from agents.remote.mcp_pipe import Over, Read, Write
from agents.remote.servers import Server

MAX_LINES = 10_000
"""Of one answer that is an event stream: each event takes a line and more."""
MAX_CONNECTIONS = 20
PARTING_S = 2.0
SLACK_S = 5.0
"""By which the client waits longer than whoever called."""


@asynccontextmanager
async def called(server: Server, over: Over) -> AsyncIterator[tuple[Read, Write]]:
    """The two streams of a session with the server."""
    limits = httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=2)
    timeout = httpx.Timeout(server.connect_timeout_s, read=server.call_timeout_s + SLACK_S)
    # what is packed would be counted before it swells
    headers = {**server.headers, "accept-encoding": "identity"}
    transport = _Bounded(httpx.AsyncHTTPTransport(limits=limits, trust_env=False), over)
    async with AsyncExitStack() as stack:
        client = httpx.AsyncClient(transport=transport, headers=headers, timeout=timeout, trust_env=False)
        await stack.enter_async_context(client)
        read, write, _ = await stack.enter_async_context(streamable_http_client(server.url, http_client=client))
        yield read, write


class _Bounded(httpx.AsyncBaseTransport):
    """Counts what comes back, and ends the connection when it is too much."""

    def __init__(self, inner: httpx.AsyncBaseTransport, over: Over) -> None:
        self._inner, self._over = inner, over

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(405, request=request)
        if request.method == "DELETE":  # the session's end, which a server that hangs must not hold up
            request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), PARTING_S)
        response = await self._inner.handle_async_request(request)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            await response.aclose()
            self._over("it packed its answer although it was asked not to")
            raise httpx.DecodingError("packed", request=request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Counted(response.stream, self._over)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Counted(httpx.AsyncByteStream):
    """A body that is no longer than it may be."""

    def __init__(self, inner: httpx.AsyncByteStream, over: Over) -> None:
        self._inner, self._over = inner, over

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = lines = 0
        async for piece in self._inner:
            size, lines = size + len(piece), lines + piece.count(b"\n") + piece.count(b"\r")
            if size > MAX_MESSAGE_BYTES or lines > MAX_LINES:
                what = f"{MAX_MESSAGE_BYTES:,} bytes" if size > MAX_MESSAGE_BYTES else f"{MAX_LINES:,} lines"
                self._over(f"it sent an answer of over {what}")
                raise TooLarge(what)
            yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()
