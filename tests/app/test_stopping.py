"""A stop that meets another change of the same run: whatever comes first, the run ends as stopped, once and for all."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from protocol_graphs import Gates, chain
from psycopg.types.json import Jsonb

from agents.context import Context, Limits
from app.activities import Activity, discover_activities
from app.claim import Claim
from app.events import RunEvent
from app.journal import Journal, Recorder
from app.postgres import Pool
from app.projection import RunView
from app.queue import RunQueue
from app.runs import Runs
from app.shapes import read_shape
from app.work import Worker
from graphs.state import ChatState

Row = dict[str, Any]

AT_WORK = (
    "update runs set status = 'running', epoch = 1, worker = 'w', started_at = now(), "
    "lease_until = now() + interval '1 hour' where run_id = %s"
)
HANDED_BACK = "update runs set status = 'queued', worker = null, lease_until = null where run_id = %s"
ASKING = "update runs set status = 'waiting', worker = null, lease_until = null where run_id = %s"


@dataclass
class Waist:
    """Runs that nobody works on but the test."""

    runs: Runs
    pool: Pool
    database_url: str

    async def at_work(self) -> str:
        thread = await self.runs.create_thread("chat")
        run = await self.runs.start(thread["thread_id"], "chat", "Why?")
        async with self.pool.connection() as connection:
            await connection.execute(AT_WORK, (run["run_id"],))
        return str(run["run_id"])

    async def stopped_during(self, run_id: str, change: str) -> Row:
        """The run, stopped by a person while its worker's `change` is on its way."""
        async with await psycopg.AsyncConnection.connect(self.database_url) as worker:
            await worker.execute(change, (run_id,))
            stopping = asyncio.create_task(self.runs.cancel(run_id))
            while not stopping.done() and not await self.somebody_waits():  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.01)
            await worker.commit()
            return await stopping

    async def somebody_waits(self) -> bool:
        async with self.pool.connection() as connection:
            return (await connection.execute("select 1 from pg_locks where not granted")).rowcount > 0

    async def row(self, run_id: str) -> Row:
        async with self.pool.connection() as connection:
            row = await (await connection.execute("select * from runs where run_id = %s", (run_id,))).fetchone()
        assert row is not None
        return row

    async def types(self, run_id: str) -> list[str]:
        return [event.type for event in await self.runs.journal.read(run_id)]


@pytest.fixture
async def waist(pool: Pool, database_url: str) -> AsyncIterator[Waist]:
    async def nobody(run_id: str, stopped: Any) -> None:
        raise AssertionError("no worker is started here")

    queue = RunQueue(nobody)
    await queue.open(pool)
    runs = Runs(pool, Journal(pool, database_url), queue, discover_activities(), max_question_chars=1000)
    yield Waist(runs, pool, database_url)


@pytest.mark.parametrize("change", [HANDED_BACK, ASKING])
async def test_a_run_that_leaves_its_worker_while_it_is_stopped_is_stopped(waist: Waist, change: str) -> None:
    run_id = await waist.at_work()
    run = await waist.stopped_during(run_id, change)
    assert run["status"] == "cancelled"
    assert (await waist.types(run_id))[-1] == "run.cancelled"


async def test_the_end_of_a_stopped_run_is_told_with_its_status_or_not_at_all(waist: Waist) -> None:
    """Both are one transaction: what its children wait for is there when anybody can see that it ended."""
    run_id = await waist.at_work()
    child = await waist.runs.start((await waist.runs.run(run_id))["thread_id"], "chat", "And then?")
    async with waist.pool.connection() as connection:
        await connection.execute(HANDED_BACK, (run_id,))
        # whatever ends before the event is stored would be seen by everybody: the event cannot be stored
        await connection.execute(
            "alter table run_events add constraint full_disk check (type <> 'run.cancelled') not valid"
        )
    with pytest.raises(psycopg.errors.CheckViolation):
        await waist.runs.cancel(run_id)
    assert (await waist.runs.run(run_id))["status"] == "queued"
    assert (await waist.runs.run(child["run_id"]))["job_id"] is None


async def test_a_run_that_was_stopped_while_it_asked_does_not_go_on_asking(waist: Waist) -> None:
    """The wish comes with the question: whoever has the run next ends it."""
    run_id = await waist.at_work()
    run = await waist.row(run_id)
    await waist.runs.cancel(run_id)  # its worker is alive, so it is told; it is about to ask and has not heard
    async with Recorder(waist.pool, run_id, 1, 0) as recorder:
        activity = discover_activities()["chat"]
        claim = Claim(
            waist.pool, waist.runs.queue, run, activity, RunView(activity.shape), recorder,
            Context({}, {}, None, Limits()), set(), model_name="none", stopped=lambda: False,
        )  # fmt: skip
        await claim._wait([])
    assert (await waist.runs.run(run_id))["status"] == "queued"


async def test_a_stop_that_comes_by_two_ways_is_one(waist: Waist) -> None:
    """The worker reads the wish in the run's row, and the queue aborts its job: two cancellations, one end."""
    gates = Gates()
    builder = chain(ChatState, wait=gates.wait)
    activity = Activity("waits", "", builder, read_shape(builder.compile()), {})
    run_id = await waist.at_work()
    run = await waist.row(run_id)
    async with Recorder(waist.pool, run_id, 1, 0) as recorder:
        claim = Claim(
            waist.pool, waist.runs.queue, run, activity, RunView(activity.shape), recorder,
            Context({}, {}, None, Limits()), set(), model_name="none", stopped=lambda: True,
        )  # fmt: skip
        carrying = asyncio.create_task(claim.carry())
        await gates.reached("Why?")
        async with await psycopg.AsyncConnection.connect(waist.database_url) as other:
            await other.execute("select 1 from runs where run_id = %s for update", (run_id,))
            claim.grant("stop")
            while not await waist.somebody_waits():  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.01)
            carrying.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await carrying
    assert (await waist.runs.run(run_id))["status"] == "cancelled"
    assert (await waist.types(run_id)).count("run.cancelled") == 1


async def test_a_stop_is_told_once(waist: Waist) -> None:
    run_id = await waist.at_work()
    async with waist.pool.connection() as connection:
        await connection.execute(ASKING, (run_id,))
        await connection.execute(
            "insert into run_events (run_id, seq, type, span_id, data) values (%s, 7, 'run.waiting', 'run', %s)",
            (run_id, Jsonb({})),
        )
    runs = await asyncio.gather(*(waist.runs.cancel(run_id) for _ in range(8)))
    assert {run["status"] for run in runs} == {"cancelled"}
    events: list[RunEvent] = await waist.runs.journal.read(run_id)
    assert [(event.seq, event.type) for event in events] == [(7, "run.waiting"), (8, "run.cancelled")]


async def test_a_conversation_is_deleted_whole_or_not_at_all(waist: Waist) -> None:
    """Nobody sees its runs stopped on the way: whoever waits for one is told that it is gone, and nothing else."""
    run_id = await waist.at_work()
    thread_id = (await waist.runs.run(run_id))["thread_id"]
    queued = await waist.runs.start(thread_id, "chat", "And then?")
    before = [await waist.row(run_id), await waist.row(queued["run_id"])]
    async with waist.pool.connection() as connection:  # the last step fails
        await connection.execute("create table kept (thread_id text references threads)")
        await connection.execute("insert into kept values (%s)", (thread_id,))
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        await waist.runs.delete_thread(thread_id)
    assert [await waist.row(run_id), await waist.row(queued["run_id"])] == before

    async with waist.pool.connection() as connection:
        await connection.execute("drop table kept")
    await waist.runs.delete_thread(thread_id)
    async with waist.pool.connection() as connection:
        assert (await connection.execute("select 1 from runs where thread_id = %s", (thread_id,))).rowcount == 0
        job = await connection.execute("select status from procrastinate_jobs where id = %s", (before[0]["job_id"],))
        assert [row["status"] for row in await job.fetchall()] == ["cancelled"]


async def test_a_run_that_was_deleted_unheard_is_cut_at_the_next_heartbeat(waist: Waist) -> None:
    """Its worker has heard nothing, by neither way. A run that no row speaks of must not go on spending."""
    gates = Gates()
    builder = chain(ChatState, wait=gates.wait)
    activity = Activity("chat", "", builder, read_shape(builder.compile()), {})
    worker = Worker(
        waist.pool, waist.runs.journal, {"chat": activity}, Context({}, {}, None, Limits()), model_name="none"
    )
    await worker.queue.open(waist.pool)
    thread = await waist.runs.create_thread("chat")
    kept, deleted = [
        (await waist.runs.start(thread_id, "chat", thread_id))["run_id"]
        for thread_id in (thread["thread_id"], (await waist.runs.create_thread("chat"))["thread_id"])
    ]
    carrying = {run_id: asyncio.create_task(worker.execute(run_id, lambda: False)) for run_id in (kept, deleted)}
    for run_id in carrying:
        await gates.reached((await waist.runs.run(run_id))["question"])
    async with waist.pool.connection() as connection:
        await connection.execute("delete from runs where run_id = %s", (deleted,))
    await worker._keep_leases()
    await asyncio.wait_for(carrying[deleted], 60)
    assert not carrying[kept].done()
    gates.open((await waist.runs.run(kept))["question"])
    await carrying[kept]
    assert (await waist.runs.run(kept))["status"] == "succeeded"
