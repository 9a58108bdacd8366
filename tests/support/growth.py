"""A long conversation on the real waist, and how many bytes of the database each of its turns takes.

All tables count, whatever a turn writes into: the database holds nothing but the conversation. Columns are measured as
they are stored, compressed and out of line too; pages, indexes and dead rows are Postgres's own business.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from crew import crew, passage
from langchain_core.messages import AIMessage, BaseMessage
from scripted import ScriptedModel, Step

from app.activities import discover_activities
from app.journal import Journal
from app.memory import PostgresMemory
from app.postgres import Pool
from app.runs import Runs
from app.work import Worker

CYCLE = 7
"""Turns after which paging is where it was: it takes six turns out at once when there are twelve. A mean over one cycle
around turn 10 is that of turns 7 to 13."""
COLUMNS = """
select table_name, string_agg(format('coalesce(pg_column_size(t.%I), 0)', column_name), ' + ') as bytes
from information_schema.columns join pg_tables on tablename = table_name and schemaname = table_schema
where table_schema = current_schema() group by 1
"""

Sizes = Mapping[str, int]


class SameAgain(ScriptedModel):
    """Its script is that of one turn, and of each: tools are handed a copy with their context."""

    async def _step(self, messages: Sequence[BaseMessage], options: dict[str, Any]) -> AIMessage:
        if not self._steps[""]:
            self._steps[""] = list(self.script)
            self._asked.clear()
        return await super()._step(messages, options)


class Conversation:
    """One thread, asked again and again."""

    def __init__(self, pool: Pool, journal: Journal, runs: Runs, graph: str) -> None:
        self.pool, self.journal, self.runs, self.graph = pool, journal, runs, graph
        self._thread, self.turns = "", 0

    async def until(self, turns: int) -> Sizes:
        """Go on to so many turns; table -> bytes then."""
        while self.turns < turns:
            await self._turn()
        return await self._bytes()

    async def mean_around(self, turn: int) -> float:
        """Bytes that a turn adds, over one cycle around `turn`."""
        before = await self.until(turn - CYCLE // 2 - 1)
        after = await self.until(turn + CYCLE // 2)
        return (sum(after.values()) - sum(before.values())) / CYCLE

    async def _turn(self) -> None:
        if not self._thread:
            self._thread = (await self.runs.create_thread(self.graph))["thread_id"]
        self.turns += 1
        question = f"Question {self.turns:05}: how many steps are there, and where do they end?"
        run_id = str((await self.runs.start(self._thread, self.graph, question))["run_id"])
        async with asyncio.timeout(60):
            async for _ in self.journal.follow(run_id):
                pass
        run = await self.runs.run(run_id)
        assert run["status"] == "succeeded", run["error"]

    async def _bytes(self) -> Sizes:
        sizes = {}
        async with self.pool.connection() as connection:
            for table in await (await connection.execute(COLUMNS)).fetchall():
                name = table["table_name"]
                query = f"select coalesce(sum({table['bytes']}), 0)::bigint as n from {name} t"
                row = await (await connection.execute(query)).fetchone()
                assert row is not None
                sizes[name] = int(row["n"])
        return sizes


@asynccontextmanager
async def conversation(pool: Pool, conninfo: str, graph: str, turn: Sequence[Step]) -> AsyncIterator[Conversation]:
    """With one worker, on which a model speaks for everybody that says the same in each turn; memory finds by words."""
    activities = discover_activities()
    passages = [passage("Waits end at barriers, and a barrier ends when the last one comes. " * 8)]
    context = replace(crew(SameAgain(turn), passages), memory=PostgresMemory(pool, None))
    async with Journal(pool, conninfo).listening() as journal:
        worker = Worker(pool, journal, activities, context, model_name="scripted")
        await worker.queue.open(pool)
        runs = Runs(pool, journal, worker.queue, activities, max_question_chars=1000)
        async with worker.working(2):
            yield Conversation(pool, journal, runs, graph)
