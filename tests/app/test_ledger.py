"""The effect ledger on a real Postgres: what was done is not done twice, what was not done is not taken for done.

The service is a real one on loopback that keeps the idempotency keys it is sent; the worker that dies is a process.
"""

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from crew import crew
from langchain.agents import create_agent
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import ToolRuntime
from langgraph.types import Command
from scripted import ScriptedModel, Step, calls, says

from agents.breaker import MIN_FAILURES, Breakers
from agents.context import Context
from agents.effects import EffectKey, key_of
from agents.errors import RunLost
from agents.guard import person_says
from agents.middleware import stack
from agents.policy import Calling
from agents.tools.contract import Contract, with_contract
from app.ledger import RunLedger
from app.postgres import Pool

pytestmark = pytest.mark.timeout(120)

ARGS = {"to": "bob", "euros": 10}
DONE = {"content": "done", "status": "success", "artifact": None}
REFUSED = {"content": "no money", "status": "error", "artifact": None}
PAY = Contract(effect="at_most_once")


@pytest.fixture
async def written(pool: Pool) -> Callable[..., Awaitable[RunLedger]]:
    """Makes the row of a run, and its ledger."""

    async def it(run_id: str, **given: Any) -> RunLedger:
        async with pool.connection() as connection:
            await connection.execute(
                "insert into threads (thread_id, title, graph) values ('t', 't', 'chat') on conflict do nothing"
            )
            await connection.execute(
                "insert into runs (run_id, thread_id, graph, status, input) values (%s, 't', 'chat', 'running', %s)",
                (run_id, json.dumps({"question": "Pay bob.", **given})),
            )
        return RunLedger(pool, run_id, 0, (given.get("fork") or {}).get("run_id"))

    return it


def key(call: int, run_id: str = "r") -> EffectKey:
    return EffectKey(run_id, "tools:1", f"call_{call}")


async def test_a_refusal_is_not_what_was_done_before(written: Any) -> None:
    """Somebody was out of money, and goes on from there when there is some."""
    ledger = await written("r")
    await ledger.begin(key(1), "pay", ARGS, "keyed")
    await ledger.end(key(1), REFUSED)
    await ledger.begin(key(2), "pay", {"to": "eve"}, "keyed")
    await ledger.end(key(2), DONE)

    fork = await written("f", fork={"run_id": "r"})
    again = await fork.begin(key(3, "f"), "pay", ARGS, "keyed")
    done = await fork.begin(key(4, "f"), "pay", {"to": "eve"}, "keyed")

    assert again.state == "new"
    assert (done.state, done.result) == ("ended", DONE)
    assert (await ledger.begin(key(1), "pay", ARGS, "keyed")).result == REFUSED  # the same call is the same call


async def test_what_was_begun_and_never_ended_is_a_doubt_for_the_next_of_its_kind(written: Any) -> None:
    ledger = await written("r")
    await ledger.begin(key(1), "pay", ARGS, "keyed")
    beside = await ledger.begin(key(2), "pay", ARGS, "keyed")
    assert beside.state == "new"  # at work side by side: nobody has given up on the first
    ledger.leave(key(1))
    ledger.leave(key(2))

    later = await ledger.begin(key(3), "pay", ARGS, "keyed")
    other = await ledger.begin(key(4), "pay", {"to": "eve"}, "keyed")
    fork = await written("f", fork={"run_id": "r"})
    forked = await fork.begin(key(5, "f"), "pay", ARGS, "keyed")
    resumed = await RunLedger(fork._pool, "r", 0).begin(key(3), "pay", ARGS, "keyed")

    assert [it.twin for it in (later, other, forked, resumed)] == [True, False, True, True]
    await ledger.end(key(3), DONE)
    assert (await ledger.begin(key(6), "pay", ARGS, "keyed")).state == "new"  # somebody has decided


class Till:
    """A tool that pays, and may not hear how that ended."""

    def __init__(self, contract: Contract, breaks: int = 0) -> None:
        self.paid: list[str] = []
        self.breaks = breaks

        @tool
        async def pay(to: str, euros: int) -> str:
            """Pay somebody."""
            self.paid.append(to)
            if len(self.paid) <= self.breaks:
                raise ConnectionError("the line went dead")
            return f"paid {to}"

        self.tool = with_contract(pay, contract)


class Run:
    """An agent on a script, with a ledger, as a run has it."""

    def __init__(
        self, ledger: RunLedger, script: Sequence[Step], tool: BaseTool, calling: Calling | None = None
    ) -> None:
        model = ScriptedModel(script)
        middleware = stack(8, calling=calling, grants=frozenset({tool.name}))
        self.agent = create_agent(model, [tool], middleware=middleware, context_schema=Context,
                                  checkpointer=InMemorySaver())  # fmt: skip
        self.context = replace(crew(model), ledger=ledger, asked="Pay bob.")
        self.config: Any = {"configurable": {"thread_id": "r"}}

    async def begin(self) -> Any:
        return await self.agent.ainvoke({"messages": [person_says("Pay bob.")]}, self.config, context=self.context)

    async def answer(self, decision: str, question: Any) -> Any:
        said = {question.id: {"decision": decision, "ref": question.value["ref"]}}
        return await self.agent.ainvoke(Command(resume=said), self.config, context=self.context)


def told(state: Any) -> list[str]:
    return [str(it.text) for it in state["messages"] if isinstance(it, ToolMessage)]


def pay(call: int) -> Step:
    return calls(("pay", ARGS), first_id=call)


@pytest.mark.parametrize("effect", ["at_most_once", "keyed"])
@pytest.mark.parametrize(
    ("decision", "paid", "heard"), [("happened", 1, "it happened"), ("again", 2, "paid bob"), ("skip", 1, "not to try")]
)
async def test_a_model_that_repeats_what_broke_off_pays_once_or_a_person_says_again(
    written: Any, effect: Any, decision: str, paid: int, heard: str
) -> None:
    till = Till(Contract(effect=effect), breaks=1)
    run = Run(await written("r"), [pay(1), pay(2), says("So be it.")], till.tool)

    state = await run.begin()
    assert till.paid == ["bob"]
    [asked] = state["__interrupt__"]
    assert asked.value["kind"] == "doubt" and "may or may not have happened" in asked.value["what"]
    state = await run.answer(decision, asked)

    assert len(till.paid) == paid
    assert heard in told(state)[1]


async def test_a_call_that_a_breaker_refused_leaves_nothing_behind(written: Any, pool: Pool) -> None:
    till, now = Till(PAY), [0.0]
    calling = Calling(breakers=Breakers(clock=lambda: now[0]))
    for _ in range(MIN_FAILURES):
        await calling.breakers.leave(await calling.breakers.enter("pay"), ok=False, why="503")

    async def later(_: Any) -> Any:
        now[0] += 60
        return pay(2)

    state = await Run(await written("r"), [pay(1), later, says("Paid.")], till.tool, calling).begin()

    assert "not called, its breaker is open" in told(state)[0]
    assert told(state)[1] == "paid bob" and till.paid == ["bob"]
    async with pool.connection() as connection:
        rows = await (await connection.execute("select call_id, result ->> 'status' as how from effects")).fetchall()
    assert [tuple(row.values()) for row in rows] == [("call_2", "success")]


async def test_a_breaker_that_refuses_a_second_try_does_not_forget_the_first(written: Any, pool: Pool) -> None:
    ledger, calling = await written("r"), Calling()
    killed = Run(ledger, [pay(1), says("Not now.")], Till(Contract(effect="keyed")).tool, calling)

    async def lost(*_: Any) -> Any:
        raise RunLost

    ledger.end = lost
    with pytest.raises(RunLost):
        await killed.begin()
    del ledger.end
    for _ in range(MIN_FAILURES):
        await calling.breakers.leave(await calling.breakers.enter("pay"), ok=False, why="503")
    state = await killed.agent.ainvoke(None, killed.config, context=killed.context)

    assert "not called, its breaker is open" in told(state)[0]
    assert (await ledger.begin(key(9), "pay", ARGS, "keyed")).twin


async def test_two_calls_under_one_id_are_two_calls(written: Any, pool: Pool) -> None:
    """Our own models never give one id twice; another's answer comes from elsewhere and may."""
    both = calls(("pay", ARGS), ("pay", {"to": "eve", "euros": 1}))
    both.tool_calls[1]["id"] = "call_1"
    till = Till(PAY)

    state = await Run(await written("r"), [both, says("Paid.")], till.tool).begin()

    assert sorted(told(state)) == ["paid bob", "paid eve"] and sorted(till.paid) == ["bob", "eve"]
    async with pool.connection() as connection:
        rows = await (await connection.execute("select args ->> 'to' as whom from effects order by 1")).fetchall()
    assert [row["whom"] for row in rows] == ["bob", "eve"]


async def test_two_hundred_effects_of_one_turn_happen_once_each(written: Any, pool: Pool) -> None:
    till = Till(Contract(effect="keyed", timeout_s=60))
    many = calls(*(("pay", {"to": f"p{at}", "euros": 1}) for at in range(200)))

    state = await Run(await written("r"), [many, says("Paid.")], till.tool).begin()

    assert sorted(told(state)) == sorted(f"paid p{at}" for at in range(200))
    assert len(till.paid) == len(set(till.paid)) == 200
    async with pool.connection() as connection:
        row = await (
            await connection.execute("select count(*) as n from effects where ended_at is not null")
        ).fetchone()
    assert row is not None and row["n"] == 200


# -- the key reaches the service -----------------------------------------------------------------------------------


class Service:
    """Takes payments over HTTP, each key once, and fails or tells its client to die as often as it is told."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.paid: set[str] = set()
        self.answers: list[int] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                service.keys.append(self.headers["Idempotency-Key"])
                status = service.answers.pop(0) if service.answers else 200
                if status != 503:
                    service.paid.add(service.keys[-1])
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nobody reads it."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def service() -> Iterator[Service]:
    it = Service()
    yield it
    it.server.shutdown()
    it.server.server_close()


def paying(url: str, contract: Contract) -> BaseTool:
    """A tool of a service that takes a key. Where the service says 299, the worker dies before it hears the end."""

    @tool("pay")
    async def it(to: str, euros: int, runtime: ToolRuntime[Any, Any]) -> str:
        """Pay somebody."""
        async with httpx.AsyncClient(trust_env=False) as client:
            key = {"Idempotency-Key": key_of(runtime).text()}
            said = await client.post(url, json={"to": to, "euros": euros}, headers=key, timeout=60)
        if said.status_code == 299:
            os.kill(os.getpid(), signal.SIGKILL)
        if said.status_code >= 500:
            raise _passing("HTTP 503")
        return f"paid {to}"

    return with_contract(it, contract)


def _passing(text: str) -> ToolException:
    error = ToolException(text)
    error.retriable = True  # type: ignore[attr-defined]
    return error


async def test_a_retry_carries_the_same_key_and_another_call_another(written: Any, service: Service) -> None:
    service.answers = [503, 200]

    async def at_once(_: float) -> None:
        """Wait for nothing."""

    tool = paying(service.url, Contract(effect="idempotent", retries=1, timeout_s=60))
    run = Run(await written("r"), [pay(1), pay(2), says("Paid.")], tool, Calling(pause=at_once))
    state = await run.begin()

    assert told(state) == ["paid bob"] * 2
    first, retry, another = service.keys
    assert first == retry != another
    assert len(first) == 32


PROGRAM = """
import asyncio, sys
from test_ledger import ARGS, Contract, Run, RunLedger, Step, calls, pay, paying, says
from app.postgres import checkpointer, open_pool

async def main(database_url, url):
    async with await open_pool(database_url) as pool:
        run = Run(RunLedger(pool, "r", 0), [pay(1), says("Paid.")], paying(url, Contract(effect="keyed")))
        run.agent.checkpointer = checkpointer(pool, "r", 0)
        state = await run.agent.aget_state(run.config)
        given = None if state.created_at else {"messages": [("human", "Pay bob.")]}
        model = run.context.models["large"]
        if given is None:
            model._steps[""].pop(0)  # what it was asked before it died is not asked again
        await run.agent.ainvoke(given, run.config, context=run.context, durability="sync")
        model.check_used_up()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_worker_that_takes_over_from_a_killed_one_sends_the_same_key(
    written: Any, service: Service, database_url: str
) -> None:
    service.answers = [299, 200]
    await written("r")
    root = Path(__file__).parents[2]
    paths = [str(it) for it in (root, root / "tests" / "support", root / "tests" / "app")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}

    async def work() -> int:
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, database_url, service.url, env=environment
        )
        return await worker.wait()

    assert await work() == -signal.SIGKILL
    assert await work() == 0

    first, again = service.keys
    assert first == again and service.paid == {first}
