"""A look-up by code: the same tool and the same events as an agent's, without a model."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from crew import FixedCorpus, crew, passage, run
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from scripted import ScriptedModel

from agents.breaker import MIN_FAILURES
from agents.context import Context
from agents.errors import ToolFailed
from agents.looking import look_up
from agents.policy import Calling
from agents.tools.contract import contract_of
from agents.tools.search import search_documents
from graphs.state import ChatState

HITS = [
    passage("First.", "aaaaaaaa01"),
    passage("Second.\n\nIn two paragraphs.", "bbbbbbbb01"),
    passage("Third.", "cccccccc01"),
]


def looking(*but: str) -> Any:
    """A graph whose only node looks something up and says what it was shown."""

    async def look(state: ChatState, runtime: Runtime[Context]) -> dict[str, Any]:
        return {"messages": [("ai", await look_up(runtime.context, "anything", but=but))]}

    builder = StateGraph(ChatState, context_schema=Context).add_node(look)
    return builder.add_edge(START, "look").add_edge("look", END).compile()


async def test_what_is_found_is_shown_as_to_an_agent_and_seen_as_a_tool() -> None:
    ran = await run(looking(), crew(ScriptedModel([]), HITS))

    text = str(ran.state["messages"][-1].text)
    assert [line for line in text.splitlines() if line.startswith("[")] == [
        f"[{key}] guide.md > Waits > Barriers" for key in ("aaaaaaaa", "bbbbbbbb", "cccccccc")
    ]
    assert [start["args"] for start in ran.of("tool.started")] == [{"query": "anything"}]
    assert len(ran.of("tool.finished")[0]["sources"]) == 3


async def test_passages_can_be_left_out_whole() -> None:
    ran = await run(looking("bbbbbbbb"), crew(ScriptedModel([]), HITS))

    text = str(ran.state["messages"][-1].text)
    assert "First." in text
    assert "Third." in text
    assert "paragraphs" not in text


async def test_an_index_that_is_gone_costs_the_evidence_and_not_the_run() -> None:
    context = crew(ScriptedModel([]))

    class Broken:
        async def search(self, query: str, k: int = 8) -> Any:
            raise OSError("no such index")

    broken = Context(context.models, context.agents, Broken(), context.limits)

    ran = await run(looking(), broken)

    text = str(ran.state["messages"][-1].text)
    assert text.startswith("search_documents failed: OSError: no such index. Answer from what you have")
    assert [end["ok"] for end in ran.of("tool.finished")] == [False]


class Flaky:
    """A search that answers once, and then does not any more."""

    def __init__(self, then: Any) -> None:
        self.calls, self._then = 0, then

    async def search(self, query: str, k: int = 8) -> Any:
        self.calls += 1
        return await (FixedCorpus(HITS).search(query, k) if self.calls == 1 else self._then())


async def gone() -> Any:
    raise ToolFailed("index", "out of reach", retriable=True)


async def hangs() -> Any:
    await asyncio.Event().wait()


async def at_once(seconds: float) -> None:
    """Wait for nothing."""


@pytest.mark.parametrize("then", [gone, hangs])
async def test_when_it_fails_the_last_answer_is_given_with_its_age(then: Any, monkeypatch: Any) -> None:
    context = crew(ScriptedModel([]))
    now, corpus = [0.0], Flaky(then)
    calling = Calling(pause=at_once, clock=lambda: now[0])
    context = replace(context, corpus=corpus, calling=calling)
    await run(looking(), context)
    now[0] = 90.0
    if then is hangs:  # its deadline passes while nothing else is under it
        brief = replace(contract_of(search_documents), timeout_s=0.05, retries=0)
        monkeypatch.setitem(search_documents.metadata, "contract", brief)

    ran = await run(looking("bbbbbbbb"), context)

    text = str(ran.state["messages"][-1].text)
    assert text.startswith("[stale: this answer is 90 s old; now search_documents failed:")
    assert "First." in text and "Third." in text and "paragraphs" not in text
    assert [len(end["sources"]) for end in ran.of("tool.finished") if end["ok"]] == [3]  # so they can be cited


async def test_it_leaves_a_search_alone_whose_breaker_is_open() -> None:
    corpus, calling = Flaky(gone), Calling(pause=at_once)
    for _ in range(MIN_FAILURES):
        await calling.breakers.leave(await calling.breakers.enter("search_documents"), ok=False, why="503")

    ran = await run(looking(), replace(crew(ScriptedModel([])), corpus=corpus, calling=calling))

    assert "not called, its breaker is open" in str(ran.state["messages"][-1].text)
    assert corpus.calls == 0


async def test_half_a_character_in_a_query_costs_the_look_up_and_not_the_run() -> None:
    async def look(state: ChatState, runtime: Runtime[Context]) -> dict[str, Any]:
        text = await look_up(runtime.context, "half \ud800")
        return {"messages": [("ai", text.encode(errors="replace").decode())]}

    graph = StateGraph(ChatState, context_schema=Context).add_node(look).add_edge(START, "look").compile()

    class Strict:
        async def search(self, query: str, k: int = 8) -> Any:
            return query.encode()

    ran = await run(graph, replace(crew(ScriptedModel([])), corpus=Strict()))

    assert "search_documents failed: UnicodeEncodeError" in str(ran.state["messages"][-1].text)
