"""What a run leaves behind beside its answer: the parts that its graph went on without, and what its rounds came to."""

from typing import Any

import pytest

from app.outcome import output_of, timing_of
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


class Odd(RunView):
    """One whose lanes nobody can make sense of."""

    def drawn_lanes(self) -> list[Any]:
        raise ValueError("unforeseen")


def test_figures_that_fail_cost_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    assert timing_of(Odd(Shape((Node("answer", "Answer"),), ()))) is None
    assert "where the time of a run went" in caplog.text


def test_a_run_of_one_step_has_no_figures() -> None:
    assert timing_of(RunView(Shape((Node("answer", "Answer"),), ()))) is None
