"""One peer, spoken to by the A2A SDK: its card, work handed over, followed and cancelled.

A card is read before every piece of work and trusted with one thing: which way of the peer's own origin to speak. Where
it points elsewhere nothing is sent, so no changed card carries the key away; nor is anything where it is not the card
that was approved (`cards.py`), but a word that the work may stop. Redirects are not followed, compressed
answers not taken, and an answer is cut off at `MAX_BYTES`, however long it would go on.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
from a2a.client import A2ACardResolver, A2AClientError, Client, ClientConfig, ClientFactory
from a2a.types import (
    AgentCard,
    Artifact,
    CancelTaskRequest,
    GetTaskRequest,
    Message,
    Part,
    Role,
    SendMessageConfiguration,
    SendMessageRequest,
    SubscribeToTaskRequest,
    Task,
    TaskState,
)
from a2a.utils.errors import A2AError, TaskNotFoundError, UnsupportedOperationError
from google.protobuf.json_format import Error as NotTheirJson  # type: ignore[import-untyped]
from google.protobuf.json_format import MessageToDict

from agents.errors import ToolFailed
from agents.remote.cards import Cards, refuse_changed
from agents.remote.peers import Outcome, Peer

MAX_BYTES = 5_000_000
"""Of one answer, all events of a stream together."""
MAX_SOURCES = 20
MAX_SAID_CHARS = 300
CONNECT_TIMEOUT_S = 10.0
LOOK_EVERY_S = 1.0
"""At a task of a peer that has no streams."""
BINDINGS = ["JSONRPC", "HTTP+JSON"]

_AT_WORK = (TaskState.TASK_STATE_SUBMITTED, TaskState.TASK_STATE_WORKING, TaskState.TASK_STATE_UNSPECIFIED)
_ASKS = (TaskState.TASK_STATE_INPUT_REQUIRED, TaskState.TASK_STATE_AUTH_REQUIRED)


class A2ALine:
    """The line to one peer. Every call opens and closes its own connection: a peer is asked now and then."""

    def __init__(self, peer: Peer, max_bytes: int = MAX_BYTES, cards: Cards | None = None) -> None:
        """`cards`: the approved ones; without them any is taken."""
        self._peer, self._max_bytes, self._cards = peer, max_bytes, cards

    async def card(self) -> dict[str, Any]:
        """What it says of itself, approved or not. Raises ToolFailed, also when it points to somebody else."""
        async with self._http() as http, self._explained():
            return dict(MessageToDict(await self._card(http)))

    async def send(self, text: str, message_id: str) -> Outcome:
        """Hand work over, and do not wait for it."""
        message = Message(role=Role.ROLE_USER, message_id=message_id, parts=[Part(text=text, media_type="text/plain")])
        budget = {**self._peer.budget, "seconds": self._peer.budget.get("seconds", self._peer.deadline_s)}
        request = SendMessageRequest(
            message=message, configuration=SendMessageConfiguration(return_immediately=True),
            metadata={"sextant.budget": budget},
        )  # fmt: skip
        async with self._client(streaming=False) as client:
            async for reply in client.send_message(request):
                if reply.HasField("message"):
                    return Outcome("", True, _text(reply.message.parts), "its message has no text")
                return self._outcome(reply.task)
        raise ToolFailed(self._peer.name, "it answered nothing", "ask somebody else")

    async def follow(self, task_id: str) -> Outcome:
        """Come back when the task is over, or asks."""
        async with self._client(streaming=True) as client:
            streams = await _streamed(client, task_id)
            while (task := await client.get_task(GetTaskRequest(id=task_id))).status.state in _AT_WORK:
                if streams:
                    raise ToolFailed(self._peer.name, "its stream ended before its work", "look again", retriable=True)
                await asyncio.sleep(LOOK_EVERY_S)
            return self._outcome(task)

    async def cancel(self, task_id: str) -> None:
        """Nobody waits for it any more."""
        async with self._client(streaming=False, held_too=True) as client:
            await client.cancel_task(CancelTaskRequest(id=task_id))

    # -- what it says ------------------------------------------------------------------------------------------------

    def _outcome(self, task: Task) -> Outcome:
        state, said = task.status.state, _text(task.status.message.parts)[:MAX_SAID_CHARS]
        if state in _AT_WORK:
            return Outcome(task.id)
        if state in _ASKS:
            return Outcome(task.id, problem=f"it asks a person of its own: {said}")
        if state != TaskState.TASK_STATE_COMPLETED:
            name = TaskState.Name(state).removeprefix("TASK_STATE_").lower()
            return Outcome(task.id, problem=f"its task is {name}: {said}" if said else f"its task is {name}")
        wanted = [it for it in task.artifacts if self._peer.artefact in ("", it.name) and _text(it.parts)]
        if wanted:
            return Outcome(task.id, True, _text(wanted[0].parts), sources=_sources(wanted[0]))
        if self._peer.artefact:
            names = ", ".join(it.name or it.artifact_id for it in task.artifacts)[:MAX_SAID_CHARS] or "none"
            problem = f"its result has no artefact {self._peer.artefact!r}; there are {names}"
            return Outcome(task.id, problem=problem)
        return Outcome(task.id, bool(said), said, "its result has no text")

    # -- the wire ----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _client(self, *, streaming: bool, held_too: bool = False) -> AsyncIterator[Client]:
        async with self._http() as http, self._explained():
            card = await self._card(http)
            if self._cards and not held_too:
                await refuse_changed(self._cards, self._peer, MessageToDict(card))
            config = ClientConfig(
                streaming=streaming, httpx_client=http, supported_protocol_bindings=BINDINGS,
                use_client_preference=True,
            )  # fmt: skip
            yield ClientFactory(config).create(card)

    async def _card(self, http: httpx.AsyncClient) -> AgentCard:
        card = await A2ACardResolver(http, self._peer.url).get_agent_card()
        for interface in card.supported_interfaces:
            if _origin(interface.url) != _origin(self._peer.url):
                raise ToolFailed(self._peer.name, f"its card points to {_shown(interface.url)}",
                                 "ask whoever runs it, and correct its url in SEXTANT_A2A_PEERS")  # fmt: skip
        return card

    def _http(self) -> httpx.AsyncClient:
        headers = {"Accept-Encoding": "identity"}
        headers |= {"Authorization": f"Bearer {self._peer.token}"} if self._peer.token else {}
        limits = httpx.Timeout(self._peer.deadline_s, connect=min(CONNECT_TIMEOUT_S, self._peer.deadline_s))
        return httpx.AsyncClient(
            transport=Bounded(self._peer, self._max_bytes), headers=headers, timeout=limits, follow_redirects=False
        )

    @asynccontextmanager
    async def _explained(self) -> AsyncIterator[None]:
        """Whatever goes wrong on the way, as a sentence about the peer."""
        try:
            yield
        except ToolFailed:
            raise
        except TaskNotFoundError as error:
            raise ToolFailed(self._peer.name, "it knows nothing of the task", "ask somebody else") from error
        except (A2AClientError, httpx.HTTPError, OSError) as error:
            if refused := _own(error):
                raise refused from error
            said = f"{type(error).__name__}: {error}"[:MAX_SAID_CHARS]
            raise ToolFailed(self._peer.name, said, "ask somebody else", retriable=True) from error
        except (A2AError, NotTheirJson, ValueError, KeyError, TypeError, RecursionError) as error:
            said = f"it answered {type(error).__name__}: {error}"[:MAX_SAID_CHARS]
            raise ToolFailed(self._peer.name, said, "ask somebody else") from error


class Bounded(httpx.AsyncBaseTransport):
    """Speaks to the peer's own origin alone, and stops reading where an answer is too long."""

    def __init__(self, peer: Peer, max_bytes: int) -> None:
        self._peer, self._max_bytes = peer, max_bytes
        self._inner = httpx.AsyncHTTPTransport(retries=0)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One request."""
        if _origin(str(request.url)) != _origin(self._peer.url):
            raise ToolFailed(self._peer.name, f"something sends us to {_shown(str(request.url))}", "ask somebody else")
        response = await self._inner.handle_async_request(request)
        if response.headers.get("content-encoding", "identity") not in ("identity", ""):
            await response.aclose()
            raise ToolFailed(self._peer.name, "it answers compressed, unasked", "ask somebody else")
        response.stream = _Counted(response.stream, self._peer, self._max_bytes)
        return response

    async def aclose(self) -> None:
        """Close what is open."""
        await self._inner.aclose()


class _Counted(httpx.AsyncByteStream):
    def __init__(self, inner: Any, peer: Peer, left: int) -> None:
        self._inner, self._peer, self._most, self._left = inner, peer, left, left

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._inner:
            self._left -= len(piece)
            if self._left < 0:
                raise ToolFailed(self._peer.name, f"it answers more than {self._most:,} bytes", "ask for less")
            yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _streamed(client: Client, task_id: str) -> bool:
    """Read a task's stream to its end; False where there is none, because it is over or the peer has no streams."""
    try:
        async for _ in client.subscribe(SubscribeToTaskRequest(id=task_id)):
            pass
    except (UnsupportedOperationError, NotImplementedError):
        return False
    return True


def _own(error: BaseException | None) -> ToolFailed | None:
    """Our own refusal, among what the SDK made of it."""
    while error is not None:
        if isinstance(error, ToolFailed):
            return error
        error = error.__cause__ or error.__context__
    return None


def _origin(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return "", "", None
    return parts.scheme, parts.hostname or "", port


def _shown(url: str) -> str:
    return "{}://{}:{}".format(*_origin(url))[:100]


def _text(parts: Any) -> str:
    return "\n".join(part.text for part in parts if part.WhichOneof("content") == "text").strip()


def _sources(artifact: Artifact) -> tuple[str, ...]:
    """Lines for the sources of a peer that is like us; nothing where it is not."""
    found: list[str] = []
    for part in artifact.parts:
        data = MessageToDict(part.data) if part.WhichOneof("content") == "data" else None
        listed = data.get("sources") if isinstance(data, Mapping) else None
        for source in listed if isinstance(listed, list) else ():
            if isinstance(source, Mapping) and isinstance(source.get("n"), float):
                title = " ".join(str(source.get("title") or source.get("document") or "").split())[:100]
                found.append(f"{source['n']:.0f}. {title}")
    return tuple(found[:MAX_SOURCES])
