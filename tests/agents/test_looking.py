"""A look-up by code: the same tool and the same events as an agent's, without a model."""

from typing import Any

from crew import crew, passage, run
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from scripted import ScriptedModel

from agents.context import Context
from agents.looking import look_up
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

    assert ran.state["messages"][-1].text == "The search failed: OSError: no such index"
    assert [end["ok"] for end in ran.of("tool.finished")] == [False]
