"""One session with one MCP server, by the official SDK: connect, list its tools, call them.

Nothing is offered to a server: no sampling, no elicitation, no roots, and requests for them are refused. The SDK leaves
callers waiting when a connection breaks under them (their futures belong to tasks that were cancelled), so every wait
here is also for the end of the connection. A call that is given up is cancelled at the server too.
"""

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, TypeVar

import anyio
import httpx
import orjson
from mcp import ClientSession, McpError, types
from pydantic import ValidationError

from agents.errors import ToolFailed
from agents.remote.mcp_http import UNANSWERED, called
from agents.remote.mcp_pipe import piped
from agents.remote.remotes import Attached, Lost, Result
from agents.remote.servers import Server

MAX_PAGES = 10
MAX_TOOLS = 200
MAX_ERROR_CHARS = 300
FORGOTTEN = "Session terminated"
"""What the SDK says for a server that does not know the session any more."""
KEY = "sextant.idempotencyKey"
"""In `_meta` of a call that may change something: 32 hex digits, the same again when the same wish is sent again. The
protocol has no such thing of its own; a server that looks at it can see a repeat."""
MAX_ATTACHED = 10
"""Of one answer, whose size is bounded as a message."""
CLIENT = types.Implementation(name="sextant", version="1")

T = TypeVar("T")


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator["McpConnection"]:
    """A session that was begun; entered and left by one task. Raises ToolFailed and whatever broke it."""
    over: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def end(reason: str) -> None:
        if not over.done():
            over.set_result(reason)

    async def heard(message: Any) -> None:
        # RuntimeError: an answer that nobody waits for any more
        if isinstance(message, Exception) and not isinstance(message, RuntimeError):
            end(f"it answered what cannot be read ({type(message).__name__})")

    try:
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(server.connect_timeout_s):
                streams = called(server, end) if server.url else piped(server, end)
                read, write = await stack.enter_async_context(streams)
                session = ClientSession(read, write, message_handler=heard, client_info=CLIENT)
                await stack.enter_async_context(session)
                connection = McpConnection(server, session, over)
                connection.about = await connection.greet()
            yield connection
    except (TimeoutError, BaseExceptionGroup) as error:
        known = ToolFailed(server.name, over.result()) if over.done() else _foreseen(server, error)
        end(getattr(known, "problem", type(known).__name__))
        raise known from error
    finally:
        end("the connection was closed")


def _foreseen(server: Server, error: BaseException) -> BaseException:
    """The error that a group of tasks broke off with, in words without addresses or secrets."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        fix = "correct its headers" if status in (401, 403) else "see its own log"
        return ToolFailed(server.name, f"it answered with HTTP {status}", fix)
    if isinstance(error, TimeoutError):
        return ToolFailed(server.name, f"no answer within {server.connect_timeout_s:g} s", "see whether it runs")
    if isinstance(error, httpx.HTTPError | OSError):
        return ToolFailed(server.name, f"it cannot be reached ({type(error).__name__})", "see whether it runs")
    return error


class McpConnection:
    """A session at work. `over` says why it has ended."""

    def __init__(self, server: Server, session: ClientSession, over: asyncio.Future[str]) -> None:
        self._server, self._session, self.over = server, session, over
        self.about = ""
        """What the server calls itself."""

    async def greet(self) -> str:
        """Agree on a version; who it is."""
        said = (await self._answered(self._session.initialize())).serverInfo
        return f"{said.name} {said.version}"[:100]

    async def tools(self) -> list[dict[str, Any]]:
        """All of its definitions, in its own words. Raises Lost."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            asked = types.PaginatedRequestParams(cursor=cursor) if cursor else None
            request = types.ClientRequest(types.ListToolsRequest(params=asked))
            page = await self._answered(self._session.send_request(request, types.ListToolsResult))
            found += [it.model_dump(mode="json", by_alias=True, exclude_none=True) for it in page.tools]
            cursor = page.nextCursor
            if not cursor or len(found) > MAX_TOOLS:
                break
        if cursor or len(found) > MAX_TOOLS:
            raise ToolFailed(self._server.name, f"it lists over {MAX_TOOLS} tools", "name a server with fewer")
        return found

    async def call(self, tool: str, args: Mapping[str, Any], key: str = "") -> Result:
        """Call one tool. Not by the session's own method, which would check the answer against a schema of theirs."""
        meta = types.RequestParams.Meta.model_validate({KEY: key}) if key else None
        params = types.CallToolRequestParams(name=tool, arguments=dict(args), _meta=meta)
        request = types.ClientRequest(types.CallToolRequest(params=params))
        number: int | None = None

        async def asking() -> types.CallToolResult:
            nonlocal number
            number = self._session._request_id  # that of the next request: nothing comes between
            return await self._session.send_request(request, types.CallToolResult)

        try:
            answer = await self._answered(asking())
        except asyncio.CancelledError:
            if number is not None:
                await self._call_off(number)
            raise
        return _result(answer)

    async def _call_off(self, number: int) -> None:
        """Tell the server that nobody waits for this any more, if it listens."""
        params = types.CancelledNotificationParams(requestId=number, reason="the caller has gone")
        note = types.ClientNotification(types.CancelledNotification(params=params))
        with suppress(Exception):  # the call is over either way
            await self._session.send_notification(note)

    async def _answered(self, asking: Awaitable[T]) -> T:
        """The answer, unless the connection ends first. Raises Lost, and ToolFailed for the server's own refusal."""
        task = asyncio.ensure_future(asking)
        try:
            first: set[asyncio.Future[Any]] = {task, self.over}
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Lost(self.over.result())
            return task.result()
        except McpError as error:
            raise self._refused(error) from error
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            raise self._lost("the connection was closed") from None
        except ValidationError as error:
            raise ToolFailed(self._server.name, "its answer does not have the shape of the protocol") from error
        finally:
            task.cancel()
            await asyncio.wait({task})

    def _refused(self, error: McpError) -> Exception:
        if error.error.code == UNANSWERED:  # this request alone
            return Lost(error.error.message[:MAX_ERROR_CHARS])
        if error.error.code == types.CONNECTION_CLOSED:
            return self._lost("the connection was closed")
        if error.error.message == FORGOTTEN:
            return self._lost("it has forgotten the session")
        return ToolFailed(self._server.name, f"it refused: {error.error.message[:MAX_ERROR_CHARS]}")

    def _lost(self, reason: str) -> Lost:
        """The end of the connection, for this reason if none was known before."""
        if not self.over.done():
            self.over.set_result(reason)
        return Lost(self.over.result())


def _result(answer: types.CallToolResult) -> Result:
    """An answer as text, and what is none beside it; what is left out is named with its type and size."""
    parts: list[str] = []
    attached: list[Attached] = []
    for it in answer.content:
        if (file := _attached(it)) and len(attached) < MAX_ATTACHED:
            attached.append(file)
        else:
            parts.append(_part(it))
    if not any(isinstance(it, types.TextContent) for it in answer.content) and answer.structuredContent is not None:
        parts.append(orjson.dumps(answer.structuredContent).decode())
    return Result("\n".join(parts), failed=bool(answer.isError), attached=tuple(attached))


def _attached(it: types.ContentBlock) -> Attached | None:
    """The bytes of a part that is no text; None where there are none, or they cannot be read."""
    match it:
        case types.ImageContent(data=data, mimeType=kind) | types.AudioContent(data=data, mimeType=kind):
            coded = data
        case types.EmbeddedResource(resource=types.BlobResourceContents(mimeType=kind, blob=blob)):
            coded = blob
        case _:
            return None
    try:
        return Attached(kind or "", b64decode(coded, validate=True))
    except ValueError:
        return None


def _part(it: types.ContentBlock) -> str:
    match it:
        case types.TextContent(text=text) | types.EmbeddedResource(resource=types.TextResourceContents(text=text)):
            return text
        case types.ImageContent(data=data, mimeType=kind) | types.AudioContent(data=data, mimeType=kind):
            return f"[{kind}, {len(data) * 3 // 4:,} bytes: left out]"
        case types.EmbeddedResource(resource=types.BlobResourceContents(mimeType=kind, blob=blob)):
            return f"[{kind}, {len(blob) * 3 // 4:,} bytes: left out]"
        case types.ResourceLink(uri=uri, name=name):
            return f"[{name}: {uri}]"
    return f"[{it.type}: not shown]"
