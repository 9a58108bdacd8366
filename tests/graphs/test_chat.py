"""The chat: reason, act, answer; and only the answer joins the conversation."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from crew import crew, passage, run
from failing import FATAL_TEXT
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from scripted import ScriptedModel, calls, says

from agents.agent import Agent, assemble
from graphs import chat

TIME_JUMPS = True

PASSAGE = passage("A barrier holds everybody until the last one comes.")


async def test_only_the_answer_joins_the_conversation(scripted: Callable[..., Any]) -> None:
    model = scripted([calls(("search_documents", {"query": "barrier"})), says("It holds.")])
    before = [HumanMessage("Hi"), AIMessage("Hello"), HumanMessage("What does a barrier do?")]

    ran = await run(chat.build().compile(), crew(model, [PASSAGE]), {"messages": before})

    assert [str(message.text) for message in ran.state["messages"]] == [
        "Hi",
        "Hello",
        "What does a barrier do?",
        "It holds.",
    ]
    assert PASSAGE.text in model.asked[1].text  # the agent itself had read it


async def test_a_conversation_is_remembered(scripted: Callable[..., Any]) -> None:
    model = scripted([says("You are Ada.")])
    before = [HumanMessage("I am Ada."), AIMessage("Good."), HumanMessage("Who am I?")]

    await run(chat.build().compile(), crew(model), {"messages": before})

    assert [str(message.text) for message in model.asked[0].messages][1:] == ["I am Ada.", "Good.", "Who am I?"]


async def test_look_ups_of_one_turn_cost_the_longest_not_the_sum(scripted: Callable[..., Any]) -> None:
    both = asyncio.Barrier(2)

    @tool
    async def look(what: str) -> str:
        """Look."""
        await both.wait()  # one after the other, this would never end
        return f"seen {what}"

    model = scripted([calls(("look", {"what": "a"}), ("look", {"what": "b"})), says("Seen both.")])
    context = crew(model)
    made = assemble({"assistant": Agent("Look.", [look])}, context.models, context.limits)
    graph = chat.build().compile()

    ran = await run(graph, type(context)(context.models, made, context.corpus, context.limits))

    assert ran.state["messages"][-1].text == "Seen both."
    assert sorted(end["text"] for end in ran.of("tool.finished")) == ["seen a", "seen b"]


@pytest.mark.parametrize("steps", [1, 3])
async def test_an_agent_that_would_go_on_for_ever_ends_with_an_answer(scripted: Callable[..., Any], steps: int) -> None:
    model = scripted([*[calls(("now", {}))] * (steps - 1), calls(("now", {}), text="It is late, I think.")])

    ran = await run(chat.build().compile(), crew(model, max_steps=steps))

    assert ran.state["messages"][-1].text == "It is late, I think."
    assert len(model.asked) == steps


@pytest.mark.parametrize("failure", FATAL_TEXT)
async def test_a_model_that_fails_ends_the_run_and_a_resume_answers(scripted: Callable[..., Any], failure: str) -> None:
    again = FATAL_TEXT[failure] if failure == "nonsense" else ()
    context = crew(scripted([*FATAL_TEXT[failure], *again, says("Here.")]))
    graph, config = chat.build().compile(checkpointer=InMemorySaver()), {"configurable": {"thread_id": "t"}}

    with pytest.raises(Exception, match=r"refused|no end|bang|assistant: its answer was blank, 2 times"):
        await run(graph, context, **config)
    ran = await run(graph, context, None, **config)

    assert ran.state["messages"][-1].text == "Here."


async def test_a_loop_that_no_middleware_bounds_is_bounded_by_the_graph(scripted: Callable[..., Any]) -> None:
    """Whoever replaces the assistant by an agent of their own still cannot loop for LangGraph's 10,007 steps."""

    @tool
    def again() -> str:
        """Again."""
        return "again"

    model = ScriptedModel([calls(("again", {}))] * 99)
    context = crew(model, max_steps=4)
    made = {"assistant": create_agent(model, [again])}

    with pytest.raises(GraphRecursionError):
        await run(chat.build().compile(), type(context)(context.models, made, context.corpus, context.limits))

    assert len(model.asked) < 20
