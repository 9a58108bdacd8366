"""What is killed: five patterns of work, each with a known answer and a known list of effects (more: `shapes.py`).

The model's side is a pure function of the conversation, so an answer that differs after a kill is our doing. Effects
are written to a file that Sextant knows nothing of; a service that takes keys drops the ones it has seen.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from langchain.tools import ToolRuntime
from langchain_core.messages import HumanMessage
from langchain_core.tools import BaseTool, tool
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from points import Fault

from agents.agent import Agent, discover_agents
from agents.context import Context
from agents.effects import key_of
from agents.tools.contract import Contract, with_contract
from agents.tools.handover import HAND_OVER
from app.activities import Activity, discover_activities
from app.shapes import read_shape
from graphs.state import ChatState, as_node

Turn = str | Sequence[tuple[str, Mapping[str, Any]]]
"""What the model says: a text, or calls of tools."""


@dataclass(frozen=True)
class Pattern:
    """One shape of work."""

    name: str
    graph: str
    script: Mapping[str, Sequence[Turn]]
    """What a conversation opens with -> what the model says in each turn of it."""
    answer: str
    effects: frozenset[str]
    asks: bool = False
    """It waits for a person in the middle: a worker takes it to there, another one goes on."""

    def turn(self, messages: Sequence[Mapping[str, Any]]) -> Turn:
        """What the model says next."""
        asked = max(at for at, message in enumerate(messages) if message["role"] == "user")
        opening = self.opening(messages, asked)
        turns = next(turns for start, turns in self.script.items() if opening.startswith(start))
        return turns[sum(message["role"] == "assistant" for message in messages[asked:])]

    def opening(self, messages: Sequence[Mapping[str, Any]], asked: int) -> str:
        """What its script knows a conversation by."""
        return str(messages[asked]["content"])

    def is_answer(self, text: str) -> bool:
        """Whether a run that was disturbed may answer so."""
        return text == self.answer


def plan(*tasks: tuple[str, Sequence[str]], role: str = "researcher") -> str:
    """A planner's answer: sub-tasks and what they wait for."""
    made = [
        {"id": name, "title": name, "question": f"do {name}", "role": role, "depends_on": list(needs)}
        for name, needs in tasks
    ]
    return json.dumps({"tasks": made, "note": ""})


def does(name: str, *tools: str) -> dict[str, Sequence[Turn]]:
    """A sub-agent that calls these tools one after the other."""
    turns: list[Turn] = [[(tool, {"to": f"{name}{at}"})] for at, tool in enumerate(tools)]
    return {f"do {name}": [*turns, f"{name} is done."]}


def effects(*names: str) -> frozenset[str]:
    return frozenset(names)


CHAT = Pattern(
    "chat", "chat",
    {"go": [[("look", {"what": "a"}), ("send", {"to": "a"})], [("send", {"to": "b"})], "Sent a and b."]},
    "Sent a and b.", effects("send a", "send b"),
)  # fmt: skip
RESEARCH = Pattern(
    "research", "research",
    {
        "go": [plan(("p", ()), ("q", ()), ("r", ()), ("s", ("p", "q")))],
        **does("p", "send"), **does("q", "send"), **does("r", "send", "send"), **does("s", "send"),
        "Question: go": ["All four are done."],
    },
    "All four are done.", effects("send p0", "send q0", "send r0", "send r1", "send s0"),
)  # fmt: skip
ONCE = Pattern(
    "once", "research",
    {
        "go": [plan(("p", ()), ("q", ()), ("r", ("p",)))],
        **does("p", "wire"), **does("q", "wire"), **does("r", "wire"),
        "Question: go": ["All three are wired."],
    },
    "All three are wired.", effects("wire p0", "wire q0", "wire r0"),
)  # fmt: skip
NESTED = Pattern(
    "nested", "nested",
    {
        "go": [[("delegate", {"task": "do p"}), ("delegate", {"task": "do q"})], "Both helpers are done."],
        **does("p", "send", "send"), **does("q", "send"),
    },
    "Both helpers are done.", effects("send p0", "send p1", "send q0"),
)  # fmt: skip
APPROVAL = Pattern(
    "approval", "research",
    {
        "go": [plan(("p", ()), ("q", ()))],
        **does("p", "pay"), **does("q", "pay", "send"),
        "Question: go": ["Both are paid."],
    },
    "Both are paid.", effects("pay p0", "pay q0", "send q1"), asks=True,
)  # fmt: skip


class Echo(Pattern):
    """Says what it was told."""

    def turn(self, messages: Sequence[Mapping[str, Any]]) -> Turn:
        return str(messages[-1]["content"])


ECHO = Echo("echo", "chat", {}, "", frozenset())
PATTERNS = {pattern.name: pattern for pattern in (CHAT, RESEARCH, ONCE, NESTED, APPROVAL)}


ROLES = (
    {"assistant", "planner", "researcher", "writer", "manager", "lead", "summariser"}
    | {"advocate", "sceptic", "pragmatist", "judge"}
    | {"architect", "engineer", "guardian"}
    | {"router", "librarian", "clerk", "policy_critic"}
)


class NoCorpus:
    """No documents."""

    async def search(self, query: str, k: int = 8) -> Sequence[Any]:
        return []


class World:
    """Outside of Sextant: a file with a line for each call that reached a service."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def happen(self, what: str, run_id: str, key: str) -> None:
        """One line, in one write, which outlives the process."""
        line = json.dumps({"what": what, "run": run_id, "key": key, "pid": os.getpid()}) + "\n"
        descriptor = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, line.encode())
        os.close(descriptor)

    def calls(self) -> list[dict[str, Any]]:
        """Every call, in order."""
        return [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []


GRANTS = frozenset(("send", "wire", "delegate"))
"""A death in the middle of an effect is what is tried here, not who may have it."""


def tools(world: World, fault: Fault) -> list[BaseTool]:
    """Everything that the agents may call."""

    def act(what: str, runtime: ToolRuntime[Any, Any]) -> str:
        key = key_of(runtime)
        fault.at("tool.before")
        world.happen(what, key.thread_id, key.text())
        fault.at("tool.after")
        return f"{what}: done"

    @tool
    async def look(what: str) -> str:
        """Look something up."""
        return f"{what} is there"

    @tool
    async def send(to: str, runtime: ToolRuntime[Any, Any]) -> str:
        """Send something, through a service that takes a key."""
        return act(f"send {to}", runtime)

    @tool
    async def wire(to: str, runtime: ToolRuntime[Any, Any]) -> str:
        """Wire something, through a service that takes no key."""
        return act(f"wire {to}", runtime)

    @tool
    async def pay(to: str, runtime: ToolRuntime[Any, Any]) -> str:
        """Pay somebody, when a person says so."""
        return act(f"pay {to}", runtime)

    @tool
    async def delegate(task: str, runtime: ToolRuntime[Any, Any]) -> str:
        """Let a helper do it."""
        helper = runtime.context.agents["helper"]
        result = await helper.ainvoke({"messages": [HumanMessage(task)]}, context=runtime.context)
        return str(result["messages"][-1].text)

    return [
        with_contract(look, Contract(effect="read")),
        with_contract(send, Contract(effect="keyed")),
        with_contract(wire, Contract(effect="at_most_once")),
        with_contract(pay, Contract(effect="at_most_once", approval=True)),
        with_contract(delegate, Contract(effect="idempotent", timeout_s=60)),
    ]


def team(world: World, fault: Fault) -> dict[str, Agent]:
    """The roles of the product that the patterns need, with these tools, and two for agents inside agents.

    They are put where role files are read: whether a late sub-task may be done twice at once is seen from its tools.
    """
    all_tools = tools(world, fault)
    roles = {name: role for name, role in discover_agents().items() if name in ROLES}
    acting = {name: replace(role, tools=_with(role, all_tools), grants=GRANTS) for name, role in roles.items()}
    own = {name: role if role.output else acting[name] for name, role in roles.items()}
    for name, role in own.items():
        setattr(import_module(f"agents.{name}"), name, role)
    more = {"outer": "Delegate.", "helper": "Help."}
    return {**own, **{name: Agent(prompt, tools=all_tools, grants=GRANTS) for name, prompt in more.items()}}


def _with(role: Agent, all_tools: Sequence[BaseTool]) -> list[BaseTool]:
    """These tools, and what hands the floor over, which is a specialist's own."""
    return [*(it for it in role.tools if it.name == HAND_OVER), *all_tools]


async def outer(state: ChatState, runtime: Runtime[Context]) -> dict[str, Any]:
    """An agent whose tool is an agent."""
    result = await runtime.context.agents["outer"].ainvoke({"messages": state["messages"]}, context=runtime.context)
    return {"messages": [result["messages"][-1]]}


def activities() -> dict[str, Activity]:
    """The product's graphs, and one of agents inside agents."""
    builder = StateGraph(ChatState, context_schema=Context).add_node(outer, metadata=as_node("Outer", speaks=True))
    builder = builder.add_edge(START, "outer").add_edge("outer", END)
    return {**discover_activities(), "nested": Activity("nested", "", builder, read_shape(builder.compile()), {})}
