"""What a run had finished when its worker died, read from its checkpoints; and whether anybody did it again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langgraph.graph import START

from app.events import ROOT, RunEvent
from app.postgres import Pool, checkpointer
from app.runs import Row
from graphs.scheduling import Finding

_RESULTS = "select type, blob from checkpoint_writes where thread_id = %s and channel = '__return__'"
_SEQ = "select coalesce(max(seq), 0) as seq from run_events where run_id = %s"


@dataclass(frozen=True, slots=True)
class Stored:
    """What is not to be done again."""

    seq: int
    """Events up to here are the dead worker's."""
    sub_tasks: frozenset[str]
    nodes: frozenset[str]
    """Of the graph's step at hand: those whose result is stored."""
    upcoming: frozenset[str]
    """Those whose result is not; empty where none is left in the step."""

    def done_again(self, events: Sequence[RunEvent]) -> list[str]:
        """What was, as the whole log tells."""
        later = [event for event in events if event.seq > self.seq]
        begun = [str(it.data["task_id"]) for it in later if it.type == "agent.spawned"]
        again = [f"sub-task {id_}" for id_ in begun if id_ in self.sub_tasks]
        first = next((it.data["name"] for it in later if it.type == "node.started" and it.parent_id == ROOT), None)
        if first in self.nodes or (first and self.upcoming and first not in self.upcoming):
            again.append(f"node {first}, with {', '.join(self.upcoming) or 'nothing'} to come")
        return again


async def stored(pool: Pool, graph: Any, run: Row) -> Stored:
    """What of this run is finished, in the order in which it is written: the log is ahead of the checkpoints."""
    saver = checkpointer(pool, run["run_id"], run["epoch"])
    serde = saver.with_allowlist({(Finding.__module__, Finding.__name__)}).serde
    state = await graph.compile(checkpointer=saver).aget_state({"configurable": {"thread_id": run["run_id"]}})
    async with pool.connection() as connection:
        rows = await (await connection.execute(_RESULTS, (run["run_id"],))).fetchall()
        seq = (await (await connection.execute(_SEQ, (run["run_id"],))).fetchone())["seq"]
    results = [serde.loads_typed((row["type"], bytes(row["blob"]))) for row in rows]
    done = {it.task_id for it in results if isinstance(it, Finding) and it.state == "done"}
    left = frozenset(state.next) - {START}  # a first state that is not taken yet says nothing of what comes next
    return Stored(seq, frozenset(done), frozenset(it.name for it in state.tasks) - left - {START}, left)
