"""Removes what runs did, some time after they ended: steps, events, effects, artefacts, questions, boards, queue jobs.

Question and answer stay in the run's row, so a conversation is still there to be read, and to be gone on with. What
agents keep for a person or a whole conversation (`agents/memory.py`) is not a run's, and stays.

What is never touched: a run that has not ended, and one that can still be gone on with (stopped, failed, or answered
with a part missing or its budget reached) unless a limit of its own is set for those. Nor what such a run may still ask
before it repeats an effect: the source of a fork that is still whole, and the effects of its conversation's other runs.

The last state at the end of each branch is kept, since only the graph knows what is in it; every other state of an old
branch is inside newer ones already. A message after a run in the middle of a branch begins with what the rows say
(`app/ancestry.py`).

First a run is marked, in one short transaction that raises its epoch: from then on it can be neither resumed nor
forked, and whoever held it is fenced off. Then its rows go in small statements, each its own transaction, so nobody
waits long, and a kill between two of them leaves a marked run whose rest goes next time. Two prunes at once share the
work.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.borders import Rejected
from app.postgres import Pool

log = logging.getLogger(__name__)

BATCH_RUNS = 100
CHUNK_ROWS = 2_000
"""Rows of one statement: tens of milliseconds."""
PRUNE_S = 30.0
"""For one turn of the job, which holds a worker's place; what is left waits for the next."""
BREATH_S = 0.01
"""Between two statements, for those that wait for the disk."""


def _resumable(run: str) -> str:
    return f"""({run}.status in ('failed', 'cancelled') or {run}.output ->> 'budget_reached' is not null
        or coalesce({run}.output -> 'missing', '[]') not in ('[]', 'null'))"""


# looked into for effects that were done: by forks, and by whatever may go on beside it
_ASKED = f"""
exists (select 1 from runs later where coalesce(later.input -> 'fork', later.input -> 'from') is not null
    and coalesce(later.input -> 'fork', later.input -> 'from') ->> 'run_id' = r.run_id and later.pruned_at is null)
or exists (select 1 from effects where effects.run_id = r.run_id)
and exists (select 1 from runs other where other.thread_id = r.thread_id and other.run_id <> r.run_id
    and other.pruned_at is null and (other.finished_at is null or {_resumable("other")}
        and (%(resumable_days)s = 0 or other.finished_at >= now() - %(resumable_days)s * interval '1 day')))
"""
_DUE = f"""
r.pruned_at is null and r.status in ('succeeded', 'failed', 'cancelled')
and r.finished_at < now() - %(days)s * interval '1 day'
and (not {_resumable("r")} or (%(resumable_days)s > 0
     and r.finished_at < now() - %(resumable_days)s * interval '1 day'))
and not ({_ASKED})
"""
_LOCK = f"select r.run_id from runs r where {_DUE} order by r.finished_at limit %(batch)s for update skip locked"
# looked at again under the locks: a fork that was admitted a moment before them is visible only to a new statement
_MARK = f"""
update runs r set pruned_at = now(), left_behind = 'rows', epoch = epoch + 1
where r.run_id = any(%(runs)s) and {_DUE}
"""
_NEEDED = """
not exists (select 1 from runs child where child.parent_run_id = r.run_id and (child.pruned_at is not null
    or exists (select 1 from checkpoints c where c.thread_id = child.run_id and c.checkpoint_ns = '')))
"""
_REOPEN = f"update runs r set left_behind = 'rows' where r.left_behind = 'state' and not ({_NEEDED})"
_OPEN = "select run_id from runs where left_behind = 'rows' order by run_id limit %(batch)s"
_KEPT = f"""
(k.checkpoint_ns = '' and {_NEEDED} and not exists (select 1 from checkpoints newer
    where newer.thread_id = k.thread_id and newer.checkpoint_ns = '' and newer.checkpoint_id > k.checkpoint_id))
"""
# states first, and what they consist of only after them: whoever reads one meanwhile finds it whole or not at all
_ROWS = {
    "checkpoints": f"from checkpoints k join runs r on r.run_id = k.thread_id where k.thread_id = any(%(runs)s) "
    f"and not {_KEPT}",
    "checkpoint_writes": "from checkpoint_writes k where k.thread_id = any(%(runs)s)",
    "checkpoint_blobs": "from checkpoint_blobs k where k.thread_id = any(%(runs)s) and not exists (select 1 "
    "from checkpoints c where c.thread_id = k.thread_id and c.checkpoint_ns = k.checkpoint_ns "
    "and c.checkpoint -> 'channel_versions' ->> k.channel = k.version)",
    "run_events": "from run_events k where k.run_id = any(%(runs)s)",
    "effects": "from effects k where k.run_id = any(%(runs)s)",
    "artefacts": "from artefacts k where k.run_id = any(%(runs)s)",
    "interrupts": "from interrupts k where k.run_id = any(%(runs)s)",
    "board_claims": "from board_claims k join runs r on r.thread_id = k.thread_id and r.run_id = k.board "
    "where r.run_id = any(%(runs)s)",
    "board_entries": "from board_entries k join runs r on r.thread_id = k.thread_id and r.run_id = k.board "
    "where r.run_id = any(%(runs)s)",
}
_DELETE = (
    "delete from {table} where ctid = any(array(select k.ctid {rows} limit %(chunk)s for update of k skip locked))"
)
# another prune may hold a row that it has not deleted yet, and may die: what is not gone for sure is looked at again
_CLOSE = """
update runs r set left_behind = case when exists (select 1 from checkpoints c where c.thread_id = r.run_id)
                                then 'state' end
where r.run_id = any(%(runs)s) and r.left_behind = 'rows'
    and (select count(*) from checkpoints c where c.thread_id = r.run_id) <= 1
    and not exists (select 1 from checkpoint_writes w where w.thread_id = r.run_id)
    and not exists (select 1 from run_events e where e.run_id = r.run_id)
    and not exists (select 1 from effects e where e.run_id = r.run_id)
    and not exists (select 1 from artefacts a where a.run_id = r.run_id)
    and not exists (select 1 from interrupts i where i.run_id = r.run_id)
    and not exists (select 1 from board_claims b where b.thread_id = r.thread_id and b.board = r.run_id)
    and not exists (select 1 from board_entries b where b.thread_id = r.thread_id and b.board = r.run_id)
    and (exists (select 1 from checkpoints c where c.thread_id = r.run_id)
         or not exists (select 1 from checkpoint_blobs b where b.thread_id = r.run_id))
"""
# a job's number grows with time, so the oldest ended ones are the first of them
_JOBS = """
delete from procrastinate_jobs where id = any(array(
    select id from (select id from procrastinate_jobs
                    where status in ('succeeded', 'failed', 'cancelled', 'aborted') order by id limit %(chunk)s) j
    where not exists (select 1 from procrastinate_events e
                      where e.job_id = j.id and e.at > now() - %(days)s * interval '1 day')))
"""
_WAITING = f"select count(*) as runs from runs r where {_DUE}"
_HELD = f"""
select count(*) as runs from runs r where r.pruned_at is null and r.finished_at < now() - %(days)s * interval '1 day'
and {_resumable("r")}
"""


@dataclass(slots=True)
class Pruned:
    """What one turn removed."""

    runs: int = 0
    rows: int = 0
    jobs: int = 0


class Retention:
    """Prunes one database by age. `days`: 0 keeps everything; `resumable_days`: 0 keeps what can be gone on with."""

    def __init__(self, pool: Pool, days: float, resumable_days: float = 0) -> None:
        self._pool, self._days = pool, days
        # a run that can be gone on with is worth no less than one that is done
        self._resumable_days = max(days, resumable_days) if resumable_days else 0

    async def prune(self, within_s: float = PRUNE_S) -> Pruned:
        """Remove what is due, as much as there is time for. Repeats, kills and company are safe."""
        done = Pruned()
        if not self._days:
            return done
        until = time.monotonic() + within_s
        await self._run(_REOPEN)
        while time.monotonic() < until:
            marked = await self._mark()
            rows, open_ = await self._sweep(until)
            done.runs, done.rows = done.runs + marked, done.rows + rows
            if not marked and not open_:
                break
        while time.monotonic() < until and (jobs := await self._run(_JOBS)):
            done.jobs += jobs
        if done.runs or done.rows or done.jobs:
            log.info("pruned %d runs: %d rows, %d jobs", done.runs, done.rows, done.jobs)
        return done

    async def outlook(self) -> dict[str, int]:
        """Runs that the next turn would take, and old ones that are left alone because they can be gone on with."""
        if not self._days:
            return {"due": 0, "held": 0}
        due, held = await self._one(_WAITING), await self._one(_HELD)
        return {"due": due, "held": held - await self._resumable_due() if self._resumable_days else held}

    async def _resumable_due(self) -> int:
        return await self._one(f"{_WAITING} and {_resumable('r')}")

    async def _mark(self) -> int:
        """Take a batch out of everybody's reach; how many."""
        async with self._pool.connection() as connection, connection.transaction():
            locked = await (await connection.execute(_LOCK, self._values())).fetchall()
            runs = [row["run_id"] for row in locked]
            return (await connection.execute(_MARK, self._values(runs))).rowcount if runs else 0

    async def _sweep(self, until: float) -> tuple[int, bool]:
        """Delete what marked runs have left behind: (rows deleted, whether there was anything to look at)."""
        async with self._pool.connection() as connection:
            found = await (await connection.execute(_OPEN, self._values())).fetchall()
        runs, gone = [row["run_id"] for row in found], 0
        for table, rows in _ROWS.items() if runs else ():
            while time.monotonic() < until:
                deleted = await self._run(_DELETE.format(table=table, rows=rows), runs)
                gone += deleted
                if deleted < CHUNK_ROWS:
                    break
                await asyncio.sleep(BREATH_S)
        closed = await self._run(_CLOSE, runs) if runs else 0
        return gone, bool(closed)

    def _values(self, runs: list[str] | None = None) -> dict[str, Any]:
        return {
            "runs": runs or [], "days": self._days, "resumable_days": self._resumable_days,
            "batch": BATCH_RUNS, "chunk": CHUNK_ROWS,
        }  # fmt: skip

    async def _run(self, sql: str, runs: list[str] | None = None) -> int:
        async with self._pool.connection() as connection:
            return (await connection.execute(sql, self._values(runs))).rowcount

    async def _one(self, sql: str) -> int:
        async with self._pool.connection() as connection:
            row = await (await connection.execute(sql, self._values())).fetchone()
        return int(row["runs"]) if row else 0


def pruned_words(run: Mapping[str, Any]) -> str:
    """What a person is told of a run whose details are gone; "" of any other."""
    if not run["pruned_at"]:
        return ""
    return f"Its steps were pruned on {run['pruned_at']:%Y-%m-%d}; question and answer are kept."


def refuse_pruned(run: Mapping[str, Any]) -> None:
    """Raise Rejected when what is wanted of the run needs what was pruned."""
    if run["pruned_at"]:
        day = f"{run['pruned_at']:%Y-%m-%d}"
        raise Rejected("run_pruned", f"run: its steps were pruned on {day}", field="run_id", actual=day,
                       fix="ask again in the same conversation, which can still be gone on with")  # fmt: skip
