"""Sextant as an MCP server: every graph a tool, the search of the corpus a tool, every document a resource.

A tool call is a run of its own and stays like any other: its result names run and thread, and `thread_id` goes on with
it. The same `sextant.idempotencyKey` in the `_meta` of a call is the same run. What the run does is told in progress
notifications to a client that asks for them. A cancelled request stops its run, and so does the end of a session; a
connection that breaks stops nothing. A run that asks a person ends the call and says so: the person answers on the
page. A model wrote the question, so the guard counts it as read, and no effect follows from it without a person's yes.
"""

import asyncio
import hashlib
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import Any

import anyio
from mcp import types
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, authorization_context
from mcp.server.auth.provider import AccessToken
from mcp.server.lowlevel import Server
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.streamable_http import MCP_SESSION_ID_HEADER
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.message import SessionMessage
from pydantic import AnyUrl, ValidationError
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from agents.remote.bounds import Lines, TooLarge
from agents.remote.mcp_client import KEY
from agents.tools.search import MAX_QUERY_CHARS, as_passages
from app.activities import Activity
from app.agent_protocol.stream import ended
from app.auth import LOCAL
from app.borders import NotFound, Rejected, checked_id
from app.compose import App
from app.protocols import mcp_words as words
from app.protocols.openai_words import text_of
from app.replies import error_response
from retrieval.documents import CorpusError

log = logging.getLogger(__name__)

SEARCH = "search_documents"
DOCUMENTS = "sextant://documents/"
MAX_PASSAGES = 20
MAX_DOCUMENT_BYTES = 4_000_000
PAGE = 200
MAX_SESSIONS = 1_000
MAX_OF_OWNER = 100
"""Sessions of one owner: nobody keeps the others out."""
SESSION_IDLE_S = 1_800.0
PIECE_BYTES = 65_536
INSTRUCTIONS = (
    "Teams of agents over one collection of documents. Their answers cite passages as [1]; the sources are in the "
    "structured content. Ask `chat` for short questions, `research` for broad ones; use `search_documents` to read."
)

Row = Mapping[str, Any]
Json = dict[str, Any]
Tell = Callable[[int, str], Awaitable[None]]


def mcp_server(app: App, owner: str | None = None) -> Server[Any, Any]:
    """The server. `owner`: for whom everything is done; None for whoever signed each request."""
    server: Server[Any, Any] = Server("sextant", version("sextant"), INSTRUCTIONS)
    speaker = _Speaker(app, server, owner)
    server.list_tools()(speaker.tools)  # type: ignore[no-untyped-call]
    server.call_tool()(speaker.call)
    server.list_resources()(speaker.resources)  # type: ignore[no-untyped-call]
    server.read_resource()(speaker.read)  # type: ignore[no-untyped-call]
    return server


class _Speaker:
    """Answers the requests of one server."""

    def __init__(self, app: App, server: Server[Any, Any], owner: str | None) -> None:
        self._app, self._server, self._fixed_owner = app, server, owner

    def _owner(self) -> str:
        if self._fixed_owner:
            return self._fixed_owner
        request: Any = self._server.request_context.request
        return str(request.state.owner)

    # -- tools -------------------------------------------------------------------------------------------------------

    def _graphs(self) -> dict[str, Activity]:
        """Those that take a question."""
        return {
            name: it
            for name, it in self._app.activities.items()
            if "messages" in it.builder.schemas[it.builder.state_schema] and name != SEARCH
        }

    async def tools(self) -> list[types.Tool]:
        """Every graph, and the search."""
        max_chars = self._app.settings.max_question_chars
        asking = [
            types.Tool(
                name=it.name, title=it.name.capitalize(), description=it.description,
                inputSchema=words.question_schema(max_chars), outputSchema=words.ANSWER_SCHEMA,
                annotations=types.ToolAnnotations(readOnlyHint=False, destructiveHint=False, openWorldHint=True),
            )
            for it in self._graphs().values()
        ]  # fmt: skip
        search = types.Tool(
            name=SEARCH, title="Search the documents", inputSchema=words.query_schema(MAX_QUERY_CHARS, MAX_PASSAGES),
            description="The passages of the documents that fit best, each with its place.",
            outputSchema=words.PASSAGES_SCHEMA,
            annotations=types.ToolAnnotations(readOnlyHint=True, openWorldHint=False),
        )  # fmt: skip
        return [*asking, search]

    async def call(self, name: str, arguments: Json) -> types.CallToolResult:
        """Run a graph, or search."""
        try:
            if name == SEARCH:
                return await self._search(arguments)
            if activity := self._graphs().get(name):
                return await self._ask(activity, arguments)
            return _failed(f"there is no tool {name[:100]!r}; list them again")
        except Rejected as error:
            return _failed("; ".join(it for it in (error.message, error.fix) if it))
        except (NotFound, CorpusError) as error:
            return _failed(str(error))
        except Exception as error:
            log.exception("an MCP call of %s failed", name[:100])
            return _failed(f"Something unforeseen happened: {type(error).__name__}. The server's log has the details.")

    async def _search(self, arguments: Json) -> types.CallToolResult:
        hits = await self._app.corpus.search(arguments["query"], int(arguments.get("k", 8)))
        return _said(as_passages(hits) or "Nothing fits.", {"passages": [words.passage(it) for it in hits]})

    async def _ask(self, activity: Activity, arguments: Json) -> types.CallToolResult:
        # a cancelled request must stop its run also when it comes while the run is being admitted
        admitting = asyncio.ensure_future(self._admitted(activity, arguments, self._owner()))
        try:
            run = await asyncio.shield(admitting)
            await self._followed(run)
            run = await self._come_to(run)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                await self._stopped(admitting)
            raise
        text, content = text_of(run), words.answer(run)
        return _said(text, content) if run["status"] in ("succeeded", "waiting") else _failed(words.why(run), content)

    async def _admitted(self, activity: Activity, arguments: Json, owner: str) -> Row:
        thread_id = checked_id(arguments["thread_id"], "thread_id") if arguments.get("thread_id") else None
        key = self._key(owner)
        # of the same key the thread is the same too, or the request would be another one
        thread_id = thread_id or key
        thread = await self._app.runs.create_thread(activity.name, thread_id, owner)
        more = {"through": "mcp"}
        return await self._app.runs.start(
            thread["thread_id"], activity.name, arguments["question"], idempotency_key=key, owner=owner, more=more
        )

    def _key(self, owner: str) -> str | None:
        """The client's key of this wish, made the owner's own; None where it names none. Raises Rejected."""
        meta = self._server.request_context.meta
        said = (meta.model_extra or {}).get(KEY) if meta else None
        return None if said is None else f"mcp-{_digest(owner, checked_id(str(said), KEY))}"

    async def _stopped(self, admitting: "asyncio.Future[Row]") -> None:
        """Stop the run, unless it is we who go down: then another worker goes on with it."""
        await asyncio.wait([admitting])
        if admitting.exception() is None and not self._app.journal.closed:
            run = admitting.result()
            await self._app.runs.cancel(run["run_id"], run["owner"])

    async def _followed(self, run: Row) -> None:
        """Until it ends or waits, telling what it does."""
        tell, told = self._teller(), 0
        async for batch in ended(self._app, run, 0):
            lines = [line for it in batch if (line := words.doing(it.type, it.data))]
            if lines:
                told += len(lines)
                await tell(told, lines[-1])

    def _teller(self) -> Tell:
        context = self._server.request_context
        token = context.meta.progressToken if context.meta else None

        async def tell(done: int, line: str) -> None:
            if token is not None:
                await context.session.send_progress_notification(
                    token, done, message=line, related_request_id=str(context.request_id)
                )

        return tell

    async def _come_to(self, run: Row) -> Row:
        run = await self._app.runs.run(run["run_id"], run["owner"])
        asks = run["status"] == "waiting"
        asked = await self._app.steering.questions(run["run_id"], run["owner"]) if asks else []
        return {**run, "asked": [it["value"] for it in asked if not it["answered_at"]]}

    # -- documents ---------------------------------------------------------------------------------------------------

    async def resources(self, request: types.ListResourcesRequest) -> types.ListResourcesResult:
        """Documents by name, a page at a time."""
        cursor = request.params.cursor if request.params else None
        begin = int(cursor) if cursor and cursor.isdigit() and len(cursor) < 10 else 0
        documents = await self._app.corpus.documents()
        page = [
            types.Resource(
                uri=AnyUrl(f"{DOCUMENTS}{it.id}"), name=it.name, title=it.title, mimeType=it.media_type,
                size=it.size_bytes,
            )
            for it in documents[begin : begin + PAGE]
        ]  # fmt: skip
        more = str(begin + PAGE) if begin + PAGE < len(documents) else None
        return types.ListResourcesResult(resources=page, nextCursor=more)

    async def read(self, uri: AnyUrl) -> list[ReadResourceContents]:
        """A document as it was added: text as text, anything else in base 64."""
        document_id = str(uri).removeprefix(DOCUMENTS)
        document, path = await self._app.corpus.document(document_id), self._app.corpus.original(document_id)
        if document is None or path is None:
            raise ValueError(f"there is no document {document_id[:100]}; list the resources again")
        if document.size_bytes > MAX_DOCUMENT_BYTES:
            raise ValueError(f"{document.name}: {document.size_bytes:,} bytes of at most {MAX_DOCUMENT_BYTES:,}; "
                             f"search it with {SEARCH}")  # fmt: skip
        try:
            data = await asyncio.to_thread(path.read_bytes)
        except OSError as error:  # whose words name a place on this machine
            log.warning("document %s cannot be read: %s", document_id, error)
            raise ValueError(f"{document.name} cannot be read; add it again") from None
        is_text = document.media_type.startswith("text/")
        return [ReadResourceContents(data.decode("utf-8", "replace") if is_text else data, document.media_type)]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _said(text: str, content: Json) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], structuredContent=content)


def _failed(text: str, content: Json | None = None) -> types.CallToolResult:
    said = types.TextContent(type="text", text=text)
    return types.CallToolResult(content=[said], structuredContent=content, isError=True)


# -- how it is reached -----------------------------------------------------------------------------------------------


class Sessions:
    """The sessions of clients over HTTP. A session is its owner's: to others it is not there."""

    def __init__(self, app: App) -> None:
        self._manager = StreamableHTTPSessionManager(
            mcp_server(app), session_idle_timeout=SESSION_IDLE_S, max_sessions=MAX_SESSIONS
        )
        self._ready = asyncio.Event()
        self._task = asyncio.create_task(self._kept(), name="mcp sessions")

    async def _kept(self) -> None:
        async with self._manager.run():
            self._ready.set()
            await asyncio.Event().wait()  # until the loop ends

    async def handle(self, scope: Scope, receive: Receive, send: Send, owner: str) -> None:
        """One request of this owner's."""
        await self._ready.wait()
        user = scope["user"] = AuthenticatedUser(AccessToken(token="", client_id=owner, scopes=[]))
        me, opens = authorization_context(user), MCP_SESSION_ID_HEADER not in Headers(scope=scope)
        if opens and sum(it == me for it in self._manager._session_owners.values()) >= MAX_OF_OWNER:
            refusal = error_response(429, "sessions_too_many", f"sessions: {MAX_OF_OWNER} are open", limit=MAX_OF_OWNER,
                                     fix="end some with DELETE; those that nobody uses end by themselves")  # fmt: skip
            await refusal(scope, receive, send)
            return
        await self._manager.handle_request(scope, receive, send)


async def over_pipes(app: App) -> None:
    """Speak over standard input and output until the input ends. Whatever else prints, prints to standard error."""
    server, out = mcp_server(app, LOCAL), sys.stdout.buffer
    sys.stdout = sys.stderr
    inward, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write, outward = anyio.create_memory_object_stream[SessionMessage](0)

    async def said() -> None:
        async with inward:
            async for message in _lines_in():
                await inward.send(message)

    async def answered() -> None:
        async with outward:
            async for message in outward:
                line = message.message.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n"
                await asyncio.to_thread(_put, out, line)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(said)
        tasks.start_soon(answered)
        await server.run(read, write, server.create_initialization_options())
        tasks.cancel_scope.cancel()


async def _lines_in() -> AsyncIterator[SessionMessage | Exception]:
    """Messages of standard input. The SDK reads it in a thread that only the next line ends, and no signal."""
    reader, lines = asyncio.StreamReader(), Lines()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    try:
        while piece := await reader.read(PIECE_BYTES):
            for line in lines.feed(piece):
                if line.strip():
                    yield _message(line)
    except TooLarge as error:
        log.error("the client is not listened to any more: %s", error)


def _message(line: bytes) -> SessionMessage | Exception:
    try:
        return SessionMessage(types.JSONRPCMessage.model_validate_json(line))
    except ValidationError as error:
        return error


def _put(out: Any, line: bytes) -> None:
    out.write(line)
    out.flush()
