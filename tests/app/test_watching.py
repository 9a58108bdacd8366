"""Many readers of one run: folded once, sent the same, complete for who comes late or lags, forgotten at the end."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import orjson
import pytest
from psycopg.types.json import Jsonb
from runlogs import CHAT

from app.events import ROOT, RunEvent
from app.journal import Journal, Recorder
from app.live import LiveView
from app.postgres import Pool
from app.watching import KEPT, Watching

RUN = {"run_id": "r", "thread_id": "t", "graph": "chat", "question": "Why?"}


class Stage:
    """A run that the test plays, and its readers."""

    def __init__(self, pool: Pool, journal: Journal) -> None:
        self.pool, self.journal, self.seq, self.loads = pool, journal, 0, 0
        self.watching = Watching(lambda: journal, self._load, self._status)

    async def _load(self, run_id: str, owner: str) -> LiveView:
        self.loads += 1
        view = LiveView(RUN, CHAT)
        view.apply(await self.journal.read(run_id))
        return view

    async def _status(self, run_id: str, owner: str) -> str:
        return "running"

    async def play(self, *events: RunEvent) -> None:
        """Store these."""
        async with Recorder(self.pool, "r", 1, self.seq) as recorder:
            for event in events:
                recorder.emit(event)
        self.seq += len(events)

    async def end(self) -> None:
        """Store the answer and the end."""

        async def nothing(connection: Any, run_id: str) -> None:
            """What belongs into the last transaction: nothing."""

        async with Recorder(self.pool, "r", 1, self.seq) as recorder:
            await recorder.finish(happened("run.finished", answer="A."), "succeeded", Jsonb({}), Jsonb(None), nothing)

    def reader(self) -> AsyncIterator[bytes]:
        return self.watching.read("r", "local")


def happened(type_: str, span: str = ROOT, **data: Any) -> RunEvent:
    return RunEvent(type_, span, None if span == ROOT else ROOT, data, time.time())


def token(text: str) -> RunEvent:
    return RunEvent("llm.token", "l", "answer:1", {"text": text}, time.time())


BEGUN = (
    happened("run.started", question="Why?"), happened("node.started", "answer:1"),
    RunEvent("llm.started", "l", "answer:1", {"model": "m", "speaks": True}, time.time()),
)  # fmt: skip


@pytest.fixture
async def stage(pool: Pool, database_url: str) -> AsyncIterator[Stage]:
    async with pool.connection() as connection:
        await connection.execute("insert into threads (thread_id, title, graph) values ('t', 'T', 'chat')")
        await connection.execute(
            "insert into runs (run_id, thread_id, graph, status, input, epoch) "
            "values ('r', 't', 'chat', 'running', '{}', 1)"
        )
    async with Journal(pool, database_url).listening() as journal:
        stage = Stage(pool, journal)
        await stage.play(*BEGUN)
        yield stage


def pieces(raw: bytes) -> list[tuple[str, dict[str, Any]]]:
    """(event, data) of a piece of a stream."""
    out = []
    for block in raw.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if "event" in lines:
            out.append((lines["event"], orjson.loads(lines["data"])))
    return out


async def text_of(reader: AsyncIterator[bytes]) -> tuple[str, list[str]]:
    """What a page shows at the end of the stream, and the names of what it was sent."""
    text, names = "", []
    async for raw in reader:
        for name, data in pieces(raw):
            names.append(name)
            if name == "view":
                text = data["view"]["answer"]["text"]
            elif answer := data.get("answer"):
                text = answer.get("text", text) + answer.get("append", "")
    return text, names


async def test_twenty_readers_cost_one_fold_and_are_sent_the_same(stage: Stage) -> None:
    readers = [asyncio.create_task(text_of(stage.reader())) for _ in range(20)]
    early = stage.reader()
    await anext(early)
    assert len(stage.watching) == 1
    for word in ("It ", "depends ", "on it."):
        await stage.play(token(word))
    await stage.end()

    seen = await asyncio.gather(*readers)
    assert stage.loads == 1
    assert {text for text, _ in seen} == {"A."}
    assert {names[0] for _, names in seen} == {"view"}
    assert {names[-1] for _, names in seen} == {"end"}
    await text_of(early)
    assert len(stage.watching) == 0


async def test_who_comes_late_gets_all_of_it_and_goes_on_from_there(stage: Stage) -> None:
    async with aclosing(stage.reader()) as first:  # type: ignore[type-var]
        await anext(first)
        await stage.play(token("It depends. "))
        while "It depends. " not in (await anext(first)).decode():
            pass
        late = stage.reader()
        [(name, data)] = pieces(await anext(late))
        assert (name, data["whole"], data["seq"]) == ("view", True, 4)
        assert data["view"]["answer"]["text"] == "It depends. "
        assert stage.loads == 1
        await stage.end()
        assert (await text_of(late))[1][-1] == "end"


async def test_who_lags_behind_gets_a_whole_view_again(stage: Stage) -> None:
    async with aclosing(stage.reader()) as quick:  # type: ignore[type-var]
        slow = stage.reader()
        await anext(quick)
        await anext(slow)
        watch = next(iter(stage.watching._watches.values()))
        for _ in range(KEPT + 1):
            watch.say(b": still here\n\n")
        await stage.play(token("All of it."))
        while b"All of it." not in await anext(quick):
            pass
        [(name, data)] = pieces(await anext(slow))
        assert (name, data["view"]["answer"]["text"]) == ("view", "All of it.")
        await slow.aclose()  # type: ignore[attr-defined]


async def test_nothing_is_kept_of_a_run_that_nobody_looks_at(stage: Stage) -> None:
    readers = [stage.reader() for _ in range(3)]
    for reader in readers:
        await anext(reader)
    [watch] = stage.watching._watches.values()
    assert watch.task is not None
    for reader in readers[:2]:
        await reader.aclose()  # type: ignore[attr-defined]
    assert len(stage.watching) == 1
    await readers[2].aclose()  # type: ignore[attr-defined]
    assert len(stage.watching) == 0
    await asyncio.wait({watch.task})
    assert watch.task.cancelled()
    assert "r" not in stage.journal._readers


async def test_a_run_that_goes_on_after_its_end_is_looked_at_anew(stage: Stage) -> None:
    await stage.end()
    text, names = await text_of(stage.reader())
    assert (text, names) == ("A.", ["view", "end"])
    lingering = stage.reader()
    await anext(lingering)

    stage.seq += 1
    await stage.play(happened("run.resumed"), happened("run.started", question="Why?"), token("More."))
    async with aclosing(stage.reader()) as again:  # type: ignore[type-var]
        [(_, data)] = pieces(await anext(again))
        assert data["view"]["status"] == "running"
    await lingering.aclose()  # type: ignore[attr-defined]


async def test_readers_of_a_run_that_cannot_be_loaded_are_let_go(stage: Stage) -> None:
    async def broken(run_id: str, owner: str) -> LiveView:
        raise LookupError("gone")

    stage.watching = Watching(lambda: stage.journal, broken, stage._status)
    assert [raw async for raw in stage.reader()] == []
    assert len(stage.watching) == 0


async def test_a_server_that_goes_down_says_goodbye(stage: Stage) -> None:
    reader = stage.reader()
    await anext(reader)
    stage.journal.close()
    assert (await text_of(reader))[1][-1] == "bye"
