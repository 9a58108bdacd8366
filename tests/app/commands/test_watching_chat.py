"""Who watches a run in the terminal sees its end, whatever the database does meanwhile."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, Self

import psycopg
import pytest
from runlogs import CHAT

from app.commands.chat import _shown
from app.events import ROOT, RunEvent
from app.launch import Signals

RUN = {"run_id": "r", "thread_id": "t", "graph": "chat", "question": "Why?"}


class Cut:
    """A log whose database goes away after each event."""

    def __init__(self, trouble: Exception) -> None:
        self.trouble = trouble
        started = RunEvent("run.started", ROOT, None, {"graph": "chat", "question": "Why?", "model": "m"}, 1.0, seq=1)
        ended = RunEvent("run.finished", ROOT, None, {"answer": "Because.", "missing": []}, 2.0, seq=2)
        self.events = [started, ended]

    async def follow(self, run_id: str, after: int = 0) -> AsyncIterator[list[RunEvent]]:
        yield self.events[after : after + 1]
        if after == 0:
            raise self.trouble


class Nothing:
    """A screen that nobody looks at."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def show(self, view: dict[str, Any]) -> None: ...


def house(log: Cut) -> Any:
    return SimpleNamespace(journal=log, activities={"chat": SimpleNamespace(shape=CHAT)})


async def test_a_database_that_comes_back_costs_nothing_of_the_run() -> None:
    view = await _shown(house(Cut(psycopg.OperationalError("gone"))), RUN, Nothing(), Signals())
    assert (view["status"], view["answer"]["text"]) == ("succeeded", "Because.")


async def test_what_is_no_outage_is_an_error_of_the_command() -> None:
    with pytest.raises(ZeroDivisionError):
        await _shown(house(Cut(ZeroDivisionError())), RUN, Nothing(), Signals())
