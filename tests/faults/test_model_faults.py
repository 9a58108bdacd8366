"""Every fault of a model endpoint as a run sees it: an answer or a typed error, in time, in three attempts."""

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from extent import LONGEST_S, extent
from premises import House, house

from agents.middleware import MODEL_ATTEMPTS
from app.demo_model.server import DemoServer
from app.models import Deadlines, Endpoint

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow, pytest.mark.timeout(LONGEST_S)]

QUESTION = "What is 17 * 23?"
DEADLINES = Deadlines(connect_s=1, first_token_s=1.5, between_tokens_s=1, total_s=3)
CALL_S = 3 * MODEL_ATTEMPTS + 20
"""Of one model call: three attempts, the pauses between them, and a slow machine."""
TYPED = {"ModelUnavailable", "ModelRefusedRequest", "ToolFailed", "BudgetExceeded"}

FAULTS: dict[str, dict[str, Any]] = {
    "late but in time": {"latency_ms": 300, "jitter_ms": 200},
    "a straggler": {"ttft_ms": 100, "slow_factor": 3},
    "silence": {"silence": True},
    "silence in the middle": {"silence_after": 2},
    "byte by byte": {"drip_bytes_per_s": 20},
    "rate limited, seconds": {"status": 429, "retry_after_s": 1},
    "rate limited, a date": {"status": 429, "retry_after_s": 1, "retry_after_date": True},
    "rate limited for an hour": {"status": 429, "retry_after_s": 3600},
    "error 500": {"status": 500},
    "error 503": {"status": 503},
    "refused 400": {"status": 400},
    "refused 401": {"status": 401},
    "reset": {"reset": True},
    "cut at once": {"cut_stream_after": 0},
    "cut in the middle": {"cut_stream_after": 2},
    "no DONE": {"missing_done": True},
    "too long a length": {"wrong_content_length": 100},
    "too short a length": {"wrong_content_length": -30},
    "bytes": {"garbage": "bytes"},
    "HTML": {"garbage": "html"},
    "other JSON": {"garbage": "json"},
    "broken events": {"garbage": "sse"},
    "a line of 100 MB": {"long_line_bytes": 100_000_000},
    "no choices": {"empty_choices": True},
    "arguments that are no JSON": {"tool_arguments": '{"expression": "17 *'},
    "arguments of another type": {"tool_arguments": '{"expression": [17, 23]}'},
    "arguments that are a list": {"tool_arguments": "[1, 2]"},
    "arguments under other names": {"tool_arguments": '{"formula": "17 * 23"}'},
    "no call at all": {"empty_tool_calls": True},
    "a tool that there is not": {"unknown_tool": "launch_rocket"},
    "one id for all calls": {"tool_calls": 3, "duplicate_tool_ids": True},
    "other ids": {"random_tool_ids": True},
    "two hundred calls": {"tool_calls": 200},
}


class Many:
    """A demo model for each case; a word in the question says whose it is."""

    def __init__(self, rules: Mapping[str, Mapping[str, Any]]) -> None:
        self.models: dict[str, DemoServer] = {}
        for case, rule in rules.items():
            self.models[case] = DemoServer(ttft_ms=0, tokens_per_s=0)
            self.models[case].faults.replace_with(dict(rule))

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Let the case's model answer."""
        found = re.search(rb"case([a-z]+)", await request.read())
        assert found
        return await self.models[found[1].decode()].chat(request)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Base URL."""
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/chat/completions", self.chat)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, backlog=512).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        finally:
            await runner.cleanup()


def tags() -> Iterator[str]:
    """Words that name cases: aa, ab, ..."""
    return ("".join(letters) for letters in itertools.product("abcdefghijklmnop", repeat=3))


async def executed_args(it: House, run_id: str) -> list[Mapping[str, Any]]:
    """Arguments of every tool that was run."""
    return [event.data["args"] for event in await it.events(run_id, "tool.started")]


async def judged(it: House, case: str, model: DemoServer, *, must_succeed: bool) -> list[str]:
    """What is wrong with how a run went under this fault."""
    began = asyncio.get_running_loop().time()
    row = await it.ask(f"{QUESTION} case{case}")
    took_s = asyncio.get_running_loop().time() - began
    starts = await it.events(row["run_id"], "llm.started")
    retries = [event.data["attempt"] for event in await it.events(row["run_id"], "llm.retry")]
    wrong = []
    if row["status"] == "succeeded":
        if not row["output"]["answer"].strip():
            wrong.append("an empty answer")
    elif row["status"] != "failed" or row["error"]["kind"] not in TYPED:
        wrong.append(f"{row['status']} {row['error']}")
    elif must_succeed:
        wrong.append(f"one fault and no answer: {row['error']}")
    if model.counts.requests > len(starts):
        wrong.append(f"{model.counts.requests} requests for {len(starts)} attempts")
    if max(retries, default=1) > MODEL_ATTEMPTS:
        wrong.append(f"attempt {max(retries)}")
    if took_s > CALL_S * (len(starts) - len(retries)):
        wrong.append(f"{took_s:.1f} s for {len(starts) - len(retries)} calls")
    return wrong


@pytest.mark.parametrize("rule", [{}, {"times": 1}], ids=["for ever", "once"])
async def test_every_fault_ends_in_an_answer_or_a_typed_error(database_url: str, rule: dict[str, Any]) -> None:
    cases = dict(zip(tags(), FAULTS.items(), strict=False))
    many = Many({case: {**fault, **rule} for case, (_, fault) in cases.items()})
    async with (
        many.serving() as url,
        house(database_url, Endpoint(url, "demo-large"), concurrency=40, deadlines=DEADLINES) as it,
    ):
        judging = [
            judged(
                it, case, many.models[case], must_succeed=bool(rule) and "refused" not in name and "hour" not in name
            )
            for case, (name, _) in cases.items()
        ]
        wrong = dict(zip(FAULTS, await asyncio.gather(*judging), strict=True))
        print({name: (many.models[case].counts.requests) for case, (name, _) in cases.items()})
    assert not {name: found for name, found in wrong.items() if found}


async def test_cut_arguments_are_never_executed(database_url: str) -> None:
    whole = json.dumps({"expression": " + ".join(["1"] * 250)})
    points = range(0, len(whole), extent(20, 1))  # tests/app/models has them all, without the runs around
    cases = dict(zip(tags(), points, strict=False))
    many = Many({case: {"tool_arguments": whole, "cut_tool_arguments_at": at} for case, at in cases.items()})
    async with (
        many.serving() as url,
        house(database_url, Endpoint(url, "demo-large"), concurrency=20, deadlines=DEADLINES) as it,
    ):
        rows = await asyncio.gather(*(it.ask(f"{QUESTION} case{case}") for case in cases))
        executed = [args for row in rows for args in await executed_args(it, row["run_id"])]
        assert executed == []
        assert {row["status"] for row in rows} <= {"succeeded", "failed"}
        assert {row["error"]["kind"] for row in rows if row["error"]} <= TYPED
