"""The gate in front of every route: whose request this is, how much of it is read, and whether a browser was tricked.

A key in `Authorization: Bearer` or `X-Api-Key` speaks for itself. The cookie that signing in sets comes with every
request of a browser, also with those that another site made it send, so it counts only for requests of our own page.
While nobody needs a key, the same holds for the address: a name that somebody pointed at this machine is refused.
"""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import SplitResult, parse_qs, urlsplit

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from psycopg import OperationalError
from psycopg_pool import PoolTimeout
from starlette._utils import get_route_path
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.auth import LOCAL, Keys, is_loopback
from app.compose import App
from app.replies import error_response

COOKIE = "sextant_key"
COOKIE_DAYS = 30
OPEN_PATHS = frozenset({"/health", "/ready", "/login", "/logout"})
"""Answered without a key; none of them tells anything about anybody."""
UPLOAD_PATH = "/documents"

MAX_BODY_BYTES = 4_000_000
MAX_OPEN_BODY_BYTES = 10_000
"""Of a request that nobody has signed."""
MAX_UPLOAD_BYTES = 2_000_000_000
"""Of all files of one upload together; each has a limit of its own."""
BODY_TIMEOUT_S = 30.0
"""For the whole of a body, or for any pause inside an upload."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def owner_of(request: Request) -> str:
    """Whose request this is; the gate has seen to it."""
    return str(request.state.owner)


def admin_of(request: Request) -> str:
    """Whose request this is, who may also decide for everybody. Raises Refused."""
    if owner_of(request) not in request.state.admins:
        raise Refused(403, "not_admin", "request: it would change what everybody's agents use",
                      fix="ask whoever runs this server; SEXTANT_ADMINS names those who may")  # fmt: skip
    return owner_of(request)


Owner = Annotated[str, Depends(owner_of)]
Admin = Annotated[str, Depends(admin_of)]


class Refused(Exception):
    """A request that goes no further."""

    def __init__(self, status: int, code: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.response = error_response(status, code, message, **more)
        if status == 401:
            self.response.headers["WWW-Authenticate"] = "Bearer"


class Gate:
    """Lets a request in as somebody's, or refuses it."""

    def __init__(self, app: ASGIApp, get_app: Callable[[], App]) -> None:
        self.app, self._get_app = app, get_app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or get_route_path(scope) in OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        try:
            owner = await self._owner(Request(scope))
            scope.setdefault("state", {}).update(owner=owner, admins=self._get_app().settings.admin_owners)
        except Refused as refused:
            await refused.response(scope, receive, send)
        except (OperationalError, PoolTimeout):
            await database_gone()(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _owner(self, request: Request) -> str:
        keys = Keys(self._get_app().pool)
        given = presented_key(request.headers)
        if given and (owner := await keys.owner_of(given)):
            return owner
        if await self._open(keys):
            self._refuse_foreign(request)
            return LOCAL
        cookie = request.cookies.get(COOKIE)
        if not given and not cookie:
            raise Refused(401, "key_missing", "key: none was sent", fix="send it as Authorization: Bearer, or sign in")
        owner = None if given else await keys.owner_of(str(cookie))
        if owner is None:
            raise Refused(401, "key_unknown", "key: it is wrong or was revoked", fix="ask for a new one, and sign in")
        if request.method not in SAFE_METHODS and same_origin(request.headers) is not True:
            raise Refused(403, "cross_site", "request: it does not come from this page", fix="send the key in a header")
        return owner

    async def _open(self, keys: Keys) -> bool:
        """Whether anybody who can reach this address may do anything."""
        return is_loopback(self._get_app().settings.host) and not await keys.ever_made()

    def _refuse_foreign(self, request: Request) -> None:
        """Other sites' scripts reach a loopback address too, under its name or under one of their own."""
        settings = self._get_app().settings
        if request.headers.get("origin") in settings.allowed_origins:
            return
        host = request.headers.get("host", "localhost")
        if not is_loopback(_parts(f"//{host}").hostname or ""):
            raise Refused(403, "host_unknown", f"host: {host[:100]} is not this machine's own name",
                          fix="make a key with `sextant key add NAME` to be reached by other names")  # fmt: skip
        if request.method not in SAFE_METHODS and same_origin(request.headers) is False:
            raise Refused(403, "cross_site", "request: it comes from another site's page",
                          fix="allow that site in SEXTANT_CORS_ORIGINS, or send a key in a header")  # fmt: skip


def presented_key(headers: Headers) -> str | None:
    """The key in a header, if there is one."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else headers.get("x-api-key")


def same_origin(headers: Headers) -> bool | None:
    """Whether a browser sent this for our own page; None when no browser says so."""
    if (site := headers.get("sec-fetch-site")) is not None:
        return site in ("same-origin", "none")
    if (origin := headers.get("origin")) is not None:
        return of_this_host(origin, headers)
    return None


def of_this_host(origin: str, headers: Headers) -> bool:
    """Whether an `Origin` is the page of the host that was asked."""
    place = _parts(origin).netloc
    return bool(place) and place == headers.get("host")


def _parts(url: str) -> SplitResult:
    """An address, taken apart; what is none has no parts."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return SplitResult("", "", "", "", "")
    return parts


def database_gone() -> JSONResponse:
    """The database does not answer; nothing is wrong with the request."""
    return error_response(503, "database_unavailable", "The database does not answer.", fix="try again in a moment")


class BodyLimits:
    """Reads a body whole before anybody parses it, within a size and a time; an upload streams, within others."""

    def __init__(self, app: ASGIApp, timeout_s: float = BODY_TIMEOUT_S) -> None:
        self.app, self._timeout_s = app, timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["method"] == "POST" and get_route_path(scope) == UPLOAD_PATH:
            await self._streamed(scope, receive, send)
        else:
            await self._whole(scope, receive, send)

    async def _whole(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = MAX_OPEN_BODY_BYTES if "owner" not in scope.get("state", {}) else MAX_BODY_BYTES
        try:
            _check_length(scope, limit)
            async with asyncio.timeout(self._timeout_s):
                body = await _read(receive, limit)
        except Refused as refused:
            await refused.response(scope, receive, send)
        except TimeoutError:
            await _too_slow().response(scope, receive, send)
        else:
            if body is not None:
                await self.app(scope, _replayed(body, receive), send)

    async def _streamed(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An upload: whoever parses it is stopped at the limit."""
        size = 0

        async def counted() -> Message:
            nonlocal size
            try:
                async with asyncio.timeout(self._timeout_s):
                    message = await receive()
            except TimeoutError:
                raise _too_slow() from None
            size += len(message.get("body", b""))
            if size > MAX_UPLOAD_BYTES:
                raise _too_large(size, MAX_UPLOAD_BYTES)
            return message

        try:
            _check_length(scope, MAX_UPLOAD_BYTES)
        except Refused as refused:
            await refused.response(scope, receive, send)
        else:
            await self.app(scope, counted, send)


def _check_length(scope: Scope, limit: int) -> None:
    """Refuse by the announced length; a chunked body announces none and is counted while it comes."""
    length = Headers(scope=scope).get("content-length", "0")
    if not length.isdigit() or len(length) > 18 or int(length) > limit:
        raise _too_large(length[:20], limit)


async def _read(receive: Receive, limit: int) -> bytes | None:
    """The body, or None when the client went away."""
    pieces, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > limit:
            raise _too_large(size, limit)
        if not message.get("more_body"):
            return b"".join(pieces)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that hands out what was read, then listens on."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return again


def _too_large(actual: int | str, limit: int) -> Refused:
    return Refused(413, "body_too_large", f"body: {actual} bytes of at most {limit:,}", field="body", limit=limit,
                   actual=actual, fix="upload long text as a document")  # fmt: skip


def _too_slow() -> Refused:
    return Refused(408, "body_too_slow", f"body: nothing more came for {BODY_TIMEOUT_S:.0f} s", field="body",
                   limit=BODY_TIMEOUT_S, fix="send it again over a better connection")  # fmt: skip


def sign_in_router(get_app: Callable[[], App]) -> APIRouter:
    """`/login` and `/logout`."""
    router = APIRouter(tags=["sign in"])
    shapes = {"application/json": _LOGIN_SHAPE, "application/x-www-form-urlencoded": _LOGIN_SHAPE}

    @router.post("/login", openapi_extra={"requestBody": {"required": True, "content": {**shapes}}})
    async def login(request: Request) -> Response:
        """Exchange a key for a cookie that only this site's requests carry and no script can read."""
        if same_origin(request.headers) is False:
            raise Refused(403, "cross_site", "request: it comes from another site's page", fix="sign in on the page")
        key = _key_in(await request.body(), as_form=is_form(request))
        owner = await Keys(get_app().pool).owner_of(key)
        if owner is None and is_form(request):
            return RedirectResponse(f"{page_of(request)}?sign_in=failed", 303)
        if owner is None:
            raise Refused(401, "key_unknown", "key: it is wrong or was revoked", fix="check it, or ask for a new one")
        told = JSONResponse({"owner": owner})
        response = RedirectResponse(page_of(request), 303) if is_form(request) else told
        response.set_cookie(
            COOKIE, key, max_age=COOKIE_DAYS * 86_400, httponly=True, samesite="strict",
            secure=request.url.scheme == "https",
        )  # fmt: skip
        return response

    @router.post("/logout", status_code=204)
    async def logout(request: Request) -> Response:
        """Forget the key in this browser."""
        response = RedirectResponse(page_of(request), 303) if is_form(request) else Response(status_code=204)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response

    return router


_LOGIN_SHAPE = {"schema": {"type": "object", "required": ["key"], "properties": {"key": {"type": "string"}}}}


def is_form(request: Request) -> bool:
    """Whether the page's own form was sent, whose answer a person sees."""
    return request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")


def page_of(request: Request) -> str:
    """Path of the page, beside which the API is mounted."""
    return str(request.scope.get("root_path", "")).removesuffix("/api") + "/"


def _key_in(body: bytes, *, as_form: bool) -> str:
    if as_form:
        return parse_qs(body.decode("latin-1")).get("key", [""])[0].strip()
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError:
        given = None
    return str(given.get("key", "")) if isinstance(given, dict) else ""
