"""What a run may spend, kept while it spends: model calls, tokens, money, seconds; and a person's wish to be done.

Shared by all agents of a run. At 80 % agents are told to conclude, so that what is left pays for the write-up; at 100
% no call is made. A limit of None is no limit. Tokens and money are known when a call has ended, so calls in flight
at that moment can pass the limit by what they had begun.
"""

import asyncio
import time
from dataclasses import asdict, dataclass, field
from typing import Literal

from agents.errors import BudgetExceeded

WARN_AT = 0.8

Unit = Literal["steps", "tokens", "usd", "seconds"]


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of one run. None: no limit."""

    steps: int | None = None
    """Model calls, of all agents together."""
    tokens: int | None = None
    """Prompt and completion tokens, of all agents together."""
    usd: float | None = None
    """Money, where the model has a price."""
    seconds: float | None = None
    """Time at work, without waiting in the queue or for a person."""
    width: int | None = None
    """Sub-agents at work at once. It bounds, and is not spent."""

    def __post_init__(self) -> None:
        for unit, limit in asdict(self).items():
            if limit is not None and limit <= 0:
                raise ValueError(f"budget.{unit}: {limit}, and a limit is above 0; None is no limit")


@dataclass(slots=True)
class Allowance:
    """A budget and what was spent of it."""

    budget: Budget = field(default_factory=Budget)
    steps: int = 0
    tokens: int = 0
    usd: float = 0.0
    before_s: float = 0.0
    """Seconds that earlier claims of the run were at work."""
    begun_at: float = field(default_factory=time.monotonic)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a person wants the answer now: nothing new is looked up, what is there is written up."""

    @property
    def seconds(self) -> float:
        """Time at work."""
        return self.before_s + time.monotonic() - self.begun_at

    def share(self) -> tuple[float, Unit]:
        """The largest share of any limit that is spent, and which limit it is."""
        shares: list[tuple[float, Unit]] = [(0.0, "steps")]
        for unit in ("steps", "tokens", "usd", "seconds"):
            if limit := getattr(self.budget, unit):
                shares.append((getattr(self, unit) / limit, unit))
        return max(shares)

    def concluding(self) -> bool:
        """True when agents should answer from what they have: little is left, or a person wants it now."""
        return self.hurry.is_set() or self.share()[0] >= WARN_AT

    def spend_step(self) -> None:
        """Count a model call that is about to be made. Raises BudgetExceeded when nothing is left."""
        share, unit = self.share()
        if share >= 1:
            raise BudgetExceeded.of("run", unit, getattr(self.budget, unit), getattr(self, unit))
        self.steps += 1

    def spend(self, tokens: int, usd: float | None) -> None:
        """Count what a call that has ended has used."""
        self.tokens += tokens
        self.usd += usd or 0.0
