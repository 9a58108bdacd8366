"""The database by URL, migrations by many at once, the fence, and the queue's wake-up."""

import asyncio
import math
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypedDict

import psycopg
import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.graph import START, StateGraph
from procrastinate import App, PsycopgConnector
from psycopg import AsyncConnection
from psycopg.errors import LockNotAvailable

from app.postgres import (
    DatabaseUnavailable,
    Pool,
    StaleWriter,
    StillThere,
    checkpointer,
    database,
    migrate,
    open_pool,
    opened_store,
)

MIGRATOR = """
import asyncio, sys
from app.postgres import migrate, open_pool

async def main():
    async with await open_pool(sys.argv[1], max_size=2) as pool:
        print("ready", flush=True)
        sys.stdin.read()
        await migrate(pool)

asyncio.run(main())
"""
BLOB = list(range(1000))  # a list is stored as a row of its own, beside the checkpoint's


async def rows(pool: Pool, statement: str, *values: object) -> list[dict[str, Any]]:
    async with pool.connection() as connection:
        cursor = await connection.execute(statement, values)
        return await cursor.fetchall() if cursor.description else []


async def stored(pool: Pool) -> tuple[int, ...]:
    tables = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
    return tuple([(await rows(pool, f"select count(*) as n from {table}"))[0]["n"] for table in tables])


@pytest.fixture
async def run_id(pool: Pool) -> AsyncIterator[str]:
    """A run at epoch 1."""
    await rows(pool, "insert into threads (thread_id, title, graph) values ('t', 'Title', 'chat')")
    await rows(
        pool,
        "insert into runs (run_id, thread_id, graph, status, input, epoch)"
        " values ('r', 't', 'chat', 'running', '{}', 1)",
    )
    yield "r"


# DATABASE_URL


async def test_a_url_that_answers_is_used(database_url: str, tmp_path: Path) -> None:
    async with database(database_url, tmp_path / "home") as conninfo:
        with psycopg.connect(conninfo) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
    assert not (tmp_path / "home").exists(), "nothing embedded was started"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://ann:s3cret@127.0.0.1:1/shop", ("host=127.0.0.1 port=1 dbname=shop user=ann", "refused")),
        ("postgresql://ann:s3cret@127.0.0.1:1/shop?nonsense=1", ("not a connection string", "postgresql://USER")),
        ("s3cret", ("not a connection string",)),
        ("host=/nowhere password=s3cret", ("host=/nowhere", "No such file")),
    ],
)
async def test_a_url_that_does_not_answer_is_explained_without_its_password(
    url: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(DatabaseUnavailable) as refusal:
        async with database(url, tmp_path):
            pass
    for word in (*words, "DATABASE_URL"):
        assert word in str(refusal.value)
    assert "s3cret" not in str(refusal.value)


# the pool


async def test_the_pool_is_as_everybody_expects(pool: Pool) -> None:
    async with pool.connection() as connection:
        assert connection.autocommit
        assert connection.prepare_threshold == 0
    assert await rows(pool, "select 1 as one") == [{"one": 1}]


async def test_the_pool_outlives_its_connections(pool: Pool) -> None:
    others = "from pg_stat_activity where pid <> pg_backend_pid() and datname = current_database()"
    async with pool.connection() as killer:
        await killer.execute(f"select pg_terminate_backend(pid) {others}")
        while await (await killer.execute(f"select pid {others}")).fetchone():
            pass  # it returns before they have ended
    counts = await asyncio.gather(*(rows(pool, "select 1 as one") for _ in range(40)))
    assert counts == [[{"one": 1}]] * 40


class Wire:
    """A connection over a real socket, which counts how often the server was asked."""

    autocommit = True

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self.asked = descriptor, 0

    def fileno(self) -> int:
        return self._descriptor

    async def execute(self, _: str) -> None:
        self.asked += 1


async def test_a_connection_is_asked_when_its_socket_speaks_or_it_answered_long_ago() -> None:
    here, there = socket.socketpair()
    wire: Any = Wire(here.fileno())
    believing, asking = StillThere(believed_s=math.inf), StillThere(believed_s=0)
    with here, there:
        await believing(wire)
        await believing(wire)
        assert wire.asked == 1

        await asking(wire)
        await asking(wire)
        assert wire.asked == 3

        there.close()
        await believing(wire)
        assert wire.asked == 4


# migrations


def test_eight_processes_migrate_an_empty_database_at_once(database_url: str) -> None:
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", MIGRATOR, database_url],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(8)
    ]  # fmt: skip
    for starter in starters:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "ready\n"
    for starter in starters:  # all of them wait for their pipe to close: now
        assert starter.stdin is not None
        starter.stdin.close()
        starter.stdin = None
    errors = [starter.communicate()[1] for starter in starters]
    assert [starter.returncode for starter in starters] == [0] * 8, errors
    with psycopg.connect(database_url) as connection:
        counts = connection.execute("select count(*), count(distinct name) from sextant_migrations").fetchone()
        assert counts is not None and counts[0] == counts[1] > 30
        assert connection.execute("select to_regclass('checkpoints'), to_regclass('store')").fetchone() == (
            "checkpoints",
            "store",
        )


async def test_to_migrate_again_changes_nothing(pool: Pool) -> None:
    before = await rows(pool, "select * from sextant_migrations order by name")
    await migrate(pool)
    assert await rows(pool, "select * from sextant_migrations order by name") == before
    assert {"001_runs", "002_wake"} <= {row["name"] for row in before}


async def test_a_migration_that_was_edited_after_its_use_is_refused(pool: Pool) -> None:
    await rows(pool, "update sextant_migrations set sha256 = 'other' where name = '001_runs'")
    with pytest.raises(DatabaseUnavailable, match=r"app/sql/001_runs\.sql was changed"):
        await migrate(pool)


async def test_a_database_of_a_newer_version_is_refused(pool: Pool) -> None:
    await rows(pool, "insert into sextant_migrations (name, sha256) values ('999_later', '')")
    with pytest.raises(DatabaseUnavailable, match=r"newer Sextant .*999_later"):
        await migrate(pool)


async def test_another_programs_queue_is_refused_and_the_lock_given_back(database_url: str) -> None:
    async with await open_pool(database_url) as pool:
        await rows(pool, "create table procrastinate_jobs (id int)")
        for _ in range(2):  # the second attempt would hang, were the lock still held
            with pytest.raises(DatabaseUnavailable, match="job queue of another program"):
                await migrate(pool)
        await rows(pool, "drop table procrastinate_jobs")
        await migrate(pool)


async def test_an_upgrade_of_the_queue_applies_only_what_is_new(pool: Pool) -> None:
    newest = "procrastinate/03.04.00_50_post_add_retry_failed_job_procedure"
    assert await rows(pool, "delete from sextant_migrations where name = %s returning 1 as one", newest)
    await migrate(pool)
    assert await rows(pool, "select 1 as one from sextant_migrations where name = %s", newest)


async def test_the_store_remembers(pool: Pool) -> None:
    async with opened_store(pool) as kept:
        await kept.aput(("local", "facts"), "sky", {"colour": "blue"})
        item = await kept.aget(("local", "facts"), "sky")
        task = kept._task
    assert task is not None
    assert task.done()
    assert item is not None and item.value == {"colour": "blue"}


# the fence


class State(TypedDict):
    numbers: list[int]


@pytest.mark.parametrize("durability", ["sync", "async"])
async def test_a_worker_that_lost_its_run_stores_nothing_more(
    pool: Pool, run_id: str, durability: Any, caplog: pytest.LogCaptureFixture
) -> None:
    after_claim: tuple[int, ...] = ()

    async def lose(state: State) -> State:
        nonlocal after_claim
        await rows(pool, "update runs set epoch = epoch + 1 where run_id = %s", run_id)
        after_claim = await stored(pool)
        return {"numbers": BLOB}

    graph = StateGraph(State).add_node("lose", lose).add_edge(START, "lose")
    compiled = graph.compile(checkpointer=checkpointer(pool, run_id, 1))
    with pytest.raises(StaleWriter, match="Run r was claimed by another worker after epoch 1"):
        await compiled.ainvoke({"numbers": []}, {"configurable": {"thread_id": "t"}}, durability=durability)
    assert await stored(pool) == after_claim
    assert durability == "async" or after_claim[0] > 0, "it did store while the run was its own"
    assert "pipeline aborted" not in caplog.text


async def test_the_saver_still_writes_only_through_the_fenced_cursor(pool: Pool, run_id: str) -> None:
    owner, stale = checkpointer(pool, run_id, 1), checkpointer(pool, run_id, 0)
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    checkpoint = empty_checkpoint() | {"channel_values": {"numbers": BLOB}, "channel_versions": {"numbers": "1"}}
    saved = await owner.aput(config, checkpoint, {}, {"numbers": "1"})
    await owner.aput_writes(saved, [("numbers", BLOB)], "task")
    before = await stored(pool)
    assert before == (1, 1, 1)
    with pytest.raises(StaleWriter):
        await stale.aput(saved, checkpoint | {"id": "f"}, {}, {"numbers": "2"})
    with pytest.raises(StaleWriter):
        await stale.aput_writes(saved, [("numbers", BLOB)], "other")
    with pytest.raises(StaleWriter):
        await stale.adelete_thread("t")
    with pytest.raises(StaleWriter):
        await checkpointer(pool, "no such run", 1).aput_writes(saved, [("numbers", BLOB)], "other")
    assert await stored(pool) == before
    versions = await rows(pool, "select xmin::text from checkpoints union select xmin::text from checkpoint_blobs")
    assert len(versions) == 1, "checkpoint and blob are one transaction, the fence's"


async def test_the_first_claim_of_a_run_reads_what_it_wrote_and_asks_for_nothing_else(pool: Pool, run_id: str) -> None:
    saver = checkpointer(pool, run_id, 1)
    here: Any = {"configurable": {"thread_id": run_id, "checkpoint_ns": ""}}
    inner: Any = {"configurable": {"thread_id": run_id, "checkpoint_ns": "agent:1"}}
    other: Any = {"configurable": {"thread_id": "other", "checkpoint_ns": ""}}
    for place in (here, inner, other):
        await checkpointer(pool, run_id, 1).aput(place, empty_checkpoint(), {}, {})

    saver.first = True  # which is not so here: what is stored shows that nobody looks
    known = saver.with_allowlist({("somewhere", "Something")})
    assert await known.aget_tuple(here) is None
    assert await known.aget_tuple(other) is not None

    await known.aput(here, empty_checkpoint(), {}, {})
    assert await known.aget_tuple(here) is not None
    assert await saver.aget_tuple(here) is not None, "a copy that knows more types writes for the same run"
    assert await known.aget_tuple(inner) is None


async def test_a_claim_waits_for_a_fenced_write_and_a_heartbeat_does_not(pool: Pool, run_id: str) -> None:
    async with pool.connection() as writer, writer.transaction():
        await writer.execute("select fence(%s, 1)", (run_id,))
        async with pool.connection() as other:
            await other.execute("set lock_timeout = '100ms'")
            await other.execute("update runs set lease_until = now(), last_seq = last_seq + 1")
            with pytest.raises(LockNotAvailable):
                await other.execute("update runs set epoch = epoch + 1")
            await other.execute("reset lock_timeout")


async def test_a_fence_that_waited_for_a_claim_sees_it(pool: Pool, run_id: str) -> None:
    async with pool.connection() as claimer:
        async with claimer.transaction():
            await claimer.execute("update runs set epoch = epoch + 1")
            late = asyncio.create_task(rows(pool, "select fence(%s, 1)", run_id))
            while not await waits_for_a_row(claimer):  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0)
        with pytest.raises(psycopg.DatabaseError) as refusal:
            await late
    assert refusal.value.sqlstate == "SX001"


async def waits_for_a_row(connection: AsyncConnection[dict[str, Any]]) -> bool:
    cursor = await connection.execute("select 1 from pg_locks where not granted")
    return await cursor.fetchone() is not None


# the queue


@pytest.mark.parametrize("channel", ["procrastinate_any_queue_v1", "procrastinate_queue_v1#runs"])
async def test_a_freed_lock_wakes_the_workers(database_url: str, pool: Pool, channel: str) -> None:
    queue = App(connector=PsycopgConnector(conninfo=database_url))
    async with queue.open_async():
        for _ in range(2):
            await queue.configure_task("any", queue="runs", lock="thread").defer_async()
        (job,) = await rows(pool, "select id from procrastinate_fetch_job_v2(array['runs'], null)")
        async with await AsyncConnection.connect(database_url, autocommit=True) as listener:
            await listener.execute(f'listen "{channel}"')
            await rows(pool, "select procrastinate_finish_job_v1(%s, 'succeeded', false)", job["id"])
            woken = [notify.payload async for notify in listener.notifies(timeout=60, stop_after=1)]
    assert woken == [f'{{"type" : "job_inserted", "job_id" : {job["id"]}}}']
