"""The list schedule, on the table of cases that the page's own is held to as well."""

import json
from graphlib import CycleError
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.list_schedule import makespan, spans, urgency

CASES = json.loads((Path(__file__).parents[1] / "support" / "schedules.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_known_schedules(case: dict[str, Any]) -> None:
    seconds = {id_: s for id_, (s, _) in case["tasks"].items()}
    needs = {id_: n for id_, (_, n) in case["tasks"].items()}

    assert spans(seconds, needs, case["width"]) == {id_: tuple(span) for id_, span in case["spans"].items()}


def test_what_waits_for_itself_is_refused() -> None:
    with pytest.raises(CycleError):
        spans({"a": 1, "b": 1}, {"a": ["b"], "b": ["a"]}, 2)


@st.composite
def plans(draw: st.DrawFn) -> tuple[dict[str, float], dict[str, list[str]], int]:
    ids = [str(at) for at in range(draw(st.integers(1, 12)))]
    seconds = {id_: float(draw(st.integers(1, 9))) for id_ in ids}
    needs = {id_: draw(st.lists(st.sampled_from(ids[:at]), unique=True)) if at else [] for at, id_ in enumerate(ids)}
    return seconds, needs, draw(st.integers(1, 5))


@given(plans())
def test_any_schedule_keeps_its_waits_its_places_and_its_bounds(plan: Any) -> None:
    seconds, needs, width = plan
    found = spans(seconds, needs, width)

    for id_, (start, end) in found.items():
        assert end - start == seconds[id_]
        assert all(found[need][1] <= start for need in needs[id_])
        assert sum(a <= start < b for a, b in found.values()) <= width
    floor = max(urgency(seconds, needs).values())
    assert max(floor, sum(seconds.values()) / width) <= makespan(seconds, needs, width) <= sum(seconds.values())
