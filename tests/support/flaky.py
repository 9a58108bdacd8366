"""A service that fails by plan: how often is exact, so that what a policy makes of it is arithmetic."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle

from agents.errors import ToolFailed


@dataclass
class FlakyService:
    """Answers or fails as `pattern` says, over and over; True is an answer."""

    pattern: tuple[bool, ...]
    calls: int = 0
    _turns: Iterator[bool] = field(init=False)

    def __post_init__(self) -> None:
        self._turns = cycle(self.pattern)

    async def answer(self) -> str:
        """One call."""
        self.calls += 1
        if not next(self._turns):
            raise ToolFailed("service", "503", retriable=True)
        return "answer"


def succeeds(step: float, steps: int = 1, tries: int = 1) -> float:
    """Share of tasks that succeed when each of `steps` does with chance `step`, tried so often, each independently."""
    return float((1 - (1 - step) ** tries) ** steps)
