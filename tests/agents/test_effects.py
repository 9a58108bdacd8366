"""A person before a call: asked once for each, whatever becomes of the call, and not at all about what cannot be."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from crew import FixedCorpus, crew, passage
from langchain.agents import create_agent
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from scripted import ScriptedModel, Step, calls, says

from agents.context import Context
from agents.errors import ToolFailed
from agents.guard import person_says
from agents.middleware import stack
from agents.policy import Calling
from agents.tools.contract import Contract, with_contract
from agents.tools.search import search_documents

SEARCH = calls(("search_documents", {"query": "barrier"}))
POST = calls(("post", {"text": "hello"}), first_id=2)


async def at_once(seconds: float) -> None:
    """Wait for nothing."""


class Wall:
    """A tool that posts, and fails as often as it is told, in a way that may pass."""

    def __init__(self, fails: int = 0, **contract: Any) -> None:
        self.posted: list[str] = []

        @tool
        async def post(text: str) -> str:
            """Post a text."""
            self.posted.append(text)
            if len(self.posted) <= fails:
                raise ToolFailed("wall", "HTTP 503", retriable=True)
            return "posted"

        self.tool: BaseTool = with_contract(post, replace(Contract(effect="idempotent", retries=1), **contract))


class Asking:
    """An agent with a person behind it, whose documents somebody else wrote."""

    def __init__(self, script: Sequence[Step], *tools: BaseTool) -> None:
        model = ScriptedModel(script)
        middleware = stack(8, calling=Calling(pause=at_once))
        self.agent = create_agent(model, [search_documents, *tools], middleware=middleware, context_schema=Context,
                                  checkpointer=InMemorySaver())  # fmt: skip
        self.context = replace(crew(model), corpus=FixedCorpus([passage("A barrier waits.")]), asked="What waits?")
        self.config: Any = {"configurable": {"thread_id": "t"}}

    async def begin(self) -> Any:
        return await self.agent.ainvoke({"messages": [person_says("What waits?")]}, self.config, context=self.context)

    async def answer(self, question: Any, **said: Any) -> Any:
        resume = Command(resume={question.id: {**said, "ref": question.value["ref"]}})
        return await self.agent.ainvoke(resume, self.config, context=self.context)


def last_told(state: Any) -> ToolMessage:
    return [it for it in state["messages"] if isinstance(it, ToolMessage)][-1]


async def test_one_yes_is_for_all_tries_of_one_call() -> None:
    wall = Wall(fails=1)
    asking = Asking([SEARCH, POST, says("Posted.")], wall.tool)
    [question] = (await asking.begin())["__interrupt__"]

    state = await asking.answer(question, decision="approve")

    assert state.get("__interrupt__", []) == []
    assert wall.posted == ["hello"] * 2 and last_told(state).text == "posted"


@pytest.mark.parametrize("said", [{"decision": "no idea"}, {}, {"decision": "edit"}, {"decision": "edit", "args": 5}])
async def test_what_is_no_clear_yes_is_a_no(said: dict[str, Any]) -> None:
    wall = Wall()
    asking = Asking([SEARCH, POST, says("Not posted.")], wall.tool)
    [question] = (await asking.begin())["__interrupt__"]

    state = await asking.answer(question, **said)

    assert wall.posted == [] and last_told(state).status == "error"


async def test_changed_arguments_are_the_call() -> None:
    wall = Wall(fails=1)
    asking = Asking([SEARCH, POST, says("Posted.")], wall.tool)
    [question] = (await asking.begin())["__interrupt__"]

    await asking.answer(question, decision="edit", args={"text": "bye"})

    assert wall.posted == ["bye"] * 2


async def test_nobody_is_asked_about_a_tool_that_does_not_exist() -> None:
    state = await Asking([SEARCH, calls(("nonsense", {}), first_id=2), says("Sorry.")]).begin()

    assert state.get("__interrupt__", []) == []
    assert last_told(state).status == "error" and "nonsense" in last_told(state).text
