"""What calls cost is measured where they are made: tokens, money and times of each, and the server's own count."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from crew import crew, passage, run
from demo import RecordedDemo, recorded_demo
from pydantic import SecretStr

from app.compose import compose
from app.events import TERMINAL
from app.settings import Settings
from graphs import research

COMPARE = "Compare ReAct and debate: latency and cost"


@pytest.fixture
async def demo() -> AsyncIterator[RecordedDemo]:
    async with recorded_demo() as made:
        yield made


async def test_every_call_of_a_team_says_what_it_took_and_cost(demo: RecordedDemo) -> None:
    context = crew(demo.model(), [passage("ReAct interleaves reasoning and acting.")])

    calls = (await run(research.build().compile(), context, COMPARE)).of("llm.finished")

    assert len(calls) == len(demo.bodies) > 4
    for call in calls:
        assert call["usage"]["in"] > call["usage"]["cached"] >= 0
        assert call["usage"]["out"] > 0
        assert call["cost_usd"] == pytest.approx((call["usage"]["in"] + 2 * call["usage"]["out"]) / 1e6)
        assert 0 < call["ttft_s"] <= call["latency_s"]


async def test_a_long_question_is_counted_by_the_server_itself(
    demo: RecordedDemo, tmp_path: Path, database_url: str
) -> None:
    settings = Settings(
        home=tmp_path, database_url=SecretStr(database_url), model_url=demo.url, model="demo-large",
        context_tokens=8_192,
    )  # fmt: skip
    async with compose(settings, embed=False) as app:
        thread = (await app.runs.create_thread("chat"))["thread_id"]
        run_id = (await app.runs.start(thread, "chat", "What is a straggler? " + "It waits. " * 2_000))["run_id"]
        async for events in app.journal.follow(run_id):
            if events and events[-1].type in TERMINAL:
                break
    kinds = demo.demo.counts.told()["kinds"]
    assert kinds["tokenize"] >= 2  # what is always sent, and the question
