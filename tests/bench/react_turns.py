"""CPU per turn of a ReAct loop, over the bare OpenAI client in the same interleaved run.

A turn is one model call and, but for the last one, one tool call. The model is a fake in its own process: what is
measured is the CPU of this process (user and system), which other load disturbs far less than wall time. Every row
does the same work against the same server; rows alternate, the median of the repeats counts, and the ratio to the
bare client is what can be compared between machines.

    python tests/bench/react_turns.py [--repeats 15] [--turns 10 40] [--rows NAME ...]

Prints a table, and as the last line the same as JSON. To add a row: one function in `ROWS`.
"""

import argparse
import asyncio
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

GOAL_RATIO = 0.60
GOAL_GROWTH = 1.25
ANSWER_WORDS = 40
TOKEN_GAP_S = 0.001

Run = Callable[[str, int], Awaitable[int]]
"""(base URL, turns) -> model calls made."""


# -- the model: calls the tool until the conversation holds enough results, then answers


async def serve() -> None:
    from aiohttp import web

    app = web.Application(client_max_size=64 << 20)
    app.router.add_post("/v1/chat/completions", complete)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(json.dumps({"port": runner.addresses[0][1]}), flush=True)
    await asyncio.to_thread(sys.stdin.read)  # ends with the parent


async def complete(request: Any) -> Any:
    from aiohttp import web

    asked = await request.json()
    done = sum(message["role"] == "tool" for message in asked["messages"])
    turns = int(next(m["content"] for m in asked["messages"] if m["role"] == "user").split("=")[1])
    calls, text, finish = [], "", "tool_calls"
    if done < turns - 1:
        function = {"name": "look_up", "arguments": json.dumps({"query": f"fact {done}", "limit": 3})}
        calls = [{"id": f"call_{done}", "type": "function", "function": function}]
    else:
        text, finish = " ".join(["word"] * ANSWER_WORDS), "stop"
    usage = {"prompt_tokens": 100 + 50 * done, "completion_tokens": 20, "total_tokens": 120 + 50 * done}
    base = {"id": f"chatcmpl-{done}", "created": 1, "model": asked["model"]}
    if not asked.get("stream"):
        message = {"role": "assistant", "content": text or None, "tool_calls": calls or None}
        choice = {"index": 0, "message": message, "finish_reason": finish}
        return web.json_response(base | {"object": "chat.completion", "choices": [choice], "usage": usage})
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    for choices, extra in events(calls, text, finish, usage):
        event = base | {"object": "chat.completion.chunk", "choices": choices} | extra
        await answer.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        await asyncio.sleep(TOKEN_GAP_S)
    await answer.write(b"data: [DONE]\n\n")
    return answer


def events(calls: list[Any], text: str, finish: str, usage: Any) -> Any:
    def choice(delta: Any, finish_reason: str | None = None) -> Any:
        return [{"index": 0, "delta": delta, "finish_reason": finish_reason}]

    yield choice({"role": "assistant", "content": ""}), {}
    for word in text.split():
        yield choice({"content": word + " "}), {}
    for call in calls:
        arguments = call["function"]["arguments"]
        named = {"index": 0, "id": call["id"], "type": "function"}
        yield choice({"tool_calls": [named | {"function": {"name": "look_up", "arguments": ""}}]}), {}
        for start in range(0, len(arguments), 4):
            piece = {"index": 0, "function": {"arguments": arguments[start : start + 4]}}
            yield choice({"tool_calls": [piece]}), {}
    yield choice({}, finish), {}
    yield [], {"usage": usage}


@asynccontextmanager
async def fake_model() -> AsyncIterator[str]:
    process = subprocess.Popen(  # noqa: ASYNC220 - started once, before anything is measured
        [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stdin
    try:
        yield f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}/v1"
    finally:
        process.stdin.close()
        process.wait(10)


# -- the rows


def fact(query: str, limit: int) -> str:
    return f"{query}: " + "what the corpus says about it. " * 5 * limit


def wire(name: str, description: str, **properties: str) -> Any:
    schema = {"type": "object", "properties": {k: {"type": v} for k, v in properties.items()}}
    parameters = schema | {"required": list(properties), "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


# as many tools as the product's own assistant carries
WIRE_TOOLS = [
    wire("look_up", "Look a fact up.", query="string", limit="integer"),
    wire("calculator", "Work out an arithmetic expression.", expression="string"),
    wire("now", "Current time."),
]


SYSTEM = "You answer from what the tools return. " * 5


def question(turns: int) -> str:
    return f"Find out, in turns={turns}"


async def bare(url: str, turns: int) -> int:
    client = CLIENTS["openai"]
    messages: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question(turns)}]
    for call in range(1, 1000):
        answer = await client.chat.completions.create(model="fake", messages=messages, tools=WIRE_TOOLS)
        message = answer.choices[0].message
        if not message.tool_calls:
            return call
        messages.append(message.model_dump(exclude_none=True))
        for wanted in message.tool_calls:
            found = fact(**json.loads(wanted.function.arguments))
            messages.append({"role": "tool", "tool_call_id": wanted.id, "content": found})
    raise AssertionError("the fake always ends")


def agent_on(name: str, *, stream: bool) -> Run:
    async def run(url: str, turns: int) -> int:
        from langchain_core.messages import AIMessage

        asked = {"messages": [("user", question(turns))]}
        config = {"recursion_limit": 3 * turns + 5}
        if not stream:
            state = await CLIENTS[name].ainvoke(asked, config)
        else:
            async for part in CLIENTS[name].astream(asked, config, stream_mode=["messages", "values"]):
                if part[0] == "values":
                    state = part[1]
        return sum(isinstance(message, AIMessage) for message in state["messages"])

    return run


async def lean_alone(url: str, turns: int) -> int:
    """The model without a graph: what is left of the row above it is the graph's."""
    from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage

    messages: list[Any] = [SystemMessage(SYSTEM), HumanMessage(question(turns))]
    for call in range(1, 1000):
        answer = await CLIENTS["bound"].ainvoke(messages)
        if not answer.tool_calls:
            return call
        messages.append(answer)
        messages += [ToolMessage(fact(**c["args"]), tool_call_id=c["id"]) for c in answer.tool_calls]
    raise AssertionError("the fake always ends")


CLIENTS: dict[str, Any] = {}


def build_clients(url: str) -> None:
    """Everything that a process builds once."""
    from langchain.agents import create_agent
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI
    from openai import AsyncOpenAI

    from app.models import Endpoint, chat_model

    @tool
    async def look_up(query: str, limit: int) -> str:
        """Look a fact up."""
        return fact(query, limit)

    @tool
    async def calculator(expression: str) -> str:
        """Work out an arithmetic expression."""
        return expression

    @tool
    async def now() -> str:
        """Current time."""
        return "noon"

    tools = [look_up, calculator, now]
    CLIENTS["openai"] = AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
    stock = ChatOpenAI(
        base_url=url, model="fake", api_key="none", max_retries=0, use_responses_api=False, stream_usage=True
    )
    lean = chat_model(Endpoint(url, "fake"))
    CLIENTS["bound"] = lean.bind_tools(tools)
    CLIENTS["stock"] = create_agent(stock, tools, system_prompt=SYSTEM)
    CLIENTS["lean"] = create_agent(lean, tools, system_prompt=SYSTEM)


ROWS: dict[str, Run] = {
    "bare OpenAI client": bare,
    "create_agent, stock ChatOpenAI": agent_on("stock", stream=False),
    "create_agent, lean": agent_on("lean", stream=False),
    "lean, no graph": lean_alone,
    "stock ChatOpenAI, streaming": agent_on("stock", stream=True),
    "lean, streaming": agent_on("lean", stream=True),
}


# -- the measurement


async def cpu_ms_per_turn(run: Run, url: str, turns: int) -> float:
    gc.collect()
    started = time.process_time()
    calls = await run(url, turns)
    spent = time.process_time() - started
    assert calls == turns, f"{calls} model calls instead of {turns}: this row does other work"
    return 1000 * spent / turns


async def measure(names: list[str], turns: list[int], repeats: int) -> dict[int, dict[str, float]]:
    from app.models import Models

    async with fake_model() as url, aclosing(Models({})):
        build_clients(url)
        for name in names:
            await ROWS[name](url, 3)  # imports, connections, caches
        samples: dict[int, dict[str, list[float]]] = {n: {name: [] for name in names} for n in turns}
        for _ in range(repeats):
            for n in turns:
                for name in names:
                    samples[n][name].append(await cpu_ms_per_turn(ROWS[name], url, n))
    return {n: {name: statistics.median(values) for name, values in rows.items()} for n, rows in samples.items()}


def report(figures: dict[int, dict[str, float]]) -> None:
    turns = sorted(figures)
    names = list(figures[turns[0]])
    print(f"{'CPU ms per turn (ratio)':34}" + "".join(f"{n:>12} turns" for n in turns) + "   last / first")
    for name in names:
        cells = [f"{figures[n][name]:9.2f} ({figures[n][name] / figures[n][names[0]]:.2f})" for n in turns]
        print(f"{name:34}" + " ".join(cells) + f"{figures[turns[-1]][name] / figures[turns[0]][name]:12.2f}")
    print(f"goals: {GOAL_RATIO:.2f} of the bare client at 10 turns, growth to 40 turns at most {GOAL_GROWTH:.2f}")
    print(json.dumps(figures))


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options.add_argument("--repeats", type=int, default=15)
    options.add_argument("--turns", type=int, nargs="+", default=[10, 40])
    options.add_argument("--rows", nargs="+", default=list(ROWS), help="the first one is the measure of the others")
    chosen = options.parse_args()
    if chosen.serve:
        asyncio.run(serve())
    else:
        report(asyncio.run(measure(chosen.rows, chosen.turns, chosen.repeats)))


if __name__ == "__main__":
    main()
