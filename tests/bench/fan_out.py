"""Wall time of plan -> K sub-agents -> writer over its critical-path floor, at 300 ms a model call.

The floor is three calls, 0.9 s: plan, the sub-agents side by side, the writer. What is above it is ours: LangGraph, the
scheduler, the model client and the events. The graph is the real `research`, on agents of one call each; the model is a
server in its own process that waits 300 ms and answers. With `--postgres` the whole waist runs too: queue, checkpoints
and event log on the embedded Postgres.

    python tests/bench/fan_out.py [--repeats 5] [--wide 8 64] [--postgres]

Prints a table, and as the last line the same as JSON.
"""

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"

CALL_S = 0.3
FLOOR_S = 3 * CALL_S
GOALS = {8: 1.03, 64: 1.10}

Ask = Callable[[int], Awaitable[None]]


async def serve(call_s: float) -> None:
    """A model that plans as many sub-tasks as the question says, and otherwise answers one sentence."""
    from aiohttp import web

    async def complete(request: Any) -> Any:
        asked = await request.json()
        await asyncio.sleep(call_s)
        text = "Found it."
        if "response_format" in asked:
            wide = int(re.findall(r"wide=(\d+)", json.dumps(asked["messages"]))[-1])
            tasks = [
                {"id": str(n), "title": f"Part {n}", "question": "?", "role": "researcher", "depends_on": []}
                for n in range(wide)
            ]
            text = json.dumps({"tasks": tasks, "note": ""})
        if not asked.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            return web.json_response({"id": "1", "object": "chat.completion", "model": "m", "choices": [choice]})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for delta, finish in (({"role": "assistant", "content": text}, None), ({}, "stop")):
            chunk = {"id": "1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=512).start()
    print(json.dumps({"port": runner.addresses[0][1]}), flush=True)
    await asyncio.to_thread(sys.stdin.read)  # ends with the parent


@asynccontextmanager
async def model(*options: str) -> AsyncIterator[str]:
    """Base URL of the model in its own process."""
    process = subprocess.Popen(  # noqa: ASYNC220 - once, before anything is measured
        [sys.executable, __file__, "--serve", *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        line = await asyncio.to_thread(process.stdout.readline)
        yield f"http://127.0.0.1:{json.loads(line)['port']}/v1"
    finally:
        process.terminate()
        process.wait()


def context_on(url: str) -> Any:
    """The real agents on the model at `url`, as many at once as the plan is wide."""
    from agents.agent import assemble, discover_agents
    from agents.context import Context, Limits
    from agents.tracing import untraced_is_free
    from app.models import Endpoint, Models

    untraced_is_free()
    endpoint = Endpoint(url, "m")
    models = Models({role: endpoint for role in ("large", "small")})
    limits = Limits(max_parallel=64)
    team = {name: replace(agent, tools=()) for name, agent in discover_agents().items()}
    return models, Context(models, assemble(team, models, limits), None, limits)  # type: ignore[arg-type]


@asynccontextmanager
async def in_memory(url: str) -> AsyncIterator[Ask]:
    """The compiled graph alone."""
    from graphs import research

    models, context = context_on(url)
    graph = research.build().compile()

    async def ask(wide: int) -> None:
        state = {"messages": [("user", f"wide={wide}")]}
        result = await graph.ainvoke(state, context=context)
        assert len(result["findings"]) == wide

    yield ask
    await models.aclose()


@asynccontextmanager
async def on_postgres(url: str) -> AsyncIterator[Ask]:
    """The whole waist: admission, queue, checkpoints after each step, events."""
    from app.activities import discover_activities
    from app.journal import Journal
    from app.postgres import database, migrate, open_pool
    from app.runs import Runs
    from app.work import Worker

    async with AsyncExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory()))
        conninfo = await stack.enter_async_context(database(None, home))
        pool = await stack.enter_async_context(await open_pool(conninfo))
        await migrate(pool)
        models, context = context_on(url)
        journal = await stack.enter_async_context(Journal(pool, conninfo).listening())
        activities = discover_activities()
        worker = Worker(pool, journal, activities, context, model_name="m")
        await worker.queue.open(pool)
        runs = Runs(pool, journal, worker.queue, activities, max_question_chars=1000)
        await stack.enter_async_context(worker.working(4))

        async def ask(wide: int) -> None:
            thread = await runs.create_thread("research")
            run = await runs.start(thread["thread_id"], "research", f"wide={wide}")
            events = [event async for batch in journal.follow(run["run_id"]) for event in batch]
            assert events[-1].type == "run.finished", events[-1]
            assert sum(event.type == "agent.finished" for event in events) == wide

        yield ask
        await models.aclose()


async def measure(wides: list[int], repeats: int, postgres: bool) -> dict[str, dict[int, float]]:
    """Row name -> width -> median wall seconds. Rows alternate, so that other load hits all alike."""
    rows = {"graph alone": in_memory} | ({"with queue, checkpoints, events": on_postgres} if postgres else {})
    walls: dict[str, dict[int, list[float]]] = {name: {wide: [] for wide in wides} for name in rows}
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(model())
        asks = {name: await stack.enter_async_context(row(url)) for name, row in rows.items()}
        for ask in asks.values():
            await ask(2)  # imports and first connections
        for _ in range(repeats):
            for wide in wides:
                for name, ask in asks.items():
                    begun = time.perf_counter()
                    await ask(wide)
                    walls[name][wide].append(time.perf_counter() - begun)
    return {name: {wide: statistics.median(times) for wide, times in by.items()} for name, by in walls.items()}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--serve", action="store_true")
    options.add_argument("--call-ms", type=float, default=CALL_S * 1000)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--wide", type=int, nargs="+", default=[8, 64])
    options.add_argument("--postgres", action="store_true")
    chosen = options.parse_args()
    if chosen.serve:
        asyncio.run(serve(chosen.call_ms / 1000))
        return
    figures = asyncio.run(measure(chosen.wide, chosen.repeats, chosen.postgres))
    print(f"fan-out, {CALL_S * 1000:.0f} ms a call, floor {FLOOR_S:.1f} s")
    for name, by in figures.items():
        for wide, wall in by.items():
            goal = f"  goal {GOALS[wide]:.2f}" if wide in GOALS else ""
            print(f"  {name:32} K={wide:<3} {wall:6.3f} s  over the floor {(wall - FLOOR_S) * 1000:5.0f} ms"
                  f"  ratio {wall / FLOOR_S:.3f}{goal}")  # fmt: skip
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
