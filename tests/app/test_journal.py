"""The log of a run in a real Postgres: numbered without gaps, fenced, followed by anybody, whatever dies."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from app.events import ROOT, RunEvent
from app.journal import COMMANDS, READ_ROWS, Journal, Recorder
from app.postgres import Pool, StaleWriter

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
async def run(pool: Pool) -> None:
    """A run `r` at epoch 1."""
    await sql(pool, "insert into threads (thread_id, title, graph) values ('t', 'T', 'chat')")
    await sql(
        pool,
        "insert into runs (run_id, thread_id, graph, status, input, epoch)"
        " values ('r', 't', 'chat', 'running', '{}', 1)",
    )


@pytest.fixture
async def journal(pool: Pool, database_url: str) -> AsyncIterator[Journal]:
    async with Journal(pool, database_url).listening() as journal:
        yield journal


async def sql(pool: Pool, text: str, *params: Any) -> list[Any]:
    async with pool.connection() as connection:
        cursor = await connection.execute(text, params)
        return list(await cursor.fetchall()) if cursor.description else []


def event(type_: str = "node.started", span: str = "n:1", **data: Any) -> RunEvent:
    return RunEvent(type_, span, ROOT, data, time.time())


def token(text: str, span: str = "l") -> RunEvent:
    return event("llm.token", span, text=text)


async def nothing(connection: Any, run_id: str) -> None:
    """What belongs into the last transaction: nothing."""


async def finish(recorder: Recorder, also: Callable[[Any, str], Awaitable[None]] = nothing) -> None:
    await recorder.finish(
        event("run.finished", ROOT, answer="A"), "succeeded", Jsonb({"answer": "A"}), Jsonb(None), also
    )


async def stored(pool: Pool, *events: RunEvent, epoch: int = 1, last: int = 0) -> None:
    async with Recorder(pool, "r", epoch, last) as recorder:
        for it in events:
            recorder.emit(it)


async def everything(follower: AsyncIterator[list[RunEvent]]) -> list[RunEvent]:
    return [it async for batch in follower for it in batch]


# -- writing ---------------------------------------------------------------------------------------


async def test_events_come_back_as_they_were(pool: Pool, journal: Journal) -> None:
    was = RunEvent(
        "tool.started", "s", "p", {"args": {"q": "Zeit – 時間 \u202e"}, "n": [1, 2.5, None]}, 1_700_000_000.123456, 3
    )
    await stored(pool, was)

    (now,) = await journal.read("r")

    assert (now.type, now.span_id, now.parent_id, now.data, now.attempt) == ("tool.started", "s", "p", was.data, 3)
    assert now.at == pytest.approx(was.at, abs=1e-6)
    assert now.seq == 1


async def test_rows_are_numbered_without_gaps_over_batches_and_claims(pool: Pool, journal: Journal) -> None:
    for n in range(3):
        await stored(pool, *(event(n=n, at=at) for at in range(5)), last=5 * n)

    events = await journal.read("r")

    assert [it.seq for it in events] == list(range(1, 16))
    assert [(it.data["n"], it.data["at"]) for it in events] == [(n, at) for n in range(3) for at in range(5)]
    assert await journal.read("r", 12) == events[12:]
    assert await journal.read("other") == []


async def test_tokens_of_a_span_share_rows_and_lose_nothing(pool: Pool, journal: Journal) -> None:
    words = [f"word{n} " for n in range(200)]
    await stored(pool, *(token(word, span) for word in words for span in ("a", "b")), event("llm.finished", "a"))

    events = await journal.read("r")

    texts = {
        span: "".join(it.data["text"] for it in events if (it.span_id, it.type) == (span, "llm.token")) for span in "ab"
    }
    assert texts == {"a": "".join(words), "b": "".join(words)}
    assert len(events) == 3
    assert events[-1].type == "llm.finished"


async def test_a_long_log_is_read_to_its_end(pool: Pool, journal: Journal) -> None:
    count = 2 * READ_ROWS + 1
    insert = "insert into run_events (run_id, seq, type, span_id) select 'r', n, 'x', 's' from generate_series(1, %s) n"
    await sql(pool, insert, count)

    assert [it.seq for it in await journal.read("r")] == list(range(1, count + 1))
    assert len(await journal.read("r", READ_ROWS)) == count - READ_ROWS


async def test_result_and_end_are_one_transaction(pool: Pool, journal: Journal) -> None:
    async def also(connection: Any, run_id: str) -> None:
        seen = await (await connection.execute("select status from runs where run_id = %s", (run_id,))).fetchone()
        assert seen == {"status": "succeeded"}
        raise LookupError("what belongs to it failed")

    with pytest.raises(LookupError):
        async with Recorder(pool, "r", 1, 0) as recorder:
            recorder.emit(event())
            await finish(recorder, also)

    assert [it.type for it in await journal.read("r")] == ["node.started"]
    assert await sql(pool, "select status, output from runs") == [{"status": "running", "output": None}]


async def test_a_finished_run_has_its_result_and_its_end(pool: Pool, journal: Journal) -> None:
    async with Recorder(pool, "r", 1, 0) as recorder:
        recorder.emit(event())
        await finish(recorder)

    assert [it.type for it in await journal.read("r")] == ["node.started", "run.finished"]
    (row,) = await sql(pool, "select status, output, finished_at is not null as over from runs")
    assert row == {"status": "succeeded", "output": {"answer": "A"}, "over": True}


# -- who may write ---------------------------------------------------------------------------------


async def test_a_worker_that_lost_its_run_adds_nothing(pool: Pool, journal: Journal) -> None:
    async with Recorder(pool, "r", 1, 0) as recorder:
        await sql(pool, "update runs set epoch = 2")
        recorder.emit(event())
        await recorder.lost.wait()
        with pytest.raises(StaleWriter):
            await finish(recorder)

    assert await journal.read("r") == []
    assert (await sql(pool, "select status from runs")) == [{"status": "running"}]


async def test_the_new_owner_goes_on_where_the_log_ends(pool: Pool, journal: Journal) -> None:
    await stored(pool, event(), event())
    await sql(pool, "update runs set epoch = 2")
    await stored(pool, event("run.started"), epoch=2, last=2)

    assert [it.seq for it in await journal.read("r")] == [1, 2, 3]


async def test_numbers_that_are_taken_are_an_error_not_a_loss(pool: Pool) -> None:
    await stored(pool, event())

    with pytest.raises(psycopg.errors.UniqueViolation):
        await stored(pool, event("tool.started"), last=0)


# -- beside what somebody else writes --------------------------------------------------------------


class Torn(Exception):
    """Ends somebody else's transaction."""


async def beside(pool: Pool, recorder: Recorder, *, torn: str = "") -> None:
    """A transaction of somebody else, with what waits; `torn`: where it fails."""
    async with recorder.beside() as (statement, values), pool.connection() as connection:
        async with connection.transaction():
            await connection.execute(statement, values)
            await connection.execute("update threads set title = title || '!'")
            if torn == "before":
                raise Torn
        if torn == "after":
            raise Torn


@pytest.fixture
async def slow(pool: Pool) -> AsyncIterator[Recorder]:
    """A recorder that stores nothing by itself for as long as a test lasts."""
    async with Recorder(pool, "r", 1, 0, flush_s=3600) as recorder:
        yield recorder


async def test_what_waits_is_stored_with_the_step_that_rests_on_it(
    pool: Pool, journal: Journal, slow: Recorder
) -> None:
    slow.emit(event(n=1))
    await beside(pool, slow)
    await beside(pool, slow)  # nothing waits: the fence alone

    (row,) = await sql(
        pool, "select e.xmin = t.xmin as together from run_events e, (select xmin from threads) t where seq = 1"
    )
    assert row == {"together": False}, "the second transaction wrote the thread once more"
    slow.emit(event(n=2))
    await beside(pool, slow)
    (row,) = await sql(pool, "select e.xmin = t.xmin as together from run_events e, threads t where seq = 2")
    assert row == {"together": True}
    assert [it.data["n"] for it in await journal.read("r")] == [1, 2]


@pytest.mark.parametrize("torn", ["before", "after"])
async def test_what_was_to_be_stored_beside_a_write_that_broke_is_there_once(
    pool: Pool, journal: Journal, slow: Recorder, torn: str
) -> None:
    slow.emit(event(n=1))
    slow.emit(token("a"))
    with pytest.raises(Torn):
        await beside(pool, slow, torn=torn)
    assert len(await journal.read("r")) == (2 if torn == "after" else 0)

    slow.emit(token("b"))
    await beside(pool, slow)
    slow.emit(event(n=2))
    await finish(slow)

    events = await journal.read("r")
    assert [it.type for it in events] == ["node.started", "llm.token", "llm.token", "node.started", "run.finished"]
    assert "".join(it.data.get("text", "") for it in events) == "ab"


async def test_nothing_is_stored_beside_what_belongs_to_another_worker(
    pool: Pool, journal: Journal, slow: Recorder
) -> None:
    slow.emit(event())
    await sql(pool, "update runs set epoch = 2")

    with pytest.raises(psycopg.DatabaseError, match="not at epoch 1"):
        await beside(pool, slow)
    with pytest.raises(StaleWriter):
        await beside(pool, slow)

    assert await journal.read("r") == []
    assert await sql(pool, "select title from threads") == [{"title": "T"}]


async def test_an_end_that_was_given_up_is_told_by_nobody(pool: Pool, journal: Journal) -> None:
    reached = asyncio.Event()

    async def never(connection: Any, run_id: str) -> None:
        reached.set()
        await asyncio.Event().wait()

    async with Recorder(pool, "r", 1, 0) as recorder:
        recorder.emit(event(n=1))
        ending = asyncio.create_task(finish(recorder, never))
        await reached.wait()
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        await recorder.finish(event("run.cancelled", ROOT), "cancelled", Jsonb(None), Jsonb(None), nothing)

    assert [(it.seq, it.type) for it in await journal.read("r")] == [(1, "node.started"), (2, "run.cancelled")]


# -- a database that goes away ---------------------------------------------------------------------


class Unsteady:
    """The real pool, over a wire that breaks before or after the first commit."""

    def __init__(self, pool: Pool, breaks: str) -> None:
        self._pool, self._breaks = pool, breaks

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        breaks, self._breaks = self._breaks, ""
        if breaks == "before":
            raise psycopg.OperationalError("the connection is lost")
        async with self._pool.connection() as connection:
            yield connection
        if breaks == "after":
            raise psycopg.OperationalError("the connection is lost")


@pytest.mark.parametrize("breaks", ["before", "after"])
async def test_what_was_written_when_the_wire_broke_is_there_once(pool: Pool, journal: Journal, breaks: str) -> None:
    unsteady: Any = Unsteady(pool, breaks)
    async with Recorder(unsteady, "r", 1, 0) as recorder:
        recorder.emit(event(n=1))
        await recorder.flush()
    await stored(pool, event(n=2), last=1)

    assert [it.data["n"] for it in await journal.read("r")] == [1, 2]


async def test_an_end_whose_acknowledgement_was_lost_happened(pool: Pool, journal: Journal) -> None:
    unsteady: Any = Unsteady(pool, "after")
    async with Recorder(unsteady, "r", 1, 0) as recorder:
        await finish(recorder)

    assert [it.type for it in await journal.read("r")] == ["run.finished"]
    assert (await sql(pool, "select status from runs")) == [{"status": "succeeded"}]


# -- following -------------------------------------------------------------------------------------


async def test_a_follower_sees_what_was_and_what_comes_until_the_end(pool: Pool, journal: Journal) -> None:
    await stored(pool, event(n=1), event(n=2))
    follower = journal.follow("r")
    first = await anext(follower)
    assert [it.data["n"] for it in first] == [1, 2]

    async with Recorder(pool, "r", 1, 2) as recorder:
        rest = asyncio.create_task(everything(follower))
        for n in range(3, 8):
            recorder.emit(event(n=n))
        await finish(recorder)

    assert [it.seq for it in [*first, *await rest]] == list(range(1, 9))


async def test_followers_do_not_disturb_each_other(pool: Pool, journal: Journal) -> None:
    await stored(pool, *(event(n=n) for n in range(5)))
    behind, ahead = journal.follow("r"), journal.follow("r", 5)
    assert len(await anext(behind)) == 5
    assert await anext(ahead) == []
    left = journal.follow("r")
    await anext(left)
    await left.aclose()

    async with Recorder(pool, "r", 1, 5) as recorder:
        readers = [asyncio.create_task(everything(it)) for it in (behind, ahead)]
        recorder.emit(event(n=5))
        await finish(recorder)

    for reader in readers:
        assert [it.seq for it in await reader] == [6, 7]


async def test_a_follower_of_a_run_that_is_over_gets_all_and_ends(pool: Pool, journal: Journal) -> None:
    async with Recorder(pool, "r", 1, 0) as recorder:
        recorder.emit(event())
        await finish(recorder)

    assert [it.seq for it in await everything(journal.follow("r"))] == [1, 2]
    assert [it.seq for it in await everything(journal.follow("r", 1))] == [2]
    assert await everything(journal.follow("r", 2)) == []


async def test_a_run_that_was_resumed_is_followed_past_its_first_end(pool: Pool, journal: Journal) -> None:
    await stored(pool, event(), event("run.failed", ROOT), event("run.started", ROOT))
    follower = journal.follow("r", 2)
    assert [it.seq for it in await anext(follower)] == [3]

    async with Recorder(pool, "r", 1, 3) as recorder:
        await finish(recorder)

    assert [it.seq for it in await everything(follower)] == [4]


async def test_closing_ends_every_follower(journal: Journal) -> None:
    followers = [journal.follow("r"), journal.follow("other")]
    for follower in followers:
        assert await anext(follower) == []
    waiting = [asyncio.create_task(everything(follower)) for follower in followers]

    journal.close()

    assert await asyncio.gather(*waiting) == [[], []]
    assert journal.closed


async def heard(pool: Pool, journal: Journal) -> None:
    """Return when the journal hears notifications: nothing but one fills the queue of commands."""
    while True:
        await sql(pool, "select pg_notify(%s, 'hello')", COMMANDS)
        try:
            await asyncio.wait_for(journal.commands.get(), 0.1)
        except TimeoutError:
            continue
        return


async def test_listening_goes_on_after_its_backend_was_terminated(pool: Pool, journal: Journal) -> None:
    await heard(pool, journal)
    follower = journal.follow("r")
    assert await anext(follower) == []
    while not journal.commands.empty():
        journal.commands.get_nowait()

    killed = await sql(
        pool,
        "select pg_terminate_backend(pid) as done from pg_stat_activity"
        " where query ilike 'listen%%' and datname = current_database()",
    )
    assert killed == [{"done": True}]
    async with Recorder(pool, "r", 1, 0) as recorder:
        recorder.emit(event())
        await finish(recorder)

    assert [it.seq for it in await everything(follower)] == [1, 2]
    await heard(pool, journal)
