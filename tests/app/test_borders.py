"""What may come in, where it is checked alone: budgets."""

import math
from typing import Any

import pytest

from agents.allowance import Allowance, Budget
from app.borders import Rejected, checked_budget


@pytest.mark.parametrize(
    ("budget", "field", "actual"),
    [
        ({"steps": 0}, "budget.steps", 0),
        ({"width": 0}, "budget.width", 0),
        ({"steps": 0.5}, "budget.steps", 0.5),
        ({"steps": 2.5, "usd": 1}, "budget.steps", 2.5),
        ({"tokens": -1}, "budget.tokens", -1),
        ({"usd": 0.0}, "budget.usd", 0.0),
        ({"seconds": math.inf}, "budget.seconds", math.inf),
        ({"steps": True}, "budget.steps", True),
        ({"steps": None}, "budget.steps", None),
        ({"steps": "20"}, "budget.steps", "20"),
        ({"calls": 20}, "budget.calls", "calls"),
    ],
)
def test_a_budget_that_would_be_none_is_refused_with_what_is_needed(budget: Any, field: str, actual: Any) -> None:
    with pytest.raises(Rejected) as refused:
        checked_budget(budget)
    assert (refused.value.code, refused.value.field, refused.value.actual) == ("budget_invalid", field, actual)
    assert field in refused.value.message
    assert refused.value.fix


@pytest.mark.parametrize("budget", [0, False, [], "steps"])
def test_a_budget_is_an_object(budget: Any) -> None:
    with pytest.raises(Rejected, match="not an object"):
        checked_budget(budget)


def test_limits_keep_their_kind() -> None:
    assert checked_budget({"steps": 20.0, "usd": 1, "seconds": 0.5}) == {"steps": 20, "usd": 1.0, "seconds": 0.5}


@pytest.mark.parametrize("limits", [{"steps": 0}, {"usd": 0.0}, {"seconds": -1.0}])
def test_no_limit_is_none_and_never_zero(limits: Any) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Budget(**limits)
    assert Allowance(Budget()).share() == (0.0, "steps")
