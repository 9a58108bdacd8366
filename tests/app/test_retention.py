"""Old runs leave question and answer, and nothing else; what is not over, or can be gone on with, is not touched."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from house import House, house
from procrastinate.periodic import PeriodicDeferrer
from protocol_graphs import SAID, Gates, human, protocol_graphs
from psycopg.types.json import Jsonb
from runlogs import RESEARCH

from app.doctor import TABLES as TABLE_GROUPS
from app.doctor import examine
from app.live import LiveView
from app.postgres import Pool, open_pool
from app.queue import CHORE, CHORES, RunQueue
from app.retention import Pruned, Retention, pruned_words

TABLES = {
    "checkpoints": "thread_id", "checkpoint_blobs": "thread_id", "checkpoint_writes": "thread_id",
    "run_events": "run_id", "effects": "run_id", "interrupts": "run_id", "board_entries": "board",
    "artefacts": "run_id",
}  # fmt: skip
GATES = Gates()
OLD_DAYS = 40


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[House]:
    """A server that prunes nothing by itself."""
    with house(tmp_path_factory.mktemp("house"), postgres, protocol_graphs(GATES), retention_days=0) as running:
        yield running


class Desk:
    """What a test does to conversations, and what is left of them."""

    def __init__(self, server: House, http: httpx.Client, pool: Pool) -> None:
        self.server, self.http, self.pool = server, http, pool

    async def ask(self, graph: str = "says", text: str = "Why?", thread: str = "", **more: Any) -> dict[str, Any]:
        """A run that came to rest."""
        run = await self.start(graph, text, thread, **more)
        await asyncio.to_thread(self.http.get, f"agent/threads/{run['thread_id']}/runs/{run['run_id']}/join")
        return await self.get(f"runs/{run['run_id']}")

    async def start(self, graph: str, text: str, thread: str = "", **more: Any) -> dict[str, Any]:
        thread = thread or (await self.post("threads", graph=graph))["thread_id"]
        return await self.post(f"threads/{thread}/runs", assistant_id=graph, input=human(text), **more)

    async def get(self, path: str) -> Any:
        reply = await asyncio.to_thread(self.http.get, path)
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def post(self, path: str, **body: Any) -> Any:
        reply = await self.tell(path, **body)
        assert reply.status_code < 300, reply.text
        return reply.json()

    async def tell(self, path: str, **body: Any) -> httpx.Response:
        return await asyncio.to_thread(lambda: self.http.post(path, json=body))

    async def sql(self, text: str, *params: Any) -> list[Any]:
        async with self.pool.connection() as connection:
            cursor = await connection.execute(text, params)
            return await cursor.fetchall() if cursor.description else []

    async def age(self, *runs: dict[str, Any]) -> None:
        """Make them end long ago; an effect of each was noted."""
        ids = [run["run_id"] for run in runs]
        await self.sql(
            f"update runs set finished_at = finished_at - interval '{OLD_DAYS} days' where run_id = any(%s)", ids
        )
        await self.sql(
            "insert into effects (thread_id, checkpoint_ns, call_id, run_id, tool, args, args_hash, effect) "
            "select run_id, 'n', 'c', run_id, 'send', '{}', 'h', 'keyed' from runs where run_id = any(%s) "
            "on conflict do nothing",
            ids,
        )
        await self.sql(
            "insert into artefacts (artefact_id, run_id, owner, name, media_type, size, data) "
            "select run_id, run_id, owner, 'n', 'text/plain', 1, 'x' from runs where run_id = any(%s) "
            "on conflict do nothing",
            ids,
        )
        await self.sql(
            "insert into board_entries (thread_id, board, key, owner, value, version, author, once) "
            "select thread_id, run_id, 'k', owner, '1', 1, 'a', 'o' from runs where run_id = any(%s) "
            "on conflict do nothing",
            ids,
        )

    async def prune(self, days: float = 30, resumable_days: float = 0) -> Pruned:
        return await Retention(self.pool, days, resumable_days).prune()

    async def left(self, run: dict[str, Any]) -> dict[str, int]:
        """Table -> rows of the run."""
        counts = {}
        for table, key in TABLES.items():
            rows = await self.sql(f"select count(*) as n from {table} where {key} = %s", run["run_id"])
            if rows[0]["n"]:
                counts[table] = rows[0]["n"]
        return counts

    async def said(self, thread: str) -> list[str]:
        """Messages of the state that the conversation is in."""
        values = (await self.get(f"agent/threads/{thread}/state"))["values"]
        return [message["content"] for message in values.get("messages", ())]


@pytest.fixture
async def desk(server: House) -> AsyncIterator[Desk]:
    """A desk in a database without old runs."""
    url = server.settings.database_url
    assert url is not None
    async with await open_pool(url.get_secret_value(), max_size=8) as pool:
        with server.http() as http:
            desk = Desk(server, http, pool)
            for table in ("threads", "checkpoints", "checkpoint_blobs", "checkpoint_writes"):
                await desk.sql(f"delete from {table}")
            yield desk


async def conversation(desk: Desk, *questions: str, graph: str = "says") -> list[dict[str, Any]]:
    first = await desk.ask(graph, questions[0])
    return [first, *[await desk.ask(graph, text, first["thread_id"]) for text in questions[1:]]]


# -- what goes and what stays ----------------------------------------------------------------------------------------


async def test_an_old_conversation_is_read_and_gone_on_with_and_holds_nothing_else(desk: Desk) -> None:
    runs = await conversation(desk, "One?", "Two?", "Three?")
    thread = runs[0]["thread_id"]
    await desk.age(*runs)
    before = await desk.said(thread)

    done = await desk.prune()

    assert (done.runs, [await desk.left(run) for run in runs[:2]]) == (3, [{}, {}])
    left = await desk.left(runs[2])
    assert left.keys() <= {"checkpoints", "checkpoint_blobs"} and left["checkpoints"] == 1
    assert await desk.said(thread) == before
    shown = [await desk.get(f"runs/{run['run_id']}") for run in runs]
    assert [(run["question"], run["output"]["answer"]) for run in shown] == [
        (it, SAID) for it in ("One?", "Two?", "Three?")
    ]

    last = await desk.ask("says", "Four?", thread)
    assert await desk.said(thread) == [*before, "Four?", SAID]
    await desk.age(last)
    await desk.prune()
    assert await desk.left(runs[2]) == {}  # the newer run's state holds all that its own did


async def test_0_rows_belong_to_no_run(desk: Desk) -> None:
    runs = [run for n in range(3) for run in await conversation(desk, f"{n}a?", f"{n}b?")]
    await desk.age(*runs[:4])
    await desk.prune()
    for table, key in TABLES.items():
        whole = "r.left_behind is distinct from 'rows' and (r.pruned_at is null or r.left_behind = 'state')"
        of_a_run = f"select 1 from runs r where r.run_id = k.{key} and {whole}"
        strays = await desk.sql(f"select count(*) as n from {table} k where not exists ({of_a_run})")
        assert (table, strays[0]["n"]) == (table, 0)


async def test_young_runs_and_a_limit_of_0_days_are_left_alone(desk: Desk) -> None:
    young, old = await desk.ask(), await desk.ask()
    await desk.age(old)
    assert (await desk.prune(days=0)).runs == 0
    whole = await desk.left(young)
    assert (await desk.prune()).runs == 1
    assert await desk.left(young) == whole


async def test_what_is_not_over_or_can_be_gone_on_with_is_not_touched(desk: Desk) -> None:
    failed, asks = await desk.ask("fails"), await desk.ask("asks")
    going = await desk.start("waits", "going")
    await GATES.reached("going")
    queued = await desk.start("waits", "queued", going["thread_id"])
    stopped = await desk.start("waits", "stopped")
    await GATES.reached("stopped")
    await desk.post(f"runs/{stopped['run_id']}/cancel")
    await asyncio.to_thread(desk.http.get, f"runs/{stopped['run_id']}/events")
    partial, broke = await desk.ask(), await desk.ask()
    for run, what in ((partial, {"missing": [{"title": "Cost"}]}), (broke, {"budget_reached": {"unit": "steps"}})):
        await desk.sql("update runs set output = output || %s where run_id = %s", Jsonb(what), run["run_id"])
    all_of_them = [failed, asks, going, queued, stopped, partial, broke]
    statuses = {run["run_id"]: (await desk.get(f"runs/{run['run_id']}"))["status"] for run in all_of_them}
    assert list(statuses.values()) == ["failed", "waiting", "running", "queued", "cancelled", "succeeded", "succeeded"]
    # even with an end that is long ago, as a clock that was set back would write it
    await desk.sql(f"update runs set finished_at = now() - interval '{OLD_DAYS} days'")
    before = [await desk.left(run) for run in all_of_them]

    done = await desk.prune()

    # events may be added meanwhile, of those that are going
    assert (done.runs, done.rows) == (0, 0)
    assert [set(await desk.left(run)) for run in all_of_them] == [set(rows) for rows in before]
    resumed = await desk.tell(f"runs/{failed['run_id']}/resume")
    assert resumed.status_code == 202
    for question in ("going", "queued", "stopped"):
        GATES.open(question)


async def test_a_limit_of_their_own_takes_runs_that_could_be_gone_on_with(desk: Desk) -> None:
    failed = await desk.ask("fails")
    await desk.age(failed)
    assert (await desk.prune(resumable_days=OLD_DAYS + 5)).runs == 0
    assert (await desk.prune(resumable_days=OLD_DAYS - 5)).runs == 1
    refused = await desk.tell(f"runs/{failed['run_id']}/resume")
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "run_pruned")
    view = await desk.get(f"runs/{failed['run_id']}/view")
    assert (view["status"], "pruned" in view["status_line"]["rest"]) == ("failed", True)


async def test_the_source_of_a_fork_stays_while_the_fork_is_whole(desk: Desk) -> None:
    source = await desk.ask()
    checkpoints = (await desk.get(f"runs/{source['run_id']}/history"))["checkpoints"]
    fork = await desk.post(f"runs/{source['run_id']}/fork", checkpoint_id=checkpoints[1]["checkpoint_id"])
    await asyncio.to_thread(desk.http.get, f"runs/{fork['run_id']}/events")
    await desk.age(source)
    assert (await desk.prune()).runs == 0
    await desk.age(fork)
    assert (await desk.prune()).runs == 2
    assert "run_events" not in await desk.left(source)


async def test_effects_stay_while_a_run_beside_them_may_ask_for_them(desk: Desk) -> None:
    first = await desk.ask()
    beside = await desk.ask("fails", "Why?", first["thread_id"])
    alone = await desk.ask()
    await desk.age(first, alone, beside)
    assert (await desk.prune()).runs == 1
    assert "effects" in await desk.left(first)
    assert (await desk.prune(resumable_days=30)).runs == 2
    assert await desk.left(first) == {}


async def test_ended_jobs_go_by_age(desk: Desk) -> None:
    run = await desk.ask()
    jobs = "select count(*) as n from procrastinate_jobs where lock = %s"
    await desk.prune()
    assert (await desk.sql(jobs, run["run_id"]))[0]["n"] == 1
    await desk.sql(f"update procrastinate_events set at = at - interval '{OLD_DAYS} days'")
    assert (await desk.prune()).jobs >= 1
    assert (await desk.sql(jobs, run["run_id"]))[0]["n"] == 0


# -- what is said of it ----------------------------------------------------------------------------------------------


async def test_every_door_says_that_the_steps_were_pruned(desk: Desk) -> None:
    old, last = await conversation(desk, "One?", "Two?")
    checkpoint = (await desk.get(f"runs/{old['run_id']}/history"))["checkpoints"][0]["checkpoint_id"]
    await desk.age(old, last)
    await desk.prune()
    at = f"runs/{old['run_id']}"

    view = await desk.get(f"{at}/view")
    assert (view["status"], view["answer"]["text"], view["question"]) == ("succeeded", SAID, "One?")
    assert "pruned" in view["status_line"]["rest"] and view["pruned"] in view["status_line"]["rest"]
    live = (await asyncio.to_thread(desk.http.get, f"{at}/live")).text
    assert view["pruned"] in live and "event: end" in live
    events = (await asyncio.to_thread(desk.http.get, f"{at}/events")).text
    assert "event: run.pruned" in events and view["pruned"] in events and "event: end" in events
    for name, rows in (("history", "checkpoints"), ("effects", "effects")):
        assert await desk.get(f"{at}/{name}") == {rows: [], "pruned": view["pruned"]}
    for refused in (
        await desk.tell(f"{at}/fork", checkpoint_id=checkpoint),
        await desk.tell(f"{at}/fork", checkpoint_id=checkpoint, question="Another?"),
        await asyncio.to_thread(desk.http.get, f"agent/threads/{old['thread_id']}/{at}/join"),
        await asyncio.to_thread(desk.http.get, f"agent/threads/{old['thread_id']}/{at}/stream"),
        await desk.tell(f"agent/threads/{old['thread_id']}/state", values=human("Edited?")),
    ):
        error = refused.json()["error"]
        assert (refused.status_code, error["code"], "pruned on" in error["message"]) == (422, "run_pruned", True)
    for resume in ("resume", "retry"):
        assert (await desk.tell(f"{at}/{resume}")).status_code == 422
    gone = await asyncio.to_thread(desk.http.get, f"agent/threads/{old['thread_id']}/state/{checkpoint}")
    assert gone.status_code == 404 and checkpoint in gone.json()["error"]["message"]
    states = await desk.post(f"agent/threads/{old['thread_id']}/history")
    assert [len(state["values"]["messages"]) for state in states] == [4]
    assert (await desk.get(f"agent/threads/{last['thread_id']}/runs/{last['run_id']}/join"))["messages"]


def test_a_pruned_run_still_cites_what_it_cited() -> None:
    source = {"key": "3f9a1c", "chunk_id": "3f9a1c77ab01", "document_id": "d", "document": "guide.md", "title": "Guide",
              "heading": "Waits", "page": None, "quote": "Waits end.", "score": 1, "found_by": []}  # fmt: skip
    now = datetime.now(UTC)
    output = {"answer": "They end [3f9a1c].", "text": "They end [1].", "sources": [{"n": 1, **source}], "missing": [],
              "meters": {"calls": 4, "tools": 1, "tokens_in": 9, "gone_since": 1}}  # fmt: skip
    run = {"run_id": "r", "thread_id": "t", "graph": "research", "question": "Where?", "status": "succeeded",
           "output": output, "error": None, "created_at": now, "started_at": now, "finished_at": now,
           "pruned_at": now}  # fmt: skip
    live = LiveView(run, RESEARCH)
    live.from_row(run, pruned_words(run))
    view = live.whole()
    assert (view["status"], view["answer"]["final"], view["meters"]["calls"]) == ("succeeded", True, 4)
    assert [(it["n"], it["cited"], it["quote"]) for it in view["sources"]] == [(1, True, "Waits end.")]
    assert {node["state"] for node in view["shape"]["nodes"]} == {"not_taken"}
    assert live.patch() == {}


async def test_a_copy_of_a_pruned_conversation_is_pruned_too(desk: Desk) -> None:
    old, last = await conversation(desk, "One?", "Two?")
    await desk.age(old, last)
    await desk.prune()
    copy = await desk.post(f"agent/threads/{old['thread_id']}/copy")
    assert [message["content"] for message in copy["values"]["messages"]] == ["One?", SAID, "Two?", SAID]
    runs = (await desk.get(f"threads/{copy['thread_id']}/runs"))["runs"]
    views = [await desk.get(f"runs/{run['run_id']}/view") for run in runs]
    assert ["pruned" in view["status_line"]["rest"] for view in views] == [True, True]


# -- going on --------------------------------------------------------------------------------------------------------


async def test_a_branch_from_the_middle_of_an_old_conversation_begins_with_what_its_rows_say(desk: Desk) -> None:
    runs = await conversation(desk, "One?", "Two?", "Three?")
    await desk.age(*runs)
    await desk.prune()
    await desk.ask("says", "Other?", runs[0]["thread_id"], after=runs[1]["run_id"])
    assert await desk.said(runs[0]["thread_id"]) == ["One?", SAID, "Two?", SAID, "Other?", SAID]


async def test_fields_that_only_a_graph_knows_are_there_when_an_old_conversation_goes_on(desk: Desk) -> None:
    thread = (await desk.post("agent/threads", metadata={"graph_id": "counts"}))["thread_id"]
    runs = f"agent/threads/{thread}/runs"
    await desk.post(f"{runs}/wait", assistant_id="counts", input={"n": 5})
    rows = await desk.sql("select run_id from runs where thread_id = %s", thread)
    await desk.age(*rows)
    assert (await desk.prune()).runs == 1
    assert (await desk.post(f"{runs}/wait", assistant_id="counts", input={"n": 10}))["n"] == 5 + 1 + 10 + 1


async def test_a_message_taken_back_from_the_queue_holds_nobodys_place(desk: Desk) -> None:
    GATES.open("open")
    thread = (await desk.ask("waits", "open"))["thread_id"]
    going = await desk.start("waits", "going again", thread)
    await GATES.reached("going again")
    never = await desk.start("waits", "never", thread)
    behind = await desk.start("waits", "behind", thread)
    await desk.post(f"runs/{never['run_id']}/cancel")
    last = await desk.start("waits", "last", thread)
    for question in ("last", "behind", "going again"):
        GATES.open(question)
    for run in (going, behind, last):
        await asyncio.to_thread(desk.http.get, f"agent/threads/{thread}/runs/{run['run_id']}/join")
    said = [text for question in ("open", "going again", "behind", "last") for text in (question, f"done: {question}")]
    assert await desk.said(thread) == said


# -- kills, company, races -------------------------------------------------------------------------------------------


async def test_a_prune_that_dies_between_two_statements_is_gone_on_with_by_the_next(desk: Desk) -> None:
    run = await desk.ask()
    await desk.age(run)
    await desk.sql("create function stop_it() returns trigger language plpgsql as "
                   "$$ begin raise exception 'killed here'; end $$")  # fmt: skip
    await desk.sql("create trigger stop_it before delete on run_events for each row execute function stop_it()")
    try:
        with pytest.raises(psycopg.errors.RaiseException):
            await desk.prune()
    finally:
        await desk.sql("drop function stop_it cascade")
    left = await desk.left(run)
    assert "run_events" in left and "checkpoint_writes" not in left  # half of it is gone
    assert "pruned" in (await desk.get(f"runs/{run['run_id']}/view"))["status_line"]["rest"]
    await desk.prune()
    assert "run_events" not in await desk.left(run)
    assert (await desk.said(run["thread_id"])) == ["Why?", SAID]


async def test_two_prunes_at_once_share_the_work(desk: Desk) -> None:
    runs = [await desk.ask() for _ in range(8)]
    await desk.age(*runs)
    done = await asyncio.gather(*[desk.prune() for _ in range(3)])
    await desk.prune()
    assert sum(it.runs for it in done) == len(runs)
    assert [set(await desk.left(run)) - {"checkpoints", "checkpoint_blobs"} for run in runs] == [set()] * len(runs)


async def test_of_a_prune_and_a_resume_one_wins_and_the_other_is_told(desk: Desk) -> None:
    runs = [await desk.ask("fails") for _ in range(10)]
    await desk.age(*runs)
    resumes = [desk.tell(f"runs/{run['run_id']}/resume") for run in runs]
    *replies, done = await asyncio.gather(*resumes[:5], *resumes[5:], desk.prune(resumable_days=1))
    rows = await desk.sql("select run_id, pruned_at from runs")
    pruned = {row["run_id"] for row in rows if row["pruned_at"]}
    assert done.runs == len(pruned)
    for run, reply in zip(runs, replies, strict=True):
        refused = run["run_id"] in pruned
        assert reply.status_code == (422 if refused else 202)
        assert not refused or reply.json()["error"]["code"] == "run_pruned"


async def test_a_fork_that_is_being_admitted_holds_its_source(desk: Desk) -> None:
    source = await desk.ask()
    await desk.age(source)
    async with desk.pool.connection() as connection, connection.transaction():
        await connection.execute("select pruned_at from runs where run_id = %s for key share", (source["run_id"],))
        assert (await desk.prune()).runs == 0
    assert (await desk.prune()).runs == 1


# -- when ------------------------------------------------------------------------------------------------------------


async def test_of_many_workers_one_does_it_each_hour(pool: Pool) -> None:
    done: list[str] = []
    news = asyncio.Event()

    async def execute(run_id: str, stopped: Any) -> None:
        raise AssertionError("there is no run")

    async def chore() -> None:
        done.append("done")
        news.set()

    queues = [RunQueue(execute, chore=chore) for _ in range(3)]
    now = time.time()
    for queue in queues:
        await queue.open(pool)
        asker = PeriodicDeferrer(queue.app.periodic_registry, **queue.app.periodic_defaults)
        for at in (now, now + 1):  # a worker that starts, and one that started a moment later
            await asker.defer_jobs(asker.get_previous_tasks(at=at))
    async with pool.connection() as connection:
        asked = "select args ->> 'timestamp' as hour from procrastinate_jobs where task_name = %s"
        hours = [row["hour"] for row in await (await connection.execute(asked, (CHORE,))).fetchall()]
    assert len(hours) == len(set(hours)) > 0  # two, when minute 17 passes during the test
    worker = asyncio.create_task(queues[0].work(2))
    async with asyncio.timeout(90):
        await news.wait()
    worker.cancel()
    await asyncio.wait([worker])
    assert 0 < len(done) <= len(hours) + 1


async def test_the_outlook_counts_what_is_due_and_what_is_left_alone(desk: Desk) -> None:
    runs = [await desk.ask(), await desk.ask(), await desk.ask("fails")]
    await desk.age(*runs)
    assert await Retention(desk.pool, 30).outlook() == {"due": 2, "held": 1}
    assert await Retention(desk.pool, 30, 30).outlook() == {"due": 3, "held": 0}
    assert await Retention(desk.pool, 0).outlook() == {"due": 0, "held": 0}


async def test_a_turn_whose_worker_died_in_it_is_taken_up_by_another(pool: Pool) -> None:
    news = asyncio.Event()

    async def execute(run_id: str, stopped: Any) -> None:
        raise AssertionError("there is no run")

    async def chore() -> None:
        news.set()

    queue = RunQueue(execute, chore=chore)
    await queue.open(pool)
    async with pool.connection() as connection:
        dead = "insert into procrastinate_workers (last_heartbeat) values (now() - interval '1 hour') returning id"
        worker_id = (await (await connection.execute(dead)).fetchone())["id"]  # type: ignore[index]
        await connection.execute(
            "insert into procrastinate_jobs (queue_name, task_name, lock, args, status, worker_id, attempts) "
            "values (%s, %s, %s, '{\"timestamp\": 1}', 'doing', %s, 0)", (CHORES, CHORE, CHORE, worker_id),
        )  # fmt: skip
    assert await queue.take_back() == 1
    worker = asyncio.create_task(queue.work(2))
    async with asyncio.timeout(90):
        await news.wait()
    worker.cancel()
    await asyncio.wait([worker])


async def test_the_doctor_tells_what_is_stored_and_what_goes_next(desk: Desk, tmp_path: Path) -> None:
    await desk.age(await desk.ask(), await desk.ask("fails"))
    settings = desk.server.settings.model_copy(update={"home": tmp_path, "retention_days": 30})
    found: dict[str, str] = {}
    async with aclosing(examine(settings)) as findings:
        async for finding in findings:
            found[finding.part] = finding.found
            if finding.part == "retention":
                break
    assert all(f"{group} " in found["tables"] for group in TABLE_GROUPS)
    outlook = "older runs to prune within the hour: 1; kept, for they can be resumed: 1"
    assert found["retention"] == f"steps are kept for 30 days; {outlook}"
