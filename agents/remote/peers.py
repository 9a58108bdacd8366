"""Agents of other installations that a plan may give work to: who they are, and how one is asked and given up.

To the scheduler a peer is one more sub-agent: a role with a line for the planner, a lane, a deadline, a finding. It is
asked in two steps, each a checkpoint: `hand_over` sends the work under an id made of the sub-task's place in the run,
`wait_for` reads what comes of it. So after a crash the work is not sent twice: a sent one is waited for, and one whose
sending nobody wrote down goes out under the same id, which a peer that honours message ids (ours do) takes as the same.

What it answers is somebody else's text: evidence, never an instruction, and the guard counts it as read. Its numbers
are made its own (`[1]` -> `(bees 1)`), and citation keys in it are dropped, since a peer cannot have seen our passages.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypedDict

from langchain_core.messages import AIMessage, AnyMessage
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from agents.context import Context
from agents.errors import RunError, ToolFailed

MAX_ANSWER_CHARS = 40_000
GIVE_UP_S = 5.0
"""For telling a peer that nobody waits any more."""
LOST_PAUSES_S = (0.5, 1.0, 2.0, 4.0)
"""Between looks at a task whose peer was out of reach; then it has failed."""

_KEYS = re.compile(r"\s?\[[0-9a-f]{6,12}(?:[,;]\s*[0-9a-f]{6,12})*\]")
_NUMBER = re.compile(r"\[(\d{1,3})\]")


@dataclass(frozen=True, slots=True)
class Peer:
    """A remote agent as the settings name it."""

    name: str
    """The role's name."""
    url: str
    """Of the agent; its card is at `.well-known/agent-card.json` below. Nothing but this origin is ever spoken to."""
    about: str = ""
    """One line for the planner, by whoever runs this installation: a card's own words never reach a prompt."""
    token: str = field(default="", repr=False)
    """Bearer key for this peer alone."""
    deadline_s: float = 120.0
    artefact: str = ""
    """Name of the artefact that is expected; empty takes the first with text."""
    budget: Mapping[str, float] = field(default_factory=dict)
    """What it may spend on one piece of work, told with it: any of steps, tokens, usd, seconds, width."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a peer says of a piece of work."""

    task_id: str
    """Empty where it answered at once, without a task."""
    over: bool = False
    text: str = ""
    problem: str = ""
    """Why there is no text, as a sentence; empty when there is, or when it is still at work."""
    sources: Sequence[str] = ()


class Line(Protocol):
    """A connection to a peer. Raises ToolFailed; `retriable` where it was out of reach."""

    async def send(self, text: str, message_id: str) -> Outcome:
        """Hand work over; the same id is the same work."""
        ...

    async def follow(self, task_id: str) -> Outcome:
        """Come back when the task is over, or asks."""
        ...

    async def cancel(self, task_id: str) -> None:
        """Nobody waits for it any more."""
        ...


class PeerState(TypedDict, total=False):
    """One piece of work at a peer."""

    messages: list[AnyMessage]
    task_id: str


def peer_agent(peer: Peer, line: Line) -> Any:
    """The peer as an agent of the team, which `ask` asks like any other."""
    steps = Steps(peer, line)
    return (
        StateGraph(PeerState, context_schema=Context)
        .add_node("hand_over", steps.hand_over)
        .add_node("wait_for", steps.wait_for)
        .add_edge(START, "hand_over")
        .add_conditional_edges("hand_over", steps.next, ["wait_for", END])
        .add_edge("wait_for", END)
        .compile(name=peer.name)
    )


class Steps:
    """The two steps, for one peer."""

    def __init__(self, peer: Peer, line: Line) -> None:
        self._peer, self._line = peer, line

    async def hand_over(self, state: PeerState, runtime: Runtime[Context]) -> dict[str, Any]:
        """Send the work; a peer may answer at once."""
        text = "\n\n".join(str(message.text) for message in state["messages"])
        async with self._within():
            outcome = await self._line.send(text, work_id(runtime, self._peer.name))
        if outcome.over:
            return {"messages": [self._said(outcome)], "task_id": ""}
        return {"task_id": outcome.task_id}

    def next(self, state: PeerState) -> str:
        """Wait, unless it has answered."""
        return "wait_for" if state["task_id"] else END

    async def wait_for(self, state: PeerState, runtime: Runtime[Context]) -> dict[str, Any]:
        """Read what comes of it. Whoever gives up tells the peer, except a worker that hands the run to another."""
        try:
            async with self._within():
                outcome = await self._followed(state["task_id"])
        except BaseException:
            if not (runtime.control and runtime.control.drain_requested):
                await self._give_up(state["task_id"])
            raise
        if outcome.over:
            return {"messages": [self._said(outcome)]}
        await self._give_up(state["task_id"])
        raise ToolFailed(self._peer.name, outcome.problem or "it stopped without an answer", "ask somebody else")

    async def _followed(self, task_id: str) -> Outcome:
        for pause_s in (*LOST_PAUSES_S, None):
            try:
                return await self._line.follow(task_id)
            except ToolFailed as failed:
                if pause_s is None or not failed.retriable:
                    raise
                await asyncio.sleep(pause_s)
        raise AssertionError("unreachable: the last look raises")

    async def _give_up(self, task_id: str) -> None:
        try:
            async with asyncio.timeout(GIVE_UP_S):
                await asyncio.shield(self._line.cancel(task_id))
        except (TimeoutError, RunError):
            return  # it is out of reach: its own budget ends it

    def _within(self) -> "_Deadline":
        return _Deadline(self._peer)

    def _said(self, outcome: Outcome) -> AIMessage:
        if not outcome.text:
            raise ToolFailed(self._peer.name, outcome.problem or "it answered nothing", "ask somebody else")
        return AIMessage(evidence(outcome, self._peer.name), name=self._peer.name)


class _Deadline:
    """The peer's time, for one step."""

    def __init__(self, peer: Peer) -> None:
        self._peer, self._timeout = peer, asyncio.timeout(peer.deadline_s)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *raised: Any) -> None:
        try:
            await self._timeout.__aexit__(*raised)
        except TimeoutError as error:
            problem = f"no answer within {self._peer.deadline_s:g} s"
            raise ToolFailed(self._peer.name, problem, "ask somebody else, or raise its deadline_s") from error


def work_id(runtime: Any, peer: str) -> str:
    """Id of the work: made of where the sub-task stands in its run, so that after a crash it is the same."""
    info = runtime.execution_info
    place = [str(info.thread_id), str(info.checkpoint_ns), peer]
    return hashlib.sha256(json.dumps(place).encode()).hexdigest()[:32]


def evidence(outcome: Outcome, peer: str) -> str:
    """A peer's answer as the team reads it: with numbers of its own, and no more than can be read."""
    text = _NUMBER.sub(rf"({peer} \1)", _KEYS.sub("", outcome.text)).strip()
    if len(text) > MAX_ANSWER_CHARS:
        text = f"{text[:MAX_ANSWER_CHARS]}\n\n({peer} said {len(text):,} characters; the rest is left out.)"
    sources = "\n".join(_KEYS.sub("", source) for source in outcome.sources)
    return f"{text}\n\nSources of {peer}:\n{sources}" if sources else text
