"""An MCP server at an address, over streamable HTTP: the SDK's transport on a client that bounds what comes back.

The credentials of a server are its own client's headers: no other server, no redirect to another origin and no caller
of ours shares them. The standing event stream, on which a server may say anything at any time, is not opened.

The SDK hopes to read an answer that broke off from such a stream, and would leave the caller waiting; one that never
came, or is an HTTP error, ends its session with all other calls. Here the one call that got no answer is told so.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import anyio
import httpx
import orjson
from anyio.streams.memory import MemoryObjectSendStream
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from mcp.types import ErrorData, JSONRPCError, JSONRPCMessage, JSONRPCResponse

from agents.remote.bounds import MAX_MESSAGE_BYTES, TooLarge
from agents.remote.mcp_pipe import Over, Read, Write
from agents.remote.servers import Server

MAX_LINES = 10_000
"""Of one answer that is an event stream: each event takes a line and more."""
MAX_CONNECTIONS = 20
PARTING_S = 2.0
SLACK_S = 5.0
"""By which the client waits longer than whoever called."""
SETTLED_S = 1.0
"""After the end of an answer: what was read of it has been handed on by then."""
UNANSWERED = -32_099
"""Code of our own for a call that got no answer, in the range that is free for it."""
BROKEN_OFF = "its answer broke off"
ABOUT_THE_SESSION = (401, 403, 404)
"""What a server answers when it is not this call that is wrong."""

Number = str | int


@asynccontextmanager
async def called(server: Server, over: Over) -> AsyncIterator[tuple[Read, Write]]:
    """The two streams of a session with the server."""
    limits = httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=2)
    timeout = httpx.Timeout(server.connect_timeout_s, read=server.call_timeout_s + SLACK_S)
    # what is packed would be counted before it swells
    headers = {**server.headers, "accept-encoding": "identity"}
    open_ = _Open()
    transport = _Bounded(httpx.AsyncHTTPTransport(limits=limits, trust_env=False), over, open_)
    async with AsyncExitStack() as stack:
        client = httpx.AsyncClient(transport=transport, headers=headers, timeout=timeout, trust_env=False)
        await stack.enter_async_context(client)
        read, write, _ = await stack.enter_async_context(streamable_http_client(server.url, http_client=client))
        yield await stack.enter_async_context(open_.noted(read)), write


class _Open:
    """Calls without an answer so far."""

    def __init__(self) -> None:
        self._asked: set[Number] = set()
        self._said: MemoryObjectSendStream[SessionMessage | Exception] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def asked(self, request: httpx.Request) -> Number | None:
        """Id of the call of a tool that this is; None for anything else, without which there is no session."""
        message = orjson.loads(request.content) if request.method == "POST" else {}
        number: Number | None = message.get("id") if message.get("method") == "tools/call" else None
        if number is not None:
            self._asked.add(number)
        return number

    def ended(self, number: Number | None, why: str = BROKEN_OFF) -> None:
        """No more comes of the answer to this."""
        if number is not None and number in self._asked:
            task = asyncio.create_task(self._missed(number, why))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _missed(self, number: Number, why: str) -> None:
        await asyncio.sleep(SETTLED_S)
        if number in self._asked and self._said is not None:
            self._asked.discard(number)
            error = ErrorData(code=UNANSWERED, message=why)
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                await self._said.send(
                    SessionMessage(JSONRPCMessage(JSONRPCError(jsonrpc="2.0", id=number, error=error)))
                )

    @asynccontextmanager
    async def noted(self, read: Read) -> AsyncIterator[Read]:
        """The messages of `read`, and ours for what has no answer."""
        self._said, noted = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        handing = asyncio.create_task(self._handed(read, self._said))
        try:
            yield noted
        finally:
            for task in (handing, *self._tasks):
                task.cancel()
            await asyncio.wait({handing, *self._tasks})
            self._said.close()
            noted.close()

    async def _handed(self, read: Read, said: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async with said:
                async for message in read:
                    root = message.message.root if isinstance(message, SessionMessage) else None
                    if isinstance(root, JSONRPCResponse | JSONRPCError):
                        self._asked.discard(root.id)
                    await said.send(message)


class _Bounded(httpx.AsyncBaseTransport):
    """Counts what comes back, and ends the connection when it is too much."""

    def __init__(self, inner: httpx.AsyncBaseTransport, over: Over, open_: _Open) -> None:
        self._inner, self._over, self._open = inner, over, open_

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(405, request=request)
        if request.method == "DELETE":  # the session's end, which a server that hangs must not hold up
            request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), PARTING_S)
        number = self._open.asked(request)
        try:
            response = await self._inner.handle_async_request(request)
        except (httpx.ReadTimeout, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
            if number is None:
                raise
            return self._unanswered(request, number, BROKEN_OFF)
        if number is not None and response.status_code >= 400 and response.status_code not in ABOUT_THE_SESSION:
            await response.aclose()
            return self._unanswered(request, number, f"it answered with HTTP {response.status_code}")
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            await response.aclose()
            self._over("it packed its answer although it was asked not to")
            raise httpx.DecodingError("packed", request=request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Counted(response.stream, self._over, lambda: self._open.ended(number))
        return response

    def _unanswered(self, request: httpx.Request, number: Number, why: str) -> httpx.Response:
        """As if it had been taken: an error here would end the session, and all of its other calls."""
        self._open.ended(number, why)
        return httpx.Response(202, request=request)

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Counted(httpx.AsyncByteStream):
    """A body that is no longer than it may be."""

    def __init__(self, inner: httpx.AsyncByteStream, over: Over, ended: Callable[[], None]) -> None:
        self._inner, self._over, self._ended = inner, over, ended

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
        self._ended()
        await self._inner.aclose()
