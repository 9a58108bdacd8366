"""A worker to be killed. It says whose result is in the database.

python plan_worker.py CONNINFO EPOCH MODE

- `plain`: `a` never ends, `b` does, `c` needs both.
- `twin`: `a` never ends but its twin does; `c` needs both and never ends.
- `round`: `a` and `b` end; then `c`, which never ends, and `d` are asked for.
"""

# ruff: noqa: E402 - LangGraph reads the variable when it is imported
from app.settings import require_strict_msgpack

require_strict_msgpack()

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from two_rounds import planned, two_rounds

from agents.planner import Plan, SubTask
from app.postgres import FencedSaver, open_pool
from graphs.scheduling import Finding, Remedies

NEVER = {"plain": {"a": 9}, "twin": {"a": 1, "c": 9}, "round": {"c": 9}}
"""How many tries of a sub-task never end."""
PLANS = {"plain": ("a", "b", "c < a b"), "twin": ("a", "b", "c < a b"), "round": ("a", "b")}


class LoudSaver(FencedSaver):
    """Says whose result is in the database."""

    async def aput_writes(self, config: Any, writes: Sequence[tuple[str, Any]], task_id: str, path: str = "") -> None:
        await super().aput_writes(config, writes, task_id, path)
        for _, value in writes:
            if isinstance(value, Finding):
                print("stored", value.task_id, flush=True)


async def main(conninfo: str, epoch: int, mode: str) -> None:
    """Run until killed."""
    tries: dict[str, int] = {}

    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        tries[sub.id] = tries.get(sub.id, 0) + 1
        if tries[sub.id] <= NEVER[mode].get(sub.id, 0):
            await asyncio.Event().wait()
        return Finding(sub.id, sub.title, "done", f"{sub.id} from the worker")

    async def more(plan: Plan, found: Sequence[Finding]) -> Plan:
        return planned("a", "b", "c < a", "d < b")

    async with await open_pool(conninfo) as pool:
        saver = LoudSaver(pool, "r", epoch)
        remedies = Remedies(twin=lambda sub: sub.id == "a", late_by_s=0) if mode == "twin" else Remedies()
        graph = two_rounds(work, saver, more=more if mode == "round" else None, remedies=remedies)
        thread = {"configurable": {"thread_id": "t"}}
        await graph.ainvoke({"plan": planned(*PLANS[mode])}, thread, durability="sync")


asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
