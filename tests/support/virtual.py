"""A loop whose time jumps, and the scheduler on it: hours of simulated work in milliseconds, always the same."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from agents.allowance import Allowance
from agents.context import Limits
from agents.planner import Plan, SubTask
from graphs.scheduling import Engine, Finding, Remedies, run_plan

Value = TypeVar("Value")


class _Jumps(selectors.DefaultSelector):
    """Waits for nothing but threads: what else would be waited is added to the clock."""

    now = 0.0
    threads = 0
    """Work handed to threads that has not come back."""

    def select(self, timeout: float | None = None) -> list[Any]:
        if events := super().select(None if self.threads and timeout != 0 else 0):
            return list(events)
        if timeout is None:
            raise RuntimeError("everybody waits for somebody, and no timer is set")
        self.now += max(0.0, timeout)
        return []


class JumpingLoop(asyncio.SelectorEventLoop):
    """When nobody can go on, it is the time of the next timer. What a thread does takes no time.

    So a deadline passes for what hangs, however slow the machine is, and for nothing else. Not for what waits for a
    socket or a process: these are nobody to this loop.
    """

    def __init__(self) -> None:
        self._jumps = _Jumps()
        super().__init__(self._jumps)

    def time(self) -> float:
        return self._jumps.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Hand work to a thread, and hold the clock until it is back."""
        future = super().run_in_executor(executor, func, *args)
        self._jumps.threads += 1
        future.add_done_callback(self._back)
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        """Wait for the threads, which tell of their end from a thread."""
        self._jumps.threads += 1
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._jumps.threads -= 1

    def _back(self, _: asyncio.Future[Any]) -> None:
        self._jumps.threads -= 1


def in_no_time(main: Coroutine[Any, Any, Value]) -> Value:
    """Run `main` on a loop whose time jumps."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(main)


@dataclass
class Simulated:
    """A plan that was run in simulated time."""

    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0
    events: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    at_work_s: float = 0.0
    """Sum over all that worked, also in vain: what is paid for."""

    def told(self, type_: str) -> list[str]:
        """Sub-tasks of which such an event tells, in order."""
        return [str(data["task_id"]) for name, data in self.events if name == type_]


Latency = Callable[[SubTask, int], float | Exception]
"""Seconds of the nth try of a sub-task, from 0; or how it fails at once."""


async def simulate(
    plan: Plan,
    latency: Latency,
    limits: Limits | None = None,
    remedies: Remedies | None = None,
    usual_s: Mapping[str, float] | None = None,
    allowance: Allowance | None = None,
    heard: Callable[[str, Mapping[str, Any]], Awaitable[None]] | None = None,
) -> Simulated:
    """Run the plan by the product's scheduler, with sub-tasks that only wait; `heard`: what each event brings about."""
    loop, out, tries = asyncio.get_running_loop(), Simulated(), dict[str, int]()
    begun_at = loop.time()

    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        nth = tries[sub.id] = tries.get(sub.id, -1) + 1
        takes, since = latency(sub, nth), loop.time()
        if isinstance(takes, Exception):
            raise takes
        try:
            await asyncio.sleep(takes)
        finally:
            out.at_work_s += loop.time() - since
        return Finding(sub.id, sub.title, "done", f"{sub.id} at try {nth}")

    async def tell(name: str, data: Mapping[str, Any]) -> None:
        out.events.append((name, dict(data)))
        if heard:
            await heard(name, data)

    def call(function: Callable[..., Awaitable[Finding]]) -> Callable[..., Awaitable[Finding]]:
        return lambda *given: asyncio.ensure_future(function(*given))

    out.findings = await run_plan(
        plan, work, limits or Limits(), allowance or Allowance(), remedies=remedies or Remedies(), usual_s=usual_s,
        engine=Engine(call, tell),
    )  # fmt: skip
    out.seconds = loop.time() - begun_at
    return out
