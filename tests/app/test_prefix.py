"""What is sent begins with what was sent before, byte for byte: else no prefix cache of a serving fleet ever hits."""

import asyncio
import json
import os
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from crew import crew, passage
from demo import RecordedDemo, recorded_demo
from langchain_core.messages import AnyMessage, HumanMessage

import graphs
from graphs import chat, research, swarm

pytestmark = pytest.mark.timeout(120)

TWO_TURNS = "What is Amdahl's law, and what is 1 / (0.15 + 0.85 / 4)?"
COMPARE = "Compare ReAct and debate: latency and cost"
ROOT = Path(__file__).parents[2]
LOOPS = ("chain", "chat", "research", "solo", "support", "swarm", "team", "write")
"""Graphs whose agents look things up: a debate's make one call each."""


@pytest.fixture
async def demo() -> AsyncIterator[RecordedDemo]:
    async with recorded_demo() as made:
        yield made


def messages_of(body: bytes) -> bytes:
    """The request up to its last message."""
    text = body.decode()
    start = text.index("[")
    _, end = json.JSONDecoder().raw_decode(text, start)
    return text[: end - 1].encode()


def tools_of(body: bytes) -> str:
    """The tools as they were written; chat templates put them before the messages."""
    text = body.decode()
    if (at := text.find('"tools":', len(messages_of(body)))) < 0:
        return ""
    _, end = json.JSONDecoder().raw_decode(text, at + 8)
    return text[at:end]


def conversations(bodies: list[bytes]) -> list[list[bytes]]:
    """Requests of the same agent about the same question, in the order in which they were made."""
    groups: dict[str, list[bytes]] = defaultdict(list)
    for body in bodies:
        groups[json.dumps(json.loads(body)["messages"][:2])].append(body)
    return list(groups.values())


def check_prefixes(bodies: list[bytes]) -> None:
    for before, after in pairwise(bodies):
        assert messages_of(after).startswith(messages_of(before))
        assert len(messages_of(after)) > len(messages_of(before))
        assert tools_of(after) == tools_of(before) != ""


async def test_a_turn_of_an_agents_loop_begins_with_the_turn_before(demo: RecordedDemo) -> None:
    graph: Any = chat.build().compile()

    await graph.ainvoke({"messages": [HumanMessage(TWO_TURNS)]}, context=crew(demo.model(), [passage("A law.")]))

    assert len(demo.bodies) >= 2
    check_prefixes(demo.bodies)


async def test_a_message_of_a_conversation_begins_with_the_one_before(demo: RecordedDemo) -> None:
    graph: Any = chat.build().compile()
    said: list[AnyMessage] = []
    first: list[bytes] = []
    for question in (TWO_TURNS, "And why?", "What is 2 * 3?"):
        demo.bodies.clear()
        state = await graph.ainvoke({"messages": [*said, HumanMessage(question)]}, context=crew(demo.model()))
        said = state["messages"]
        first.append(demo.bodies[0])

    check_prefixes(first)


async def test_a_sub_agents_turn_begins_with_its_turn_before(demo: RecordedDemo) -> None:
    graph: Any = research.build().compile()
    context = crew(demo.model(), [passage("ReAct interleaves reasoning and acting.")])

    await graph.ainvoke({"messages": [HumanMessage(COMPARE)]}, context=context)

    loops = [loop for loop in conversations(demo.bodies) if len(loop) > 1]
    assert len(loops) >= 2
    for loop in loops:
        check_prefixes(loop)
    systems = {json.dumps(json.loads(loop[0])["messages"][0]) for loop in loops}
    assert len(systems) == 1  # siblings share their prompt, hence a prefix


@pytest.mark.parametrize("name", graphs.discover())
async def test_every_loop_of_every_graph_begins_with_its_turn_before(demo: RecordedDemo, name: str) -> None:
    module = graphs.discover()[name]
    question = next(iter(module.EXAMPLES))
    context = crew(demo.model(), [passage("A debate costs calls. A retry is safe with a key.")])

    await module.build().compile().ainvoke({"messages": [HumanMessage(question)]}, context=context)

    loops = [loop for loop in conversations(demo.bodies) if len(loop) > 1]
    for loop in loops:
        check_prefixes(loop)
    assert loops or name not in LOOPS, "nobody looked anything up"


async def test_a_conversation_with_a_swarm_is_cut_seldom(demo: RecordedDemo) -> None:
    """It sees the newest messages only, and loses the oldest in steps: between two of them the cache hits."""
    graph: Any = swarm.build().compile()
    state: Any = {"messages": []}
    first: list[bytes] = []
    for nth in range(12):
        demo.bodies.clear()
        given = {**state, "messages": [*state["messages"], HumanMessage(f"Which team fits a task of {nth} parts?")]}
        state = await graph.ainvoke(given, context=crew(demo.model()))
        first.append(demo.bodies[0])

    assert {it.get("active") for it in [state]} == {swarm.FIRST}
    hits = [messages_of(after).startswith(messages_of(before)) for before, after in pairwise(first)]
    assert hits.count(False) <= 2
    assert max(len(json.loads(body)["messages"]) for body in first) <= swarm.MOST_MESSAGES + 1


async def test_every_process_sends_the_same_bytes(demo: RecordedDemo) -> None:
    sent: list[list[bytes]] = []
    for seed in ("1", "2"):
        demo.bodies.clear()
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        script = Path(__file__).with_name("ask_everyone.py")
        process = await asyncio.create_subprocess_exec(sys.executable, script, demo.url, env=environment)
        assert await process.wait() == 0
        sent.append(list(demo.bodies))

    assert len(sent[0]) >= 4
    assert sent[0] == sent[1]
    today = datetime.now(UTC)
    dated = [today.strftime(form).encode() for form in ("%Y-%m-%d", "%d %B %Y", "%B %d, %Y")]
    assert not any(date in body for body in sent[0] for date in dated)
