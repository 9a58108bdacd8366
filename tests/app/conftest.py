"""A model server whose every byte is the test's: for what a well-behaved server cannot do."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from app.models import Deadlines, Endpoint, LeanChatModel, Models, chat_model

Json = dict[str, Any]
PATIENT = Deadlines()


class Exchange:
    """One request, and the pen to answer it with."""

    def __init__(self, head: str, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.request_line, *lines = head.split("\r\n")
        self.headers = dict(line.split(": ", 1) for line in lines if line)
        self.body: Json = json.loads(body)
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def whole(self, body: object, status: int = 200, **headers: str) -> None:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        shown = {"Content-Type": "application/json", "Content-Length": str(len(text))}
        shown |= {name.replace("_", "-"): value for name, value in headers.items()}
        await self.send(_head(status, shown) + text)

    async def start_stream(self) -> None:
        await self.send(_head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}))

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def event(self, event: Json) -> None:
        await self.chunk(b"data: " + json.dumps(event).encode() + b"\n\n")

    async def end_stream(self) -> None:
        await self.chunk(b"")

    async def stream(self, events: Sequence[Json], done: bool = True) -> None:
        await self.start_stream()
        for event in events:
            await self.event(event)
        if done:
            await self.chunk(b"data: [DONE]\n\n")
        await self.end_stream()

    @staticmethod
    def delta(finish_reason: str | None = None, **fields: Any) -> Json:
        """One event of a streamed answer."""
        return {"model": "test-model", "choices": [{"index": 0, "delta": fields, "finish_reason": finish_reason}]}

    @classmethod
    def call_delta(cls, arguments: str, index: int = 0, id: str | None = None, name: str | None = None) -> Json:
        """A piece of a streamed tool call."""
        function = {"arguments": arguments} | ({"name": name} if name else {})
        return cls.delta(tool_calls=[{"index": index, "function": function} | ({"id": id} if id else {})])

    @staticmethod
    def completion(content: str | None = "hello", finish_reason: str = "stop", **message: Any) -> Json:
        said = {"role": "assistant", "content": content} | message
        usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
        choice = {"index": 0, "message": said, "finish_reason": finish_reason}
        return {"model": "test-model", "usage": usage, "choices": [choice]}

    @staticmethod
    def wire_call(arguments: str, name: str = "add", id: str = "call_1") -> Json:
        return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}

    def cut(self) -> None:
        """Close the connection here."""
        self._writer.close()

    def reset(self) -> None:
        self._writer.transport.abort()

    async def silence(self) -> None:
        """Say nothing more until the client has gone."""
        await self._reader.read()


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode()


Script = Callable[[Exchange], Awaitable[None]]


class ScriptedServer:
    """Answers each request by `script`; remembers requests, connections and clients that hung up."""

    def __init__(self) -> None:
        self.script: Script
        self.exchanges: list[Exchange] = []
        self.connections = 0
        self.hung_up = asyncio.Event()
        self.asked = asyncio.Event()
        self.url = ""
        self.busy: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task
        self.busy.add(task)
        task.add_done_callback(self.busy.discard)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                exchange = Exchange(head.decode().strip(), body, reader, writer)
                self.exchanges.append(exchange)
                self.asked.set()
                await self.script(exchange)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.hung_up.set()
        finally:
            writer.close()

    def model(self, deadlines: Deadlines = PATIENT, **options: Any) -> LeanChatModel:
        return chat_model(Endpoint(self.url, "test-model"), deadlines, **options)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer()
    listening = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    scripted.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    yield scripted
    await Models({}).aclose()
    listening.close()
    if scripted.busy:  # they end by themselves: their clients are gone
        await asyncio.wait(scripted.busy, timeout=60)
