"""A model server whose answers are a pure function of the conversation; the model's name says which pattern it plays.

Ids of tool calls are random, as those of real servers are: whoever asks twice gets other ids.
"""

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from patterns import ECHO, PATTERNS, Turn
from shapes import SHAPES

Speak = Callable[[str, list[dict[str, Any]]], Turn]


def by_pattern(model: str, messages: list[dict[str, Any]]) -> Turn:
    """What the pattern of this name says."""
    return {**PATTERNS, **SHAPES, ECHO.name: ECHO}[model].turn(messages)


class Speaker:
    """Answers and counts."""

    def __init__(self, speak: Speak = by_pattern, latency_s: float = 0.0) -> None:
        self.speak, self.latency_s = speak, latency_s
        self.asked: Counter[str] = Counter()
        self.held: dict[str, asyncio.Event] = {}
        """What a conversation opens with -> what its answers wait for."""

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """One chat completion."""
        body = await request.json()
        self.asked[body["model"]] += 1
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        asked = str(next(it["content"] for it in reversed(body["messages"]) if it["role"] == "user"))
        for event in [event for opening, event in self.held.items() if asked.startswith(opening)]:
            await event.wait()
        message, finish = wire(self.speak(body["model"], body["messages"]))
        usage = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
        head = {"id": "1", "model": body["model"], "created": 1}
        if not body.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
            return web.json_response({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        parts = [
            {"choices": [{"index": 0, "delta": {"role": "assistant", **message}, "finish_reason": None}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]},
            {"choices": [], "usage": usage},
        ]
        lines = [json.dumps({**head, "object": "chat.completion.chunk", **part}) for part in parts]
        await response.write("".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode())
        return response

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Base URL, for as long as the context lasts."""
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/chat/completions", self.complete)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, backlog=512).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        finally:
            await runner.cleanup()


def wire(turn: Turn) -> tuple[dict[str, Any], str]:
    """A turn as the protocol has it, and why it ends."""
    if isinstance(turn, str):
        return {"content": turn}, "stop"
    calls = [
        {
            "index": at,
            "id": f"call_{secrets.token_hex(8)}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(args)},
        }
        for at, (name, args) in enumerate(turn)
    ]
    return {"content": None, "tool_calls": calls}, "tool_calls"
