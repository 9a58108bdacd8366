"""What a tool promises."""

import pytest
from langchain_core.tools import tool

from agents.tools.contract import DEFAULT, Contract, Effect, contract_of, with_contract


def test_a_tool_without_a_promise_is_handled_with_care() -> None:
    @tool
    def plain() -> str:
        """Plain."""
        return ""

    assert contract_of(plain) is contract_of(None) is DEFAULT
    assert (DEFAULT.effect, DEFAULT.retries) == ("at_most_once", 0)


def test_a_promise_travels_with_the_tool_and_leaves_its_other_metadata() -> None:
    @tool
    def plain() -> str:
        """Plain."""
        return ""

    plain.metadata = {"server": "one"}
    promise = Contract(timeout_s=1, retries=2, effect="read")

    assert contract_of(with_contract(plain, promise)) is promise
    assert plain.metadata["server"] == "one"


@pytest.mark.parametrize("effect", ["keyed", "at_most_once"])
def test_what_changes_the_world_is_not_retried_blindly(effect: Effect) -> None:
    with pytest.raises(ValueError, match=f"effect='{effect}' must not be retried blindly; set retries=0"):
        Contract(retries=1, effect=effect)

    assert Contract(retries=0, effect=effect).effect == effect
