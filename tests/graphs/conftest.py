"""A graph around the scheduler, a run that can be claimed again, and a gate to hold work at."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypedDict

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from virtual import JumpingLoop

from agents.allowance import Allowance
from agents.context import Limits
from agents.planner import Plan
from app.events import RunEvent, Translator
from app.postgres import FencedSaver, Pool
from graphs.scheduling import NO_REMEDIES, Finding, Remedies, Work, run_plan


def pytest_asyncio_loop_factories(item: pytest.Function) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """In a module that says `TIME_JUMPS = True`, a deadline costs nothing and passes for nobody but who hangs.

    Except where a database is waited for, which is nobody to such a loop.
    """
    jumps = getattr(getattr(item, "module", None), "TIME_JUMPS", False) and "pool" not in item.fixturenames
    return {"jumps": JumpingLoop} if jumps else {"waits": asyncio.new_event_loop}


class PlanState(TypedDict):
    """A plan and what came of it."""

    plan: Plan
    findings: list[Finding]


class Scheduled:
    """The scheduler inside a graph of one node."""

    def __init__(
        self,
        work: Work,
        limits: Limits,
        saver: BaseCheckpointSaver[str] | None,
        allowance: Allowance,
        remedies: Remedies,
    ) -> None:
        self.events: list[RunEvent] = []

        async def research(state: PlanState) -> dict[str, Any]:
            return {"findings": await run_plan(state["plan"], work, limits, allowance, remedies=remedies)}

        builder = StateGraph(PlanState).add_node(research).add_edge(START, "research").add_edge("research", END)
        self.graph: Any = builder.compile(checkpointer=saver)

    async def run(self, given: Any, thread_id: str = "t") -> dict[str, Any]:
        """State after the run; `given` is a plan, None to go on, or a Command."""
        translator = Translator(self.events.append)
        config = {"configurable": {"thread_id": thread_id}, "callbacks": [translator]}
        value = {"plan": given} if isinstance(given, Plan) else given
        durability = "sync" if self.graph.checkpointer else None
        modes = ["tasks", "custom", "values"]
        stream = self.graph.astream(
            value, config, stream_mode=modes, subgraphs=True, version="v2", durability=durability
        )
        state: dict[str, Any] = {}
        async for part in stream:
            translator.part(part)
            state = part["data"] if part["type"] == "values" and not part["ns"] else state
        return state

    async def questions(self, thread_id: str = "t") -> dict[str, str]:
        """What persons are asked -> id of the question."""
        state = await self.graph.aget_state({"configurable": {"thread_id": thread_id}})
        return {question.value: question.id for question in state.interrupts}

    async def findings(self, given: Any) -> dict[str, Finding]:
        """Findings by sub-task."""
        return {finding.task_id: finding for finding in (await self.run(given))["findings"]}

    def told(self, type_: str) -> list[str]:
        """Sub-tasks of which such an event tells, in order."""
        return [event.data["task_id"] for event in self.events if event.type == type_]


@pytest.fixture
def scheduled() -> Callable[..., Scheduled]:
    """Makes a scheduler around some work."""

    def make(
        work: Work,
        saver: BaseCheckpointSaver[str] | None = None,
        allowance: Allowance | None = None,
        remedies: Remedies = NO_REMEDIES,
        **limits: Any,
    ) -> Scheduled:
        return Scheduled(work, Limits(**limits), saver, allowance or Allowance(), remedies)

    return make


class Arrivals:
    """Who came so far, to be waited for."""

    def __init__(self) -> None:
        self.came: list[str] = []
        self._news = asyncio.Condition()

    async def note(self, who: str) -> None:
        """`who` is there."""
        async with self._news:
            self.came.append(who)
            self._news.notify_all()

    async def has(self, names: Iterable[str]) -> None:
        """Wait until all of `names` have come."""
        async with self._news:
            await self._news.wait_for(lambda: set(names) <= set(self.came))


class Gate(Arrivals):
    """Nobody gets through; who came is noted."""

    async def stand(self, who: str) -> None:
        """Come, and wait for ever."""
        await self.note(who)
        await asyncio.Event().wait()


class WatchedSaver(FencedSaver):
    """The product's checkpointer, which also says whose result is in the database."""

    def __init__(self, pool: Pool, epoch: int, stored: Arrivals) -> None:
        super().__init__(pool, "r", epoch)
        self._stored = stored

    async def aput_writes(self, config: Any, writes: Sequence[tuple[str, Any]], task_id: str, path: str = "") -> None:
        await super().aput_writes(config, writes, task_id, path)
        for _, value in writes:
            if isinstance(value, Finding):
                await self._stored.note(value.task_id)


@pytest.fixture
def gate() -> Gate:
    """A gate that never opens."""
    return Gate()


@pytest.fixture
def stored() -> Arrivals:
    """Sub-tasks whose result is in the database."""
    return Arrivals()


@pytest.fixture
async def claimed(pool: Pool, stored: Arrivals) -> Callable[[], Awaitable[WatchedSaver]]:
    """Claims the one run of this test's database, again and again: the checkpointer of that claim."""
    async with pool.connection() as connection:
        await connection.execute("insert into threads (thread_id, title, graph) values ('t', 'Title', 'research')")
        await connection.execute(
            "insert into runs (run_id, thread_id, graph, status, input) values ('r', 't', 'research', 'running', '{}')"
        )

    async def claim() -> WatchedSaver:
        async with pool.connection() as connection:
            cursor = await connection.execute("update runs set epoch = epoch + 1 returning epoch")
            row = await cursor.fetchone()
            assert row
            return WatchedSaver(pool, row["epoch"], stored)

    return claim
