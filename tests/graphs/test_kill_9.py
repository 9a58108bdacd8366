"""After kill -9 nothing that finished is done again: sub-tasks, a twin, the second planning, the second round."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from two_rounds import planned, two_rounds

from agents.planner import Plan, SubTask
from graphs.scheduling import Finding, Remedies

pytestmark = pytest.mark.timeout(60)


async def killed(database_url: str, epoch: int, mode: str, *stored: str) -> None:
    """Let a worker of its own run until these results are in the database, then kill it."""
    worker = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).with_name("plan_worker.py")), database_url, str(epoch), mode,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert worker.stdout
    left = [f"stored {id_}\n".encode() for id_ in stored]
    try:
        while left:
            line = await worker.stdout.readline()
            assert line, "the worker ended by itself"
            if line in left:
                left.remove(line)
    finally:
        worker.kill()
        await worker.wait()


class Again:
    """What is done in this process, after the kill."""

    def __init__(self) -> None:
        self.worked: list[str] = []
        self.asked_for_more = 0

    async def work(self, sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        self.worked.append(sub.id)
        return Finding(sub.id, sub.title, "done", "+".join([f"{sub.id} again", *(it.text for it in inputs)]))

    async def more(self, plan: Plan, found: Sequence[Finding]) -> Plan:
        self.asked_for_more += 1
        return planned("a", "b", "x")

    async def texts(self, saver: Any, **options: Any) -> dict[str, str]:
        graph = two_rounds(self.work, saver, **options)
        state = await graph.ainvoke(None, {"configurable": {"thread_id": "t"}}, durability="sync")
        return {finding.task_id: finding.text for finding in state["findings"]}


async def test_only_the_unfinished_run_again(database_url: str, claimed: Callable[[], Any]) -> None:
    await killed(database_url, (await claimed()).epoch, "plain", "b")

    again = Again()
    texts = await again.texts(await claimed())

    assert sorted(again.worked) == ["a", "c"]
    assert texts == {"a": "a again", "b": "b from the worker", "c": "c again+a again+b from the worker"}


async def test_a_sub_task_that_its_twin_ended_is_not_done_again(database_url: str, claimed: Callable[[], Any]) -> None:
    await killed(database_url, (await claimed()).epoch, "twin", "b", "a", "a")  # the twin's result, then the sub-task's

    again = Again()
    texts = await again.texts(await claimed(), remedies=Remedies(twin=lambda sub: True, late_by_s=0))

    assert again.worked == ["c"]
    assert texts["c"] == "c again+a from the worker+b from the worker"


async def test_a_twin_that_was_the_last_to_be_stored_is_not_done_again(
    database_url: str, claimed: Callable[[], Any]
) -> None:
    """Its sub-task may be stored too, or not; then the first try runs once more and is late, and the twin is there."""
    await killed(database_url, (await claimed()).epoch, "twin", "b", "a")
    again = Again()

    async def hangs(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        found = await again.work(sub, inputs)
        if sub.id == "a":
            await asyncio.Event().wait()
        return found

    graph = two_rounds(hangs, await claimed(), remedies=Remedies(twin=lambda sub: True, late_by_s=0))
    state = await graph.ainvoke(None, {"configurable": {"thread_id": "t"}}, durability="sync")

    assert again.worked.count("a") <= 1  # the first try
    assert state["findings"][0].text == "a from the worker"


async def test_in_a_second_round_neither_the_first_nor_its_planning_is_done_again(
    database_url: str, claimed: Callable[[], Any]
) -> None:
    await killed(database_url, (await claimed()).epoch, "round", "a", "b", "d")

    again = Again()
    texts = await again.texts(await claimed(), more=again.more)

    assert again.asked_for_more == 0
    assert again.worked == ["c"]
    assert texts == {
        "a": "a from the worker",
        "b": "b from the worker",
        "c": "c again+a from the worker",
        "d": "d from the worker",
    }
