"""What goes out beside JSON: the one shape of an error, and event streams, of which nobody may hold too many."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

import orjson
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from app.borders import NotFound
from app.events import json_safe, text_safe

log = logging.getLogger(__name__)

MAX_QUOTED_CHARS = 500
MAX_QUOTED_ITEMS = 20
RETRY_MS = 500
STREAM_HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
STILL_HERE = b": still here\n\n"
"""A comment that tells a client, and whatever is between, that the connection lives."""

T = TypeVar("T")


def error_response(status: int, code: str, message: str, **more: Any) -> JSONResponse:
    """The one shape of an error. What it quotes of a request is cut, and made text where it is none."""
    return JSONResponse({"error": {"code": code, "message": _quoted(message), **_quoted(more)}}, status)


def _quoted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {text_safe(str(name)): _quoted(item) for name, item in list(value.items())[:MAX_QUOTED_ITEMS]}
    if isinstance(value, list | tuple):
        return [_quoted(item) for item in value[:MAX_QUOTED_ITEMS]]
    if isinstance(value, str) and len(value) > MAX_QUOTED_CHARS:
        return text_safe(value[:MAX_QUOTED_CHARS]) + "…"
    return json_safe(value)


def sse(event: str, data: Any, id_: int | str | None = None) -> bytes:
    """One server-sent event."""
    head = f"id: {id_}\n" if id_ is not None else ""
    return f"{head}event: {event}\nretry: {RETRY_MS}\ndata: ".encode() + orjson.dumps(data) + b"\n\n"


class Streams:
    """Counts the open streams of each owner in this process; one too many is answered with 429."""

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._open: Counter[str] = Counter()
        self._tasks: set[asyncio.Future[Any]] = set()

    def of(self, owner: str) -> int:
        """How many are open."""
        return self._open[owner]

    def response(
        self,
        owner: str,
        body: AsyncIterator[bytes],
        *,
        media_type: str = "text/event-stream",
        headers: Mapping[str, str] | None = None,
        on_cut: Callable[[], Awaitable[Any]] | None = None,
        held: bool = False,
    ) -> "CountedStream":
        """`body` as a response that counts for `owner` while it is sent; `on_cut` is for a client that left early.

        `held`: its place was taken before, as `within` does.
        """
        headers = {**STREAM_HEADERS, **(headers or {})}
        return CountedStream(self, owner, body, on_cut, held=held, media_type=media_type, headers=headers)

    async def within(self, owner: str, begin: Callable[[], Awaitable[T]]) -> T | None:
        """What `begin` comes to, in a place that stays taken; None, and nothing was begun, when there is none."""
        if not self.take(owner):
            return None
        try:
            return await begin()
        except BaseException:
            self.give_back(owner)
            raise

    async def told(self, owner: str, begin: Callable[[], Awaitable[T]], told: Callable[[T], Response]) -> Response:
        """The `held` response to what `begin` comes to, or the refusal, and then nothing was begun."""
        begun = await self.within(owner, begin)
        return self.refusal(owner) if begun is None else told(begun)

    def afterwards(self, work: Awaitable[Any]) -> None:
        """Do this although the request that wanted it is over."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        # what was to be stopped may have been removed meanwhile; anything else somebody has to look into
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, NotFound):
            log.error("what a request left to be done failed", exc_info=error)

    def take(self, owner: str) -> bool:
        """One more, unless the limit is reached."""
        if self._open[owner] >= self._limit():
            return False
        self._open[owner] += 1
        return True

    def give_back(self, owner: str) -> None:
        """One less."""
        self._open[owner] -= 1
        if not self._open[owner]:
            del self._open[owner]

    def refusal(self, owner: str) -> JSONResponse:
        """What the one too many is told."""
        return error_response(
            429, "streams_too_many", f"streams: {self._open[owner]:,} of at most {self._limit():,} are open",
            limit=self._limit(), actual=self._open[owner],
            fix="close some, or raise SEXTANT_MAX_STREAMS",
        )  # fmt: skip


class CountedStream(StreamingResponse):
    """A stream that is counted while it is being sent, so that one whose client never came costs nothing."""

    def __init__(
        self,
        streams: Streams,
        owner: str,
        body: AsyncIterator[bytes],
        on_cut: Callable[[], Awaitable[Any]] | None,
        *,
        held: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(self._to_the_end(body), **more)
        self._streams, self._owner, self._on_cut, self._held = streams, owner, on_cut, held
        self._complete = False

    async def _to_the_end(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for piece in body:
            yield piece
        self._complete = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, or the refusal."""
        if not self._held and not self._streams.take(self._owner):
            await self._streams.refusal(self._owner)(scope, receive, send)
            return
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.give_back(self._owner)
            if self._on_cut is not None and not self._complete:
                self._streams.afterwards(self._on_cut())
