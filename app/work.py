"""The worker's side of a run: claim it, keep the lease, carry it to its end, hand it back when going down.

A claim raises the run's epoch. Everything that a worker writes (events, checkpoints, result) carries the epoch and is
refused once somebody else has claimed the run, so a worker that was paused and comes back can change nothing.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from langgraph.store.base import BaseStore
from psycopg.types.json import Jsonb

from agents.agent import discover_agents
from agents.context import Context
from agents.errors import RunLost
from app.activities import Activity
from app.claim import MAX_LOSSES, STOP, WRITERS, Claim, Writers
from app.events import json_safe
from app.journal import CHANNEL, Journal
from app.outcome import described
from app.postgres import Pool, StaleWriter
from app.projection import RunView
from app.queue import DATABASE_GONE, TIMING, Chore, RunQueue, Stopped, Timing
from app.shapes import Shape

log = logging.getLogger(__name__)

LEAVE_S = 15.0
"""For a worker that is going down to hand back what it cut; then it leaves without: its leases will end."""
IMPATIENCE_S = 1.0
UNKNOWN_S = 20.0
"""So long a run is left to workers that know its graph: one that runs since before a graph was added does not."""

_CLAIM = """
update runs set status = 'running', epoch = epoch + 1, worker = %(worker)s, losses = losses + (status = 'running')::int,
    lease_until = now() + %(lease_s)s * interval '1 second', started_at = coalesce(started_at, now())
where run_id = %(run_id)s and (status = 'queued' or (status = 'running' and lease_until < now()))
    and not sx_behind(runs.parent_run_id)
    and (graph = any(%(graphs)s) or greatest(created_at, lease_until) < now() - %(unknown_s)s * interval '1 second')
returning *
"""
# its lease is not over: the worker that has it is alive, or will be found dead in a moment; or others know its graph
_LATER = """
select from runs where run_id = %(run_id)s and (status = 'running' or (status = 'queued' and graph <> all(%(graphs)s)))
    and not sx_behind(runs.parent_run_id) for update
"""
_FAILED = """
insert into run_events (run_id, seq, type, span_id, data)
select %s, coalesce(max(seq), 0) + 1, 'run.failed', 'run', %s from run_events where run_id = %s
"""
_KEEP = """
update runs set lease_until = now() + %s * interval '1 second'
where worker = %s and status = 'running' and run_id = any(%s)
returning run_id, wish
"""
# a run whose job is gone although nobody carries it: a crash between the two, or a queue row removed by hand
_ORPHANS = """
select run_id from runs where (status = 'queued' or (status = 'running' and lease_until < now()))
    and created_at < now() - interval '10 seconds'
    and not sx_behind(runs.parent_run_id)
    and not exists (select 1 from procrastinate_jobs j where j.id = runs.job_id and j.status in ('todo', 'doing'))
for update skip locked
"""

Row = dict[str, Any]


class Worker:
    """Carries runs of any graph, as many at once as its queue hands it."""

    def __init__(
        self,
        pool: Pool,
        journal: Journal,
        activities: Mapping[str, Activity],
        context: Context,
        *,
        model_name: str,
        timing: Timing = TIMING,
        writers: Writers = WRITERS,
        store: BaseStore | None = None,
        chore: Chore | None = None,
    ) -> None:
        self._pool, self._journal, self._activities, self._context = pool, journal, activities, context
        self._model_name, self._timing, self._writers, self._store = model_name, timing, writers, store
        self.queue = RunQueue(self.execute, timing, chore)
        self.name = f"worker-{uuid4().hex[:8]}"
        self._claims: dict[str, Claim] = {}
        # strict deserialisation knows the types of a graph's own state, not those of the agents inside it
        outputs = (agent.output for agent in discover_agents().values() if agent.output)
        self._agent_outputs = {(output.__module__, output.__name__) for output in outputs}

    # -- the process -------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def working(self, concurrency: int) -> AsyncIterator[None]:
        """Take runs for as long as the context lasts; at its end, drain and hand back what is not finished."""
        tasks = [
            asyncio.create_task(self.queue.work(concurrency), name="queue"),
            asyncio.create_task(self._every(self._timing.heartbeat_s, self._keep_leases), name="leases"),
            asyncio.create_task(self._every(self._timing.sweep_s, self._sweep), name="sweep"),
            asyncio.create_task(self._every(0, self._obey), name="commands"),
        ]
        try:
            yield
        finally:
            for claim in self._claims.values():
                claim.control.request_drain("the worker is going down")
            for task in tasks:  # the queue first: it lets the runs come to an end, under leases that are still kept
                await _ended(task, self._timing.grace_s + LEAVE_S)

    async def _every(self, seconds: float, do: Callable[[], Any]) -> None:
        while True:
            try:
                await do()
            except DATABASE_GONE as error:
                log.warning("%s waits for the database: %s", self.name, error)
            except Exception:
                # whatever it was: a worker that no longer keeps its leases or looks for lost runs is worse
                log.exception("%s goes on", self.name)
            await asyncio.sleep(seconds)

    async def _keep_leases(self) -> None:
        if not self._claims:
            return
        async with self._pool.connection() as connection:
            kept = await connection.execute(_KEEP, (self._timing.lease_s, self.name, list(self._claims)))
            wishes = {row["run_id"]: row["wish"] for row in await kept.fetchall()}
            if unkept := [run_id for run_id in self._claims if run_id not in wishes]:
                found = await connection.execute("select run_id from runs where run_id = any(%s)", (unkept,))
                there = {row["run_id"] for row in await found.fetchall()}
                wishes |= dict.fromkeys(set(unkept) - there, STOP)  # deleted: it must not go on spending
        for run_id, wish in wishes.items():  # a wish whose notification was lost is read here
            self._grant(run_id, wish)

    async def _obey(self) -> None:
        """Do what people wish of runs at work here, as soon as they say it."""
        run_id = await self._journal.commands.get()
        if run_id in self._claims:
            async with self._pool.connection() as connection:
                row = await (await connection.execute("select wish from runs where run_id = %s", (run_id,))).fetchone()
            self._grant(run_id, row["wish"] if row else STOP)  # no row: it was deleted

    def _grant(self, run_id: str, wish: str | None) -> None:
        claim = self._claims.get(run_id)
        if claim and wish:
            claim.grant(wish)

    async def _sweep(self) -> None:
        """Bring lost runs back. Every worker does it; whoever comes first."""
        await self.queue.take_back()
        async with self._pool.connection() as connection, connection.transaction():
            for row in await (await connection.execute(_ORPHANS)).fetchall():
                await self.queue.defer(connection, row["run_id"])

    # -- one run -----------------------------------------------------------------------------------------------------

    async def execute(self, run_id: str, stopped: Stopped) -> None:
        """Claim a run and carry it to its end. What happens is in its events; a failed run raises nothing."""
        run = await self._claim(run_id)
        if run is None:
            return
        activity = self._activities.get(run["graph"])
        view = RunView(activity.shape if activity else Shape((), ()))
        claim: Claim | None = None
        try:
            if run["epoch"] > 1:  # else nobody had it before
                for event in await self._journal.read(run_id):
                    view.apply(event)
            async with self._writers.recorder(self._pool, run_id, run["epoch"], view.seq) as recorder:
                claim = Claim(
                    self._pool, self.queue, run, activity, view, recorder, self._context, self._agent_outputs,
                    model_name=self._model_name, stopped=stopped, writers=self._writers, store=self._store,
                )  # fmt: skip
                self._claims[run_id] = claim
                await claim.carry()
        except StaleWriter:
            log.warning("run %s was claimed by another worker or deleted; this one stops", run_id)
        except (RunLost, *DATABASE_GONE) as error:
            log.warning("run %s lost the database: %s", run_id, error)
            await self._drop(run, error)
        except Exception as failure:
            log.exception("run %s could not be carried", run_id)
            await self._drop(run, failure)
        finally:
            if self._claims.get(run_id) is claim:  # else it came back to this worker, in the hands of another claim
                self._claims.pop(run_id, None)

    async def _drop(self, run: Row, failure: Exception) -> None:
        """Let go of a run that cannot be begun or gone on with. It counts as a loss, and the last one ends the run."""
        async with self._pool.connection() as connection, connection.transaction():
            owned = (run["run_id"], run["epoch"])
            if run["losses"] + 1 < MAX_LOSSES:
                expire = "update runs set lease_until = now() where run_id = %s and epoch = %s and status = 'running'"
                if (await connection.execute(expire, owned)).rowcount:
                    await self.queue.defer(connection, run["run_id"], after_s=self._timing.blocked_s)
                return
            end = (
                "update runs set status = 'failed', error = %s, finished_at = now() "
                "where run_id = %s and epoch = %s and status = 'running'"
            )
            error = Jsonb(json_safe(described(failure)))
            if (await connection.execute(end, (error, *owned))).rowcount:
                await connection.execute(_FAILED, (run["run_id"], Jsonb({"error": error.obj}), run["run_id"]))
                await connection.execute("select pg_notify(%s, %s)", (CHANNEL, run["run_id"]))
                await self.queue.release_children(connection, run["run_id"])

    async def _claim(self, run_id: str) -> Row | None:
        """Take the run: from here on only this claim's writes count. None when there is nothing to take."""
        async with self._pool.connection() as connection, connection.transaction():
            values = {"worker": self.name, "lease_s": self._timing.lease_s, "run_id": run_id,
                      "graphs": list(self._activities), "unknown_s": UNKNOWN_S}  # fmt: skip
            if claimed := await (await connection.execute(_CLAIM, values)).fetchone():
                return claimed
            if (await connection.execute(_LATER, values)).rowcount:
                await self.queue.defer(connection, run_id, after_s=self._timing.blocked_s)
        return None


async def _ended(task: asyncio.Task[None], within_s: float) -> None:
    """Cancel a task and wait for its end; when that takes too long cancel it again, so that it waits for nothing."""
    patience_s = within_s
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=patience_s)
        patience_s = IMPATIENCE_S
