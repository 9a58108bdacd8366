"""Small computations where there is no bubblewrap: an interpreter of a part of Python, in a process of its own.

It has no files, no network and no numpy to begin with: there is nothing to keep it from. Each run is a new process.
"""

import asyncio
from typing import Any

from pydantic_monty import CollectString, Monty, MontyError, ResourceLimits

from agents.sandbox.box import BOUNDS, MOST_AT_ONCE, Bounds, NoIsolation, Outcome

START_S = 10.0
GRACE_S = 5.0
"""After its own limit, for what its interpreter cannot interrupt; then the process is killed."""
LACKS = (
    "Until the package bubblewrap is installed, a small part of Python runs here, without numpy, pandas and plots: "
    "tell the person so, or write it with lists, dicts, functions, math and random, without files and generators."
)


class SmallPython:
    """Runs code in an interpreter that can only calculate."""

    name = "monty"

    def __init__(self, bounds: Bounds = BOUNDS) -> None:
        """`bounds`: time and memory are kept by the interpreter, the rest does not arise."""
        self.bounds = bounds
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)

    async def run(self, code: str) -> Outcome:
        """Run it in a process of its own."""
        # in a thread: the library's own event loop can abort this process at its exit
        async with self._turns:
            return await asyncio.to_thread(self._run, code)

    def _run(self, code: str) -> Outcome:
        bounds = self.bounds
        limits: ResourceLimits = {"max_feed_duration_secs": bounds.wall_s, "max_memory": bounds.memory_bytes}
        printed = CollectString(max_bytes=bounds.output_bytes)
        try:
            with (
                Monty(max_processes=1, checkout_timeout=START_S, request_timeout=bounds.wall_s + GRACE_S) as pool,
                pool.checkout(limits=limits) as session,
            ):
                value = session.feed_run(code, print_callback=printed)
        except MontyError as error:
            return _ended(error, printed.output, bounds)
        except OSError as error:
            raise NoIsolation(f"the interpreter cannot be started: {error}", "install pydantic-monty again") from error
        return Outcome("done", printed.output + _shown(value))

    async def aclose(self) -> None:
        """Nothing is kept between runs."""


def _shown(value: Any) -> str:
    """The value of a last expression, as in a notebook."""
    return "" if value is None else f"{value}\n"


def _ended(error: MontyError, printed: str, bounds: Bounds) -> Outcome:
    said = str(error).strip() or type(error).__name__
    if "TimeoutError" in said or "timed out" in said:
        return Outcome("timed_out", printed, problem=f"it was not done within {bounds.wall_s:g} s")
    if "MemoryError" in said:
        return Outcome("memory", printed, problem=f"it needed more than {bounds.memory_bytes / 1e6:,.0f} MB of memory")
    return Outcome("failed", f"{printed}{said}\n{LACKS}")
