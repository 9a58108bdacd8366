"""The baseline: one agent, all the tools, one loop, one answer."""

from collections.abc import Callable
from typing import Any

import pytest
from crew import Ran, crew, passage, run
from failing import FATAL_TEXT
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from scripted import ScriptedModel, calls, says

from agents.agent import discover_agents
from agents.allowance import Allowance, Budget
from agents.context import Context
from agents.errors import RunLost
from graphs import solo

TIME_JUMPS = True

QUESTION = "Compare one and two"
SEARCH = calls(("search_documents", {"query": "one"}), ("search_documents", {"query": "two"}))


async def alone(model: ScriptedModel, given: Any = QUESTION, graph: Any = None, **more: Any) -> Ran:
    thread = more.pop("thread", {})
    context = crew(model, [passage("One is first.")], **more)
    return await run(graph or solo.build().compile(), context, given, **thread)


async def test_it_looks_everything_up_and_answers_in_one_loop(scripted: Callable[..., Any]) -> None:
    model = scripted([SEARCH, says("**Both.** [3f9a1c77]")])

    ran = await alone(model)

    assert [it["name"] for it in ran.of("node.started")] == ["work"]
    assert len(ran.of("tool.finished")) == 2
    assert [str(message.text) for message in ran.state["messages"]] == [QUESTION, "**Both.** [3f9a1c77]"]


async def test_it_has_the_tools_of_the_team_and_the_same_form_of_answer() -> None:
    team = discover_agents()
    own = {tool.name for tool in team["soloist"].tools}
    assert {tool.name for tool in team["researcher"].tools} <= own
    for demand in ("in bold", "headings", "[3f9a1c]"):
        assert demand in team["soloist"].prompt and demand in team["writer"].prompt + team["researcher"].prompt


async def test_it_knows_the_conversation(scripted: Callable[..., Any]) -> None:
    model = scripted([says("Two.")])

    await alone(model, {"messages": [HumanMessage("One?"), AIMessage("One."), HumanMessage("And then?")]})

    assert [str(message.text) for message in model.asked[0].messages][1:] == ["One?", "One.", "And then?"]


@pytest.mark.parametrize("steps", [1, 4])
async def test_its_loop_ends_with_an_answer(scripted: Callable[..., Any], steps: int) -> None:
    model = scripted([*[calls(("now", {}))] * (steps - 1), calls(("now", {}), text="So far, one.")])

    ran = await alone(model, max_steps=steps)

    assert ran.state["messages"][-1].text == "So far, one."
    assert len(model.asked) == steps


async def test_the_end_of_the_budget_gives_an_answer(scripted: Callable[..., Any]) -> None:
    model = scripted([SEARCH, SEARCH, SEARCH, SEARCH, says("What I have.")])
    made = crew(model, [passage("One is first.")])
    context = Context(made.models, made.agents, made.corpus, made.limits, Allowance(Budget(steps=5)))

    ran = await run(solo.build().compile(), context, QUESTION)

    assert ran.state["messages"][-1].text == "What I have."


@pytest.mark.parametrize("failure", FATAL_TEXT)
async def test_a_failure_ends_the_run_and_a_resume_answers(scripted: Callable[..., Any], failure: str) -> None:
    again = FATAL_TEXT[failure] if failure == "nonsense" else ()
    model = scripted([*FATAL_TEXT[failure], *again, says("Both.")])
    graph, thread = solo.build().compile(checkpointer=InMemorySaver()), {"configurable": {"thread_id": "t"}}

    with pytest.raises(Exception, match=r"refused|no end|bang|soloist: its answer was blank, 2 times"):
        await alone(model, graph=graph, thread=thread)
    ran = await alone(model, None, graph=graph, thread=thread)

    assert ran.state["messages"][-1].text == "Both."


async def test_after_a_crash_what_was_looked_up_is_not_looked_up_again(scripted: Callable[..., Any]) -> None:
    model = scripted([SEARCH, RunLost("gone"), says("Both.")])
    graph, thread = solo.build().compile(checkpointer=InMemorySaver()), {"configurable": {"thread_id": "t"}}

    with pytest.raises(RunLost):
        await alone(model, graph=graph, thread=thread)
    ran = await alone(model, None, graph=graph, thread=thread)

    assert ran.of("tool.finished") == []
    assert "One is first." in model.asked[-1].text
