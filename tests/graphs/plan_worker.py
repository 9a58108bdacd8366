"""A worker to be killed: `a` never ends, `b` does and says so when it is stored, `c` needs both.

python plan_worker.py CONNINFO EPOCH
"""

# ruff: noqa: E402 - LangGraph reads the variable when it is imported
from app.settings import require_strict_msgpack

require_strict_msgpack()

import asyncio
import sys
from collections.abc import Sequence
from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph

from agents.allowance import Allowance
from agents.context import Limits
from agents.planner import Plan, SubTask
from app.postgres import FencedSaver, open_pool
from graphs.scheduling import Finding, run_plan


class PlanState(TypedDict):
    """The same state as in the tests."""

    plan: Plan
    findings: list[Finding]


class LoudSaver(FencedSaver):
    """Says whose result is in the database."""

    async def aput_writes(self, config: Any, writes: Sequence[tuple[str, Any]], task_id: str, path: str = "") -> None:
        await super().aput_writes(config, writes, task_id, path)
        for _, value in writes:
            if isinstance(value, Finding):
                print("stored", value.task_id, flush=True)


async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
    """`b` is quick."""
    if sub.id == "a":
        await asyncio.Event().wait()
    return Finding(sub.id, sub.title, "done", f"{sub.id} from the worker")


async def research(state: PlanState) -> dict[str, Any]:
    """The node that is killed."""
    return {"findings": await run_plan(state["plan"], work, Limits(), Allowance())}


async def main(conninfo: str, epoch: int) -> None:
    """Run until killed."""
    needs = {"a": [], "b": [], "c": ["a", "b"]}
    tasks = [
        SubTask(id=id_, title=id_.upper(), question=f"{id_}?", role="researcher", depends_on=needed)
        for id_, needed in needs.items()
    ]
    async with await open_pool(conninfo) as pool:
        builder = StateGraph(PlanState).add_node(research).add_edge(START, "research").add_edge("research", END)
        graph = builder.compile(checkpointer=LoudSaver(pool, "r", epoch))
        given = {"plan": Plan(tasks=tasks, note="")}
        await graph.ainvoke(given, {"configurable": {"thread_id": "t"}}, durability="sync")


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
