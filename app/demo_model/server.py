"""The routes of the demo model, its pace, and what it counts.

Answers are complete before the first byte leaves; streaming paces them. Faults are applied last, on the bytes, through
the connection itself, because a web framework will not send a wrong length or reset a connection.
"""

import asyncio
import base64
import logging
import struct
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import orjson
from aiohttp import web

from app.demo_model.breakage import SLICE_BYTES, cut, drip, garbage, long_line, raw, reset
from app.demo_model.faults import FaultBook, Faults
from app.demo_model.reader import think
from app.demo_model.schema_in_words import understood
from app.demo_model.tokens import DIMENSIONS, PrefixCache, count_tokens, embedding
from app.demo_model.wire import (
    MAX_CONTEXT_TOKENS,
    MODELS,
    Chunk,
    Outcome,
    Refused,
    check_chat,
    check_context,
    check_model,
    chunks,
    completion,
    error_body,
    last_user_text,
    outcome,
    prompt_parts,
    read_object,
)

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 << 20
BIG_BODY_BYTES = 100_000
"""A request beyond this is read in a thread, so that other streams keep their pace."""
CHUNKS_PER_S = 30
"""More events per second than this are no smoother to the eye."""
EVENT_STREAM = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Counts:
    """What was asked of this server."""

    requests: int = 0
    in_flight: int = 0
    max_concurrent: int = 0
    aborted: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    replies: Counter[str] = field(default_factory=Counter)
    last: deque[Any] = field(default_factory=lambda: deque(maxlen=20))

    def told(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "in_flight": self.in_flight,
            "max_concurrent": self.max_concurrent,
            "aborted": self.aborted,
            "kinds": dict(self.kinds),
            "replies": dict(self.replies),
            "last": list(self.last),
        }


class DemoServer:
    """All state of one server: pace, faults, counts, the imitated prefix cache."""

    def __init__(
        self, ttft_ms: float = 150, tokens_per_s: float = 60, record: int = 20, local_only: bool = True
    ) -> None:
        self.ttft_ms = ttft_ms
        self.tokens_per_s = tokens_per_s
        self.local_only = local_only
        self.faults = FaultBook()
        self._record = record
        self.counts = self._fresh_counts()
        self._prefixes = PrefixCache()
        self._answered = 0

    def _fresh_counts(self) -> Counts:
        return Counts(last=deque(maxlen=self._record))

    def application(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[self._guard])
        app.add_routes(
            [
                web.post("/v1/chat/completions", self.chat),
                web.post("/v1/embeddings", self.embeddings),
                web.get("/v1/models", self.models),
                web.get("/v1/models/{id}", self.model),
                web.post("/tokenize", self.tokenize),
                web.get("/health", self.health),
                web.get("/v1/demo/stats", self.stats),
                web.delete("/v1/demo/stats", self.forget_stats),
                web.get("/v1/demo/faults", self.show_faults),
                web.put("/v1/demo/faults", self.set_faults),
                web.delete("/v1/demo/faults", self.clear_faults),
            ]
        )
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Every error in OpenAI's shape; on loopback, no answer to names that a web page could point at us."""
        if self.local_only and not _is_local(request.host):
            return _json(error_body(f"Host {request.host!r} is not this machine", 403), status=403)
        try:
            return await handler(request)
        except Refused as error:
            return _json(error.body, status=error.status)
        except web.HTTPException as error:
            told = f"{request.method} {request.path}: {error.reason}"
            return _json(error_body(told, error.status), status=error.status)

    # -- OpenAI's routes

    async def chat(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = read_object(raw)
        stream = body.get("stream") is True
        async with self._counted("chat_stream" if stream else "chat", body, len(raw)):
            faults = self._faults_of(request, body)
            number = self._next_number()
            if early := await self._early(request, faults, number):
                return early
            check_chat(body)
            if faults.long_line_bytes is not None:
                return await long_line(request, faults.long_line_bytes, stream=stream)
            made = faults.bend(await self._answer(faults.limit(body), len(raw), number))
            self.counts.replies["tool_calls" if made.calls else "text"] += 1
            if stream:
                return await self._stream(request, body, made, faults)
            return await self._whole(request, made, faults)

    async def embeddings(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = read_object(raw)
        async with self._counted("embeddings", body, len(raw)):
            if early := await self._early(request, self._faults_of(request, body), self._next_number(), ttft_ms=0):
                return early
            model, texts = check_model(body), _texts(body.get("input"))
            size = body.get("dimensions") or DIMENSIONS
            if not isinstance(size, int) or not 1 <= size <= DIMENSIONS:
                raise Refused(f"dimensions: {size!r} is not between 1 and {DIMENSIONS}", "dimensions")
            vectors = await asyncio.to_thread(lambda: [embedding(text, size) for text in texts])
            packed = body.get("encoding_format") == "base64"
            tokens = sum(count_tokens(text) for text in texts)
            return _json(_embedded(model, vectors, packed, tokens))

    async def models(self, request: web.Request) -> web.StreamResponse:
        return _json({"object": "list", "data": [_model_card(name) for name in MODELS]})

    async def model(self, request: web.Request) -> web.StreamResponse:
        return _json(_model_card(check_model({"model": request.match_info["id"]})))

    async def tokenize(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = read_object(raw)
        async with self._counted("tokenize", body, len(raw)):
            if isinstance(body.get("messages"), list):
                check_chat({"model": "demo-large", **body})
                count = sum(tokens for _, tokens in prompt_parts(body))
            elif isinstance(body.get("prompt"), str):
                count = count_tokens(body["prompt"])
            else:
                raise Refused("prompt: text is wanted, or messages", "prompt")
            return _json({"count": count, "max_model_len": MAX_CONTEXT_TOKENS, "tokens": list(range(count))})

    async def health(self, request: web.Request) -> web.StreamResponse:
        return web.Response(status=200)

    # -- our own routes

    async def stats(self, request: web.Request) -> web.StreamResponse:
        return _json(self.counts.told())

    async def forget_stats(self, request: web.Request) -> web.StreamResponse:
        in_flight = self.counts.in_flight
        self.counts = self._fresh_counts()
        self.counts.in_flight = in_flight
        return _json(self.counts.told())

    async def show_faults(self, request: web.Request) -> web.StreamResponse:
        return _json({"rules": [rule.told() for rule in self.faults.rules]})

    async def set_faults(self, request: web.Request) -> web.StreamResponse:
        try:
            raw = orjson.loads(await request.read())
        except orjson.JSONDecodeError as error:
            raise Refused(f"the body is not valid JSON: {error}") from error
        self.faults.replace_with(raw)
        return await self.show_faults(request)

    async def clear_faults(self, request: web.Request) -> web.StreamResponse:
        self.faults.rules.clear()
        return await self.show_faults(request)

    # -- one answer

    def _counted(self, kind: str, body: Mapping[str, Any], size: int) -> "_Counted":
        self.counts.last.append(body if size < 1_000_000 else {"left_out_bytes": size})
        return _Counted(self, kind)

    def _next_number(self) -> int:
        self._answered += 1
        return self._answered

    def _faults_of(self, request: web.Request, body: Mapping[str, Any]) -> Faults:
        header = request.headers.get("x-demo-faults")
        try:
            told = orjson.loads(header) if header else None
        except orjson.JSONDecodeError as error:
            raise Refused(f"x-demo-faults: not valid JSON: {error}", "x-demo-faults") from error
        return self.faults.for_request(last_user_text(body), body.get("demo_faults"), told)

    async def _early(
        self, request: web.Request, faults: Faults, number: int, ttft_ms: float | None = None
    ) -> web.StreamResponse | None:
        """Wait for the first token's time, then what goes wrong before there is an answer."""
        if faults.silence:
            await asyncio.Event().wait()
        await asyncio.sleep(faults.wait_s(self.ttft_ms if ttft_ms is None else ttft_ms, number))
        if faults.reset:
            return await reset(request)
        if faults.status is not None:
            headers = {"Retry-After": after} if (after := faults.retry_after()) else {}
            return _json(faults.error(), status=faults.status, headers=headers)
        return garbage(faults.garbage) if faults.garbage else None

    async def _answer(self, body: Mapping[str, Any], size: int, number: int) -> Outcome:
        parts = prompt_parts(body)
        tokens = sum(count for _, count in parts)
        check_context(tokens)
        cached = self._prefixes.cached_tokens(str(body["model"]), parts)
        meant = understood(body)
        reply = await asyncio.to_thread(think, meant) if size > BIG_BODY_BYTES else think(meant)
        return outcome(body, reply, tokens, cached, f"chatcmpl-demo{number:08d}")

    async def _whole(self, request: web.Request, made: Outcome, faults: Faults) -> web.StreamResponse:
        told = completion(made)
        if faults.empty_choices:
            told["choices"] = []
        text = orjson.dumps(told)
        rate = faults.pace(self.tokens_per_s)
        if faults.silence_after is not None:
            await asyncio.Event().wait()
        if rate:
            await asyncio.sleep(made.completion_tokens / rate)
        if faults.cut_stream_after is not None:
            return await cut(request, text, faults.cut_stream_after)
        return await self._sent(request, text, "application/json", faults)

    async def _sent(self, request: web.Request, text: bytes, kind: str, faults: Faults) -> web.StreamResponse:
        if faults.wrong_content_length is not None:
            return raw(request, text, kind, len(text) + faults.wrong_content_length)
        if faults.drip_bytes_per_s:
            return await drip(request, text, kind, faults.drip_bytes_per_s)
        return web.Response(body=text, content_type=kind)

    async def _stream(
        self, request: web.Request, body: Mapping[str, Any], made: Outcome, faults: Faults
    ) -> web.StreamResponse:
        rate = faults.pace(self.tokens_per_s)
        options = body.get("stream_options") or {}
        size = max(1, round(rate / CHUNKS_PER_S))
        events = list(chunks(made, include_usage=bool(options.get("include_usage")), pieces_per_chunk=size))
        if faults.drip_bytes_per_s or faults.wrong_content_length is not None:
            text = b"".join(_event(chunk, faults) for chunk in events) + b"data: [DONE]\n\n"
            return await self._sent(request, text, "text/event-stream", faults)
        response = web.StreamResponse(headers=EVENT_STREAM)
        await response.prepare(request)
        limit = min((n for n in (faults.cut_stream_after, faults.silence_after) if n is not None), default=None)
        for ready in _paced(events[:limit], rate):
            if isinstance(ready, float):
                await asyncio.sleep(ready)
            else:
                await _write(response, b"".join(_event(chunk, faults) for chunk in ready))
        if faults.cut_stream_after is not None and limit == faults.cut_stream_after:
            return await reset(request)
        if limit is not None:
            await asyncio.Event().wait()
        if not faults.missing_done:
            await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response


class _Counted:
    """One request while it is answered."""

    def __init__(self, server: DemoServer, kind: str) -> None:
        self._counts = server.counts
        self._kind = kind

    async def __aenter__(self) -> None:
        counts = self._counts
        counts.requests += 1
        counts.kinds[self._kind] += 1
        counts.in_flight += 1
        counts.max_concurrent = max(counts.max_concurrent, counts.in_flight)

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._counts.in_flight -= 1
        if kind is not None and issubclass(kind, asyncio.CancelledError | ConnectionError):
            self._counts.aborted += 1


def _is_local(host: str) -> bool:
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    try:
        return name == "localhost" or ip_address(name.strip("[]")).is_loopback
    except ValueError:  # a name, which anybody may point at us
        return False


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json", headers=headers)


def _event(chunk: Chunk, faults: Faults) -> bytes:
    data = {**chunk.data, "choices": []} if faults.empty_choices else chunk.data
    return b"data: " + orjson.dumps(data) + b"\n\n"


def _paced(events: list[Chunk], rate: float) -> Iterator[float | list[Chunk]]:
    """Chunks that are due, and seconds to wait for the next ones. Who is late catches up in one write."""
    if not rate:
        yield events
        return
    began = time.monotonic()
    waiting = deque(events)
    while waiting:
        ready = []
        now_s = time.monotonic() - began
        while waiting and waiting[0].tokens / rate <= now_s:
            ready.append(waiting.popleft())
        if ready:
            yield ready
        if waiting:
            yield max(0.001, waiting[0].tokens / rate - (time.monotonic() - began))


async def _write(response: web.StreamResponse, data: bytes) -> None:
    for at in range(0, len(data), SLICE_BYTES):
        await response.write(data[at : at + SLICE_BYTES])


def _model_card(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "demo", "max_model_len": MAX_CONTEXT_TOKENS}


def _texts(given: Any) -> list[str]:
    """Inputs of an embedding request: a text, texts, or tokens, which stand for themselves here."""
    items = (
        [given]
        if isinstance(given, str) or (isinstance(given, list) and given and isinstance(given[0], int))
        else given
    )
    if not isinstance(items, list) or not items or not all(isinstance(item, str | list) for item in items):
        raise Refused("input: text or a list of texts is wanted", "input")
    return [item if isinstance(item, str) else " ".join(map(str, item)) for item in items]


def _embedded(model: str, vectors: list[list[float]], packed: bool, tokens: int) -> dict[str, Any]:
    def form(vector: list[float]) -> Any:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if packed else vector

    data = [{"object": "embedding", "index": at, "embedding": form(vector)} for at, vector in enumerate(vectors)]
    return {"object": "list", "model": model, "data": data, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
