"""The waist with one worker, in the test's own process, on a model behind HTTP."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from patterns import NoCorpus, activities

from agents.agent import Agent, assemble, discover_agents
from agents.breaker import Breakers
from agents.context import Context, Limits
from agents.policy import Calling
from app.activities import Activity
from app.events import TERMINAL, RunEvent
from app.journal import Journal
from app.models import Deadlines, Endpoint, Models
from app.postgres import Pool, migrate, open_pool
from app.runs import Row, Runs
from app.work import Worker


@dataclass
class House:
    """What lives in it."""

    pool: Pool
    journal: Journal
    runs: Runs
    worker: Worker

    async def ask(self, question: str, graph: str = "chat", thread_id: str | None = None) -> Row:
        """Post, follow the stream to its end, read the row: one session of one person."""
        if thread_id is None:
            thread_id = (await self.runs.create_thread(graph))["thread_id"]
        run_id = (await self.runs.start(thread_id, graph, question))["run_id"]
        async with asyncio.timeout(120):
            async for batch in self.journal.follow(run_id):
                if batch and batch[-1].type in TERMINAL:
                    break
        return await self.runs.run(run_id)

    async def events(self, run_id: str, type_: str) -> list[RunEvent]:
        """Its events of one type."""
        return [event for event in await self.journal.read(run_id) if event.type == type_]


NEVER_OPEN = Breakers(min_failures=1_000_000, retries_kept=1_000_000)
"""Dozens of faults that have nothing to do with each other share one endpoint here: a breaker would end all by some."""


@asynccontextmanager
async def house(
    conninfo: str,
    endpoint: Endpoint,
    *,
    concurrency: int,
    deadlines: Deadlines | None = None,
    roles: Mapping[str, Agent] | None = None,
    graphs: Mapping[str, Activity] | None = None,
    max_connections: int = 20,
) -> AsyncIterator[House]:
    """On an empty database."""
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(await open_pool(conninfo, max_size=max_connections))
        await migrate(pool)
        models = Models({"large": endpoint, "small": endpoint}, deadlines or Deadlines())
        stack.push_async_callback(models.aclose)
        journal = await stack.enter_async_context(Journal(pool, conninfo).listening())
        limits = Limits()
        team = assemble(roles or discover_agents(), models, limits, calling=Calling(breakers=NEVER_OPEN))
        context = Context(models, team, NoCorpus(), limits)
        graphs = graphs or activities()
        worker = Worker(pool, journal, graphs, context, model_name=endpoint.model)
        await worker.queue.open(pool)
        runs = Runs(pool, journal, worker.queue, graphs, max_question_chars=100_000)
        await stack.enter_async_context(worker.working(concurrency))
        yield House(pool, journal, runs, worker)
