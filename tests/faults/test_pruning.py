"""kill -9 in the middle of pruning, twenty times: what is left goes next time, and no state is ever half there."""

import asyncio
import random
import signal
import subprocess
import sys

import psycopg
import pytest

from app.postgres import migrate, open_pool

pytestmark = [pytest.mark.slow]

KILLS = 20
RUNS = 800
EVENTS = 100
PRUNER = """
import asyncio, sys
from app.settings import require_strict_msgpack
require_strict_msgpack()
from app.postgres import open_pool
from app.retention import Retention
async def main():
    async with await open_pool(sys.argv[1]) as pool:
        await Retention(pool, 30).prune()
asyncio.run(main())
"""
MADE = (
    "insert into threads (thread_id, title, graph) select 't' || t, 'T', 'chat' from generate_series(1, %(threads)s) t",
    "insert into runs (run_id, thread_id, graph, status, input, output, finished_at) "
    "select 't' || t || '-' || n, 't' || t, 'chat', 'succeeded', '{\"question\": \"q\"}', '{\"missing\": []}', "
    "now() - interval '40 days' + n * interval '1 minute' "
    "from generate_series(1, %(threads)s) t, generate_series(1, 4) n",
    "update runs set parent_run_id = thread_id || '-' || (split_part(run_id, '-', 2)::int - 1) "
    "where split_part(run_id, '-', 2) <> '1'",
    "insert into run_events (run_id, seq, type, span_id) select run_id, s, 'llm.token', 's' from runs, "
    "generate_series(1, %(events)s) s",
    "insert into checkpoints (thread_id, checkpoint_ns, checkpoint_id, checkpoint) "
    "select run_id, ns, s::text, jsonb_build_object('channel_versions', jsonb_build_object('messages', s::text)) "
    "from runs, generate_series(1, 5) s, unnest(array['', 'answer:1']) ns",
    "insert into checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob) "
    "select thread_id, checkpoint_ns, 'messages', checkpoint_id, 'msgpack', '' from checkpoints",
    "insert into checkpoint_writes (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob) "
    "select thread_id, checkpoint_ns, checkpoint_id, 'k', 0, 'messages', 'msgpack', '' from checkpoints",
)
HALF = """
select count(*) from checkpoints c where not exists (select 1 from checkpoint_blobs b where b.thread_id = c.thread_id
    and b.checkpoint_ns = c.checkpoint_ns and b.channel = 'messages' and b.version = c.checkpoint_id)
"""
TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes", "run_events")


async def migrated(conninfo: str) -> None:
    async with await open_pool(conninfo) as pool:
        await migrate(pool)


def test_pruning_that_is_killed_goes_on(database_url: str) -> None:
    asyncio.run(migrated(database_url))
    dice = random.Random(20)
    prune = [sys.executable, "-c", PRUNER, database_url]
    with psycopg.connect(database_url, autocommit=True) as admin:
        values = {"threads": RUNS // 4, "events": EVENTS}
        for statement in MADE:
            admin.execute(statement, values if "%(" in statement else None)

        def count(query: str) -> int:
            row = admin.execute(query).fetchone()
            assert row is not None
            return int(row[0])

        killed = 0
        marks = sorted((dice.randrange(RUNS * EVENTS) for _ in range(KILLS)), reverse=True)
        for mark in marks:
            pruner = subprocess.Popen(prune)
            while count("select count(*) from run_events") > mark and pruner.poll() is None:
                assert count(HALF) == 0
            pruner.send_signal(signal.SIGKILL)
            killed += pruner.wait() == -signal.SIGKILL
            assert count(HALF) == 0
        assert killed > KILLS // 2  # the others were done before their turn

        subprocess.run(prune, check=True)
        # each conversation's last state, whole, and nothing else
        assert [count(f"select count(*) from {table}") for table in TABLES] == [RUNS // 4, RUNS // 4, 0, 0]
        assert count("select count(*) from checkpoints where thread_id like '%-4' and checkpoint_id = '5'") == RUNS // 4
        assert count("select count(*) from runs where pruned_at is null or left_behind = 'rows'") == 0
