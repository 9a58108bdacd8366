"""What the call policy costs a tool call, and how fast a breaker opens and closes in an outage.

Overhead: the same call of the same tool, bare and through `GuardTools` and `CallService`, interleaved; the median of
the repeats counts. The outage is simulated: a service, called once a second and tried up to three times, fails for a
minute and then works, and the worst of ten such outages counts; time is the bench's own, the breaker the product's.

    python tests/bench/policy.py [--repeats 9] [--calls 2000]

Prints a table, and as the last line the same as JSON.
"""

import argparse
import asyncio
import json
import logging
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from langchain.tools.tool_node import ToolCallRequest
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool

from agents.breaker import Breakers, Open
from agents.policy import Calling, CallService, GuardTools
from agents.tools.contract import Contract, with_contract

OUTAGE_S, AFTER_S, TRIES = 60, 60, 3


@tool
async def look(what: str) -> str:
    """Look at something."""
    return "seen"


with_contract(look, Contract(effect="read", retries=1))
CALL = {"type": "tool_call", "name": "look", "args": {"what": "it"}, "id": "call_1"}


async def bare(request: ToolCallRequest) -> ToolMessage:
    """The call as LangGraph's node makes it."""
    found = await request.tool.ainvoke(request.tool_call)  # type: ignore[union-attr]
    assert isinstance(found, ToolMessage)
    return found


async def seconds_each(call: Callable[[ToolCallRequest], Awaitable[Any]], times: int) -> float:
    """CPU of one call."""
    request = ToolCallRequest(CALL, look, {}, SimpleNamespace(context=None))  # type: ignore[arg-type]
    begun = time.process_time()
    for _ in range(times):
        await call(request)
    return (time.process_time() - begun) / times


async def overhead(repeats: int, times: int) -> dict[str, float]:
    """Microseconds of a call, bare and through the policy."""
    calling = Calling()
    guard, service = GuardTools(calling), CallService(calling)

    async def inner(request: ToolCallRequest) -> Any:
        return await service.awrap_tool_call(request, bare)

    async def policed(request: ToolCallRequest) -> Any:
        return await guard.awrap_tool_call(request, inner)

    took: dict[str, list[float]] = {"bare": [], "policed": []}
    for _ in range(repeats):
        took["bare"].append(await seconds_each(bare, times))
        took["policed"].append(await seconds_each(policed, times))
    bare_us, policed_us = (1e6 * statistics.median(took[name]) for name in ("bare", "policed"))
    return {"bare_us": bare_us, "policed_us": policed_us, "overhead_us": policed_us - bare_us,
            "ratio": policed_us / bare_us}  # fmt: skip


async def outage(outage_s: int) -> dict[str, float]:
    """When the breaker opens and closes, and how many of the calls were retries."""
    now = 0.0
    breakers = Breakers(clock=lambda: now)
    opened_s = closed_s = float("nan")
    retries = 0
    for second in range(outage_s + AFTER_S):
        now = float(second)
        for attempt in range(TRIES):
            if attempt and not breakers.may_retry("shop"):
                break
            retries += attempt > 0
            try:
                await breakers.leave(await breakers.enter("shop"), ok=second >= outage_s, why="HTTP 503")
            except Open:
                break
            if second >= outage_s:
                break
        state = breakers.standing("shop").state
        opened_s = now if opened_s != opened_s and state == "open" else opened_s
        closed_s = now - outage_s if second >= outage_s and closed_s != closed_s and state == "closed" else closed_s
    return {"opens_s": opened_s, "closes_s": closed_s, "retry_share": retries / outage_s}


async def outages() -> dict[str, float]:
    """The worst of outages that end at any moment between two probes."""
    all_ = [await outage(OUTAGE_S + more_s) for more_s in range(10)]
    return {name: max(it[name] for it in all_) for name in all_[0]}


def main() -> None:
    """Measure and tell."""
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--calls", type=int, default=2_000)
    given = parser.parse_args()
    figures = asyncio.run(overhead(given.repeats, given.calls)) | asyncio.run(outages())
    print("call policy")
    print(f"  tool call, bare / policed   {figures['bare_us']:.0f} / {figures['policed_us']:.0f} us CPU")
    print(f"  overhead                    {figures['overhead_us']:.0f} us, ratio {figures['ratio']:.2f}")
    print(f"  breaker opens after         {figures['opens_s']:.0f} s of outage (goal: 10 s at most)")
    print(f"  closes after recovery in    {figures['closes_s']:.0f} s (goal: 30 s at most)")
    print(f"  retries in a full outage    {figures['retry_share']:.1%} of calls (goal: under 10 %)")
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
