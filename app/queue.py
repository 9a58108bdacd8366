"""The queue that carries runs: procrastinate, in the same Postgres, so a run and its job are admitted together.

Only the run's id travels; everything about a run is in its row. A run waits for its parent, so the messages of a
conversation keep their order without a lock that would also hold back its branches; a run's own jobs share one. That
lock is no fence: a worker that was paused and comes back would end the job that another one is carrying. So ending a
job checks who has it, and the truth about a run is its epoch.

Beside runs it carries one chore, every hour: each worker asks for it, and the database takes the first asking of an
hour. A worker that starts makes up for an hour that nobody asked for, so a laptop that is on for minutes does it too.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import procrastinate
import psycopg
from procrastinate import JobContext, PsycopgConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.job_context import AbortReason
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager

from app.postgres import Pool

log = logging.getLogger(__name__)

TASK = "sextant.run"
QUEUE = "runs"
CHORE = "sextant.prune"
CHORES = "chores"
CHORE_AT = "17 * * * *"
"""Minute 17 of each hour, away from everybody else's full hours."""
CHORE_LATE_S = 3_600
RESTART_S = 1.0
DATABASE_GONE = (psycopg.OperationalError, psycopg.InterfaceError, ConnectorException)
"""What a database that restarts, is full or out of reach looks like; PoolTimeout is among them."""
QueueTrouble = ConnectorException
"""The queue's own word for any error of the database; its cause says which."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How soon a dead worker is noticed, and how long a living one may take. In seconds."""

    lease_s: float = 7.0
    """A run whose worker was silent for so long is lost, and anybody may claim it. With a sweep: within ten seconds."""
    stalled_s: float = 7.0
    """The same for the queue: the jobs of a worker that was silent for so long are queued again."""
    heartbeat_s: float = 2.0
    sweep_s: float = 2.0
    """Pause between two looks for what others left behind."""
    blocked_s: float = 1.0
    """Pause before a claim is tried again while the lease of another worker is not over."""
    poll_s: float = 1.0
    """A notification that comes while the listener connects, or while the queue is being looked at, is lost."""
    grace_s: float = 5.0
    """For runs to come to a super-step's end when their worker stops; after it they are cut and handed back."""


TIMING = Timing()

Stopped = Callable[[], bool]
"""True when a person asked for the cancellation, False when the worker is going down."""
Execute = Callable[[str, Stopped], Awaitable[None]]
Chore = Callable[[], Awaitable[object]]


_OWNED = """
with mine as (select id from procrastinate_jobs where id = %(id)s and status = 'doing' and attempts = %(attempts)s
              and worker_id is not distinct from %(worker)s for update)
select count(*) as n from (select {act} from mine) acted
"""
_FINISH = _OWNED.format(act="procrastinate_finish_job_v1(id, %(status)s::procrastinate_job_status, %(delete)s)")
# by the database's clock: that of a worker may be an hour ahead, and would put the job off for an hour
_RETRY = _OWNED.format(act="procrastinate_retry_job_v2(id, now(), null, null, null)")


# behind a run that never began waits what waits for the runs before it
_WAITING = """
with recursive below as (
    select run_id, status, created_at, sx_never_began(r) as passed_over from runs r where parent_run_id = %s
    union all
    select r.run_id, r.status, r.created_at, sx_never_began(r) from runs r
    join below on r.parent_run_id = below.run_id where below.passed_over
)
select run_id from below where status = 'queued' order by created_at
"""


class OwnedJobs(JobManager):
    """Ends or retries a job only while it is in the hands that it was seen in."""

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
        """End `job` unless it was taken from this worker in the meantime."""
        if not await self._owned(_FINISH, job, status=status.value, delete=delete_job):
            log.warning("job %s belongs to another worker now; leaving it alone", job.id)

    async def take_back(self, job: Job) -> None:
        """Queue the job of a dead worker again, unless somebody else did so in the meantime."""
        if not await self._owned(_RETRY, job):
            log.info("job %s was taken back by another worker", job.id)

    async def _owned(self, sql: str, job: Job, **more: Any) -> bool:
        seen = {"id": job.id, "worker": job.worker_id, "attempts": job.attempts}
        return bool((await self.connector.execute_query_one_async(sql, **seen, **more))["n"])


class RunQueue:
    """Defers runs and works on them; has the chore done."""

    def __init__(self, execute: Execute, timing: Timing = TIMING, chore: Chore | None = None) -> None:
        self._timing = timing
        self.app = procrastinate.App(connector=PsycopgConnector(), periodic_defaults={"max_delay": CHORE_LATE_S})
        self._jobs = OwnedJobs(self.app.connector)
        self.app.job_manager = self._jobs
        self.ready = False
        """True while a worker of this process is taking jobs."""

        async def run(context: JobContext, run_id: str) -> None:
            await execute(run_id, lambda: context.abort_reason() is AbortReason.USER_REQUEST)

        self._task = self.app.task(name=TASK, queue=QUEUE, pass_context=True)(run)
        if chore:
            self._hourly(chore)

    def _hourly(self, chore: Chore) -> None:
        """Have `chore` done once an hour by whichever worker has a place free, after the runs that wait."""

        async def work(timestamp: int) -> None:
            await chore()

        task = self.app.task(name=CHORE, queue=CHORES, lock=CHORE, priority=-1)(work)
        self.app.periodic(cron=CHORE_AT)(task)

    async def open(self, pool: Pool) -> None:
        """Use `pool`, which stays its owner's."""
        await self.app.open_async(pool)

    async def defer(self, connection: Any, run_id: str, *, after_s: float = 0) -> None:
        """Queue a run inside the caller's transaction, and note its job. A run's jobs never overlap."""
        at = await _database_time(connection, after_s) if after_s else None
        task = self._task.configure(lock=run_id, connection=connection, schedule_at=at)
        job_id = await task.defer_async(run_id=run_id)
        await connection.execute("update runs set job_id = %s where run_id = %s", (job_id, run_id))

    async def release_children(self, connection: Any, run_id: str) -> None:
        """Queue the runs that were to go on from this one, inside the transaction that ends it."""
        for row in await (await connection.execute(_WAITING, (run_id,))).fetchall():
            await self.defer(connection, row["run_id"])

    async def abort(self, job_id: int) -> None:
        """Cancel a queued job, or raise CancelledError inside a running one, in whichever process it runs."""
        await self.app.job_manager.cancel_job_by_id_async(job_id, abort=True)

    async def take_back(self) -> int:
        """Queue again what workers held that show no sign of life; how many."""
        stalled_s = self._timing.stalled_s
        jobs = list(await self.app.job_manager.get_stalled_jobs(seconds_since_heartbeat=stalled_s))
        for job in jobs:
            await self._jobs.take_back(job)
        await self.app.job_manager.prune_stalled_workers(stalled_s)
        return len(jobs)

    async def work(self, concurrency: int) -> None:
        """Take jobs until cancelled, then give the running ones `grace_s`. A worker that lost its database restarts."""
        timing = self._timing
        while True:
            self.ready = True
            try:
                await self.app.run_worker_async(
                    queues=[QUEUE, CHORES],
                    concurrency=concurrency,
                    install_signal_handlers=False,
                    update_heartbeat_interval=timing.heartbeat_s,
                    stalled_worker_timeout=timing.stalled_s,
                    fetch_job_polling_interval=timing.poll_s,
                    abort_job_polling_interval=timing.poll_s,
                    shutdown_graceful_timeout=timing.grace_s,
                )
                # it ends by itself when one of its side tasks does, and says so in its log
                log.warning("the worker stopped; starting it again in %.0f s", RESTART_S)
            except asyncio.CancelledError:
                raise
            except Exception:
                if _told_to_stop():  # and could not take its leave, which replaced the cancellation
                    raise asyncio.CancelledError from None
                log.exception("the worker stopped; starting it again in %.0f s", RESTART_S)
            finally:
                self.ready = False
            await asyncio.sleep(RESTART_S)


def _told_to_stop() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _database_time(connection: Any, after_s: float) -> datetime:
    """So many seconds from now, by the clock that decides when a job is due."""
    query = "select clock_timestamp() + %s * interval '1 second' as at"
    at: datetime = (await (await connection.execute(query, (after_s,))).fetchone())["at"]
    return at
