"""One question of several leads: worked on once, taken by the others, and open again when whoever had it fails."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from by_role import ByRole, few
from crew import Ran, passage, run
from langgraph.graph import END, START, StateGraph
from scripted import Step, fills, says

from agents.context import Context
from agents.planner import Plan, SubTask
from app.blackboard import RunBoard
from app.postgres import Pool
from graphs import team
from graphs.asked_once import asked_once
from graphs.state import ChatState

FOUND = "It costs calls. [3f9a1c77]"
ROLES = ["manager", "lead", "researcher", "summariser", "writer", "scribe"]


@pytest.fixture
async def board(pool: Pool) -> RunBoard:
    """The board of a conversation."""
    async with pool.connection() as connection:
        insert = "insert into threads (thread_id, owner, title, graph) values ('t1', 'local', 'T', 'team')"
        await connection.execute(insert)
    return RunBoard(pool, "t1", "local")


def plan(*questions: str, role: str) -> Step:
    tasks = [
        SubTask(id=str(n), title=f"Part {n}", question=question, role=role, depends_on=[])
        for n, question in enumerate(questions, 1)
    ]
    return fills(Plan(tasks=tasks, note=""))


async def teamed(board: RunBoard, *researching: Step, asks: tuple[str, str]) -> tuple[Ran, ByRole]:
    """Two leads, with one worker each."""
    steps = {
        "manager": [plan("brief 1?", "brief 2?", role="lead")],
        "lead": [plan(question, role="researcher") for question in asks],
        "researcher": list(researching),
        "writer": [says("Both.")],
    }
    model = ByRole(steps)
    context = replace(few(ROLES, model, [passage("It costs calls.")]), board=board)
    ran = await run(team.build().compile(), context, "What do they cost?")
    model.check_used_up()
    return ran, model


async def test_two_leads_with_the_same_question_have_it_worked_on_once(board: RunBoard) -> None:
    ran, model = await teamed(board, says(FOUND), asks=("What does a debate cost?", "what does a  debate cost"))
    assert [it.text for it in ran.state["findings"]] == [FOUND, FOUND]
    assert len(model.asked_of("researcher")) == 1
    (entry,) = (await board.entries()).values()
    assert (entry.value, entry.version) == (FOUND, 1) and entry.author in ("1.1", "2.1")
    (taken,) = [it for it in ran.of("custom") if it.get("name") == "board.taken"]
    assert taken["value"]["text"] == f"the same question as {entry.author}: its finding is taken"


async def test_other_questions_are_worked_on_each(board: RunBoard) -> None:
    _, model = await teamed(
        board, says(FOUND), says(FOUND), asks=("What does a debate cost?", "What does a swarm cost?")
    )
    assert len(model.asked_of("researcher")) == 2


async def test_whoever_fails_gives_the_question_back_and_the_other_answers_it(board: RunBoard) -> None:
    ran, _ = await teamed(board, ValueError("bang"), says(FOUND), asks=("What does it cost?", "What does it cost?"))
    assert sorted(it.state for it in ran.state["findings"]) == ["done", "failed"]
    assert FOUND in [it.text for it in ran.state["findings"]]


async def test_without_a_board_everybody_works(scripted: Callable[..., Any]) -> None:
    steps = {
        "manager": [plan("brief 1?", "brief 2?", role="lead")], "lead": [plan("What?", role="researcher")] * 2,
        "researcher": [says(FOUND)] * 2, "writer": [says("Both.")],
    }  # fmt: skip
    model = ByRole(steps)
    await run(team.build().compile(), few(ROLES, model, [passage("It costs calls.")]), "What do they cost?")
    model.check_used_up()


async def once(board: RunBoard, sub: SubTask, work: Any, run_id: str = "r1") -> str:
    """`asked_once`, inside a run."""
    said: list[str] = []

    async def step(state: ChatState) -> dict[str, Any]:
        context = Context({}, {}, None, board=board)  # type: ignore[arg-type]
        said.append(await asked_once(context, sub, work))
        return {"messages": []}

    graph = StateGraph(ChatState).add_node(step).add_edge(START, "step").add_edge("step", END).compile()
    await graph.ainvoke({"messages": []}, {"configurable": {"thread_id": run_id}})
    return said[0]


SUB = SubTask(id="1.1", title="Costs", question="What does it cost?", role="researcher", depends_on=[])


async def test_after_a_crash_its_own_claim_does_not_hold_it_up(board: RunBoard) -> None:
    """Killed between the claim and the finding, and between the finding and the record that the part is done."""
    begun, calls = asyncio.Event(), 0

    async def dies() -> str:
        begun.set()
        await asyncio.Event().wait()
        return ""

    class Gone(RunBoard):
        """The board of a worker that is dead: it gives nothing back."""

        async def release(self, key: str, author: str) -> bool:
            return False

    async def answers() -> str:
        nonlocal calls
        calls += 1
        return FOUND

    dead = Gone(board._pool, "t1", "local")
    killed = asyncio.create_task(once(dead, SUB, dies))
    await begun.wait()
    killed.cancel()
    await asyncio.wait([killed])
    assert await once(board, SUB, answers) == FOUND
    assert await once(board, SUB, answers) == FOUND
    assert calls == 1


async def test_another_run_of_the_conversation_asks_anew(board: RunBoard) -> None:
    async def answers(text: str) -> str:
        return text

    assert await once(board, SUB, lambda: answers("old")) == "old"
    assert await once(board, SUB, lambda: answers("new"), run_id="r2") == "new"


async def test_what_is_too_long_for_a_board_is_found_all_the_same(board: RunBoard) -> None:
    async def answers() -> str:
        return "x" * 50_000

    assert len(await once(board, SUB, answers)) == 50_000
    assert await board.entries() == {}
