"""Fetch a page of the open web, and of nothing else: no address of this machine or its network is ever connected to.

The check stands where the socket is made, after the last name was looked up, so neither a name that changes its address
between two look-ups nor a redirect nor an odd way to write an address gets past it: what counts is the address that
would be connected to. Size, time and redirects are bounded, also of what a compressed answer swells to.
"""

import asyncio
import ipaddress
import re
import socket
import ssl
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from agents.errors import Refused, ToolFailed

MAX_BYTES = 5_000_000
TIMEOUT_S = 10.0
MAX_REDIRECTS = 5
MAX_URL_CHARS = 2_000
PORTS = frozenset((80, 443, 8080, 8443))
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_ODD = re.compile(r"[\x00-\x20\x7f\\]")
_OPEN_IPV6 = ipaddress.ip_network("2000::/3")
"""All that was ever given out of it; the rest leads to this network, or nowhere."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NEVER = [
    ipaddress.ip_network(it)
    for it in ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "fec0::/10", "2001::/32", "2002::/16", "::/96")
]
"""What the standard library takes for global, in one release or another, and is not: old site-local addresses, those
of protocols and relays, and tunnels that end wherever the sender says."""
_ASKS_FOR = {
    "User-Agent": "Sextant (a person's assistant; one page at a time)",
    "Accept": "text/html, text/plain, text/markdown, application/json, application/pdf;q=0.9, */*;q=0.1",
    "Accept-Encoding": "identity",
}

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Fetched:
    """What an address answered."""

    url: str
    """Where it came from in the end, after redirects."""
    media_type: str
    """Lower case, without parameters; `application/octet-stream` when the server does not say."""
    body: bytes


class _Private(OSError):
    """A socket to an address that is not of the open web."""


async def fetch_url(
    url: str, *, max_bytes: int = MAX_BYTES, timeout_s: float = TIMEOUT_S, inside: Collection[str] = ()
) -> Fetched:
    """GET `url`, following at most five redirects.

    `inside`: `host:port` of servers in this network that the operator lets be fetched from all the same.
    Raises Refused for an address that may not be fetched, ToolFailed for one that could not.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _follow(url, max_bytes, frozenset(inside))
    except TimeoutError as error:
        raise ToolFailed(_shown(url), f"no whole answer within {timeout_s:g} s", "try another address") from error


async def _follow(url: str, max_bytes: int, inside: frozenset[str]) -> Fetched:
    target: URL | None = None
    for _ in range(MAX_REDIRECTS + 1):
        target, inside = redirected(target, url, inside)
        connector = aiohttp.TCPConnector(
            force_close=True, socket_factory=None if _key(target) in inside else _public_socket
        )
        # one session an address: no cookie, no connection and no credential outlives it
        async with aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=False
        ) as session:
            try:
                async with session.get(target, headers=_ASKS_FOR, allow_redirects=False) as response:
                    if response.status not in _REDIRECTS:
                        return await _whole(response, max_bytes)
                    url = str(target.join(URL(response.headers.get("Location", ""))))
            except aiohttp.InvalidURL as error:
                raise _refused(url, "not a plain address") from error
            except (aiohttp.ClientError, ssl.SSLError, zlib.error, OSError, ValueError) as error:
                if private := _private_in(error):
                    raise _refused(url, str(private)) from error
                raise ToolFailed(_shown(url), _in_words(error), "check the address") from error
    raise ToolFailed(_shown(url), f"more than {MAX_REDIRECTS} redirects", "try the address where it should end")


def redirected(before: URL | None, url: str, inside: frozenset[str]) -> tuple[URL, frozenset[str]]:
    """The next address, and what may be reached inside from here on: from the open web nobody is sent there.

    Else a page that anybody wrote would choose what is asked of a server that only the operator's own words open.
    """
    left = before is not None and _key(before) not in inside
    return permitted(url, inside := frozenset() if left else inside), inside


def permitted(url: str, inside: Collection[str] = ()) -> URL:
    """The address, parsed. Raises Refused unless it is http(s), without credentials, to a port of the web."""
    if len(url) > MAX_URL_CHARS:
        raise _refused(url, f"{len(url):,} characters of at most {MAX_URL_CHARS:,}")
    if _ODD.search(url):
        raise _refused(url, "a space, a control character or a backslash in it")
    try:
        parsed = URL(url)
        port = parsed.port
    except ValueError as error:
        raise _refused(url, f"no address ({error})") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise _refused(url, "not http(s) with a host")
    if parsed.user is not None or parsed.password is not None:
        raise _refused(url, "a name or password in it")
    if _key(parsed) in inside:
        return parsed
    if port not in PORTS:
        raise _refused(url, f"port {port}, not one of {', '.join(map(str, sorted(PORTS)))}")
    try:
        literal = ipaddress.ip_address(parsed.host)
    except ValueError:
        return parsed
    if problem := why_private(literal):
        raise _refused(url, problem)
    return parsed


def why_private(address: Address) -> str:
    """Why an address is not of the open web, or "" when it is. An IPv4 address inside an IPv6 one counts as itself."""
    inner = _inner(address)
    never = any(inner in network for network in _NEVER) or (inner.version == 6 and inner not in _OPEN_IPV6)
    if never or not inner.is_global or inner.is_multicast or inner.is_reserved:
        return f"{inner} is not an address of the open web"
    return ""


def _inner(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(address.packed[-4:])
    return address


def _public_socket(info: tuple[Any, ...]) -> socket.socket:
    """A socket for the address that is about to be connected to; the one place that no trick gets past."""
    family, kind, protocol, _, sockaddr = info
    if problem := why_private(ipaddress.ip_address(str(sockaddr[0]).split("%")[0])):
        raise _Private(problem)
    return socket.socket(family=family, type=kind, proto=protocol)


def _private_in(error: BaseException | None) -> _Private | None:
    """Our own refusal, among what the client made of it."""
    while error is not None:
        for found in (error, getattr(error, "os_error", None), *getattr(error, "exceptions", ())):
            if isinstance(found, _Private):
                return found
        error = error.__cause__
    return None


def _in_words(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name was not found"
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return "its certificate does not hold"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "it does not answer"
    return f"its answer broke off ({type(error).__name__})"


async def _whole(response: aiohttp.ClientResponse, max_bytes: int) -> Fetched:
    if response.status >= 400:
        problem, again = f"HTTP {response.status}", response.status in (429, 500, 502, 503, 504)
        raise ToolFailed(_shown(str(response.url)), problem, "try another address", retriable=again)
    body = await _body(response, max_bytes)
    return Fetched(str(response.url), (response.content_type or "application/octet-stream").lower(), body)


async def _body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip", "deflate"):
        raise ToolFailed(_shown(str(response.url)), f"sent as {encoding!r}, unasked", "try another address")
    # bounded at every step: a kilobyte of gzip can hold a megabyte of zeros
    swell = zlib.decompressobj(zlib.MAX_WBITS | 32) if encoding in ("gzip", "deflate") else None
    body = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        room = max_bytes - len(body) + 1
        body += swell.decompress(chunk, room) if swell else chunk
        if len(body) > max_bytes:
            raise ToolFailed(_shown(str(response.url)), f"more than {max_bytes:,} bytes", "try a smaller page")
    return bytes(body)


def _key(url: URL) -> str:
    return f"{url.host}:{url.port}"


def _refused(url: str, problem: str) -> Refused:
    return Refused(_shown(url), problem, "give an http(s) address of the open web")


def _shown(url: str) -> str:
    """An address as an error may name it: without credentials and query."""
    try:
        parsed = URL(url)
        return str(URL.build(scheme=parsed.scheme, host=parsed.host or "", port=parsed.explicit_port, path=parsed.path))
    except ValueError:
        return url[:80]
