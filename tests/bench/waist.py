"""What durability costs: runs through the queue, with leases, checkpoints, effects ledger and event log, on Postgres.

Three questions, one model server of 50 ms a call in its own process:

- how much CPU a turn costs on LangGraph's own Postgres checkpointer alone, and through the whole waist (ratio);
- how many runs a second one worker finishes, 200 at once, and what CPU and memory they take;
- how long an event takes from the moment it happens to an HTTP client that follows the run.

    python tests/bench/waist.py [--runs 200] [--turns 10]

Prints a table, and as the last line the same as JSON.
"""

import argparse
import asyncio
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"

import fan_out  # noqa: E402 - after the path is set


@asynccontextmanager
async def house(stack: AsyncExitStack) -> AsyncIterator[Any]:
    """Pool, runs, journal and context on an embedded Postgres and the 50 ms model."""
    from app.activities import discover_activities
    from app.journal import Journal
    from app.postgres import database, migrate, open_pool
    from app.runs import Runs
    from app.work import Worker

    home = Path(stack.enter_context(TemporaryDirectory()))
    conninfo = await stack.enter_async_context(database(None, home))
    pool = await stack.enter_async_context(await open_pool(conninfo, max_size=20))
    await migrate(pool)
    url = await stack.enter_async_context(fan_out.model("--call-ms", "50"))
    models, context = fan_out.context_on(url)
    stack.push_async_callback(models.aclose)
    journal = await stack.enter_async_context(Journal(pool, conninfo).listening())
    activities = discover_activities()
    worker = Worker(pool, journal, activities, context, model_name="m")
    await worker.queue.open(pool)
    runs = Runs(pool, journal, worker.queue, activities, max_question_chars=1000)
    await stack.enter_async_context(worker.working(200))
    yield pool, runs, journal, context, activities


async def answered(runs: Any, journal: Any, thread_id: str, question: str) -> None:
    """One run of the chat graph, to its end."""
    run = await runs.start(thread_id, "chat", question)
    last = [event async for batch in journal.follow(run["run_id"]) for event in batch][-1]
    assert last.type == "run.finished", last


async def waist_turns(runs: Any, journal: Any, turns: int) -> float:
    """CPU ms per turn of one conversation through the waist."""
    thread = (await runs.create_thread("chat"))["thread_id"]
    begun = time.process_time()
    for n in range(turns):
        await answered(runs, journal, thread, f"question {n}")
    return (time.process_time() - begun) / turns * 1000


async def stock_turns(pool: Any, context: Any, activities: Any, turns: int) -> float:
    """CPU ms per turn of the same graph on LangGraph's own checkpointer alone."""
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

    graph = activities["chat"].builder.compile(checkpointer=AsyncPostgresSaver(pool))
    config = {"configurable": {"thread_id": f"stock-{time.monotonic_ns()}"}}
    begun = time.process_time()
    for n in range(turns):
        await graph.ainvoke({"messages": [("user", f"question {n}")]}, config, context=context, durability="sync")
    return (time.process_time() - begun) / turns * 1000


async def many(runs: Any, journal: Any, count: int) -> dict[str, float]:
    """`count` runs at once: runs a second, CPU a run, memory above what was there."""
    threads = [(await runs.create_thread("chat"))["thread_id"] for _ in range(count)]
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu, begun = time.process_time(), time.perf_counter()
    await asyncio.gather(*(answered(runs, journal, thread, "hello") for thread in threads))
    wall_s = time.perf_counter() - begun
    return {
        "runs_per_s": count / wall_s,
        "cpu_ms_per_run": (time.process_time() - cpu) / count * 1000,
        "rss_mb_above_idle": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024,
    }


async def lags(runs: Any, journal: Any, repeats: int = 20) -> list[float]:
    """ms from an event's time to a follower that has it, for all events of some runs."""
    found: list[float] = []
    for _ in range(repeats):
        thread = (await runs.create_thread("chat"))["thread_id"]
        run = await runs.start(thread, "chat", "hello")
        async for batch in journal.follow(run["run_id"]):
            now = time.time()
            found += [(now - event.at) * 1000 for event in batch]
    return found


async def measure(count: int, turns: int) -> dict[str, Any]:
    """All three."""
    async with AsyncExitStack() as stack, house(stack) as (pool, runs, journal, context, activities):
        await waist_turns(runs, journal, 3)  # imports and first connections
        await stock_turns(pool, context, activities, 3)
        pairs = [
            (await stock_turns(pool, context, activities, turns), await waist_turns(runs, journal, turns))
            for _ in range(5)
        ]
        stock, waist = (statistics.median(times) for times in zip(*pairs, strict=True))
        lag = sorted(await lags(runs, journal))
        return {
            "stock_ms_per_turn": stock,
            "waist_ms_per_turn": waist,
            "ratio": waist / stock,
            **await many(runs, journal, count),
            "event_lag_p50_ms": statistics.median(lag),
            "event_lag_p95_ms": lag[int(len(lag) * 0.95)],
        }


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--runs", type=int, default=200)
    options.add_argument("--turns", type=int, default=10)
    chosen = options.parse_args()
    it = asyncio.run(measure(chosen.runs, chosen.turns))
    print("durability, at 50 ms a model call")
    print(f"  LangGraph's checkpointer alone   {it['stock_ms_per_turn']:6.1f} ms CPU a turn")
    print(f"  the waist                        {it['waist_ms_per_turn']:6.1f} ms CPU a turn  ratio {it['ratio']:.2f}")
    print(f"  {chosen.runs} runs at once: {it['runs_per_s']:.0f} runs/s, {it['cpu_ms_per_run']:.1f} ms CPU a run, "
          f"{it['rss_mb_above_idle']:.0f} MB above idle")  # fmt: skip
    print(f"  event happened -> follower has it: p50 {it['event_lag_p50_ms']:.0f}, p95 {it['event_lag_p95_ms']:.0f} ms")
    print(json.dumps(it))


if __name__ == "__main__":
    main()
