"""What can end a model call, a tool call or a run, in ways that were foreseen.

```text
RunError
├── ModelUnavailable      refused, deadline, 429, 5xx, garbage, cut stream   -> retry later, then 503
├── ModelRefusedRequest   context too long, unknown model, wrong key         -> the same request fails again
├── ToolFailed            goes back to the model as a message                -> never a traceback
├── Unreadable            no value of the declared shape in an answer        -> asked once more by whoever needs it
├── BudgetExceeded        tokens, steps, seconds or USD spent                -> stop, keep the checkpoint
└── Refused               a guardrail said no                                -> 403 with the reason
```

Every message reads `thing: problem; next move`, and the problem gives the limit and the actual figure where
there is one. Fields repeat what the sentence says, so that nobody has to parse it. Errors survive pickling
(worker processes) and carry no secrets: a URL in them has lost its credentials and query.
"""

from __future__ import annotations

from typing import Any, Literal, Self

UnavailableKind = Literal[
    "refused",
    "connect_timeout",
    "first_token_timeout",
    "between_tokens_timeout",
    "total_timeout",
    "rate_limited",
    "server_error",
    "bad_response",
    "cut_stream",
]
RefusedRequestKind = Literal["context_too_long", "unknown_model", "unauthorized", "quota", "bad_request"]


class RunError(Exception):
    """`thing: problem; next_move`."""

    def __init__(self, thing: str, problem: str, next_move: str) -> None:
        super().__init__(thing, problem, next_move)
        self.thing = thing
        self.problem = problem
        self.next_move = next_move

    def __str__(self) -> str:
        return f"{self.thing}: {self.problem}; {self.next_move}"

    @property
    def message(self) -> str:
        return str(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # the default calls cls(*args), which knows nothing of keyword-only fields
        return _rebuild, (type(self), self.args), self.__dict__


def _rebuild(cls: type[RunError], args: tuple[Any, ...]) -> RunError:
    error = cls.__new__(cls)
    error.args = args
    return error


class ModelUnavailable(RunError):
    """The endpoint did not answer properly this time; the same request may succeed later."""

    def __init__(
        self,
        thing: str,
        problem: str,
        next_move: str = "retry later",
        *,
        kind: UnavailableKind,
        url: str,
        status: int | None = None,
        retry_after_s: float | None = None,
        attempts: int = 1,
    ) -> None:
        super().__init__(thing, problem, next_move)
        self.kind = kind
        self.url = url
        self.status = status
        self.retry_after_s = retry_after_s
        """Seconds that the server asked for; None when it asked for nothing."""
        self.attempts = attempts
        """Calls made so far; whoever retries keeps the count."""


class ModelRefusedRequest(RunError):
    """The endpoint understood and said no: repeating the same request is useless."""

    def __init__(
        self, thing: str, problem: str, next_move: str, *, kind: RefusedRequestKind, url: str, status: int
    ) -> None:
        super().__init__(thing, problem, next_move)
        self.kind = kind
        self.url = url
        self.status = status


class RunLost(Exception):
    """This worker may not, or cannot, go on with the run: another one has it, or the database does not answer.

    No error of the run: nobody turns it into an observation or a finding, and the run goes on elsewhere.
    """


class ToolFailed(RunError):
    """A tool could not do it; the model reads this sentence and may try otherwise."""

    def __init__(
        self,
        thing: str,
        problem: str,
        next_move: str = "try other arguments or another tool",
        *,
        retriable: bool = False,
    ) -> None:
        super().__init__(thing, problem, next_move)
        self.retriable = retriable


class Unreadable(RunError):
    """A model's answer never had the shape that was asked for."""

    @classmethod
    def of(cls, agent: str, shape: str, problem: str) -> Self:
        """`planner: no Plan in its answer (tasks: missing); try again, or take a model that follows schemas`."""
        return cls(agent, f"no {shape} in its answer ({problem})", "try again, or take a model that follows schemas")


class BudgetExceeded(RunError):
    """A run's allowance is used up; its checkpoint is kept, so that a larger one can go on from there."""

    def __init__(self, thing: str, problem: str, next_move: str, *, unit: str, limit: float, actual: float) -> None:
        super().__init__(thing, problem, next_move)
        self.unit = unit
        self.limit = limit
        self.actual = actual

    @classmethod
    def of(cls, thing: str, unit: Literal["tokens", "steps", "seconds", "usd"], limit: float, actual: float) -> Self:
        """`research: 41,200 tokens spent of 40,000; resume with a larger budget_tokens`."""
        problem = f"{_figure(actual)} {unit} spent of {_figure(limit)}"
        return cls(thing, problem, f"resume with a larger budget_{unit}", unit=unit, limit=limit, actual=actual)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:g}"


class Refused(RunError):
    """A guardrail said no; `problem` is the reason, to be shown."""
