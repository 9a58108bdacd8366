"""The database restarts, goes away, has few connections: runs wait for it, and none is lost."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest
import pytest_asyncio
from extent import LONGEST_S, extent
from fleet import Field, Fleet, opened, until
from patterns import CHAT, RESEARCH
from psycopg.conninfo import make_conninfo

from app.compose import compose
from app.embedded_postgres import EmbeddedServer
from app.queue import DATABASE_GONE
from app.server import api
from app.settings import Settings

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow, pytest.mark.timeout(LONGEST_S)]

RUNS = extent(30, 50)
OUTAGES_S = extent([2.0, 3.0], [5.0, 12.0, 7.0, 15.0, 6.0, 9.0, 6.0])
"""Pauses between the restarts: a minute in `make soak`."""


class Server:
    """A Postgres of the test's own, which it may pull the plug of."""

    def __init__(self, folder: Path) -> None:
        self.embedded = EmbeddedServer(folder)
        self.conninfo = self.embedded.acquire()

    def database(self, name: str) -> str:
        """A new database's conninfo."""
        with psycopg.connect(self.conninfo, autocommit=True) as admin:
            admin.execute(f"create database {name}".encode())
        return make_conninfo(self.conninfo, dbname=name)

    async def pull_the_plug(self) -> None:
        """As `pg_ctl stop -m immediate`: no goodbye to anybody, recovery at the next start."""
        pid = int((self.embedded.data / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGQUIT)

        async def running() -> bool:
            return self.embedded.is_running()

        await until(running, lambda still: not still)

    async def start(self) -> None:
        await asyncio.to_thread(self.embedded.revive)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "postgres")
    yield made
    made.embedded.release()


@pytest_asyncio.fixture(loop_scope="session")
async def fragile(fleet: Fleet, server: Server, tmp_path: Path) -> AsyncIterator[Field]:
    """A field on that server."""
    async with opened(fleet, server.database("field"), tmp_path) as field:
        yield field


async def admit(field: Field, count: int) -> list[str]:
    """Runs started as a client does: with a key, and again until there is an answer."""
    run_ids = []
    for _ in range(count):
        thread_id, key = f"t-{uuid4().hex}", uuid4().hex
        while True:
            try:
                await field.runs.create_thread(RESEARCH.graph, thread_id)
                run = await field.runs.start(thread_id, RESEARCH.graph, "go", idempotency_key=key)
                break
            except DATABASE_GONE:
                await asyncio.sleep(0.1)
        run_ids.append(run["run_id"])
    return run_ids


async def test_postgres_restarts_again_and_again_under_runs(fragile: Field, server: Server, tmp_path: Path) -> None:
    fragile.model.latency_s = extent(0.3, 1.0)
    settings = Settings(
        home=tmp_path / "home", database_url=server.database("api"), model_url=fragile.model_url, _env_file=None
    )  # type: ignore[call-arg]
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(compose(settings, embed=False))
        transport = httpx.ASGITransport(api(lambda: app))
        client = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1"))

        async def ready() -> int:
            return (await client.get("/ready")).status_code

        await until(ready, lambda status: status == 200)
        workers = [await fragile.worker(RESEARCH, concurrency=8) for _ in range(2)]
        run_ids = await admit(fragile, RUNS // 2)
        late = asyncio.create_task(admit(fragile, RUNS - RUNS // 2))
        for pause_s in OUTAGES_S:
            await asyncio.sleep(pause_s)
            await server.pull_the_plug()
            assert await ready() == 503
            await server.start()
            await until(ready, lambda status: status == 200)
        run_ids += await late

        rows = await fragile.settle(run_ids, patience_s=300)
        verdict = await fragile.judge(RESEARCH, rows)
        print(f"\n{len(OUTAGES_S)} restarts: {verdict}")
        assert not verdict.faults(), "\n".join(worker.log() for worker in workers)
        assert len(await fragile.runs.threads(limit=1000)) == RUNS
        for worker in workers:
            await worker.stop()


async def test_a_worker_whose_database_is_gone_ends_when_it_is_told(fragile: Field, server: Server) -> None:
    worker = await fragile.worker(CHAT)
    await worker.up()
    await server.pull_the_plug()
    worker.signal(signal.SIGTERM)
    assert await worker.end() == 0, worker.log()
    await server.start()
