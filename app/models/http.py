"""One POST to a model endpoint: four deadlines, bounded reading, typed errors, no retries.

HTTP/1.1 keep-alive over one aiohttp session per event loop. Knows nothing of what an answer means, except for the
errors that servers put into one.

An unfinished response is closed, never drained: the server sees the disconnect at once and stops generating.
Proxies from the environment, redirects and cookies are ignored: the key goes to the URL that was set, only.
"""

import asyncio
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any, NoReturn

import aiohttp
from pydantic import SecretStr
from yarl import URL

from agents.errors import ModelRefusedRequest, ModelUnavailable, RefusedRequestKind, UnavailableKind
from app.models.faults import NEXT_MOVE, from_json, parsed_body, retry_after_s, told, why_refused

RESPONSE_LIMIT_BYTES = 64 << 20
ERROR_LIMIT_BYTES = 64 << 10
ERROR_BODY_S = 2.0
IDLE_CONNECTION_S = 4.0
"""A pooled connection is dropped after this: uvicorn, hence vLLM, closes idle ones after 5 s."""
AFTER_DONE_S = 0.25
"""Wait for the end of the body after `[DONE]`, so that the connection can be used again."""
SAMPLE_BYTES = 200
DIRECT_BODY_BYTES = 1 << 20
"""aiohttp writes larger bodies in one go, which blocks the loop, unless they come as a file."""

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One served model."""

    url: str
    """OpenAI-compatible base URL, ending in `/v1`."""
    model: str
    api_key: SecretStr | None = None
    price_in_usd_per_mtok: float | None = None
    price_out_usd_per_mtok: float | None = None

    def __post_init__(self) -> None:
        url = URL(self.url)
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError(f"{self.url!r} is no http(s) URL; give one such as http://127.0.0.1:8000/v1")
        if self.api_key and not re.fullmatch(r"[\x21-\x7e]+", self.api_key.get_secret_value()):
            raise ValueError(f"the key for {_shown(url)} holds spaces or characters outside ASCII; paste it again")


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Of one model call, in seconds."""

    connect_s: float = 5
    """Until the connection stands, name lookup and TLS included."""
    first_token_s: float = 60
    """From the start of the call to the first token of a stream: queueing and prefill."""
    between_tokens_s: float = 30
    """Longest silence inside a stream. Comments and empty events do not break it."""
    total_s: float = 300
    """All of the call, and the only one besides `connect_s` that a call without streaming can have."""


class _Sessions:
    """One aiohttp session per event loop, shared by all models; made at first use.

    A session holds its loop, so a weak mapping would never let go of either: those of closed loops are dropped
    when the next loop asks.
    """

    def __init__(self) -> None:
        self._of: dict[asyncio.AbstractEventLoop, aiohttp.ClientSession] = {}

    async def current(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        session = self._of.get(loop)
        if session is None or session.closed:
            await self._forget_closed_loops()
            session = self._of[loop] = aiohttp.ClientSession(
                # not limited here: how many calls run at once is decided where runs are admitted
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_CONNECTION_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                trust_env=False,
            )
        return session

    async def _forget_closed_loops(self) -> None:
        for loop in [loop for loop in self._of if loop.is_closed()]:
            await self._of.pop(loop).close()  # waits for nothing: its sockets died with the loop

    async def aclose(self) -> None:
        """Close the running loop's session. A later call opens a new one."""
        if session := self._of.pop(asyncio.get_running_loop(), None):
            await session.close()


SESSIONS = _Sessions()


def _shown(url: URL) -> str:
    """A URL as messages may show it: without credentials and query."""
    return str(url.with_user(None).with_query(None))


def shown_url(url: str) -> str:
    """An endpoint's URL as it may be shown."""
    return _shown(URL(url))


@lru_cache(maxsize=256)
def _target(url: str, path: str) -> tuple[URL, str]:
    target = URL(url.rstrip("/") + path)
    return target, _shown(target)


@lru_cache(maxsize=64)
def _connect_within(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=seconds)


class Call:
    """One request: its clock, its response, its errors."""

    def __init__(self, endpoint: Endpoint, path: str, deadlines: Deadlines) -> None:
        self._url, self.shown_url = _target(endpoint.url, path)
        self._endpoint = endpoint
        self._deadlines = deadlines
        self._loop = asyncio.get_running_loop()
        self._total_at = self._loop.time() + deadlines.total_s
        self._phase: UnavailableKind = "total_timeout"
        self._phase_s = self._phase_at = math.inf
        self.received_bytes = 0
        self._seen = b""
        """First bytes of the answer, to show when it makes no sense."""
        self._response: aiohttp.ClientResponse | None = None

    async def __aenter__(self) -> "Call":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._response:
            self._response.close()  # the connection too, unless the body was read to its end

    @property
    def response(self) -> aiohttp.ClientResponse:
        assert self._response, "post() comes first"
        return self._response

    # -- the exchange

    async def post(self, body: bytes) -> None:
        """Send, and wait for the status line; a status other than 200 is raised."""
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "sextant"}
        if self._endpoint.api_key:
            headers["Authorization"] = f"Bearer {self._endpoint.api_key.get_secret_value()}"
        try:
            async with asyncio.timeout_at(self._deadline()):
                self._response = await (await SESSIONS.current()).post(
                    self._url,
                    data=body if len(body) <= DIRECT_BODY_BYTES else BytesIO(body),
                    headers=headers,
                    allow_redirects=False,
                    timeout=_connect_within(self._deadlines.connect_s),
                )
        except aiohttp.ConnectionTimeoutError:
            self.fail("connect_timeout", f"no connection within {self._deadlines.connect_s:g} s")
        except TimeoutError:
            self._overdue()
        except aiohttp.ClientConnectionError as error:
            self.fail("refused", f"no connection: {error or type(error).__name__}")
        except aiohttp.ClientError as error:
            self.fail("bad_response", f"not HTTP: {type(error).__name__} {error}"[:300])
        if not 200 <= self.response.status < 300:
            await self._raise_for_status()

    async def read(self, until: float = math.inf) -> bytes | None:
        """What has arrived, at least one byte; empty at the end of the body; None when `until` came first."""
        deadline = self._deadline()
        if self._loop.time() >= self._total_at:  # a timer never fires while data is always there
            self._overdue()
        try:
            async with asyncio.timeout_at(min(deadline, until)):
                data = await self.response.content.readany()
        except TimeoutError:
            if until < deadline:
                return None
            self._overdue()
        except (aiohttp.ClientError, ConnectionError) as error:
            self.fail("cut_stream", f"the answer broke off after {self.received_bytes:,} bytes ({error})"[:300])
        self.received_bytes += len(data)
        if len(self._seen) < SAMPLE_BYTES:
            self._seen += data[:SAMPLE_BYTES]
        if self.received_bytes > RESPONSE_LIMIT_BYTES:
            self.fail("bad_response", f"over {RESPONSE_LIMIT_BYTES:,} bytes of answer")
        return data

    async def gather(self, seconds: float) -> None:
        """Let the body arrive for a while without waking anybody; its end is noticed at once."""
        try:
            async with asyncio.timeout(seconds):
                await self.response.content.wait_eof()
        except (TimeoutError, aiohttp.ClientError, ConnectionError):
            pass  # a broken connection is the next read's to report

    async def finish(self) -> None:
        """Take the last bytes of a body whose content is complete; giving up only costs the connection."""
        try:
            async with asyncio.timeout(AFTER_DONE_S):
                while await self.response.content.readany():
                    pass
        except (TimeoutError, aiohttp.ClientError, ConnectionError):
            self.response.close()

    # -- the clock

    def expect_token(self) -> None:
        self._await("first_token_timeout", self._deadlines.first_token_s)

    def token_came(self) -> None:
        self._await("between_tokens_timeout", self._deadlines.between_tokens_s)

    def _await(self, phase: UnavailableKind, limit_s: float) -> None:
        self._phase, self._phase_s, self._phase_at = phase, limit_s, self._loop.time() + limit_s

    def _deadline(self) -> float:
        return min(self._phase_at, self._total_at)

    def _overdue(self) -> NoReturn:
        phase = self._phase_at < self._total_at
        kind, limit_s = (self._phase, self._phase_s) if phase else ("total_timeout", self._deadlines.total_s)
        what = kind.removesuffix("_timeout").replace("_", " ")
        self.fail(kind, f"over the {what} limit of {limit_s:g} s, {self.received_bytes:,} bytes received")

    # -- the errors

    def fail(
        self,
        kind: UnavailableKind,
        problem: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> NoReturn:
        raise ModelUnavailable(
            self._thing,
            problem,
            NEXT_MOVE[kind] if retry_after_s is None else f"retry in {retry_after_s:g} s",
            kind=kind,
            url=self.shown_url,
            status=status,
            retry_after_s=retry_after_s,
        )

    def garbage(self, problem: str) -> NoReturn:
        """The answer makes no sense: say what it looked like."""
        kind = self.response.headers.get("Content-Type", "no content type")
        self.fail("bad_response", f"{problem}; {kind[:60]}, it begins {self._seen[:80].decode(errors='replace')!r}")

    @contextmanager
    def making_sense(self) -> Iterator[None]:
        """Turn what reading a malformed answer raises into `bad_response`."""
        try:
            yield
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            self.garbage(f"not a chat completion ({type(error).__name__}: {error})"[:200])

    @property
    def _thing(self) -> str:
        return f"model {self._endpoint.model} at {self.shown_url}"

    async def _raise_for_status(self) -> NoReturn:
        text, until = b"", self._loop.time() + ERROR_BODY_S
        with suppress(ModelUnavailable):  # the status is known; its explanation may never come
            while len(text) < ERROR_LIMIT_BYTES and (data := await self.read(until)):
                text += data
        self.refuse(self.response.status, parsed_body(text), self.response.headers)

    def refuse(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> NoReturn:
        """Raise what an error status, or an error inside a stream, means."""
        headers = headers or {}
        code, said = told(body)
        problem = f"HTTP {status}: {said or 'no explanation'}"
        if status in (408, 409, 425, 429) or status >= 500:
            if code == "insufficient_quota":
                self._reject("quota", problem, status, "add credit or use another key")
            wait_s = retry_after_s(headers.get("Retry-After"), headers.get("Date"))
            kind: UnavailableKind = "rate_limited" if status == 429 else "server_error"
            self.fail(kind, problem, status=status, retry_after_s=wait_s)
        if 300 <= status < 400:
            self._reject("bad_request", f"{problem}, it points elsewhere", status, "set the URL to the final address")
        self._reject(*why_refused(status, code, said, problem))

    def refuse_inside(self, answer: Event) -> NoReturn:
        """Raise the error that came under a good status."""
        trouble = answer["error"]
        code = trouble.get("code") if isinstance(trouble, dict) else None
        self.refuse(code if isinstance(code, int) and 400 <= code < 600 else 500, answer)

    def _reject(self, kind: RefusedRequestKind, problem: str, status: int, next_move: str) -> NoReturn:
        raise ModelRefusedRequest(self._thing, problem, next_move, kind=kind, url=self.shown_url, status=status)


async def post_json(endpoint: Endpoint, path: str, body: bytes, deadlines: Deadlines) -> tuple[Call, Event]:
    """The whole answer as one JSON object, and the call to blame if it makes no sense."""
    async with Call(endpoint, path, deadlines) as call:
        await call.post(body)
        parts = []
        while data := await call.read():
            parts.append(data)
    try:
        answer = from_json(b"".join(parts))
    except ValueError as error:
        call.garbage(f"not JSON ({error})")
    if not isinstance(answer, dict):
        call.garbage("not a JSON object")
    return call, answer
