"""Turns at tools that may be called only so often: one line for each tool, shared by all agents of a process.

Several processes each keep to the rate by themselves: a service's own limit over all of them is the service's to hold,
and its 429 is an observation like any other failure.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from agents.errors import ToolFailed


class Turns:
    """Who may call which tool when."""

    def __init__(
        self,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`pause`: how to wait for some seconds; `clock`: the time, in seconds."""
        self._pause, self._clock = pause, clock
        self._next_at: dict[str, float] = {}

    async def take(self, tool: str, rate_per_s: float | None, within_s: float) -> None:
        """Wait for a turn. Raises ToolFailed at once, and takes none, when it would come after `within_s`."""
        if rate_per_s is None:
            return
        now = self._clock()
        at = max(now, self._next_at.get(tool, now))
        if at - now >= within_s:
            problem = (
                f"its turn would come in {at - now:.3g} s, its deadline is {within_s:g} s ({rate_per_s:g} a second)"
            )
            raise ToolFailed(tool, problem, "ask for less, or later")
        self._next_at[tool] = at + 1 / rate_per_s
        if at > now:
            await self._pause(at - now)
