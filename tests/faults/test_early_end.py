"""A stream of steps that ends before the graph does: the run goes on, and is not called done."""

from typing import Any

import pytest
from extent import LONGEST_S
from langgraph.errors import GraphInterrupt
from langgraph.func import task
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from patterns import ECHO
from premises import house
from spoken import Speaker

from agents.context import Context
from app.activities import Activity
from app.models import Endpoint
from app.shapes import read_shape
from graphs.state import ChatState, as_node

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow, pytest.mark.timeout(LONGEST_S)]


@task
async def doubtful() -> str:
    return str(interrupt({"kind": "question", "what": "Really?"}))


async def work(state: ChatState) -> dict[str, Any]:
    """Ask in one of two ways at once, and need no answer, as the other way had a result first."""
    try:
        await doubtful()
    except GraphInterrupt:
        return {"messages": [("ai", "Found without asking.")]}
    raise AssertionError("nobody answers")


async def write(state: ChatState) -> dict[str, Any]:
    return {"messages": [("ai", f"{state['messages'][-1].text} And written down.")]}


async def test_a_question_that_nobody_waits_for_ends_no_run(database_url: str) -> None:
    builder = StateGraph(ChatState, context_schema=Context)
    builder.add_node(work, metadata=as_node("Work")).add_node(write, metadata=as_node("Write", speaks=True))
    builder.add_edge(START, "work").add_edge("work", "write").add_edge("write", END)
    odd = Activity("odd", "", builder, read_shape(builder.compile()), {})
    async with (
        Speaker().serving() as url,
        house(database_url, Endpoint(url, ECHO.name), concurrency=2, graphs={"odd": odd}) as it,
    ):
        row = await it.ask("go", "odd")
        assert (row["status"], row["output"]["answer"]) == ("succeeded", "Found without asking. And written down.")
        assert len(await it.events(row["run_id"], "run.finished")) == 1
