"""Servers at an address: credentials go to one of them only, and what comes back is bounded."""

import asyncio
import gzip
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import mcp_peer
import pytest
from mcp_kept import PATIENCE_S, Kept, there

from agents.errors import ToolFailed
from agents.remote.bounds import MAX_MESSAGE_BYTES
from agents.remote.mcp_http import MAX_LINES
from agents.remote.remotes import Remote, Result
from agents.remote.servers import Server

Speak = Callable[[asyncio.StreamWriter], Awaitable[None]]
PIECE = b"x" * 100_000


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    """Port of a server by the SDK, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, mcp_peer.__file__, "http", str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    yield int(await asyncio.wait_for(process.stdout.readline(), PATIENCE_S))
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def at(url: str, name: str = "peer", **headers: str) -> Server:
    return Server(name, url=url, headers=headers, trust_on_first_use=True, connect_timeout_s=PATIENCE_S)


async def call(remote: Remote, tool: str, **args: Any) -> Result:
    await remote.look()
    async with asyncio.timeout(PATIENCE_S):
        return await remote.call(tool, remote.pinned[tool].definition.sha256, args)


async def test_a_server_at_an_address_is_called(port: int, kept: Kept) -> None:
    async with kept(at(f"http://127.0.0.1:{port}/mcp/")) as remotes:
        remote = remotes.remotes["peer"]

        assert await call(remote, "echo", text="hä?") == Result("hä?")
        assert (await call(remote, "ask")).text == "Sampling not supported; Elicitation not supported"
        with pytest.raises(ToolFailed, match=f"over {MAX_LINES:,} lines; it may have happened"):
            await call(remote, "flood")
        assert await call(remote, "echo", text="again") == Result("again")


async def test_a_credential_goes_to_its_server_and_nowhere_else(port: int, kept: Kept, tmp_path: Path) -> None:
    away = f"http://127.0.0.1:{port}/away?to=http://localhost:{port}/mcp/"
    async with kept(
        at(f"http://127.0.0.1:{port}/mcp/", authorization="Bearer one"), at(away, "away", authorization="Bearer two")
    ) as remotes:
        await call(remotes.remotes["peer"], "echo", text="1")
        with pytest.raises(ToolFailed, match="it answered with HTTP 307"):
            await remotes.remotes["away"].look()

    seen = [json.loads(line) for line in (tmp_path / "headers").read_text().splitlines()]
    assert {it.get("authorization") for it in seen} == {"Bearer one"}
    assert not any("cookie" in it for it in seen)


async def test_a_server_that_was_started_again_has_forgotten_the_session_and_is_greeted_anew(
    port: int, kept: Kept, tmp_path: Path
) -> None:
    async with kept(at(f"http://127.0.0.1:{port}/mcp/")) as remotes:
        remote = remotes.remotes["peer"]
        await call(remote, "poke", text="1")
        sha256 = remote.pinned["poke"].definition.sha256
        (tmp_path / "forget").touch()

        assert await remote.call("poke", sha256, {"text": "2"}) == Result("poked")
    assert (tmp_path / "effects").read_text() == "1\n2\n"


@pytest.mark.parametrize(("how", "why"), [("cut", "its answer broke off"), ("oops", "it answered with HTTP 500")])
async def test_a_call_that_gets_no_answer_ends_and_no_other_does(
    port: int, kept: Kept, tmp_path: Path, how: str, why: str
) -> None:
    async with kept(at(f"http://127.0.0.1:{port}/mcp/")) as remotes:
        remote = remotes.remotes["peer"]
        await remote.look()
        hanging = asyncio.create_task(call(remote, "hang"))
        await there(tmp_path / "hanging")
        since = remote.health.since
        (tmp_path / how).touch()
        with pytest.raises(ToolFailed, match=f"{why}; it may have happened"):
            await call(remote, "echo", text="1")
        (tmp_path / how).unlink()

        assert await call(remote, "echo", text="2") == Result("2")
        assert remote.health.since == since and not hanging.done()
        hanging.cancel()
        await asyncio.wait({hanging})


async def test_a_server_that_dies_in_a_call_is_noticed(port: int, kept: Kept) -> None:
    async with kept(at(f"http://127.0.0.1:{port}/mcp/")) as remotes:
        with pytest.raises(ToolFailed, match=r"its answer broke off|cannot be reached"):
            await call(remotes.remotes["peer"], "crash")


# -- servers that speak no MCP at all --------------------------------------------------------------------------------


@asynccontextmanager
async def answering(speak: Speak) -> AsyncIterator[str]:
    """Address of a server that answers every request like this."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            await speak(writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"


def head(*more: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", "Content-Type: application/json", *more, "", ""]).encode()


async def problem(kept: Kept, url: str) -> str:
    async with kept(at(url)) as remotes:
        with pytest.raises(ToolFailed) as refused:
            await asyncio.wait_for(remotes.remotes["peer"].look(), PATIENCE_S)
    return str(refused.value)


async def test_a_gigabyte_is_refused_while_it_comes(kept: Kept) -> None:
    sent: list[int] = []

    async def speak(writer: asyncio.StreamWriter) -> None:
        writer.write(head("Content-Length: 1000000000"))
        for _ in range(10_000):
            writer.write(PIECE)
            await writer.drain()
            sent.append(len(PIECE))

    async with answering(speak) as url:
        assert f"over {MAX_MESSAGE_BYTES:,} bytes" in await problem(kept, url)
    assert sum(sent) < 100 * MAX_MESSAGE_BYTES


async def test_an_answer_that_swells_when_it_is_unpacked_is_not_unpacked(kept: Kept) -> None:
    packed = gzip.compress(bytes(10_000_000))

    async def speak(writer: asyncio.StreamWriter) -> None:
        writer.write(head("Content-Encoding: gzip", f"Content-Length: {len(packed)}") + packed)
        await writer.drain()

    async with answering(speak) as url:
        assert "it packed its answer" in await problem(kept, url)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "it answered with HTTP 401"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", "it answered with HTTP 500"),
        (head("Content-Length: 6") + b"<html>", "it answered what cannot be read"),
        (head("Content-Length: 2") + b"{}", "it answered what cannot be read"),
        (b"no HTTP at all\r\n\r\n", "it cannot be reached"),
        (b"", "it cannot be reached"),
    ],
)
async def test_what_is_no_answer_is_a_reason(kept: Kept, answer: bytes, why: str) -> None:
    async def speak(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    async with answering(speak) as url:
        assert why in await problem(kept, url)
