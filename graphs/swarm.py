"""Specialists hand the floor to each other; whoever has it answers, and keeps it for the next message.

Pays when a conversation moves between fields, one expert at a time.

A hand-over is a tool call that the node reads from the agent's answer and turns into the next step (why not by
`Command.PARENT`: `agents/handing.py`). The floor is part of the state, so it outlives the run and a crash.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command

from agents.agent import discover_agents
from agents.context import Context
from agents.specialists import FIELDS
from agents.tools.handover import HAND_OVER, Handover
from graphs.evidence import needed
from graphs.state import ChatState, as_node, question_of

FIRST = "architect"
"""Who has the floor when a conversation begins."""
MAX_HANDOVERS = 4
"""For one message of the person. Whoever has the floor then cannot hand it on: they answer, and the answer says so."""
MOST_MESSAGES, KEPT_MESSAGES = 12, 4
"""Of the conversation before the question a specialist sees fewer than the one, and of one that is longer at least the
other: a floor that changes hands costs all of them again, and one that stays has the prefix of the turn before, as
what is too much leaves in steps."""

EXAMPLES = {
    "What makes a retry safe?": "The architect hands the floor to the engineer, who answers",
    "Which actions need a person's approval?": "It goes to the guardian; ask on, and the guardian still has the floor",
}


class Passed(Handover):
    """A hand-over, and by whom."""

    by: str


class SwarmState(ChatState):
    """The conversation, and who has the floor."""

    active: str
    handovers: list[Passed]
    """For the newest message."""


async def floor(state: SwarmState) -> Command[str]:
    """The floor is with whoever had it last. A new message may be handed over as often as any."""
    active = who if (who := state.get("active", FIRST)) in FIELDS else FIRST
    return Command(update={"active": active, "handovers": []}, goto=active)


def speaking(name: str) -> Any:
    """The node of one specialist, a function of state and runtime: answer the person, or hand the floor on."""

    async def speak(state: SwarmState, runtime: Runtime[Context]) -> Command[str]:
        context, passed = runtime.context, state["handovers"]
        if len(passed) >= MAX_HANDOVERS:
            own = {tool.name for tool in discover_agents()[name].tools}
            context = replace(context, tools=frozenset(own - {HAND_OVER}))
        said = await needed(context, name, *_briefed(state))
        if handed := said.handed:
            update = {"active": handed["to"], "handovers": [*passed, Passed(**handed, by=name)]}
            return Command(update=update, goto=handed["to"])
        return Command(update={"messages": [AIMessage(said.text + _ended(name, passed), name=name)]}, goto=END)

    return speak


def _briefed(state: SwarmState) -> list[AnyMessage]:
    """What a specialist sees: the newest of the conversation, and with the question how the floor came to them."""
    told = [f"Hand-over from {it['by']} to {it['to']}: {it['reason']} {it['brief']}" for it in state["handovers"]]
    if len(told) >= MAX_HANDOVERS:
        told.append("The floor cannot be handed over any more: answer as well as you can.")
    asked = "\n\n".join([question_of(state), *told])
    *before, _ = state["messages"]
    step = MOST_MESSAGES - KEPT_MESSAGES
    first = max(0, len(before) - KEPT_MESSAGES) // step * step
    return [*before[first:], HumanMessage(asked)]


def _ended(name: str, passed: Sequence[Passed]) -> str:
    """What an answer says of a floor that went round until it could not be handed on."""
    if len(passed) < MAX_HANDOVERS:
        return ""
    way = " → ".join([*(it["by"] for it in passed), name])
    limit = f"The floor changed hands {len(passed)} times ({way}), as often as it may for one message"
    return f"\n\n*{limit}, so the {name} answered.*"


def build() -> StateGraph[SwarmState, Context]:
    """START -> floor -> whoever has it -> (another specialist | END)."""
    builder = StateGraph(SwarmState, context_schema=Context)
    builder.add_node(floor, metadata=as_node("Floor"), destinations=tuple(FIELDS))
    for name in FIELDS:
        others = tuple(other for other in FIELDS if other != name)
        metadata = as_node(name.capitalize(), speaks=True)
        builder.add_node(name, speaking(name), metadata=metadata, destinations=(*others, END))
    return builder.add_edge(START, "floor")
