"""One writer per run, one line per thread, and workers that come, go, and share."""

import asyncio
import signal
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from extent import LONGEST_S, extent
from fleet import LOOK_S, PATIENCE_S, QUICK, Field, until
from langgraph.checkpoint.base import empty_checkpoint
from patterns import CHAT, ECHO, PATTERNS, Pattern
from psycopg.types.json import Jsonb
from shapes import DEBATE, TEAM
from trials import calibrated

from agents.effects import EffectKey
from app.events import ROOT, RunEvent
from app.journal import Recorder
from app.ledger import RunLedger
from app.postgres import FencedSaver, StaleWriter
from app.queue import TIMING

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow, pytest.mark.timeout(LONGEST_S)]


async def owners(field: Field, run_ids: list[str]) -> dict[str, tuple[Any, ...]]:
    """Of the runs that are at work: whose their job is, and what it does."""
    async with field.pool.connection() as connection:
        rows = await connection.execute(
            "select r.run_id, r.epoch, j.status, j.worker_id from runs r join procrastinate_jobs j on j.id = r.job_id "
            "where r.status = 'running' and r.lease_until > now() and r.run_id = any(%s)",
            (run_ids,),
        )
        return {row["run_id"]: (row["epoch"], row["status"], row["worker_id"]) for row in await rows.fetchall()}


STALE = ["checkpoint.before", "checkpoint.before", "writes.before", "writes.before",
         "intent.before", "record.before", "result.before", "claim.after"]  # fmt: skip
SLEEPER = replace(QUICK, stalled_s=60.0)
"""It holds others for dead when it is the only one that was."""
OWNER = replace(QUICK, lease_s=60.0)
"""Its runs are nobody else's, however slow this machine is."""


async def test_a_worker_that_wakes_after_its_lease_changes_nothing(field: Field) -> None:
    nth: Counter[str] = Counter()
    stale = []
    for point in STALE:
        nth[point] += 1
        fault = {"point": point, "nth": nth[point] * 2 - 1, "action": "stop"}
        stale.append(await field.worker(CHAT, fault, timing=SLEEPER))
    for worker in stale:
        await worker.up()
    run_ids = await field.admit(CHAT, len(stale))
    for worker in stale:  # each has claimed one run, and stops in the middle of it
        await asyncio.wait_for(worker.halted.wait(), PATIENCE_S)
    field.model.latency_s = 1.5  # who takes over is still at work when they wake
    owner = await field.worker(CHAT, concurrency=len(stale), timing=OWNER)
    await until(lambda: field.rows(run_ids), lambda rows: {row["epoch"] for row in rows} == {2})
    taken = await owners(field, run_ids)
    for worker in stale:
        worker.signal(signal.SIGCONT)

    while now := await owners(field, run_ids):
        assert now.items() <= taken.items(), "a job of the new owner was touched"
        await asyncio.sleep(LOOK_S)
    assert taken
    diary: Counter[str] = sum((worker.diary() for worker in stale), Counter())
    print(diary)
    assert not [line for line in diary if line.endswith("taken")]
    assert diary.total() >= len(set(STALE) - {"claim.after"})
    verdict = await field.judge(CHAT, await field.settle(run_ids))
    assert not verdict.faults(), owner.log()
    for worker in [owner, *stale]:
        await worker.stop()


async def test_every_write_of_a_stale_claim_is_refused(field: Field) -> None:
    [run_id] = await field.admit(CHAT)
    key = EffectKey(run_id, "answer:1|tools:2", "call")
    async with field.pool.connection() as connection:
        await connection.execute("update runs set status = 'running', epoch = 1 where run_id = %s", (run_id,))
        await RunLedger(field.pool, run_id, 1).begin(key, "send", {}, "keyed")
        await connection.execute("update runs set epoch = 2 where run_id = %s", (run_id,))
    saver, ledger = FencedSaver(field.pool, run_id, 1), RunLedger(field.pool, run_id, 1)
    here: Any = {"configurable": {"thread_id": run_id, "checkpoint_ns": ""}}

    async def also(*_: Any) -> None:
        raise AssertionError("nothing belongs to a transaction that is refused")

    refused: Counter[str] = Counter()
    for nth in range(25):
        checkpoint = empty_checkpoint()
        at: Any = {"configurable": {**here["configurable"], "checkpoint_id": checkpoint["id"]}}
        recorder = Recorder(field.pool, run_id, 1, nth)
        event = RunEvent("run.finished", ROOT, None, {"answer": "stale"}, 1.0)
        writes = {
            "checkpoint": saver.aput(here, checkpoint, {"source": "loop", "step": nth}, {}),
            "writes": saver.aput_writes(at, [("messages", "stale")], f"task {nth}"),
            "intent": ledger.begin(EffectKey(run_id, "", f"call {nth}"), "send", {}, "keyed"),
            "record": ledger.end(key, {"content": "stale"}),
            "again": ledger.again(key),
            "result": recorder.finish(event, "succeeded", Jsonb({"answer": "stale"}), Jsonb(None), also),
        }
        for what, write in writes.items():
            with pytest.raises(StaleWriter):
                await write
            refused[what] += 1
    assert refused.total() == 150
    async with field.pool.connection() as connection:
        stored = "select count(*) as n from {table} where {column} = %s"
        for table, column in (
            ("checkpoints", "thread_id"),
            ("checkpoint_writes", "thread_id"),
            ("run_events", "run_id"),
        ):
            [row] = await (await connection.execute(stored.format(table=table, column=column), (run_id,))).fetchall()
            assert row["n"] == 0, table
        [effect] = await (await connection.execute("select * from effects where run_id = %s", (run_id,))).fetchall()
        assert (effect["ended_at"], effect["tries"]) == (None, 1)
    assert (await field.runs.run(run_id))["output"] is None


async def test_two_processes_post_a_hundred_messages_to_one_thread(field: Field) -> None:
    workers = [await field.worker(ECHO, concurrency=4) for _ in range(2)]
    thread_id = (await field.runs.create_thread("chat"))["thread_id"]
    posts = [[f"message {n}" for n in range(first, 100, 2)] for first in (0, 1)]
    posters = [await field.poster(thread_id, questions) for questions in posts]
    for poster in posters:
        assert await poster.end() == 0, poster.log()
    run_ids = [run["run_id"] for run in await field.runs.runs(thread_id)]
    await field.settle(run_ids)

    line = await field.runs.branch(thread_id)
    assert sorted(row["question"] for row in line) == sorted(posts[0] + posts[1])
    assert [row["parent_run_id"] for row in line] == [None, *(row["run_id"] for row in line[:-1])]
    said = {run["run_id"]: run["output"]["answer"] for run in await field.runs.runs(thread_id)}
    assert [said[row["run_id"]] for row in line] == [row["question"] for row in line]
    ends = [(before["finished_at"], after["started_at"]) for before, after in pairwise(line)]
    assert all(before <= after for before, after in ends), "two runs of one thread ran at once"
    for worker in workers:
        await worker.stop()


@pytest.mark.parametrize("pattern", [*PATTERNS.values(), TEAM, DEBATE], ids=lambda it: it.name)
async def test_a_worker_that_is_told_to_go_hands_its_runs_back(field: Field, pattern: Pattern) -> None:
    counts = (await calibrated(field, pattern))[0]
    points = [*range(1, counts["checkpoint.after"], max(1, counts["checkpoint.after"] // extent(4, 15)))]
    leaving = [
        await field.worker(pattern, {"point": "checkpoint.after", "nth": nth, "action": "drain"}) for nth in points
    ]
    for worker in leaving:
        await worker.up()
    run_ids = await field.admit(pattern, len(points))
    assert [await worker.end() for worker in leaving] == [0] * len(points), [worker.log() for worker in leaving]
    handed = [row["status"] for row in await field.rows(run_ids)]
    assert set(handed) <= {"queued", "waiting", "succeeded"}, handed
    assert "queued" in handed

    staying = await field.worker(pattern, concurrency=len(points))
    verdict = await field.judge(pattern, await field.settle(run_ids))
    assert not verdict.faults(), staying.log()
    async with field.pool.connection() as connection:
        lost = await connection.execute("select sum(losses) as n from runs where run_id = any(%s)", (run_ids,))
        assert (await lost.fetchone())["n"] == 0  # type: ignore[index]
    await staying.stop()


async def test_two_workers_share_a_load(field: Field) -> None:
    workers = [await field.worker(CHAT, concurrency=4) for _ in range(2)]
    for worker in workers:
        await worker.up()
    run_ids = await field.admit(CHAT, extent(50, 200))
    rows = await field.settle(run_ids)
    verdict = await field.judge(CHAT, rows)
    assert not verdict.faults()
    shares = Counter(row["worker"] for row in rows)
    print(shares)
    assert len(shares) == 2
    assert min(shares.values()) >= 10
    for worker in workers:
        await worker.stop()


async def test_a_dead_worker_is_noticed_within_ten_seconds() -> None:
    assert max(TIMING.lease_s, TIMING.stalled_s) + TIMING.sweep_s + TIMING.blocked_s <= 10
    assert 2 * TIMING.heartbeat_s < TIMING.lease_s  # one heartbeat may be late
