"""Figures and advice against traces whose answer is known, and against schedules drawn at random."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runlogs import CHAT, RESEARCH, agent, begun, ended, ev, log, logs, node, planned, says, spawned, sub, written

from app.advice import Advice, Change, advise
from app.events import RunEvent
from app.projection import RunView, project
from app.shapes import Node, Shape

PLAN_S = 1.0
WRITE_S = 2.0


def team(
    *spans: tuple[str, float, float], needs: Mapping[str, Sequence[str]] | None = None, more: Iterable[RunEvent] = ()
) -> RunView:
    """A team planned in a second, whose members work from and until, and a write-up of two seconds."""
    events = [event for id_, start, end in spans for event in (spawned(start, id_), ended(end, id_))]
    tasks = [sub(id_, *(needs or {}).get(id_, ())) for id_, _, _ in spans]
    last = max(end for _, _, end in spans)
    ordered = sorted([*events, *more], key=lambda event: event.at)
    return project(RESEARCH, log(begun(), planned(PLAN_S, *tasks), ordered, written(last, last + WRITE_S, "Done.")))


def advice(view: RunView) -> Advice:
    found = advise(view)
    assert found
    return found


def change(view: RunView) -> Change:
    found = advice(view).change
    assert found
    return found


# -- figures -------------------------------------------------------------------------------------------------------


def test_the_figures_of_a_team() -> None:
    """Plan 1 s, three parts of 4, 5 and 6 s side by side, write 2 s."""
    told = advice(team(("1", 1, 5), ("2", 1, 6), ("3", 1, 7)))

    assert (told.took_s, told.serial_s, told.floor_s) == (9, 18, 9)
    assert told.speedup == 2
    assert told.ceiling == 6  # 18 s over the 3 s that nothing could run beside
    assert [(title, seconds) for _, title, seconds in told.path] == [("Plan", 1), ("Part 3", 6), ("Write", 2)]


def test_nothing_is_said_before_the_end_or_of_nothing() -> None:
    assert advise(project(RESEARCH, log(begun(), planned(1, sub("1")), spawned(1, "1")))) is None
    assert advise(project(RESEARCH, log(begun(), ev(1, "run.failed", error={"message": "no"})))) is None


def test_a_run_that_was_stopped_has_figures_and_no_advice() -> None:
    view = project(RESEARCH, log(begun(), planned(1, sub("1"), sub("2")), spawned(1, "1"), spawned(1, "2"),
                                 ended(9, "1"), ev(10, "run.cancelled", error={"message": "Stopped."})))  # fmt: skip

    assert advice(view).change is None
    assert advice(view).text == "It did not come to its end, so there is nothing to advise."
    assert advice(view).took_s == 10


def test_time_in_the_queue_or_with_a_person_counts_for_nothing() -> None:
    events = log(begun(), ev(0, "node.started", "answer:1", "run", name="answer"), says(0, 2, "answer:1", "Wait."),
                 ev(2, "run.waiting", open=1), ev(60, "run.resumed"), ev(60, "run.started", question="Q?"),
                 ev(60, "node.started", "answer:1", "run", name="answer"), says(60, 63, "answer:1", "So."),
                 ev(63, "node.finished", "answer:1", "run", state="done"),
                 ev(63, "run.finished", answer="So."))  # fmt: skip

    told = advice(project(CHAT, events))

    assert told.took_s == told.floor_s == told.serial_s == 5
    assert (told.text, told.ceiling) == ("Nothing worth changing: one agent did all of it.", 1)


def test_the_same_in_brief_for_programs() -> None:
    told = advice(team(("1", 1, 5), ("2", 1, 5), ("3", 1, 11)))

    assert told.brief() == {
        "took_s": 13, "serial_s": 21, "floor_s": 13, "speedup": 1.62, "amdahl_ceiling": 7,
        "critical_path": [
            {"title": "Plan", "seconds": 1}, {"title": "Part 3", "seconds": 10}, {"title": "Write", "seconds": 2}
        ],
        "best_change": {"kind": "straggler", "text": told.text, "gain_s": 6, "gain_usd": None},
    }  # fmt: skip
    assert advice(team(("1", 1, 5), ("2", 1, 5.2))).brief()["best_change"] is None


# -- the one change ------------------------------------------------------------------------------------------------


def test_a_straggler() -> None:
    """The others take 4 s, one takes 10: as quick as they are it would end the run 6 s sooner."""
    told = change(team(("1", 1, 5), ("2", 1, 5), ("3", 1, 11)))

    assert (told.kind, told.gain_s, told.lane_ids) == ("straggler", 6, ("task:3",))
    assert told.text == "“Part 3” took 10.0 s, its siblings 4.0 s: give such a part a second try early."


def test_a_straggler_gains_only_what_the_next_slowest_leaves() -> None:
    assert change(team(("1", 1, 4), ("2", 1, 4), ("3", 1, 11), ("4", 1, 6.5))).gain_s == 4.5


def test_a_pair_that_could_run_side_by_side() -> None:
    """2 waits for 1: without that both take 4 s at once."""
    told = change(team(("1", 1, 5), ("2", 5, 9), needs={"2": ["1"]}))

    assert (told.kind, told.gain_s, told.lane_ids) == ("pair", 4, ("task:1", "task:2"))


def test_more_places() -> None:
    """Four parts of 3 s on two places take 6 s, on four 3 s."""
    told = change(team(("1", 1, 4), ("2", 1, 4), ("3", 4, 7), ("4", 4, 7)))

    assert (told.kind, told.gain_s) == ("wider", 3)
    assert told.text.startswith("Let more sub-agents work at once: ")


def test_a_late_start_that_nobody_made_room_for_is_no_lack_of_places() -> None:
    assert advice(team(("1", 1, 4), ("2", 2.5, 5.5))).change is None


LOOP = Shape(
    (Node("draft", "Draft"), Node("check", "Check"), Node("send", "Send", speaks=True)),
    (("draft", "check"), ("check", "draft"), ("check", "send")),
    ("draft",),
)


def looped(rounds: int) -> RunView:
    """Each round drafts for 2 s and checks for 1; then a second of sending."""
    events: list[RunEvent] = []
    for at in range(rounds):
        events += [*node(3 * at, 3 * at + 2, f"draft:{at}"), *node(3 * at + 2, 3 * at + 3, f"check:{at}")]
    end = 3 * rounds
    return project(LOOP, log(begun(), events, node(end, end + 1, "send:1"), ev(end + 1, "run.finished", answer="a")))


def test_one_round_less() -> None:
    told = change(looped(3))
    assert (told.kind, told.gain_s, told.lane_ids) == ("rounds", pytest.approx(3), ("draft", "check"))
    assert advice(looped(1)).change is None


def test_the_small_model_for_a_step_that_writes_for_the_team() -> None:
    """8 s of planning on the model that also writes the answer."""
    events = log(begun(), says(0, 8, "plan:1", "{}", cost_usd=0.5),
                 ev(8, "plan.proposed", "plan:1", "run", tasks=[sub("1")]),
                 ev(8, "node.finished", "plan:1", "run", state="done"), spawned(8, "1"), ended(9, "1"),
                 written(9, 10, "Done."))  # fmt: skip
    told = change(project(RESEARCH, events))

    assert (told.kind, told.gain_s, told.gain_usd) == ("small_model", 4, pytest.approx(0.4))


def test_failed_tries() -> None:
    """6 of a part's 9 s were failed tries and pauses."""
    span = agent("1")
    tries = [ev(1, "llm.started", "a", span, model="m"), ev(4, "llm.finished", "a", span, error="busy"),
             ev(4, "llm.retry", span, "research:1", attempt=2, reason="busy"),
             *says(7, 10, span, "found", call="b")]  # fmt: skip
    told = change(team(("1", 1, 10), ("2", 1, 6), more=tries))

    assert (told.kind, told.gain_s) == ("tries", 4)  # part 2 ends at 6, whatever becomes of part 1
    assert "failed tries and pauses took 6.0 s" in told.text


def test_a_try_that_was_given_up_is_a_failed_one() -> None:
    """Of 9 s, the first 6 went into a try that was planned again."""
    again = {"task_id": "1", "title": "Part 1", "role": "writer", "was": "researcher", "reason": "no"}
    told = change(team(("1", 1, 10), ("2", 1, 6), more=[ev(7, "plan.revised", agent("1"), "research:1", **again)]))

    assert (told.kind, told.gain_s) == ("tries", 4)
    assert "failed tries and pauses took 6.0 s" in told.text


def test_nothing_worth_changing() -> None:
    told = advice(team(("1", 1, 5), ("2", 1, 5.2), ("3", 1, 5.4)))
    assert told.change is None
    assert told.text == "Nothing worth changing: the work allows no less than 7.4 s."


def test_what_the_api_tells() -> None:
    told = advice(team(("1", 1, 5), ("2", 1, 5), ("3", 1, 11))).shown()
    assert told == {
        "took_s": 13, "serial_s": 21, "floor_s": 13, "speedup": 1.62, "ceiling": 7,
        "path": [{"lane_id": "plan", "title": "Plan", "seconds": 1},
                 {"lane_id": "task:3", "title": "Part 3", "seconds": 10},
                 {"lane_id": "write", "title": "Write", "seconds": 2}],
        "change": {"kind": "straggler", "lane_ids": ("task:3",), "gain_s": 6, "gain_usd": None,
                   "text": "“Part 3” took 10.0 s, its siblings 4.0 s: give such a part a second try early."},
        "text": "“Part 3” took 10.0 s, its siblings 4.0 s: give such a part a second try early.",
    }  # fmt: skip


# -- schedules at random -------------------------------------------------------------------------------------------


@st.composite
def schedules(draw: st.DrawFn, most: int = 9) -> tuple[dict[str, list[str]], dict[str, float], int | None]:
    """A plan, seconds of its parts, and places: None for as many as there are parts."""
    ids = [str(at) for at in range(1, draw(st.integers(1, most)) + 1)]
    needs = {id_: draw(st.lists(st.sampled_from(ids[:at]), unique=True)) if at else [] for at, id_ in enumerate(ids)}
    seconds = {id_: float(draw(st.integers(1, 20))) for id_ in ids}
    return needs, seconds, draw(st.sampled_from([None, 1, 2, 3]))


def carried_out(needs: Mapping[str, Sequence[str]], seconds: Mapping[str, float], places: int | None) -> RunView:
    """The plan worked on without a pause, in plan order, by our own hands."""
    free = [PLAN_S] * (places or len(seconds))
    end: dict[str, float] = {}
    spans = []
    for id_ in needs:  # plan order is an order in which it can be done
        ready = max((end[need] for need in needs[id_]), default=PLAN_S)
        at = min(range(len(free)), key=lambda place: free[place])
        start = max(ready, free[at])
        free[at] = end[id_] = start + seconds[id_]
        spans.append((id_, start, end[id_]))
    return team(*spans, needs=needs)


@given(schedules())
def test_floor_took_and_serial_are_in_order(drawn: Any) -> None:
    told = advice(carried_out(*drawn))

    assert told.floor_s <= told.took_s + 1e-9
    assert told.speedup <= (told.ceiling or told.speedup) + 1e-9
    if drawn[2] is None:
        assert told.took_s == pytest.approx(told.floor_s)
    assert told.took_s <= told.serial_s + 1e-9


@given(schedules())
def test_with_places_enough_the_critical_path_is_as_long_as_the_run(drawn: Any) -> None:
    needs, seconds, _ = drawn
    told = advice(carried_out(needs, seconds, None))

    assert sum(s for _, _, s in told.path) == pytest.approx(told.took_s)


@given(schedules())
def test_on_few_places_the_path_goes_through_who_made_room(drawn: Any) -> None:
    needs, seconds, _ = drawn
    flat = {id_: [] for id_ in needs}
    told = advice(carried_out(flat, seconds, 2))

    assert sum(s for _, _, s in told.path) == pytest.approx(told.took_s)


@given(schedules())
def test_no_change_gains_more_than_the_run_took_or_less_than_is_worth_it(drawn: Any) -> None:
    told = advice(carried_out(*drawn))

    if told.change:
        assert 0.5 <= told.change.gain_s <= told.took_s
        assert set(told.change.lane_ids) <= {"plan", "write", *(f"task:{id_}" for id_ in drawn[0])}


@given(logs())
def test_any_log_can_be_advised_on(events: list[RunEvent]) -> None:
    told = advise(project(RESEARCH, events))
    assert told is None or told.shown()["text"]
