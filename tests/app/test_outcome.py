"""What a run leaves behind beside its answer: the parts that its graph went on without, and what its rounds came to."""

from typing import Any

import pytest

from app.outcome import output_of
from app.projection import RunView
from app.shapes import Node, Shape


def output(**values: Any) -> dict[str, Any]:
    return output_of("So.", RunView(Shape((Node("answer", "Answer"),), ())), values)


def test_a_graph_names_its_gaps_and_rounds() -> None:
    rounds = [{"round": 1, "score": 0.5, "defects": ["Too long."]}, {"round": 2, "score": 1.0, "defects": []}]

    left = output(missing=[{"title": "Critic", "reason": "gone", "more": 1}], rounds=rounds)

    assert left["missing"] == [{"title": "Critic", "reason": "gone"}]
    assert left["rounds"] == rounds


@pytest.mark.parametrize("values", [{}, {"missing": None, "rounds": []}, {"missing": ["a word"]}])
def test_a_graph_that_names_none_has_none(values: dict[str, Any]) -> None:
    left = output(**values)

    assert left["missing"] == []
    assert "rounds" not in left
