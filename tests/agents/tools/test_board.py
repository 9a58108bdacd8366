"""The tools of the blackboard, called by agents side by side, on a real database."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from crew import Ran, crew, run
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from scripted import ScriptedModel, calls, says

from agents.context import Context
from agents.middleware import stack
from agents.tools.board import claim_question, read_board, write_board
from agents.tools.contract import contract_of
from app.blackboard import RunBoard
from app.postgres import Pool
from graphs.state import ChatState

TOOLS = [read_board, write_board, claim_question]


@pytest.fixture
async def board(pool: Pool) -> RunBoard:
    """The board of a conversation."""
    async with pool.connection() as connection:
        await connection.execute(
            "insert into threads (thread_id, owner, title, graph) values ('t1', 'ann', 'T', 'chat')"
        )
    return RunBoard(pool, "t1", "ann")


async def told(model: ScriptedModel, board: RunBoard | None) -> tuple[list[str], Ran]:
    """What an agent named `scout` was told by the tools that its script calls."""
    agent = create_agent(model, TOOLS, middleware=stack(8), context_schema=Context, name="scout")
    ran = await run(agent, replace(crew(model), board=board, owner="ann"))
    return [str(it.text) for it in ran.state["messages"] if isinstance(it, ToolMessage)], ran


async def test_what_one_agent_writes_another_reads_with_version_and_author(
    board: RunBoard, scripted: Callable[..., ScriptedModel]
) -> None:
    entry = {"key": "slots", "text": "There are 3 slots.", "version": 0}
    first, ran = await told(scripted([calls(("write_board", entry)), says("Done.")]), board)
    second, _ = await told(
        scripted([calls(("read_board", {})), calls(("write_board", entry), first_id=2), says("Ok")]), board
    )

    assert first == ["Written: slots, version 1."]
    [written] = ran.of("memory.written")
    assert (written["place"], written["key"], written["version"]) == ("board", "slots", 1)
    assert written["author"].startswith("scout ")
    assert second[0] == f'- slots (version 1, by {written["author"]}): "There are 3 slots."'
    assert f"version 0 was expected, {written['author']} has made it 1; read it again" in second[1]


async def test_of_many_agents_one_takes_a_question(board: RunBoard) -> None:
    """Eight agents of one role and one name in one run: their places in the run tell them apart."""
    question = "How many slots are there?"

    async def look(state: ChatState, runtime: Runtime[Context]) -> dict[str, Any]:
        async def one(n: int) -> str:
            asked = question if n % 2 else f"  {question.upper()} "
            model = ScriptedModel([calls(("claim_question", {"question": asked})), says("Done.")])
            scout = create_agent(model, TOOLS, middleware=stack(4), context_schema=Context, name="scout")
            answer = await scout.ainvoke({"messages": [("user", "Go")]}, context=runtime.context)
            return next(str(it.text) for it in answer["messages"] if isinstance(it, ToolMessage))

        return {"messages": [AIMessage("\n".join(await asyncio.gather(*(one(n) for n in range(8)))))]}

    builder = StateGraph(ChatState, context_schema=Context)
    for n in range(2):
        builder.add_node(f"look{n}", look).add_edge(START, f"look{n}")
    ran = await run(builder.compile(), replace(crew(ScriptedModel([])), board=board, owner="ann"))

    said = "\n".join(str(it.text) for it in ran.state["messages"] if isinstance(it, AIMessage)).split("\n")
    assert len(said) == 16
    winners = [line for line in said if line.startswith("It is yours until")]
    losers = {line for line in said if not line.startswith("It is yours until")}
    assert 1 <= len(winners) <= 8  # all eight of the node that won stand in one place
    assert len(losers) == 1 and next(iter(losers)).startswith("scout ")


async def test_without_a_board_the_agent_is_told_and_goes_on(scripted: Callable[..., ScriptedModel]) -> None:
    said, ran = await told(scripted([calls(("read_board", {})), says("Alone then.")]), None)

    assert "there is no board in this run; go on without it" in said[0]
    assert str(ran.state["messages"][-1].text) == "Alone then."


def test_what_the_tools_promise() -> None:
    assert {it.name: contract_of(it).effect for it in TOOLS} == {
        "read_board": "read", "write_board": "keyed", "claim_question": "idempotent",
    }  # fmt: skip
