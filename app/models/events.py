"""The events of a streamed answer, however the network cuts them: whole, bounded, and never silently incomplete.

A line is an event. `[DONE]` may be missing after a finish reason; a body that ends before one is an error. Only an
event that carries a token or ends the answer counts against the deadlines, so comments cannot keep a dead one alive.
"""

import asyncio
import math
from collections.abc import AsyncGenerator
from typing import NoReturn

from agents.errors import ModelUnavailable
from app.models.faults import from_json
from app.models.http import Call, Event

LINE_LIMIT_BYTES = 8 << 20
"""Longest single event."""
PACE_S = 0.04
"""Shortest time between two lists of events: each costs its receivers (callbacks, graph stream, event log) many times
what reading a token costs here, and nobody reads faster."""
AFTER_FINISH_S = 2.0
"""Wait for usage and `[DONE]` after a finish reason."""


async def stream_events(call: Call, body: bytes) -> AsyncGenerator[list[Event], None]:
    """The events in lists: the first token at once, then what came within `PACE_S`, the end at once.

    Ends only after a finish reason, or raises.
    """
    call.expect_token()
    await call.post(body)
    lines, finished, until = _Lines(call), False, math.inf
    while not lines.done:
        try:
            data = await call.read(until)
        except ModelUnavailable:
            if not finished:
                raise
            break  # the answer is whole, only its usage or `[DONE]` is missing
        if not data:
            break
        events = [event for line in lines.feed(data) if (event := _event(call, line)) is not None]
        if events:
            yield events
        told = {_progress(event) for event in events}
        if "finished" in told:
            finished, until = True, asyncio.get_running_loop().time() + AFTER_FINISH_S
        elif "token" in told:
            await call.gather(PACE_S)
            call.token_came()  # only now: the reader's own time is not the server's silence
    if not finished:
        lines.never_finished()
    if lines.done:
        await call.finish()


def _event(call: Call, line: bytes) -> Event | None:
    try:
        event = from_json(line)
    except ValueError as error:
        call.garbage(f"an event is not JSON ({error})")
    if not isinstance(event, dict):
        call.garbage("an event is not a JSON object")
    if event.get("error"):
        call.refuse_inside(event)
    return event


def _progress(event: Event) -> str:
    """`finished`, `token`, or empty for an event that carries neither: the opening role, the usage."""
    choices = event.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return ""
    if choices[0].get("finish_reason"):
        return "finished"
    delta = choices[0].get("delta")
    return "token" if isinstance(delta, dict) and any(v for k, v in delta.items() if k != "role") else ""


class _Lines:
    """Server-sent events cut into their data lines, however the network split them."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._parts: list[bytes] = []
        self._held_bytes = 0
        self._events = 0
        self.done = False

    def feed(self, data: bytes) -> list[bytes]:
        """Payloads of the data lines that `data` completes."""
        self._held_bytes += len(data)
        self._parts.append(data)
        if b"\n" not in data:  # so a long line is joined once, not at every read
            if self._held_bytes > LINE_LIMIT_BYTES:
                self._call.fail("bad_response", f"an event over {LINE_LIMIT_BYTES:,} bytes")
            return []
        *lines, rest = b"".join(self._parts).split(b"\n")
        self._parts, self._held_bytes = [rest], len(rest)
        payloads = [line[5:].strip() for line in lines if line.startswith(b"data:")]
        if b"[DONE]" in payloads:
            self.done = True
            payloads = payloads[: payloads.index(b"[DONE]")]
        self._events += len(payloads)
        return [payload for payload in payloads if payload]

    def never_finished(self) -> NoReturn:
        """The body ended, and no finish reason had come."""
        if self.done:
            self._call.fail("bad_response", f"[DONE] after {self._events:,} events without a finish reason")
        if not self._events and self._call.received_bytes:
            self._call.garbage("no event stream")
        self._call.fail("cut_stream", f"the stream ended after {self._events:,} events without a finish reason")
