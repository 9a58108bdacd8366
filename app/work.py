"""The worker's side of a run: claim it, keep the lease, carry it to its end, hand it back when going down.

A claim raises the run's epoch. Everything that a worker writes (events, checkpoints, result) carries the epoch and is
refused once somebody else has claimed the run, so a worker that was paused and comes back can change nothing.

To LangGraph each run is a thread of its own, which starts from the last state of the run before it. So a resume can
never meet another run's checkpoint (LangGraph replays finished steps when the checkpoint it is given is not the
newest), branches are rows with one parent, retention is a deletion by run, and what a turn costs does not grow with the
number of turns, because only the newest messages are carried over.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

from langchain_core.messages import HumanMessage
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl
from psycopg import OperationalError
from psycopg.types.json import Jsonb
from psycopg_pool import PoolTimeout

from agents.agent import discover_agents
from agents.context import Context
from agents.errors import RunError
from app.activities import Activity
from app.events import ROOT, RunEvent, Translator, json_safe
from app.journal import Journal, Recorder
from app.outcome import SUPERSTEPS, answer_in, described, output_of
from app.postgres import Pool, StaleWriter, checkpointer
from app.projection import RunView
from app.queue import HEARTBEAT_S, RunQueue, Stopped
from app.shapes import Shape

log = logging.getLogger(__name__)

LEASE_S = 8.0
"""A run whose worker was silent for so long is lost, and anybody may claim it."""
SWEEP_S = 2.0
BLOCKED_S = 1.0
"""Pause before a claim is tried again while the lease of another worker is not over."""
MAX_LOSSES = 5
CARRIED_MESSAGES = 20
"""Messages of the conversation so far that a run starts with."""

_CLAIM = """
update runs set status = 'running', epoch = epoch + 1, worker = %(worker)s, losses = losses + (status = 'running')::int,
    lease_until = now() + %(lease_s)s * interval '1 second', started_at = coalesce(started_at, now())
where run_id = %(run_id)s and (status = 'queued' or (status = 'running' and lease_until < now()))
    and not exists (select 1 from runs parent where parent.run_id = runs.parent_run_id
                    and parent.status in ('queued', 'running', 'waiting'))
returning *
"""
_KEEP = """
update runs set lease_until = now() + %s * interval '1 second'
where worker = %s and status = 'running' and run_id = any(%s)
"""
# a run whose job is gone although nobody carries it: a crash between the two, or a queue row removed by hand
_ORPHANS = """
select run_id from runs where (status = 'queued' or (status = 'running' and lease_until < now()))
    and created_at < now() - interval '10 seconds'
    and not exists (select 1 from runs parent where parent.run_id = runs.parent_run_id
                    and parent.status in ('queued', 'running', 'waiting'))
    and not exists (select 1 from procrastinate_jobs j where j.id = runs.job_id and j.status in ('todo', 'doing'))
for update skip locked
"""

Row = dict[str, Any]
Emit = Callable[[RunEvent], None]


class Worker:
    """Carries runs of any graph, as many at once as its queue hands it."""

    def __init__(
        self, pool: Pool, journal: Journal, activities: Mapping[str, Activity], context: Context, *, model_name: str
    ) -> None:
        self._pool, self._journal, self._activities, self._context = pool, journal, activities, context
        self._model_name = model_name
        self.queue = RunQueue(self.execute)
        self.name = f"worker-{uuid4().hex[:8]}"
        self._controls: dict[str, RunControl] = {}
        # strict deserialisation knows the types of a graph's own state, not those of the agents inside it
        outputs = (agent.output for agent in discover_agents().values() if agent.output)
        self._agent_outputs = {(output.__module__, output.__name__) for output in outputs}

    # -- the process -------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def working(self, concurrency: int) -> AsyncIterator[None]:
        """Take runs for as long as the context lasts; at its end, drain and hand back what is not finished."""
        tasks = [
            asyncio.create_task(self.queue.work(concurrency), name="queue"),
            asyncio.create_task(self._every(HEARTBEAT_S, self._keep_leases), name="leases"),
            asyncio.create_task(self._every(SWEEP_S, self._sweep), name="sweep"),
        ]
        try:
            yield
        finally:
            for control in self._controls.values():
                control.request_drain("the worker is going down")
            for task in tasks:  # the queue first: it lets the runs come to an end, under leases that are still kept
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _every(self, seconds: float, do: Callable[[], Any]) -> None:
        while True:
            try:
                await do()
            except (OperationalError, PoolTimeout) as error:
                log.warning("%s waits for the database: %s", self.name, error)
            await asyncio.sleep(seconds)

    async def _keep_leases(self) -> None:
        if self._controls:
            async with self._pool.connection() as connection:
                await connection.execute(_KEEP, (LEASE_S, self.name, list(self._controls)))

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
        self._controls[run_id] = control = RunControl()
        activity = self._activities.get(run["graph"])
        view = RunView(activity.shape if activity else Shape((), ()))
        try:
            for event in await self._journal.read(run_id):
                view.apply(event)
            async with Recorder(self._pool, run_id, run["epoch"], view.seq) as recorder:
                await self._carry(run, activity, view, recorder, control, stopped)
        except StaleWriter:
            log.warning("run %s was claimed by another worker; this one stops", run_id)
        finally:
            del self._controls[run_id]

    async def _claim(self, run_id: str) -> Row | None:
        """Take the run: from here on only this claim's writes count. None when there is nothing to take."""
        async with self._pool.connection() as connection, connection.transaction():
            values = {"worker": self.name, "lease_s": LEASE_S, "run_id": run_id}
            if claimed := await (await connection.execute(_CLAIM, values)).fetchone():
                return claimed
            state = "select status from runs where run_id = %s and status = 'running' for update"
            if await (await connection.execute(state, (run_id,))).fetchone():
                # its lease is not over: the worker that has it is alive, or will be found dead in a moment
                await self.queue.defer(connection, run_id, after_s=BLOCKED_S)
        return None

    async def _carry(
        self,
        run: Row,
        activity: Activity | None,
        view: RunView,
        recorder: Recorder,
        control: RunControl,
        stopped: Stopped,
    ) -> None:
        def emit(event: RunEvent) -> None:
            view.apply(event)
            recorder.emit(event)

        emit(_root("run.started", graph=run["graph"], question=run["input"]["question"], model=self._model_name))
        try:
            if activity is None:
                raise RunError(run["graph"], "no graph of this name is installed", "choose another graph")
            if run["losses"] >= MAX_LOSSES:
                raise RunError("run", f"it brought down its worker {run['losses']} times", "look at the worker's log")
            answer = await self._stream(run, activity, emit, control)
            output = output_of(answer, view)
            end = _root("run.finished", answer=output["answer"], missing=output["missing"])
            await recorder.finish(end, "succeeded", _json(output), _json(None), self.queue.release_children)
        except StaleWriter:
            raise
        except GraphDrained:
            await self._hand_back(run, emit, recorder)
        except asyncio.CancelledError:
            if not stopped():
                await self._hand_back(run, emit, recorder)
            else:
                error = {"kind": "cancelled", "message": "Stopped.", "fix": "Resume it, or ask again."}
                await self._give_up("cancelled", error, view, recorder)
            raise
        except Exception as failure:
            error = described(failure)
            if error["kind"] == "internal":
                log.exception("run %s failed", run["run_id"])
            await self._give_up("failed", error, view, recorder)

    async def _give_up(self, status: str, error: Row, view: RunView, recorder: Recorder) -> None:
        """End a run without an answer of its own; what it had found is kept."""
        end = _root(f"run.{status}", answer=view.answer, error=error)
        await recorder.finish(end, status, _json(output_of("", view)), _json(error), self.queue.release_children)

    async def _hand_back(self, run: Row, emit: Emit, recorder: Recorder) -> None:
        """Queue the run again, from its checkpoint: this worker is going down."""
        emit(_root("run.handed_back", reason="the worker is going down"))
        await recorder.flush()
        async with self._pool.connection() as connection, connection.transaction():
            owned = await connection.execute(
                "update runs set status = 'queued', worker = null, lease_until = null where run_id = %s and epoch = %s",
                (run["run_id"], run["epoch"]),
            )
            if owned.rowcount:
                await self.queue.defer(connection, run["run_id"])

    async def _stream(self, run: Row, activity: Activity, emit: Emit, control: RunControl) -> str:
        translator = Translator(emit)
        saver = checkpointer(self._pool, run["run_id"], run["epoch"]).with_allowlist(self._agent_outputs)
        graph: Any = activity.builder.compile(checkpointer=saver, name=activity.name)
        config = {
            "configurable": {"thread_id": run["run_id"]},
            "callbacks": [translator],
            "recursion_limit": SUPERSTEPS,
        }
        stream = graph.astream(
            await self._input(graph, run),
            config,
            context=self._context,
            stream_mode=["tasks", "custom"],
            subgraphs=True,
            version="v2",
            durability="sync",
            control=control,
        )
        async for part in stream:
            translator.part(part)
        state = await graph.aget_state(config)
        return answer_in(state.values)

    async def _input(self, graph: Any, run: Row) -> Any:
        """None to go on from the run's own checkpoint; else the parent's last state and the question."""
        own = await graph.aget_state({"configurable": {"thread_id": run["run_id"]}})
        if own.created_at is not None:
            return None
        values: Row = {}
        if run["parent_run_id"]:
            parent = await graph.aget_state({"configurable": {"thread_id": run["parent_run_id"]}})
            values = dict(parent.values)
        question = HumanMessage(run["input"]["question"], id=run["run_id"])
        return {**values, "messages": [*values.get("messages", ())[-CARRIED_MESSAGES:], question]}


def _root(type_: str, **data: Any) -> RunEvent:
    return RunEvent(type_, ROOT, None, json_safe(data), time.time())


def _json(value: Any) -> Jsonb:
    return Jsonb(json_safe(value))
