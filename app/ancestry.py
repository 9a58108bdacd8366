"""What a run goes on from: the state of the nearest run before it that has one, and what rows say of turns in between.

A run that never came to a state (stopped in the queue) is passed over. One whose state was pruned is told from its row:
question and answer as messages, which is what a conversation consists of. Other fields of a graph's state are lost
there, so retention keeps the last state of each branch, and only who goes on from the middle of an old one meets this.
"""

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

from agents.errors import RunError
from agents.paging import MOST_CARRIED
from app.beginning import asked_in
from app.postgres import Pool

_ROW = (
    "select parent_run_id, pruned_at, input ->> 'question' as question, input ->> 'through' as through, "
    "output ->> 'answer' as answer from runs"
)

Row = dict[str, Any]


async def state_before(pool: Pool, graph: Any, run: Mapping[str, Any]) -> Row:
    """Fields of the state that this run goes on from; empty at the beginning of a conversation."""
    if begin := run["input"].get("from"):
        return await _state_at(graph, begin["run_id"], begin["checkpoint_id"])
    said: list[BaseMessage] = []
    above = run["parent_run_id"]
    while above and len(said) < MOST_CARRIED:
        state = await graph.aget_state({"configurable": {"thread_id": above, "checkpoint_ns": ""}})
        if state.created_at is not None:
            before: Row = dict(state.values)
            return {**before, "messages": [*before.get("messages", ()), *said]} if said else before
        # the row after the state: whoever prunes marks the row first
        async with pool.connection() as connection:
            row = await (await connection.execute(f"{_ROW} where run_id = %s", (above,))).fetchone()
        if row is None:
            break
        if row["pruned_at"] and "messages" in graph.channels:
            said = [*_told(above, row), *said]
        above = row["parent_run_id"]
    return {"messages": said} if said else {}


async def _state_at(graph: Any, run_id: str, checkpoint_id: str) -> Row:
    place = {"thread_id": run_id, "checkpoint_ns": "", "checkpoint_id": checkpoint_id}
    state = await graph.aget_state({"configurable": place})
    if state.created_at is None:
        raise RunError("checkpoint", f"{checkpoint_id} is gone", "go on from another one")
    return dict(state.values)


def _told(run_id: str, row: Mapping[str, Any]) -> list[BaseMessage]:
    """What a row says of a turn."""
    asked, answer = asked_in(row["question"], run_id, row["through"]), row["answer"]
    return [asked, AIMessage(answer, id=f"{run_id}:answer")] if answer else [asked]
