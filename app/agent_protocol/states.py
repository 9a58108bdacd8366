"""A conversation's states, read where LangGraph stored them: run by run, walked back through the tree of runs.

To LangGraph each run is a thread of its own; to a client of the protocol the conversation is one thread with branches.
So a run's first state is told to follow the state it began with, and its raw input, which no client asked for, is left
out. Nothing here holds a lease: a state can be edited only while no worker has the run, which the fence makes sure of.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from langgraph.errors import InvalidUpdateError
from langgraph.types import StateSnapshot

from app.borders import NotFound, Rejected
from app.compose import App
from app.postgres import StaleWriter, checkpointer
from app.retention import refuse_pruned

NO_EPOCH = -1
"""No claim ever has it, so a saver that carries it can only read."""

Row = Mapping[str, Any]


class Busy(Exception):
    """A worker has the run, so nobody else may change its state."""


class Reader:
    """Reads states for one request: one saver for each graph, made when it is needed."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._compiled: dict[str, Any] = {}

    def graph(self, name: str) -> Any:
        """The graph over a saver that cannot write. Raises NotFound when it is not installed any more."""
        if name not in self._compiled:
            if (activity := self._app.activities.get(name)) is None:
                raise NotFound(f"the graph {name} is not installed any more")
            saver = checkpointer(self._app.pool, "", NO_EPOCH)
            self._compiled[name] = activity.builder.compile(checkpointer=saver, name=name)
        return self._compiled[name]

    async def at(self, run: Row, checkpoint_id: str | None = None, *, subgraphs: bool = False) -> StateSnapshot | None:
        """The state of a run, at its newest checkpoint or at the one given; None while it has none."""
        if run["graph"] not in self._app.activities:
            return None
        place = place_of(run["run_id"], checkpoint_id)
        snapshot: StateSnapshot = await self.graph(run["graph"]).aget_state(place, subgraphs=subgraphs)
        return snapshot if snapshot.created_at is not None else None

    async def current(
        self, thread: Row, runs: Sequence[Row], *, subgraphs: bool = False
    ) -> tuple[Row | None, StateSnapshot | None]:
        """The newest state of the branch that is being read, and the run that made it."""
        for run in branch(thread, runs):
            if snapshot := await self.at(run, subgraphs=subgraphs):
                return run, snapshot
        return None, None

    async def history(self, thread: Row, runs: Sequence[Row], metadata: Row) -> AsyncIterator[tuple[Row, Any, str]]:
        """(run, state, id of the state before it or ""), newest first: the branch that is being read, then others."""
        line = branch(thread, runs)
        beside = [run for run in reversed(runs) if run["run_id"] not in {it["run_id"] for it in line}]
        by_id = {run["run_id"]: run for run in runs}
        for run in (*line, *beside):
            if run["graph"] not in self._app.activities:
                continue
            states = self.graph(run["graph"]).aget_state_history(place_of(run["run_id"]), filter=dict(metadata) or None)
            async for state in states:
                above = await self._before(run, state, by_id)
                if above and state.metadata["source"] == "input":
                    continue
                yield run, state, above

    async def above(self, run: Row, state: StateSnapshot, runs: Sequence[Row]) -> str:
        """Id of the state that a run's first one follows; "" for any other, which knows its own."""
        return await self._before(run, state, {it["run_id"]: it for it in runs})

    async def _before(self, run: Row, state: StateSnapshot, by_id: Mapping[str, Row]) -> str:
        """Id of the checkpoint that a run began with: of the run it goes on from, or that it was forked from."""
        metadata: Row = state.metadata or {}
        if state.parent_config and (metadata["step"] > 0 or metadata["source"] == "update"):
            return ""
        if fork := run["input"].get("fork"):
            return str(fork["checkpoint_id"])
        if begin := run["input"].get("from"):
            return str(begin["checkpoint_id"])
        own = str(state.config["configurable"]["checkpoint_id"])
        parent = run["parent_run_id"]
        while parent in by_id:
            if found := await self._newest_checkpoint(parent, before=own):
                return found
            parent = by_id[parent]["parent_run_id"]
        return ""

    async def _newest_checkpoint(self, run_id: str, *, before: str) -> str | None:
        """Id of a run's last checkpoint that is older than `before`; ids are ordered by time."""
        query = (
            "select checkpoint_id from checkpoints where thread_id = %s and checkpoint_ns = '' and checkpoint_id < %s "
            "order by checkpoint_id desc limit 1"
        )
        async with self._app.pool.connection() as connection:
            row = await (await connection.execute(query, (run_id, before))).fetchone()
        return str(row["checkpoint_id"]) if row else None

    async def run_of(self, thread_id: str, checkpoint_id: str, runs: Sequence[Row]) -> Row:
        """The run of this conversation that made a checkpoint. Raises NotFound, also for another conversation's."""
        query = (
            "select thread_id from checkpoints where checkpoint_id = %s and checkpoint_ns = '' and thread_id = any(%s)"
        )
        by_id = {run["run_id"]: run for run in runs}
        async with self._app.pool.connection() as connection:
            row = await (await connection.execute(query, (checkpoint_id, list(by_id)))).fetchone()
        if row is None:
            raise NotFound(f"there is no checkpoint {checkpoint_id} in thread {thread_id}")
        return by_id[row["thread_id"]]


async def edited(app: App, run: Row, checkpoint_id: str | None, values: Any, as_node: str | None) -> Row:
    """Write a new state after a run's newest one, or after the one given; the config of the new one.

    Raises Busy while a worker has the run, Rejected for values that the graph does not take.
    """
    if run["status"] in ("queued", "running", "lost"):
        raise Busy(f"run {run['run_id']} is {run['status']}")
    refuse_pruned(run)
    saver = checkpointer(app.pool, run["run_id"], run["epoch"])
    graph: Any = app.activities[run["graph"]].builder.compile(checkpointer=saver, name=run["graph"])
    try:
        config: Row = await graph.aupdate_state(place_of(run["run_id"], checkpoint_id), values, as_node=as_node)
    except StaleWriter as error:
        raise Busy(str(error)) from error
    except (InvalidUpdateError, ValueError, TypeError) as error:
        raise Rejected("update_invalid", f"values: {error}"[:500], field="values",
                       fix="name a node in as_node, and fields of the graph's state in values") from error  # fmt: skip
    return config


def branch(thread: Row, runs: Sequence[Row]) -> list[Row]:
    """The runs of the branch that is being read, newest first."""
    by_id = {run["run_id"]: run for run in runs}
    at, line = thread["head_run_id"], []
    while at in by_id:
        line.append(by_id[at])
        at = by_id[at]["parent_run_id"]
    return line


def place_of(run_id: str, checkpoint_id: str | None = None) -> Any:
    """Where LangGraph keeps a run's state."""
    place = {"thread_id": run_id, "checkpoint_ns": ""}
    return {"configurable": place | ({"checkpoint_id": checkpoint_id} if checkpoint_id else {})}
