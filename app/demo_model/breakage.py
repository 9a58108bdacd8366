"""What goes wrong on the connection itself: resets, wrong lengths, dripping bytes, endless lines, garbage.

A web framework will not do these, so they write to the transport where they must.
"""

import asyncio
import socket
import struct

from aiohttp import web

FLUSH_S = 0.02
SLICE_BYTES = 1 << 20


def _closed(request: web.Request) -> web.StreamResponse:
    """What a handler returns when it has dealt with the connection itself."""
    request.protocol.force_close()
    return web.Response()


async def reset(request: web.Request) -> web.StreamResponse:
    """Reset the connection, a moment after what was written: a reset discards what has not left yet."""
    await asyncio.sleep(FLUSH_S)
    transport = request.transport
    if transport is not None:
        plain: socket.socket | None = transport.get_extra_info("socket")
        if plain is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return _closed(request)


def _head(kind: str, length: int | None) -> bytes:
    size = f"Content-Length: {max(0, length)}\r\n" if length is not None else ""
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{size}\r\n".encode()


def raw(request: web.Request, text: bytes, kind: str, length: int) -> web.StreamResponse:
    """The bytes, under a length that is not theirs."""
    if request.transport is not None:
        request.transport.write(_head(kind, length) + text)
        request.transport.close()
    return _closed(request)


async def cut(request: web.Request, text: bytes, after: int) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.write(_head("application/json", len(text)) + text[:after])
    return await reset(request)


async def drip(request: web.Request, text: bytes, kind: str, bytes_per_s: float) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": kind})
    await response.prepare(request)
    for at in range(len(text)):
        await response.write(text[at : at + 1])
        await asyncio.sleep(1 / bytes_per_s)
    await response.write_eof()
    return response


def garbage(kind: str) -> web.StreamResponse:
    if kind == "html":
        page = "<!doctype html><html><body><h1>Welcome</h1><p>Please log in.</p></body></html>"
        return web.Response(text=page, content_type="text/html")
    if kind == "json":
        return web.Response(body=b'{"detail": "this is JSON of another shape"}', content_type="application/json")
    if kind == "sse":
        return web.Response(body=b'data: {"choices": [{"delta": \n\n', content_type="text/event-stream")
    return web.Response(body=bytes(range(128, 256)) * 4, content_type="application/json")


async def long_line(request: web.Request, size: int, *, stream: bool) -> web.StreamResponse:
    """An answer whose text is `size` letters in one line, made while it is sent."""
    before, after = (b'data: {"choices":[{"index":0,"delta":{"content":"', b'"}}]}\n\ndata: [DONE]\n\n')
    if not stream:
        before = b'{"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"'
        after = b'"}}]}'
    kind = "text/event-stream" if stream else "application/json"
    response = web.StreamResponse(headers={"Content-Type": kind})
    await response.prepare(request)
    await response.write(before)
    for at in range(0, size, SLICE_BYTES):
        await response.write(b"x" * min(SLICE_BYTES, size - at))
    await response.write(after)
    await response.write_eof()
    return response
