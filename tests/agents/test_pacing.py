"""Turns at a tool with a rate: in order, shared, and none for who would wait too long."""

import asyncio

import pytest

from agents.errors import ToolFailed
from agents.pacing import Turns
from agents.tools.contract import Contract


class Clock:
    """Time that passes when somebody waits for it."""

    def __init__(self) -> None:
        self.now = 100.0

    async def pause(self, seconds: float) -> None:
        until = self.now + seconds
        await asyncio.sleep(0)  # whoever else is here lines up first
        self.now = max(self.now, until)

    def time(self) -> float:
        return self.now


async def test_turns_are_a_rate_apart_and_of_one_tool() -> None:
    clock = Clock()
    turns = Turns(clock.pause, clock.time)
    came: list[tuple[str, float]] = []

    async def call(tool: str) -> None:
        await turns.take(tool, 2.0, within_s=10)
        came.append((tool, clock.now))

    await asyncio.gather(*(call("mail") for _ in range(3)), call("look"))

    assert [at for tool, at in came if tool == "mail"] == [100.0, 100.5, 101.0]
    assert ("look", 100.0) in came
    await call("mail")
    assert came[-1] == ("mail", 101.5)


async def test_who_would_wait_too_long_is_told_and_takes_no_turn() -> None:
    clock = Clock()
    turns = Turns(clock.pause, clock.time)
    await turns.take("mail", 0.1, within_s=5)

    for _ in range(2):
        with pytest.raises(ToolFailed, match=r"turn would come in 10 s, its deadline is 5 s \(0.1 a second\)"):
            await turns.take("mail", 0.1, within_s=5)
    await turns.take("mail", None, within_s=5)
    assert clock.now == 100


@pytest.mark.parametrize(
    "wrong", [{"rate_per_s": 0}, {"rate_per_s": -1}, {"rate_per_s": float("inf")}, {"fallback": " "}]
)
def test_a_contract_that_cannot_be_kept_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Contract(**wrong)  # type: ignore[arg-type]
