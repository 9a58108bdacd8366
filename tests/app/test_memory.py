"""Memory on a real database: versions, owners apart, found by meaning, shared by processes, rebuilt from its rows."""

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest

from agents.errors import ToolFailed
from agents.memory import Conflict
from app.memory import EMBEDDED_AT_ONCE, PostgresMemory
from app.postgres import Pool
from retrieval.embed import EmbedderUnavailable, HashEmbedder, OnnxEmbedder, Vectors

FACTS = [
    "The project's code name is Bluebird.",
    "My budget for the trip is 500 euros.",
    "Our database runs on host db7 in Frankfurt.",
    "My daughter plays the cello.",
]


@pytest.fixture
def memory(pool: Pool) -> PostgresMemory:
    """A process's memory, with an embedder that knows words only."""
    return PostgresMemory(pool, HashEmbedder())


@pytest.fixture
async def minilm() -> AsyncIterator[OnnxEmbedder]:
    """The built-in embedder."""
    embedder = await OnnxEmbedder.load(threads=1)
    yield embedder
    await embedder.close()


async def rows(pool: Pool, sql: str) -> list[dict[str, object]]:
    async with pool.connection() as connection:
        return await (await connection.execute(sql)).fetchall()  # type: ignore[arg-type]


async def test_a_change_is_a_new_version_and_the_old_one_is_kept(memory: PostgresMemory) -> None:
    first = await memory.keep("ann", "The budget is 500 euros.", author="assistant", key="budget")
    second = await memory.keep("ann", "The budget is 700 euros.", author="ann", key="budget", expected_version=1)

    assert [(it.version, it.author, it.text) for it in await memory.versions("ann", "budget")] == [
        (2, "ann", "The budget is 700 euros."),
        (1, "assistant", "The budget is 500 euros."),
    ]
    assert [it.text for it in await memory.recall("ann", "What is the budget?")] == [second.text]
    assert first.written_at < second.written_at


async def test_a_write_on_an_old_version_is_refused_with_the_actual_one(memory: PostgresMemory) -> None:
    await memory.keep("ann", "The budget is 500 euros.", author="assistant", key="budget")
    await memory.keep("ann", "The budget is 700 euros.", author="critic", key="budget", expected_version=1)

    with pytest.raises(Conflict, match="memory budget: version 1 was expected, critic has made it 2") as error:
        await memory.keep("ann", "The budget is 600 euros.", author="assistant", key="budget", expected_version=1)

    assert error.value.actual == 2


async def test_fifty_writers_of_one_thing_make_one_version(memory: PostgresMemory) -> None:
    async def write(n: int) -> bool:
        try:
            await memory.keep("ann", f"The budget is {n} euros.", author=f"agent {n}", key="budget")
        except Conflict:
            return False
        return True

    assert sum(await asyncio.gather(*(write(n) for n in range(50)))) == 1
    assert len(await memory.versions("ann", "budget")) == 1


async def test_the_same_thing_is_kept_once(memory: PostgresMemory) -> None:
    first = await memory.keep("ann", FACTS[0], author="assistant")
    again = await memory.keep("ann", FACTS[0], author="writer")

    assert first == again
    assert len(await memory.items("ann")) == 1


async def test_things_are_found_by_meaning(pool: Pool, minilm: OnnxEmbedder) -> None:
    memory = PostgresMemory(pool, minilm)
    for fact in FACTS:
        await memory.keep("ann", fact, author="assistant")

    async def found(question: str) -> list[str]:
        return [it.text for it in await memory.recall("ann", question)]

    assert await found("How much money can I spend travelling?") == [FACTS[1]]
    assert await found("Which instrument is my child learning?") == [FACTS[3]]
    assert await found("What is Amdahl's law?") == []


async def test_nobody_finds_changes_or_removes_what_is_anothers(memory: PostgresMemory) -> None:
    mine = await memory.keep("ann", FACTS[0], author="assistant")

    for other in ("bob", "ann2", "an_", "%", ""):
        assert await memory.recall(other, FACTS[0]) == []
        assert await memory.items(other) == []
        assert await memory.versions(other, mine.key) == []
        assert not await memory.forget(other, mine.key)
    assert (await memory.keep("bob", "Bob's", author="assistant", key=mine.key)).version == 1
    assert [it.text for it in await memory.recall("ann", FACTS[0])] == [FACTS[0]]


async def test_an_index_that_is_wrong_shows_no_row_of_another_owner(memory: PostgresMemory) -> None:
    """The owner is checked in the query: the index only says where to look."""
    await memory.keep("ann", FACTS[0], author="assistant")
    await memory.keep("bob", FACTS[1], author="assistant")
    await memory.recall("ann", FACTS[0])
    await memory.recall("bob", FACTS[1])
    shelves = memory._shelves
    shelves["ann", ""].lexical, shelves["ann", ""].dense = shelves["bob", ""].lexical, shelves["bob", ""].dense
    shelves["ann", ""].kinds = shelves["bob", ""].kinds

    assert await memory.recall("ann", FACTS[1]) == []


async def test_what_is_forgotten_is_gone_with_all_its_versions(memory: PostgresMemory, pool: Pool) -> None:
    await memory.keep("ann", FACTS[0], author="assistant", key="name")
    await memory.keep("ann", "The code name is Robin.", author="assistant", key="name", expected_version=1)
    assert await memory.recall("ann", "the code name")

    assert await memory.forget("ann", "name")
    assert await memory.recall("ann", "the code name") == []
    assert not await memory.forget("ann", "name")
    assert await rows(pool, "select 1 from memories") == []


async def test_two_processes_share_it(memory: PostgresMemory, pool: Pool) -> None:
    other = PostgresMemory(pool, HashEmbedder())
    assert await other.recall("ann", FACTS[0]) == []

    kept = await memory.keep("ann", FACTS[0], author="assistant")
    assert [it.text for it in await other.recall("ann", FACTS[0])] == [FACTS[0]]

    await other.forget("ann", kept.key)
    assert await memory.recall("ann", FACTS[0]) == []


class CountingEmbedder(HashEmbedder):
    """Keeps what was embedded."""

    def __init__(self, dimensions: int = 256) -> None:
        super().__init__(dimensions)
        self.embedded: list[str] = []
        self.down = False

    async def embed(self, texts: Sequence[str]) -> Vectors:
        if self.down:
            raise EmbedderUnavailable("down")
        self.embedded += texts
        return await super().embed(texts)


async def test_a_vector_is_made_once_and_rebuilt_when_it_is_lost_or_anothers(pool: Pool) -> None:
    first = CountingEmbedder()
    await PostgresMemory(pool, first).keep("ann", FACTS[0], author="assistant")
    await PostgresMemory(pool, first).recall("ann", "code name")
    second = CountingEmbedder()
    await PostgresMemory(pool, second).recall("ann", "code name")
    assert (first.embedded, second.embedded) == ([FACTS[0], "code name"], ["code name"])

    await rows(pool, "update memories set vector = null, embedder = null returning 1")
    await PostgresMemory(pool, second).recall("ann", "code name")
    larger = CountingEmbedder(512)
    assert [it.text for it in await PostgresMemory(pool, larger).recall("ann", "code name")] == [FACTS[0]]

    assert second.embedded == ["code name", FACTS[0], "code name"]
    assert larger.embedded == [FACTS[0], "code name"]
    assert [len(bytes(row["vector"])) for row in await rows(pool, "select vector from memories")] == [512 * 4]  # type: ignore[arg-type]


async def test_without_an_embedder_words_find_things_and_vectors_follow(pool: Pool) -> None:
    embedder = CountingEmbedder()
    embedder.down = True
    memory = PostgresMemory(pool, embedder)
    await memory.keep("ann", FACTS[0], author="assistant")

    assert [it.text for it in await memory.recall("ann", "code name")] == [FACTS[0]]
    assert [it.text for it in await PostgresMemory(pool, None).recall("ann", "code name")] == [FACTS[0]]

    embedder.down = False
    assert [it.text for it in await memory.recall("ann", "code name")] == [FACTS[0]]
    assert embedder.embedded == [FACTS[0], "code name"]


async def test_a_question_waits_for_a_bounded_number_of_vectors(pool: Pool) -> None:
    embedder = CountingEmbedder()
    memory = PostgresMemory(pool, embedder)
    for n in range(EMBEDDED_AT_ONCE + 3):
        await memory.keep("ann", f"Room {n} holds {n} chairs.", author="assistant")

    first = await memory.recall("ann", "Room 1 chairs", 200)
    made = len(embedder.embedded)
    second = await memory.recall("ann", "Room 1 chairs", 200)

    assert made == EMBEDDED_AT_ONCE + 1
    assert len(embedder.embedded) == EMBEDDED_AT_ONCE + 3 + 2
    assert {it.text for it in first} >= {"Room 1 holds 1 chairs."}
    assert {it.text for it in second} >= {"Room 1 holds 1 chairs."}


async def test_kinds_and_conversations_are_apart(memory: PostgresMemory, pool: Pool) -> None:
    insert = "insert into threads (thread_id, owner, title, graph) values ('t1', 'ann', 'T', 'chat') returning 1"
    await rows(pool, insert)
    await memory.keep("ann", "The code name is a fact.", author="assistant")
    await memory.keep("ann", "Say the code name first.", author="critic", kind="lesson", about="Name the code name")
    await memory.keep("ann", "The code name was said.", author="You", kind="page", scope="t1")

    async def found(kind: str, scope: str | None = None) -> list[str]:
        return [it.author for it in await memory.recall("ann", "the code name", kinds=(kind,), scope=scope)]  # type: ignore[arg-type]

    assert [it.kind for it in await memory.items("ann")] == ["lesson", "fact"]
    assert [it.author for it in await memory.items("ann", kinds=("page",))] == ["You"]
    assert await found("fact") == ["assistant"]
    assert await found("lesson") == ["critic"]
    assert await found("page") == await found("page", "t2") == []
    assert await found("page", "t1") == ["You"]

    await rows(pool, "delete from threads returning 1")
    assert await found("page", "t1") == []
    assert await found("fact") == ["assistant"]


async def test_a_thing_stays_what_it_is(memory: PostgresMemory, pool: Pool) -> None:
    """A page of one conversation does not become a fact of all of them because somebody corrects it as one."""
    await rows(
        pool, "insert into threads (thread_id, owner, title, graph) values ('t1', 'ann', 'T', 'chat') returning 1"
    )
    page = await memory.keep("ann", "The code is 1.", author="You", kind="page", scope="t1")
    lesson = await memory.keep("ann", "Say it first.", author="critic", kind="lesson", about="Name the code")

    for it, said in ((page, "it is a page"), (lesson, "it is a lesson")):
        with pytest.raises(ToolFailed, match=f"memory {it.key}: {said}, not a fact; "):
            await memory.keep("ann", "The code is 2.", author="assistant", key=it.key, expected_version=1)
    with pytest.raises(ToolFailed, match="of another conversation"):
        await memory.keep("ann", "2.", author="You", kind="page", scope="t2", key=page.key, expected_version=1)

    changed = await memory.keep("ann", "The code is 2.", author="You", kind="page", scope="t1", key=page.key,
                                expected_version=1)  # fmt: skip
    assert (changed.version, changed.kind, changed.scope) == (2, "page", "t1")


async def test_looking_for_what_nobody_kept_leaves_nothing_behind(memory: PostgresMemory) -> None:
    async def held() -> int:
        gc.collect()
        return sum(isinstance(it, asyncio.Lock) for it in gc.get_objects())

    await memory.recall("ann", "the code", kinds=("page",), scope="t")
    before = await held()
    for n in range(50):  # as a conversation each
        assert await memory.recall("ann", "the code", kinds=("page",), scope=f"t{n}") == []
    assert await held() <= before + 1


async def test_what_cannot_be_kept_is_said_and_what_is_no_text_is_mended(memory: PostgresMemory) -> None:
    for text in ("", "  \n", "x" * 4_001):
        with pytest.raises(ToolFailed, match="characters of 1 to 4,000; keep one short statement"):
            await memory.keep("ann", text, author="assistant")

    kept = await memory.keep("ann", "a\x00b\ud800", author="c\x00", key="k\x00")
    assert (kept.text, kept.key) == ("a\ufffdb\ufffd", "k\ufffd")
    assert await memory.forget("ann", "k\x00")


async def test_vectors_are_what_the_embedder_said(memory: PostgresMemory, pool: Pool) -> None:
    await memory.keep("ann", FACTS[0], author="assistant")
    await memory.recall("ann", "code name")
    stored = (await rows(pool, "select vector from memories"))[0]["vector"]

    assert np.array_equal(np.frombuffer(stored, np.float32), (await HashEmbedder().embed([FACTS[0]]))[0])  # type: ignore[call-overload]
