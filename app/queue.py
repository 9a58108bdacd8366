"""The queue that carries runs: procrastinate, in the same Postgres, so a run and its job are admitted together.

Only the job's id travels; everything about a run is in its row. Jobs of one thread share a lock, which keeps their order.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import procrastinate
from procrastinate import JobContext, PsycopgConnector

from app.postgres import Pool

log = logging.getLogger(__name__)

TASK = "sextant.run"
QUEUE = "runs"
HEARTBEAT_S = 2.0
POLL_S = 5.0
GRACE_S = 5.0
RESTART_S = 1.0

Execute = Callable[[str], Awaitable[None]]


class RunQueue:
    """Defers runs and works on them."""

    def __init__(self, execute: Execute) -> None:
        self.app = procrastinate.App(connector=PsycopgConnector())
        self.ready = False
        """True while a worker of this process is taking jobs."""
        self._stopping = False

        async def run(context: JobContext, run_id: str) -> None:
            await execute(run_id)

        self._task = self.app.task(name=TASK, queue=QUEUE, pass_context=True)(run)

    async def open(self, pool: Pool) -> None:
        """Use `pool`, which stays its owner's."""
        await self.app.open_async(pool)

    async def defer(self, connection: object, run_id: str, thread_id: str) -> int:
        """Queue a run inside the caller's transaction. Runs of a thread start one after the other."""
        return await self._task.configure(lock=thread_id, connection=connection).defer_async(run_id=run_id)

    async def abort(self, job_id: int) -> None:
        """Cancel a queued job, or raise CancelledError inside a running one, in whichever process it runs."""
        await self.app.job_manager.cancel_job_by_id_async(job_id, abort=True)

    async def work(self, concurrency: int) -> None:
        """Take jobs until cancelled. A worker that died of a lost database is started again."""
        while True:
            self.ready = True
            try:
                await self.app.run_worker_async(
                    queues=[QUEUE],
                    concurrency=concurrency,
                    install_signal_handlers=False,
                    update_heartbeat_interval=HEARTBEAT_S,
                    fetch_job_polling_interval=POLL_S,
                    abort_job_polling_interval=POLL_S,
                    shutdown_graceful_timeout=GRACE_S,
                )
                return
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("the worker stopped; starting it again in %.0f s", RESTART_S)
            finally:
                self.ready = False
            await asyncio.sleep(RESTART_S)
