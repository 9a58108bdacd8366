"""The blackboard on a real database: no update is lost, no question taken twice, no board read by a stranger."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from agents.blackboard import Conflict, changed
from agents.errors import ToolFailed
from app.blackboard import MAX_ENTRIES, RunBoard
from app.postgres import Pool, StaleWriter

AGENTS, INCREMENTS = 50, 20


@pytest.fixture
async def board(pool: Pool) -> AsyncIterator[RunBoard]:
    """A board of a conversation."""
    await thread(pool, "t1")
    yield RunBoard(pool, "t1", "ann")


async def thread(pool: Pool, thread_id: str, owner: str = "ann") -> None:
    async with pool.connection() as connection:
        insert = "insert into threads (thread_id, owner, title, graph) values (%s, %s, 'T', 'chat')"
        await connection.execute(insert, (thread_id, owner))


async def a_run(pool: Pool, epoch: int) -> None:
    async with pool.connection() as connection:
        insert = (
            "insert into runs (run_id, thread_id, owner, graph, status, input, epoch) "
            "values ('r1', 't1', 'ann', 'chat', 'running', '{}', %s)"
        )
        await connection.execute(insert, (epoch,))


async def test_an_entry_has_a_version_an_author_and_a_time(board: RunBoard) -> None:
    nothing = await board.read("finding")
    first = await board.write("finding", {"slots": 3}, 0, "researcher")
    second = await board.write("finding", {"slots": 4}, 1, "critic")

    assert (nothing.version, nothing.value) == (0, None)
    assert (first.version, first.author) == (1, "researcher")
    assert await board.read("finding") == second
    assert (second.version, second.author, second.value) == (2, "critic", {"slots": 4})
    assert first.written_at and second.written_at and first.written_at < second.written_at


@pytest.mark.parametrize("expected", [0, 2, 7])
async def test_a_write_on_another_version_is_refused_with_the_actual_one(board: RunBoard, expected: int) -> None:
    await board.write("finding", "a", 0, "researcher")

    with pytest.raises(Conflict, match=r"finding: version \d was expected, researcher has made it 1; read it") as error:
        await board.write("finding", "b", expected, "critic")

    assert (error.value.expected, error.value.actual, error.value.author) == (expected, 1, "researcher")
    assert (await board.read("finding")).value == "a"


async def test_what_was_never_there_cannot_be_changed(board: RunBoard) -> None:
    with pytest.raises(Conflict) as error:
        await board.write("finding", "b", 3, "critic")

    assert error.value.actual == 0
    assert await board.entries() == {}


async def test_fifty_agents_lose_none_of_a_thousand_increments(board: RunBoard) -> None:
    def one_more(value: int | None) -> int:
        return (value or 0) + 1

    async def agent(name: str) -> None:
        for _ in range(INCREMENTS):
            await changed(board, "count", name, one_more)

    await asyncio.gather(*(agent(f"agent {n}") for n in range(AGENTS)))

    entry = await board.read("count")
    assert (entry.value, entry.version) == (AGENTS * INCREMENTS, AGENTS * INCREMENTS)


async def test_without_versions_the_same_agents_would_lose_updates(board: RunBoard) -> None:
    """The test above can fail: writers who read together and look at no version overwrite each other."""
    together = asyncio.Barrier(AGENTS)
    kept = 0

    async def agent(name: str) -> None:
        nonlocal kept
        seen = await board.read("count")
        await together.wait()
        try:
            await board.write("count", (seen.value or 0) + 1, seen.version, name)
            kept += 1
        except Conflict:
            pass

    await asyncio.gather(*(agent(f"agent {n}") for n in range(AGENTS)))

    assert kept == 1


async def test_one_of_fifty_claimers_wins_each_key(board: RunBoard) -> None:
    keys = [f"question {n}" for n in range(4)]
    asked = [(key, f"agent {n}") for n in range(AGENTS) for key in keys]

    claims = await asyncio.gather(*(board.claim(key, author) for key, author in asked))

    assert Counter(claim.key for claim in claims if claim.mine) == dict.fromkeys(keys, 1)
    winners = {claim.key: claim.author for claim in claims if claim.mine}
    assert all(claim.author == winners[claim.key] for claim in claims)


async def test_a_dead_claimers_key_is_free_after_its_lease(board: RunBoard, pool: Pool) -> None:
    await board.claim("question", "dead", lease_s=3600)
    refused = await board.claim("question", "alive")
    async with pool.connection() as connection:  # the database's clock decides, and an hour is too long for a test
        await connection.execute("update board_claims set until = clock_timestamp() - interval '1 millisecond'")

    assert (refused.mine, refused.author) == (False, "dead")
    assert (await board.claim("question", "alive")).mine
    assert not (await board.claim("question", "dead")).mine


async def test_a_claimer_keeps_and_returns_its_key(board: RunBoard) -> None:
    first = await board.claim("question", "ann 1", lease_s=1)
    longer = await board.claim("question", "ann 1", lease_s=60)

    assert longer.mine and longer.until > first.until
    assert not await board.release("question", "ann 2")
    assert await board.release("question", "ann 1")
    assert (await board.claim("question", "ann 2")).mine


async def test_a_write_that_comes_again_after_a_crash_is_the_same_write(board: RunBoard) -> None:
    first = await board.write("finding", "a", 0, "researcher", once="call 1")

    assert await board.write("finding", "a", 0, "researcher", once="call 1") == first
    with pytest.raises(Conflict):
        await board.write("finding", "a", 0, "researcher", once="call 2")


async def test_boards_are_apart(board: RunBoard, pool: Pool) -> None:
    await board.write("finding", "ann's", 0, "researcher")
    await thread(pool, "t2")

    others = [RunBoard(pool, "t1", "bob"), RunBoard(pool, "t2", "ann"), RunBoard(pool, "t1", "ann", board="r1")]

    assert [(await other.read("finding")).version for other in others] == [0, 0, 0]
    assert [dict(await other.entries()) for other in others] == [{}, {}, {}]
    with pytest.raises(Conflict):
        await others[0].write("finding", "bob's", 1, "researcher")
    assert (await board.read("finding")).value == "ann's"


async def test_a_worker_that_lost_its_run_writes_nothing(board: RunBoard, pool: Pool) -> None:
    await a_run(pool, epoch=2)
    stale, current = (RunBoard(pool, "t1", "ann", fence=("r1", epoch)) for epoch in (1, 2))

    with pytest.raises(StaleWriter):
        await stale.write("finding", "old", 0, "researcher")
    with pytest.raises(StaleWriter):
        await stale.claim("question", "researcher")
    await current.write("finding", "new", 0, "researcher")

    assert (await board.read("finding")).value == "new"


async def test_a_board_goes_with_its_conversation(board: RunBoard, pool: Pool) -> None:
    await board.write("finding", "a", 0, "researcher")
    await board.claim("question", "researcher")
    async with pool.connection() as connection:
        await connection.execute("delete from threads where thread_id = 't1'")
        left = await (
            await connection.execute("select 1 from board_entries union all select 1 from board_claims")
        ).fetchall()

    assert left == []


async def test_what_is_too_large_or_not_text_is_said_or_mended(board: RunBoard) -> None:
    with pytest.raises(ToolFailed, match="value: 9,002 bytes of 8,000"):
        await board.write("finding", "x" * 9_000, 0, "researcher")
    with pytest.raises(ToolFailed, match="key: 0 characters of 1 to 200"):
        await board.write("", "x", 0, "researcher")

    assert (await board.write("a\x00b", "c\ud800d\x00", 0, "e\x00")).value == "c\ufffdd\ufffd"


async def test_a_full_board_takes_changes_but_no_new_keys(board: RunBoard, pool: Pool) -> None:
    await board.write("finding", "a", 0, "researcher")
    async with pool.connection() as connection:
        fill = (
            "insert into board_entries (thread_id, board, key, owner, value, version, author, once) "
            "select 't1', '', 'k' || n, 'ann', '1', 1, 'x', '' from generate_series(2, %s) n"
        )
        await connection.execute(fill, (MAX_ENTRIES,))

    with pytest.raises(ToolFailed, match="1000 entries of 1000"):
        await board.write("one more", "b", 0, "researcher")
    assert (await board.write("finding", "b", 1, "critic")).version == 2
