"""What a row of a batch, and `chat --json`, say of a run that has ended; and what one bad row costs the others."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from demo import RecordedDemo, recorded_demo
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from app.batch import Batch, result_of
from app.batch_rows import OURS, Row
from app.commands.batch import _checked_output
from app.compose import App, compose
from app.settings import Settings

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
METERS = {"calls": 3, "tools": 2, "tokens_in": 70, "tokens_out": 20, "tokens_cached": 40, "cost_usd": 0.01}
TIMING = {"took_s": 2.0, "serial_s": 4.0, "floor_s": 2.0, "speedup": 2.0}
REACHED = {
    "unit": "steps",
    "limit": 3,
    "actual": 3,
    "share": 1.0,
    "more": {"command": "resume", "budget": {"steps": 6}},
}
OUTPUT = {"text": "So.", "answer": "So.", "sources": [], "missing": [], "meters": METERS, "budget_reached": None}


def run(status: str = "succeeded", error: Any = None, **output: Any) -> dict[str, Any]:
    left = {**OUTPUT, **output}
    ended = {"started_at": BEGAN, "finished_at": BEGAN + timedelta(seconds=2.5)}
    return {"run_id": "r", "status": status, "output": left, "error": error, **ended}


def test_an_answer_comes_with_what_it_took() -> None:
    assert result_of(run(timing=TIMING)) == {
        "answer": "So.", "sources": [], "run_id": "r", "seconds": 2.5, "tokens": {"in": 70, "out": 20, "cached": 40},
        "calls": 3, "tools": 2, "cost_usd": 0.01, "timing": TIMING,
    }  # fmt: skip


def test_a_run_that_its_budget_ended_says_so_and_gives_what_it_found() -> None:
    error = {"kind": "BudgetExceeded", "message": "run: 3 steps spent of 3", "fix": "resume with a larger budget_steps"}
    result = result_of(run("failed", error, text="Half of it.", budget_reached=REACHED))
    assert result["error"] == {"code": "BudgetExceeded", "message": error["message"], "fix": error["fix"]}
    assert result["so_far"] == "Half of it."
    assert result["budget_reached"] == {"unit": "steps", "limit": 3, "actual": 3, "share": 1.0}
    assert "answer" not in result


def test_a_run_that_failed_over_something_else_says_nothing_of_a_budget() -> None:
    result = result_of(run("failed", {"kind": "internal", "message": "no", "fix": "again"}, text=""))
    assert not result.keys() & {"so_far", "budget_reached", "timing", "answer"}


STATES = st.sampled_from(["succeeded", "failed", "cancelled", "waiting"])
EXTRAS = st.fixed_dictionaries(
    {}, optional={"timing": st.just(TIMING), "budget_reached": st.just(REACHED), "rounds": st.just([{"round": 1}]),
                  "missing": st.just([{"title": "Cost", "reason": "late"}])}
)  # fmt: skip


@given(STATES, EXTRAS)
def test_whatever_a_result_holds_is_a_field_of_ours(status: str, more: dict[str, Any]) -> None:
    assert result_of(run(status, **more)).keys() <= OURS


@pytest.mark.parametrize("name", ["timing", "so_far", "budget_reached"])
def test_a_field_of_the_input_with_such_a_name_comes_back_as_given(name: str) -> None:
    assert Row(1, 1, rest={name: 7, "tag": 8}).tail() == {"tag": 8, "given": {name: 7}}


# -- a batch in this process -------------------------------------------------------------------------------------------


@pytest.fixture
async def demo() -> AsyncIterator[RecordedDemo]:
    async with recorded_demo() as made:
        yield made


@pytest.fixture
async def app(demo: RecordedDemo, tmp_path: Path, database_url: str) -> AsyncIterator[App]:
    home = tmp_path / "home"
    settings = Settings(home=home, database_url=SecretStr(database_url), model_url=demo.url, model="demo-large")
    async with compose(settings, embed=False) as app:
        yield app


def batch_of(app: App, folder: Path, *questions: str) -> Batch:
    source = folder / "questions.jsonl"
    source.write_text("".join(json.dumps(it) + "\n" for it in questions))
    return Batch(app, "chat", source, folder / "answers.jsonl", concurrency=1)


def written(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]


class Hasty:
    """Another batch of the same rows, which is always a moment quicker to let a failed one go on."""

    def __init__(self, app: App) -> None:
        self._steering = app.steering

    async def resume(self, run_id: str, *, owner: str) -> dict[str, Any]:
        await self._steering.resume(run_id, owner=owner)
        return await self._steering.resume(run_id, owner=owner)


async def test_two_batches_of_the_same_rows_do_not_trip_over_each_other(
    app: App, demo: RecordedDemo, tmp_path: Path
) -> None:
    demo.faults({"match": "zanzibar", "status": 400})
    await batch_of(app, tmp_path, "What of zanzibar?").run()
    assert "error" in written(tmp_path)[0]

    demo.faults()
    async with asyncio.timeout(60):
        await batch_of(replace(app, steering=Hasty(app)), tmp_path, "What of zanzibar?").run()  # type: ignore[arg-type]
    assert written(tmp_path)[0]["answer"]


class Broken:
    """Cannot let anything go on."""

    async def resume(self, run_id: str, *, owner: str) -> dict[str, Any]:
        raise RuntimeError("unforeseen")


async def test_what_was_answered_is_written_also_when_a_batch_ends_over_something_unforeseen(
    app: App, demo: RecordedDemo, tmp_path: Path
) -> None:
    demo.faults({"match": "zanzibar", "status": 400})
    await batch_of(app, tmp_path, "What of zanzibar?").run()

    async with asyncio.timeout(60):
        with pytest.raises(ExceptionGroup):
            it = replace(app, steering=Broken())  # type: ignore[arg-type]
            await batch_of(it, tmp_path, "What is a straggler?", "And a twin?", "What of zanzibar?").run()
    assert [row["line"] for row in written(tmp_path) if row.get("answer")] == [1, 2]


async def test_a_row_that_asks_a_person_says_where_it_can_be_asked(app: App, tmp_path: Path) -> None:
    """Rows are nobody's conversations, so there is no chat in which this one could be answered."""
    it = batch_of(app, tmp_path, "Save a note: ReAct before any team.")
    async with asyncio.timeout(60):
        await it.run()
    [row] = written(tmp_path)
    message, fix = "It waits for a person, and nobody is asked in a batch.", "Ask it in the chat."
    assert row["error"] == {"code": "waiting", "message": message, "fix": fix}
    assert it.tally.problems == {message: [1]}


def test_a_question_of_a_chat_can_be_answered_there() -> None:
    assert result_of(run("waiting"))["error"]["fix"] == "Answer it in the chat."


def test_what_a_killed_batch_left_is_swept_and_a_living_ones_part_is_not(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait(60)
    names = {pid: tmp_path / f".answers.jsonl.{pid}.part" for pid in (dead.pid, os.getpid(), 1, 10**30)}
    for part in names.values():
        part.touch()
    (tmp_path / "questions.jsonl").write_text('"a question?"\n')

    _checked_output(tmp_path / "questions.jsonl", tmp_path / "answers.jsonl")

    assert {pid for pid, part in names.items() if part.exists()} == {1, 10**30}  # and our own was a probe's
