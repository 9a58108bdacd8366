"""Foreseen errors: one sentence for a person, the same facts as fields, whole on the other side of a process."""

import pickle

import pytest

from agents.errors import BudgetExceeded, ModelRefusedRequest, ModelUnavailable, Refused, RunError, ToolFailed

URL = "http://127.0.0.1:8000/v1"

ERRORS: list[tuple[RunError, str]] = [
    (RunError("graph", "there is none", "add one"), "graph: there is none; add one"),
    (
        ModelUnavailable("large", "429", kind="rate_limited", url=URL, status=429, retry_after_s=2, attempts=3),
        "large: 429; retry later",
    ),
    (
        ModelRefusedRequest("large", "too long", "ask less", kind="context_too_long", url=URL, status=400),
        "large: too long; ask less",
    ),
    (ToolFailed("page", "404", retriable=True), "page: 404; try other arguments or another tool"),
    (
        BudgetExceeded.of("research", "tokens", 40_000, 41_200),
        "research: 41,200 tokens spent of 40,000; resume with a larger budget_tokens",
    ),
    (BudgetExceeded.of("run", "usd", 0.5, 0.52), "run: 0.52 usd spent of 0.5; resume with a larger budget_usd"),
    (Refused("tool", "not granted", "ask the owner"), "tool: not granted; ask the owner"),
]


@pytest.mark.parametrize(("error", "sentence"), ERRORS)
def test_an_error_reads_as_thing_problem_and_next_move(error: RunError, sentence: str) -> None:
    assert str(error) == error.message == sentence
    assert sentence == f"{error.thing}: {error.problem}; {error.next_move}"


@pytest.mark.parametrize("error", [error for error, _ in ERRORS])
def test_an_error_keeps_its_fields_across_processes(error: RunError) -> None:
    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is type(error)
    assert (str(copy), vars(copy)) == (str(error), vars(error))
