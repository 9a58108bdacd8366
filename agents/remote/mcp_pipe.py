"""An MCP server as a process of ours, spoken to over its pipes.

Not the SDK's own transport: that one takes a line of any length, any number of notifications, and hands on a part of
our environment. Here the process gets the environment that its settings list, and a session of its own, all of which
ends with the connection and with us, also when we are killed (`launcher.py`). Its messages are bounded before they are
parsed, notifications that nobody listens to are dropped, and its standard error goes to the log.
"""

import asyncio
import logging
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import orjson
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCMessage, JSONRPCRequest
from pydantic import ValidationError

from agents.errors import ToolFailed
from agents.remote.bounds import MAX_GARBAGE_LINES, UNASKED_AT_ONCE, UNASKED_PER_S, Bucket, Lines, TooLarge
from agents.remote.servers import Server

log = logging.getLogger(__name__)

PIECE_BYTES = 65_536
GRACE_S = 2.0
"""For a server to end after its input was closed, and again after SIGTERM."""
LOGGED_AT_ONCE = 100
LOGGED_PER_S = 5.0
MAX_LOGGED_CHARS = 500
HEARD = frozenset({"notifications/tools/list_changed", "notifications/cancelled"})
"""Notifications that are handed on."""

Read = MemoryObjectReceiveStream[SessionMessage | Exception]
Write = MemoryObjectSendStream[SessionMessage]
Over = Callable[[str], None]
"""Told once why a connection is over."""


@asynccontextmanager
async def piped(server: Server, over: Over) -> AsyncIterator[tuple[Read, Write]]:
    """The two streams of a session with a new process; it is gone when the block is left."""
    process = await _started(server)
    inward, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write, outward = anyio.create_memory_object_stream[SessionMessage](0)
    reader = _Reader(server.name, over)
    work = (reader.messages(process, inward), _written(process, outward, reader), reader.complaints(process))
    tasks = [asyncio.create_task(it, name=f"mcp {server.name}") for it in work]
    try:
        yield read, write
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for stream in (inward, read, write, outward):
            stream.close()
        await _ended(process, politely=not reader.misbehaved)


async def _started(server: Server) -> asyncio.subprocess.Process:
    program = shutil.which(server.command, path=server.env.get("PATH"))
    if program is None:
        raise ToolFailed(server.name, f"there is no program {server.command!r}", "correct its command or PATH in env")
    launcher = str(Path(__file__).with_name("launcher.py"))
    return await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", launcher, str(os.getpid()), program, *server.args,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=dict(server.env), cwd=server.cwd, start_new_session=True,
    )  # fmt: skip


async def _ended(process: asyncio.subprocess.Process, *, politely: bool) -> None:
    """End the process and whatever it started: by closing its input, then asking, then killing."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        for number in (None, signal.SIGTERM) if politely else ():
            if number is not None:
                _signal(process, number)
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), GRACE_S)
                break
    finally:
        _signal(process, signal.SIGKILL)
        # `wait` is also for the end of its pipes, which never comes while nobody reads them, or a grandchild has them
        process._transport.close()  # type: ignore[attr-defined]
    await process.wait()


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


async def _written(
    process: asyncio.subprocess.Process, outward: MemoryObjectReceiveStream[SessionMessage], reader: "_Reader"
) -> None:
    assert process.stdin is not None
    with suppress(ConnectionError):  # it is gone: whoever reads its output finds out
        async for message in outward:
            reader.expected += isinstance(message.message.root, JSONRPCRequest)
            process.stdin.write(message.message.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n")
            await process.stdin.drain()


class _Reader:
    """Reads what one process writes, and ends the connection over what it must not write."""

    def __init__(self, name: str, over: Over) -> None:
        self._name, self._over = name, over
        clock = asyncio.get_running_loop().time
        self._unasked = Bucket(UNASKED_AT_ONCE, UNASKED_PER_S, clock)
        self._logged = Bucket(LOGGED_AT_ONCE, LOGGED_PER_S, clock)
        self._garbage = 0
        self.expected = 0
        """Answers that are still to come, at most."""
        self.misbehaved = False

    async def messages(
        self, process: asyncio.subprocess.Process, inward: MemoryObjectSendStream[SessionMessage | Exception]
    ) -> None:
        """Hand on its messages until it ends, or sends what is not taken."""
        lines, stdout = Lines(), process.stdout
        assert stdout is not None
        async with inward:  # closed last: by then it is known why
            try:
                while piece := await stdout.read(PIECE_BYTES):
                    for line in lines.feed(piece):
                        if message := self._message(line):
                            await inward.send(SessionMessage(message))
            except TooLarge as refusal:
                self.misbehaved = True
                self._over(str(refusal))
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                self._over("the session was closed")
            else:
                self._over(await _how_it_ended(process))

    def _message(self, line: bytes) -> JSONRPCMessage | None:
        """What a line says; None for what is dropped. Raises TooLarge for too much of that."""
        if not line.strip():
            return None
        try:
            said: Any = orjson.loads(line)
            method = said.get("method") if isinstance(said, dict) else None
            unheard = method is not None and "id" not in said and method not in HEARD
            message = None if unheard else JSONRPCMessage.model_validate(said)
        except (orjson.JSONDecodeError, ValidationError):
            self._garbage += 1
            log.warning("mcp %s: not a message: %s", self._name, _shown(line))
            if self._garbage > MAX_GARBAGE_LINES:
                raise TooLarge(f"it wrote {self._garbage} lines that are no messages") from None
            return None
        if method is None and self.expected:
            self.expected -= 1
        elif not self._unasked.take():
            raise TooLarge(f"it sent over {UNASKED_AT_ONCE:,} messages that nobody asked for")
        return message

    async def complaints(self, process: asyncio.subprocess.Process) -> None:
        """Its standard error, in our log; what is too much is dropped."""
        assert process.stderr is not None
        rest = b""
        while piece := await process.stderr.read(PIECE_BYTES):
            *lines, rest = (rest[-MAX_LOGGED_CHARS:] + piece).split(b"\n")
            for line in lines:
                if line.strip() and self._logged.take():
                    log.info("mcp %s: %s", self._name, _shown(line))


async def _how_it_ended(process: asyncio.subprocess.Process) -> str:
    try:
        code = await asyncio.wait_for(process.wait(), GRACE_S)
    except TimeoutError:
        return "it closed its output"
    return f"it ended with exit code {code}" if code >= 0 else f"it was ended by signal {-code}"


def _shown(line: bytes) -> str:
    return ascii(line[:MAX_LOGGED_CHARS].decode("utf-8", "replace").strip())[1:-1]
