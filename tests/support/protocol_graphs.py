"""Graphs that do one thing each, for tests of the protocol; the words they say and the gates that hold them back."""

import asyncio
import operator
import threading
from collections import defaultdict
from collections.abc import Mapping
from typing import Annotated, Any, TypedDict

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

from agents.context import Context
from graphs.state import ChatState, as_node

SAID = "Bees dance to tell where the flowers are."
Builder = StateGraph[Any, Any, Any, Any]


async def say(state: ChatState) -> dict[str, Any]:
    """A node that asks a model itself."""
    model = GenericFakeChatModel(messages=iter([AIMessage(SAID)]))
    return {"messages": [await model.ainvoke(state["messages"])]}


async def delegate(state: ChatState) -> dict[str, Any]:
    """A node with a graph inside, as agents are."""
    inner = StateGraph(ChatState).add_node("think", say).add_edge(START, "think").compile()
    result = await inner.ainvoke({"messages": state["messages"]})
    return {"messages": [result["messages"][-1]]}


async def ask(state: ChatState) -> dict[str, Any]:
    """A node that asks a person."""
    answer = interrupt({"question": "Shall I?", "about": str(state["messages"][-1].text)})
    return {"messages": [AIMessage(f"You said {answer}.")]}


async def ask_left(state: ChatState) -> dict[str, Any]:
    return {"messages": [AIMessage(f"left {interrupt('left?')}")]}


async def ask_right(state: ChatState) -> dict[str, Any]:
    return {"messages": [AIMessage(f"right {interrupt('right?')}")]}


class Tally(TypedDict):
    """State without messages."""

    n: Annotated[int, operator.add]
    words: list[str]


async def count(state: Tally) -> dict[str, Any]:
    """Adds one, and reports in its own words."""
    get_stream_writer()({"counting": state["n"]})
    return {"n": 1}


async def name(state: Tally) -> dict[str, Any]:
    return {"words": [*state.get("words", []), f"n={state['n']}"]}


async def flood(state: ChatState) -> dict[str, Any]:
    """Reports more than any socket's buffers hold."""
    write = get_stream_writer()
    for n in range(300):
        write({"n": n, "much": "x" * 20_000})
    return {"messages": [AIMessage("done")]}


async def nothing(state: ChatState) -> dict[str, Any]:
    return {}


async def fail(state: ChatState) -> dict[str, Any]:
    raise ValueError("the flowers are gone")


class Gates:
    """Hold a node back until a test has seen what it wants; one gate for each question."""

    def __init__(self) -> None:
        self._open: set[str] = set()
        self._reached: dict[str, threading.Event] = defaultdict(threading.Event)
        self._waiting: dict[str, list[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = defaultdict(list)

    async def wait(self, state: ChatState) -> dict[str, Any]:
        """A node that waits at the gate of its question."""
        question, passed = str(state["messages"][-1].text), asyncio.Event()
        self._waiting[question].append((asyncio.get_running_loop(), passed))
        self._reached[question].set()
        if question not in self._open:
            await passed.wait()
        return {"messages": [AIMessage(f"done: {question}")]}

    async def reached(self, question: str) -> None:
        """Come back when the node stands there; it runs in another thread's loop."""
        assert await asyncio.to_thread(self._reached[question].wait, 90)

    def open(self, question: str) -> None:
        """Let it go on, now and whenever it comes again."""
        self._open.add(question)
        for loop, passed in self._waiting[question]:
            loop.call_soon_threadsafe(passed.set)


def chain(state: type, **nodes: Any) -> Builder:
    """A graph of nodes one after the other."""
    builder: Builder = StateGraph(state, context_schema=Context)
    names = list(nodes)
    for title, node in nodes.items():
        builder.add_node(title, node, metadata=as_node(title))
    for before, after in zip([START, *names], [*names, END], strict=True):
        builder.add_edge(before, after)
    return builder


def side_by_side(**nodes: Any) -> Builder:
    """A graph of nodes that run at once."""
    builder: Builder = StateGraph(ChatState, context_schema=Context)
    for title, node in nodes.items():
        builder.add_node(title, node, metadata=as_node(title)).add_edge(START, title).add_edge(title, END)
    return builder


def protocol_graphs(gates: Gates) -> dict[str, Builder]:
    """All of them."""
    return {
        "says": chain(ChatState, say=say),
        "delegates": chain(ChatState, delegate=delegate),
        "asks": chain(ChatState, ask=ask),
        "asks_twice": side_by_side(left=ask_left, right=ask_right),
        "counts": chain(Tally, count=count, name=name),
        "fails": chain(ChatState, fail=fail),
        "floods": chain(ChatState, flood=flood),
        "rests": chain(ChatState, nothing=nothing),
        "waits": chain(ChatState, wait=gates.wait),
    }


def human(text: str, **more: Any) -> dict[str, Any]:
    """The usual input."""
    return {"messages": [{"role": "user", "content": text, **more}]}


def texts(values: Any) -> list[str]:
    """What was said so far."""
    assert isinstance(values, Mapping)
    return [message["content"] for message in values.get("messages", [])]
