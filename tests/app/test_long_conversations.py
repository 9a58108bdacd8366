"""Long conversations on the real waist with the demo model: what was paged out, or remembered, is still known."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import orjson
import pytest
from crew import crew, passage
from demo import RecordedDemo, recorded_demo

from agents.paging import MOST_CARRIED
from app.activities import discover_activities
from app.journal import Journal
from app.memory import PostgresMemory
from app.models import Endpoint
from app.models.counting import ServedTokens
from app.postgres import Pool
from app.runs import Runs
from app.work import Worker
from retrieval.embed import OnnxEmbedder

pytestmark = pytest.mark.timeout(120)

CONCRETE = passage("Concrete hardens for twenty-eight days before it carries its full load.")


class Talk:
    """One worker, the demo model, a real memory; and what a person says."""

    def __init__(self, journal: Journal, runs: Runs, demo: RecordedDemo) -> None:
        self.journal, self.runs, self.demo = journal, runs, demo
        self.threads: dict[str, str] = {}

    async def say(self, text: str, thread: str = "first") -> str:
        """What is answered."""
        if thread not in self.threads:
            self.threads[thread] = (await self.runs.create_thread("chat"))["thread_id"]
        run_id = str((await self.runs.start(self.threads[thread], "chat", text))["run_id"])
        events = [event async for batch in self.journal.follow(run_id) for event in batch]
        self.events = [(event.type, event.data) for event in events]
        run = await self.runs.run(run_id)
        assert run["status"] == "succeeded", run["error"]
        return str(run["output"]["answer"])

    def of(self, type_: str) -> list[Any]:
        """Data of the last run's events of a type."""
        return [data for type, data in self.events if type == type_]


@asynccontextmanager
async def talking(pool: Pool, conninfo: str, **limits: Any) -> AsyncIterator[Talk]:
    embedder = await OnnxEmbedder.load(threads=1)
    async with recorded_demo() as demo, Journal(pool, conninfo).listening() as journal:
        bare = crew(demo.model(), [CONCRETE], **limits)
        counter = ServedTokens(Endpoint(demo.url, "demo-large"))
        context = replace(bare, memory=PostgresMemory(pool, embedder), counters={"large": counter, "small": counter})
        activities = discover_activities()
        worker = Worker(pool, journal, activities, context, model_name="demo")
        await worker.queue.open(pool)
        async with worker.working(1):
            yield Talk(journal, Runs(pool, journal, worker.queue, activities, max_question_chars=100_000), demo)
    await embedder.close()


async def test_what_was_said_in_a_turn_that_was_paged_out_is_still_answered(pool: Pool, database_url: str) -> None:
    async with talking(pool, database_url) as talk:
        await talk.say("Our project's code name is Bluebird.")
        for n in range(MOST_CARRIED // 2):
            await talk.say("Great!" if n % 2 else "Thanks!")
        assert len(talk.demo.asked[-1]["messages"]) == MOST_CARRIED + 2

        answer = await talk.say("What is our project's code name?")

        assert talk.of("memory.paged")[0]["messages"] > 10
        sent = talk.demo.asked[-1]["messages"]
        assert len(sent) < MOST_CARRIED
        assert not any("Bluebird" in str(it["content"]) for it in sent[:-1] if it["role"] in ("system", "assistant"))
        assert "Bluebird" in answer


async def test_what_was_remembered_is_known_in_the_next_conversation(pool: Pool, database_url: str) -> None:
    async with talking(pool, database_url) as talk:
        await talk.say("Remember: my travel budget is 500 euros.")
        [written] = talk.of("memory.written")
        answer = await talk.say("What is my travel budget?", "second")

        assert (written["author"], written["version"], written["place"]) == ("assistant", 1, "fact")
        assert "500 euros" in answer


async def test_a_question_about_something_else_is_answered_as_before(pool: Pool, database_url: str) -> None:
    async with talking(pool, database_url) as talk:
        await talk.say("Remember: my travel budget is 500 euros.")
        answer = await talk.say("How long does concrete harden?", "second")

        assert "twenty-eight days" in answer
        assert "500" not in answer


async def test_no_request_passes_the_window(pool: Pool, database_url: str) -> None:
    window = 4_000
    async with talking(pool, database_url, context_tokens=window) as talk:
        counter = ServedTokens(Endpoint(talk.demo.url, "demo-large"))
        for n in range(6):
            await talk.say(f"Summarise this, part {n}: " + f"Stone number {n} lies on the beach. " * 150)
        await talk.say("How long does concrete harden?")

        for asked in talk.demo.asked:
            texts = [str(it.get("content") or "") for it in asked["messages"]]
            assert sum(await counter.count(texts)) <= window * 3 // 4
        assert talk.demo.demo.counts.kinds["tokenize"] > 0


async def test_a_turn_begins_with_the_bytes_of_the_turn_before(pool: Pool, database_url: str) -> None:
    """As far as the question itself, behind which memory stands; but for the two turns that page something out."""
    async with talking(pool, database_url) as talk:
        for n in range(22):
            await talk.say("Great!" if n % 2 else "Thanks!")

        sent = [[orjson.dumps(it) for it in asked["messages"]] for asked in talk.demo.asked]
        said = [[str(it["content"]) for it in asked["messages"]] for asked in talk.demo.asked]
        pages = [n for n in range(1, 22) if sent[n][: len(sent[n - 1]) - 1] != sent[n - 1][:-1]]
        questions = [said[n - 1][-1].startswith(said[n][len(said[n - 1]) - 1]) for n in range(1, 22) if n not in pages]

    assert len(sent) == 22
    assert [after - before for before, after in pairwise(pages)] == [7]
    assert all(questions)


async def test_two_at_once_page_the_same_turn_once(pool: Pool, database_url: str) -> None:
    async with talking(pool, database_url) as talk:
        await talk.say("Our project's code name is Bluebird.")
        for _ in range(MOST_CARRIED // 2):
            await talk.say("Thanks!")
        thread = talk.threads["first"]
        await asyncio.gather(*(talk.runs.start(thread, "chat", f"Hello {n}") for n in range(2)))
        await talk.say("Thanks!")
        async with pool.connection() as connection:
            rows = await (
                await connection.execute(
                    "select text, count(*) as n from memories where text like '%Bluebird%' group by 1"
                )
            ).fetchall()

    assert [row["n"] for row in rows] == [1] * len(rows)
    assert rows
