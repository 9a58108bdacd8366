"""The fold from events to a view, on logs whose answer is known, and on logs of every shape."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runlogs import (
    CHAT,
    RESEARCH,
    USAGE,
    agent,
    begun,
    ended,
    ev,
    finds,
    in_time,
    log,
    logs,
    node,
    planned,
    says,
    source,
    spawned,
    sub,
    written,
)

from app.events import RunEvent
from app.lanes import ENDED
from app.projection import RunView, cited_keys, project
from app.shapes import Node, Shape

BLANK = RunEvent("", "", None, {}, 0)


def states(view: RunView) -> dict[str, str]:
    return {lane.id: lane.state for lane in view.lanes.values()}


def segments(view: RunView, lane: str) -> list[tuple[str, float, float | None, bool]]:
    return [(it.kind, it.start, it.end, it.failed) for it in view.lanes[lane].segments]


# -- a run from start to end -----------------------------------------------------------------------


def whole_run() -> list[RunEvent]:
    """Plan 0-2, sub-tasks 1 (2-5) and 2 (2-6), 3 after 1 (5-7), write 7-9."""
    return log(
        begun("Why?"),
        planned(2, sub("1"), sub("2"), sub("3", "1")),
        in_time(
            [spawned(2, "1"), *finds(2, 3, agent("1"), source("aaa111", "d1", 0.4), source("bbb222", "d2")),
             *says(3, 5, agent("1"), "One [aaa111].", first=4), ended(5, "1", text="One [aaa111].")],
            [spawned(2, "2"), *finds(2.5, 3.5, agent("2"), source("aaa111", "d1", 0.9)),
             *says(3.5, 6, agent("2"), "Two [bbb222, zz], [ccc333].", first=4.5),
             ended(6, "2", text="Two [bbb222, zz], [ccc333].")],
            [spawned(5, "3"), *says(5, 7, agent("3"), "Three."), ended(7, "3", text="Three.")],
        ),
        written(7, 9, "First [bbb222]. Then [aaa111]."),
    )  # fmt: skip


def test_a_whole_run() -> None:
    view = project(RESEARCH, whole_run())

    assert (view.status, view.question, view.ended, view.final) == ("succeeded", "Why?", 9, True)
    assert list(view.lanes) == ["plan", "research", "task:1", "task:2", "task:3", "write"]
    assert set(states(view).values()) == {"done"}
    assert [(lane.start, lane.end) for lane in view.lanes.values()] == [(0, 2), (2, 7), (2, 5), (2, 6), (5, 7), (7, 9)]
    assert view.answer == "First [bbb222]. Then [aaa111]."
    assert view.calls == {}
    assert view.seq == len(whole_run())


def test_what_a_run_used() -> None:
    view = project(RESEARCH, whole_run())

    assert (view.meters.calls, view.meters.tools) == (4, 2)
    assert (view.meters.tokens_in, view.meters.tokens_out, view.meters.tokens_cached) == (400, 80, 160)
    assert view.meters.cost_usd is None
    assert [lane.tokens for lane in view.lanes.values()] == [0, 0, 120, 120, 120, 120]


def test_money_is_counted_where_it_is_known() -> None:
    log_ = log(begun(), node(0, None, "answer:1"), says(0, 1, "answer:1", "a", cost_usd=0.25),
               says(1, 2, "answer:1", "b"), says(2, 3, "answer:1", "c", cost_usd=0.5))  # fmt: skip

    view = project(CHAT, log_)

    assert view.meters.cost_usd == view.lanes["answer"].cost_usd == 0.75


def test_a_lane_is_made_of_stretches() -> None:
    view = project(RESEARCH, whole_run())

    assert segments(view, "task:1") == [("tool", 2, 3, False), ("ttft", 3, 4, False), ("model", 4, 5, False)]
    assert view.lanes["task:1"].segments[0].label == "search documents “slots”"


def test_a_model_that_does_not_stream_still_has_its_wait_and_its_work() -> None:
    view = project(CHAT, log(begun(), says(1, 5, "answer:1", "", ttft_s=1.5)))

    assert segments(view, "answer") == [("ttft", 1, 2.5, False), ("model", 2.5, 5, False)]


def test_a_node_may_say_what_it_is_at() -> None:
    said = ev(2, "custom", "answer:1", "run", name="round.scored", value={"text": "round 1: 81%, 2 to mend"})
    mute = [ev(3, "custom", span, value=value) for span, value in (("answer:1", 7), ("run", {"text": "nobody"}))]
    view = project(CHAT, log(begun(), node(1, None, "answer:1"), said, *mute))

    assert view.lanes["answer"].activity == "round 1: 81%, 2 to mend"
    assert "nobody" not in {lane.activity for lane in view.lanes.values()}


def test_lanes_exist_before_anything_happens_in_them() -> None:
    view = project(RESEARCH, log(begun(), planned(2, sub("1"), sub("2", "1"))))

    assert states(view) == {
        "plan": "done",
        "research": "running",
        "task:1": "ready",
        "task:2": "blocked",
        "write": "pending",
    }
    assert [lane.id for lane in view.drawn_lanes()] == ["plan", "task:1", "task:2", "write"]
    assert view.lanes["plan"].activity == "wrote 2 sub-tasks"


def test_what_a_lane_waits_for() -> None:
    lanes = project(RESEARCH, log(begun(), planned(2, sub("1"), sub("2", "1")))).lanes

    waits = {lane.id: [before.id for before in lanes.before(lane)] for lane in lanes.values()}
    assert waits == {
        "plan": [], "research": ["plan"], "task:1": ["plan"], "task:2": ["task:1"], "write": ["task:1", "task:2"],
    }  # fmt: skip


def test_a_sub_task_is_ready_when_the_last_thing_it_needs_has_ended() -> None:
    start = [*begun(), *planned(1, sub("1"), sub("2"), sub("3", "1", "2")), spawned(1, "1"), spawned(1, "2")]

    one = project(RESEARCH, log(start, ended(2, "1")))
    both = project(RESEARCH, log(start, ended(2, "1"), ended(3, "2", "failed")))

    assert one.lanes["task:3"].state == "blocked"
    assert both.lanes["task:3"].state == "ready"


# -- sources and citations -------------------------------------------------------------------------


def test_citations_are_numbered_as_the_answer_cites_them_then_as_findings_did() -> None:
    running = project(RESEARCH, whole_run()[:-7])
    view = project(RESEARCH, whole_run())

    assert running.numbers() == {"aaa111": 1, "bbb222": 2}
    assert view.numbers() == {"bbb222": 1, "aaa111": 2}  # ccc333 was invented: no search returned it


def test_a_source_keeps_its_best_score_and_all_who_found_it() -> None:
    view = project(RESEARCH, whole_run())

    assert view.sources["aaa111"]["score"] == 0.9
    assert view.sources["aaa111"]["found_by"] == ["Part 1", "Part 2"]
    assert view.lanes["task:1"].activity == "1 finding from 1 source"
    assert view.lanes["task:3"].activity == "found nothing to cite"


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", []),
        ("[3f9a1c]", ["3f9a1c"]),
        ("a [3f9a1c] b [77ab01; 3f9a1c] c [3f9a1c77ab01]", ["3f9a1c", "77ab01", "3f9a1c77ab01"]),
        ("[note] [3F9A1C] [3f9a1] [3f9a1c77ab012] x[1]", []),
        ("[3f9a1c, see 4.2]", ["3f9a1c"]),
        ("[[3f9a1c]]", ["3f9a1c"]),
        ("[3f9a1c", []),
    ],
)
def test_what_is_a_citation(text: str, keys: list[str]) -> None:
    assert cited_keys(text) == keys


def test_a_key_that_is_cut_between_two_tokens_is_still_a_citation() -> None:
    span = agent("1")
    tokens = [ev(3, "llm.token", "l", span, text=text) for text in ("One [aaa", "111].")]
    view = project(
        RESEARCH,
        log(
            begun(),
            planned(1, sub("1")),
            spawned(1, "1"),
            finds(1, 2, span, source("aaa111")),
            ev(3, "llm.started", "l", span),
            tokens,
        ),
    )

    assert view.numbers() == {"aaa111": 1}


# -- the answer ------------------------------------------------------------------------------------


def test_what_is_said_before_a_tool_call_is_not_the_answer() -> None:
    first = [
        *begun(),
        *node(0, None, "answer:1"),
        *says(0, 1, "answer:1", "Let me look.", speaks=True, calls=["search"]),
    ]

    before = project(CHAT, log(first[:-1]))
    after = project(CHAT, log(first))
    done = project(CHAT, log(first, says(2, 3, "answer:1", "It is so.", speaks=True)))

    assert (before.answer, after.answer, done.answer) == ("Let me look.", "", "It is so.")


def test_only_the_voice_answers() -> None:
    view = project(CHAT, log(begun(), node(0, None, "answer:1"), says(0, 1, "answer:1", "A thought.")))

    assert view.answer == ""


# -- trouble ---------------------------------------------------------------------------------------


def test_a_retry_shows_its_failed_try_and_its_pause() -> None:
    failed = [ev(0, "llm.started", "l1", "answer:1", speaks=True), ev(1, "llm.finished", "l1", "answer:1", error="503"),
              ev(1, "llm.retry", "answer:1", None, attempt=2, reason="503", pause_s=2)]  # fmt: skip

    pausing = project(CHAT, log(begun(), node(0, None, "answer:1"), failed))
    again = project(CHAT, log(begun(), node(0, None, "answer:1"), failed, says(3, 5, "answer:1", "ok", speaks=True)))

    lane = pausing.lanes["answer"]
    assert (lane.state, lane.attempt, lane.activity) == ("retrying", 2, "try 2: 503")
    assert segments(pausing, "answer") == [("ttft", 0, 1, True), ("gap", 1, None, False)]
    assert again.lanes["answer"].state == "running"
    assert segments(again, "answer")[1:] == [("gap", 1, 3, False), ("ttft", 3, 3, False), ("model", 3, 5, False)]
    assert again.meters.calls == 2
    assert again.lanes["answer"].turns == 1


def test_a_failed_sub_agent_costs_its_own_lane() -> None:
    view = project(RESEARCH, log(
        begun(), planned(1, sub("1"), sub("2"), sub("3", "1")),
        spawned(1, "1"), spawned(1, "2"), ev(1, "llm.started", "l", agent("1")),
        ended(2, "1", "timed_out", "", "not finished within 1 s"), ended(2, "3", "skipped", "", "nothing to go by"),
        ended(3, "2"),
    ))  # fmt: skip

    assert [view.lanes[f"task:{n}"].state for n in "123"] == ["timed_out", "done", "not_taken"]
    assert view.lanes["task:1"].activity == "not finished within 1 s"
    assert segments(view, "task:1") == [("ttft", 1, 2, True)]
    assert (view.lanes["task:3"].start, view.lanes["task:3"].end) == (None, None)
    assert view.lanes["research"].state == "running"
    assert view.calls == {}


def test_a_tool_that_failed_and_one_that_was_cut_off() -> None:
    view = project(CHAT, log(
        begun(), node(0, None, "answer:1"),
        ev(1, "tool.started", "t1", "answer:1", name="fetch_page", args={"url": "u"}, call_id="call_1"),
        ev(1, "tool.started", "t2", "answer:1", name="fetch_page", args={"url": "v"}, call_id="call_2"),
        ev(2, "tool.timeout", "answer:1", None, tool="fetch_page", call_id="call_2"),
        ev(3, "tool.finished", "t1", "answer:1", ok=False, text="404: no such page", sources=[]),
        ev(4, "tool.finished", "t2", "answer:1", ok=True, text="late", sources=[]),
    ))  # fmt: skip

    assert segments(view, "answer") == [("tool", 1, 3, True), ("tool", 1, 2, True)]
    assert view.lanes["answer"].activity == "404: no such page"
    assert view.meters.tools == 2


def test_a_cancelled_run_stops_what_runs_and_takes_no_more() -> None:
    view = project(RESEARCH, log(
        begun(), planned(1, sub("1"), sub("2", "1")), spawned(1, "1"), says(1, 3, agent("1"), "Half", first=2),
        ev(4, "llm.started", "l", agent("1")),
        ev(5, "run.cancelled", answer="", error={"message": "Stopped.", "fix": ""}),
    ))  # fmt: skip

    assert states(view) == {
        "plan": "done", "research": "cancelled", "task:1": "cancelled", "task:2": "not_taken", "write": "not_taken",
    }  # fmt: skip
    assert (view.status, view.final, view.error) == ("cancelled", False, {"message": "Stopped.", "fix": ""})
    assert view.lanes["task:1"].text == "Half"
    assert not any(lane.running() for lane in view.lanes.values())


def test_in_a_failed_run_the_failed_node_failed_and_the_others_were_stopped() -> None:
    two = Shape((Node("a", "A"), Node("b", "B"), Node("c", "C")), (("a", "c"), ("b", "c")), ("a", "b"))
    view = project(two, log(
        begun(), node(0, 2, "a:1", "failed", "bang"), node(0, None, "b:1"),
        ev(2, "run.failed", error={"message": "bang"}),
    ))  # fmt: skip

    assert states(view) == {"a": "failed", "b": "cancelled", "c": "not_taken"}
    assert view.lanes["a"].reason == view.lanes["a"].activity == "bang"


def test_a_node_that_fails_takes_what_is_below_with_it() -> None:
    view = project(RESEARCH, log(
        begun(), planned(1, sub("1"), sub("2", "1")), spawned(1, "1"),
        ev(3, "node.finished", "research:1", "run", state="failed", reason="bang"),
    ))  # fmt: skip

    assert (view.lanes["task:1"].state, view.lanes["task:2"].state) == ("cancelled", "not_taken")


def test_cancelled_before_it_began() -> None:
    view = project(RESEARCH, log(ev(0, "run.cancelled", error={"message": "Stopped."})))

    assert (view.status, view.ended) == ("cancelled", 0)
    assert set(states(view).values()) == {"not_taken"}


# -- another worker --------------------------------------------------------------------------------


def before_the_kill() -> list[RunEvent]:
    """1 is done; 2 has a call open since 4; 3 waits for 1 and was just begun; last heard of at 5."""
    return [
        *begun(), *planned(1, sub("1"), sub("2"), sub("3", "1")), spawned(1, "1"), spawned(1, "2"), ended(3, "1"),
        spawned(3, "3"), *says(3, 4, agent("2"), "Let me look.", calls=["search_documents"]),
        *list(finds(4, 99, agent("2")))[:1], ev(5, "llm.started", "lost", agent("3"), speaks=False),
    ]  # fmt: skip


def test_what_a_dead_worker_left_open_does_not_look_as_if_it_ran() -> None:
    view = project(RESEARCH, log(before_the_kill(), ev(20, "run.started", question="Q?", graph="research", model="m")))

    assert view.status == "running"
    assert not any(lane.running() for lane in view.lanes.values())
    assert [view.lanes[f"task:{n}"].state for n in "123"] == ["done", "ready", "ready"]
    assert segments(view, "task:2")[-1] == ("tool", 4, 5, True)  # nobody knows more than when it was last heard of
    assert view.lanes["task:2"].activity == "waits for a worker"
    assert view.calls == {}


def test_after_a_takeover_every_call_counts_once_and_the_dead_time_is_nobodys_work() -> None:
    view = project(RESEARCH, log(
        before_the_kill(), begun_again(20),
        ev(20, "node.started", "research:1", "run", name="research"), spawned(20, "2"), spawned(20, "3"),
        finds(20, 21, agent("2"), source("aaa111")), says(21, 22, agent("2"), "Two."),
        says(20, 21, agent("3"), "Three."),
        ended(22, "2", text="Two."), ended(21, "3", text="Three."), written(22, 24, "Answer."),
    ))  # fmt: skip

    assert view.status == "succeeded"
    assert (view.meters.calls, view.meters.tools) == (4, 1)
    assert view.meters.tokens_in == 400
    lane = view.lanes["task:2"]
    assert (lane.start, lane.end, lane.attempt, lane.acts, lane.turns) == (1, 22, 2, 1, 2)
    assert lane.seconds(0) == (5 - 1) + (22 - 20)
    assert ("gap", 5, 20, False) in segments(view, "task:2")
    assert view.lanes["task:1"].attempt == 1
    assert view.lanes["plan"].attempt == 1


def begun_again(at: float) -> list[RunEvent]:
    return [ev(at, "run.started", question="Q?", graph="research", model="m")]


def test_a_sub_agent_whose_end_was_told_twice_ended_once_and_one_told_late_ended_when_last_heard_of() -> None:
    view = project(RESEARCH, log(before_the_kill(), begun_again(20), ended(20, "1", text="found"),
                                 ended(20, "2", text="stored, but never told")))  # fmt: skip

    assert (view.lanes["task:1"].end, view.lanes["task:2"].end) == (3, 5)
    assert (view.lanes["task:2"].state, view.lanes["task:2"].text) == ("done", "stored, but never told")


def test_a_lane_whose_end_was_never_told_is_over_when_the_run_is() -> None:
    view = project(RESEARCH, log(begun(), list(planned(2, sub("1")))[:2], begun_again(9), written(9, 10, "A.")))

    assert view.lanes["plan"].state == "done"
    assert view.lanes["plan"].end == 2


def test_a_run_that_was_handed_back_waits_in_the_queue() -> None:
    view = project(RESEARCH, log(before_the_kill(), ev(6, "run.handed_back", reason="the worker is going down")))

    assert view.status == "queued"
    assert segments(view, "task:2")[-1] == ("tool", 4, 6, True)
    assert not any(lane.running() for lane in view.lanes.values())


def test_a_resumed_run_that_had_failed_has_no_error_any_more() -> None:
    failed = [
        *begun(),
        *node(0, 1, "answer:1", "failed", "no"),
        ev(1, "run.failed", error={"message": "no"}, missing=[{}]),
    ]

    view = project(CHAT, log(failed, begun_again(5), node(5, None, "answer:1")))

    assert (view.status, view.error, view.ended, view.missing) == ("running", None, None, [])
    assert view.lanes["answer"].state == "running"


def test_a_run_that_is_resumed_does_what_its_end_had_stopped() -> None:
    stopped = [
        *begun(), *planned(1, sub("1"), sub("2"), sub("3", "2")), spawned(1, "1"), spawned(1, "2"), ended(2, "1"),
        ev(3, "run.cancelled", error={"message": "Stopped."}),
    ]  # fmt: skip
    resumed = project(RESEARCH, log(stopped, ev(9, "run.resumed")))

    assert resumed.status == "queued"
    assert states(resumed) == {
        "plan": "done", "research": "ready", "task:1": "done", "task:2": "ready", "task:3": "blocked",
        "write": "pending",
    }  # fmt: skip
    again = project(RESEARCH, log(stopped, ev(9, "run.resumed"), begun_again(10), spawned(10, "2"), ended(11, "2")))
    assert again.lanes["task:2"].seconds(0) == (3 - 1) + (11 - 10)
    assert again.lanes["task:3"].state == "ready"


def test_who_waits_for_a_person_does_not_run_and_asks_only_once() -> None:
    asking = [
        *begun(), *planned(1, sub("1"), sub("2"), sub("3", "2")), spawned(1, "1"), spawned(1, "2"), ended(2, "1"),
        *list(finds(2, 9, agent("2")))[:1],
        ev(3, "node.finished", "research:1", "run", state="waiting", reason=""), ev(3, "run.waiting", open=1),
    ]  # fmt: skip

    waiting = project(RESEARCH, log(asking))
    answered = project(RESEARCH, log(
        asking, begun_again(50), node(50, None, "research:1"), spawned(50, "2"), finds(50, 51, agent("2")),
        ended(52, "2"),
    ))  # fmt: skip

    assert waiting.status == "waiting"
    assert [waiting.lanes[f"task:{n}"].state for n in "123"] == ["done", "waiting", "blocked"]
    assert not any(lane.running() for lane in waiting.lanes.values())
    assert waiting.meters.tools == 0
    lane = answered.lanes["task:2"]
    assert (answered.meters.tools, lane.acts, lane.state, lane.attempt) == (1, 1, "done", 1)
    assert lane.seconds(0) == (3 - 1) + (52 - 50)


def test_text_that_is_made_again_replaces_what_was_there() -> None:
    half = [*begun(), *node(0, None, "answer:1"), *list(says(0, 9, "answer:1", "It is", speaks=True))[:2]]

    again = project(
        CHAT, log(half, begun_again(5), node(5, None, "answer:1"), says(5, 6, "answer:1", "It was", speaks=True))
    )

    assert project(CHAT, log(half, begun_again(5))).answer == "It is"
    assert again.answer == "It was"


# -- shapes of graphs ------------------------------------------------------------------------------

LOOP = Shape((Node("draft", "Draft"), Node("check", "Check")), (("draft", "check"), ("check", "draft")), ("draft",))


def test_a_loop_takes_the_same_lanes_again() -> None:
    view = project(
        LOOP, log(begun(), node(0, 2, "draft:1"), node(2, 3, "check:1"), node(3, 4, "draft:2"), node(4, 6, "check:2"))
    )

    draft, check = view.lanes["draft"], view.lanes["check"]
    assert list(view.lanes) == ["draft", "check"]
    assert (draft.start, draft.end, draft.rounds, draft.attempt) == (0, 4, 2, 1)
    assert (draft.seconds(0), check.seconds(0)) == (3, 3)
    assert check.needs == ("draft",) and draft.needs == ()


def test_tasks_of_one_node_that_run_at_once_have_a_lane_each() -> None:
    nodes = Node("split", "Split"), Node("work", "Work"), Node("join", "Join")
    fan = Shape(nodes, (("split", "work"), ("work", "join")), ("split",))
    view = project(fan, log(
        begun(), node(0, 1, "split:1"),
        in_time(node(1, 3, "work:1"), node(1, 5, "work:2"), says(2, 4, "work:2", "x"), says(1, 2.5, "work:1", "y")),
        node(5, None, "join:1"),
    ))  # fmt: skip

    assert [lane.title for lane in view.lanes.values()] == ["Split", "Work", "Work 2", "Join"]
    assert [(lane.start, lane.end) for lane in view.lanes.values()] == [(0, 1), (1, 3), (1, 5), (5, None)]
    assert [lane.tokens for lane in view.lanes.values()] == [0, 120, 120, 0]
    assert [lane.id for lane in view.lanes.before(view.lanes["join"])] == ["work", "work:2"]
    assert [lane.id for lane in view.lanes.before(view.lanes["work:2"])] == ["split"]


def test_a_nested_node_whose_start_is_told_late_began_with_its_first_call_and_only_once() -> None:
    inner = "outer:1|inner:1"
    view = project(Shape((Node("outer", "Outer"),), ()), log(
        begun(), node(0, None, "outer:1"), list(says(1, 9, inner, "x"))[:2],
        ev(2, "node.started", inner, "outer:1", name="inner"),
        ev(3, "llm.finished", f"llm-{inner}-1", inner, usage=USAGE, calls=[], text="x"),
        ev(4, "node.finished", inner, "outer:1", state="done", reason=""),
    ))  # fmt: skip

    lane = view.lanes["outer/inner"]
    assert (lane.start, lane.end, lane.attempt, lane.depth, lane.parent_id) == (1, 4, 1, 1, "outer")
    assert (lane.title, lane.turns) == ("Inner", 1)


def test_a_loop_inside_a_nested_graph_takes_its_lane_again() -> None:
    rounds = [
        [ev(n, "node.started", f"outer:1|step:{n}", "outer:1"), ev(n, "node.finished", f"outer:1|step:{n}", "outer:1")]
        for n in range(5)
    ]
    view = project(
        Shape((Node("outer", "Outer"), Node("last", "Last")), ()), log(begun(), node(0, None, "outer:1"), *rounds)
    )

    assert list(view.lanes) == ["outer", "outer/step", "last"]
    assert view.lanes["outer/step"].rounds == 5


def test_what_still_runs_below_a_node_ends_with_it() -> None:
    view = project(Shape((Node("outer", "Outer"),), ()), log(
        begun(), node(0, None, "outer:1"), list(says(1, 9, "outer:1|part:1", "x"))[:2],
        ev(4, "node.finished", "outer:1", "run", state="done", reason=""),
    ))  # fmt: skip

    assert (view.lanes["outer/part"].state, view.lanes["outer/part"].end) == ("done", 4)
    assert view.calls == {}


def test_a_graph_without_a_plan_may_spawn_agents_all_the_same() -> None:
    view = project(Shape((Node("research", "Research"), Node("write", "Write")), (("research", "write"),)), log(
        begun(), node(0, None, "research:1"), spawned(1, "x"), ended(2, "x"), spawned(1, "y"),
    ))  # fmt: skip

    assert [lane.id for lane in view.drawn_lanes()] == ["task:x", "task:y", "write"]
    assert [lane.id for lane in view.lanes.before(view.lanes["write"])] == ["task:x", "task:y"]


def test_nodes_that_nobody_drew_get_lanes_at_the_end() -> None:
    view = project(Shape((), ()), log(begun(), node(0, 1, "one:1"), node(1, None, "two_steps:1")))

    assert [(lane.id, lane.title, lane.state) for lane in view.lanes.values()] == [
        ("one", "One", "done"),
        ("two_steps", "Two steps", "running"),
    ]


def test_a_second_plan_replaces_what_had_not_begun() -> None:
    view = project(RESEARCH, log(
        begun(), planned(1, sub("1"), sub("2")), spawned(1, "1"), ended(2, "1"),
        ev(3, "plan.proposed", "plan:1", "run", tasks=[sub("1"), sub("9", "1")], note=""),
    ))  # fmt: skip

    assert list(view.lanes) == ["plan", "research", "task:1", "task:9", "write"]
    assert view.lanes["task:1"].state == "done"
    assert [lane.id for lane in view.lanes.before(view.lanes["write"])] == ["task:1", "task:9"]


@pytest.mark.parametrize(
    "tasks",
    [
        None,
        [],
        ["a"],
        [{"title": "no id"}],
        [{"id": 1}, {"id": "1", "title": "again"}, {"id": "2", "depends_on": ["1", "1", "gone"], "role": None}],
    ],
)
def test_a_plan_in_any_other_shape_breaks_nothing(tasks: Any) -> None:
    view = project(RESEARCH, log(begun(), ev(1, "plan.proposed", "plan:1", "run", tasks=tasks)))

    assert all(set(task) >= {"id", "title", "question", "role", "depends_on"} for task in view.plan)
    assert view.plan == [] or view.plan[1]["depends_on"] == ["1"]


# -- whatever the log ------------------------------------------------------------------------------


def test_unknown_events_only_move_the_position() -> None:
    events = whole_run()
    strange = [
        replace(BLANK, type=type_, seq=len(events) + 1) for type_ in ("memory.write", "apply", "plan_proposed", "")
    ]

    for event in strange:
        view = project(RESEARCH, events)
        view.apply(event)
        assert view.seq == len(events) + 1
        assert view.lanes == project(RESEARCH, events).lanes


@given(logs())
def test_nothing_runs_in_a_run_that_has_ended_and_every_stretch_has_an_order(events: list[RunEvent]) -> None:
    view = project(RESEARCH, events)

    if view.ended is not None:
        assert all(lane.state in ENDED for lane in view.lanes.values())
        assert not view.calls
    for lane in view.lanes.values():
        assert lane.start is not None or lane.end is None
        assert lane.end is None or lane.start is None or lane.start <= lane.end
        assert lane.seconds(view.ended or 1e9) >= 0
        assert all(it.end is None or it.start <= it.end for it in lane.segments)
        if not lane.running():
            assert all(it.end is not None for it in lane.segments)
    assert all(view.lanes[call.lane].running() for call in view.calls.values())


@given(logs())
def test_lanes_keep_their_order(events: list[RunEvent]) -> None:
    view = RunView(RESEARCH)
    before: list[str] = list(view.lanes)
    for event in events:
        view.apply(event)
        now = list(view.lanes)
        assert [id_ for id_ in now if id_ in before] == [id_ for id_ in before if id_ in now]
        before = now


@given(logs())
def test_meters_count_what_ended_and_what_is_open(events: list[RunEvent]) -> None:
    view = project(RESEARCH, events)

    assert view.meters.calls >= sum(lane.turns for lane in view.lanes.values()) >= 0
    assert view.meters.tools == sum(lane.acts for lane in view.lanes.values())
    assert view.meters.tokens_in == sum(
        event.data.get("usage", {}).get("in", 0) for event in events if opened(event, events)
    )


def opened(event: RunEvent, events: Sequence[RunEvent]) -> bool:
    """A finished call whose start was taken by the same worker and whose lane was not closed before."""
    if event.type != "llm.finished":
        return False
    starts = [it.seq for it in events if (it.span_id, it.type) == (event.span_id, "llm.started") and it.seq < event.seq]
    if not starts:
        return False
    return not any(it.type == "run.started" for it in events[starts[-1] : event.seq])


@given(st.permutations(range(3)), st.data())
def test_what_one_lane_looks_like_does_not_depend_on_when_others_are_told(
    order: list[int], data: st.DataObject
) -> None:
    names = ["1", "2", "3"]
    groups = [
        [spawned(2, n), *finds(2, 3, agent(n), source("aaa111")), *says(3, 5, agent(n), f"{n} [aaa111]."), ended(5, n)]
        for n in names
    ]
    head = [*begun(), *planned(2, *(sub(n) for n in names))]
    one_by_one = project(RESEARCH, log(head, *(groups[at] for at in order)))
    left, mixed = [list(group) for group in groups], []
    while any(left):
        mixed.append(data.draw(st.sampled_from([group for group in left if group])).pop(0))

    assert project(RESEARCH, log(head, mixed)).lanes == one_by_one.lanes


def test_a_model_call_keeps_its_figures() -> None:
    usage = {"in": 100, "out": 20, "cached": 40}
    events = log(begun(), says(0, 3, "answer:1", "Text.", first=1, ttft_s=1.0, latency_s=3.0, cost_usd=0.5))

    waiting, writing = project(CHAT, events).lanes["answer"].segments

    assert waiting.figures == {}
    assert writing.figures == {"latency_s": 3.0, "ttft_s": 1.0, "cost_usd": 0.5, **usage}


def test_unreadable_answers_are_counted_by_role_and_rung() -> None:
    told = [
        ev(1, "llm.unreadable", "plan:1", "run", role="planner", rung=rung) for rung in ("text", "text", "tool_call")
    ]
    assert project(RESEARCH, log(begun(), told)).unreadable == {("planner", "text"): 2, ("planner", "tool_call"): 1}


# -- tries that were lost ----------------------------------------------------------------------------------------------


def test_what_a_lost_try_did_stands_on_a_lane_of_its_own() -> None:
    said = {"usage": {"in": 50, "out": 10, "cached": 0}, "calls": [], "text": "Half.", "cost_usd": 0.01}
    again = {"task_id": "1", "title": "Other", "role": "writer", "was": "researcher", "reason": "late"}
    view = project(
        RESEARCH,
        log(begun(), planned(1, sub("1"), sub("2")), spawned(1, "1"),
            ev(2, "llm.started", "x", agent("1"), model="m"), ev(4, "llm.finished", "x", agent("1"), **said),
            ev(5, "plan.revised", agent("1"), "research:1", **again, state="timed_out"),
            ev(6, "llm.started", "y", agent("1"), model="m"), ev(8, "llm.finished", "y", agent("1"), **said),
            ended(9, "1", text="Whole.")),
    )  # fmt: skip
    lane, lost = view.lanes["task:1"], view.lanes["task:1/try1"]

    assert (lost.title, lost.state, lost.reason, lost.start, lost.end) == ("Part 1, try 1", "timed_out", "late", 1, 5)
    assert (lane.start, lane.end, lane.role, lane.attempt, lane.text) == (1, 9, "writer", 2, "Whole.")
    assert [(it.start, it.end) for it in lost.segments] == [(2, 4)]
    assert [(it.start, it.end) for it in lane.segments] == [(6, 8)]
    assert (lost.tokens, lane.tokens, lost.cost_usd, lane.cost_usd) == (60, 60, 0.01, 0.01)
    assert (view.meters.calls, view.meters.tokens_in) == (2, 100)
    order = [it.id for it in view.drawn_lanes()]
    assert order.index("task:1/try1") == order.index("task:1") + 1
    assert [it.id for it in view.lanes.top()] == ["plan", "task:1", "task:2", "write"]


def test_a_call_of_a_lost_try_that_never_ended_is_over_with_it() -> None:
    again = {"task_id": "1", "title": "Other", "role": "writer", "was": "researcher", "reason": "late"}
    view = project(
        RESEARCH,
        log(begun(), planned(1, sub("1")), spawned(1, "1"), ev(2, "tool.started", "x", agent("1"), name="fetch"),
            ev(5, "plan.revised", agent("1"), "research:1", **again), ev(6, "run.handed_back")),
    )  # fmt: skip

    assert [(it.end, it.failed) for it in view.lanes["task:1/try1"].segments] == [(5, True)]
    assert (view.lanes["task:1"].acts, view.meters.tools) == (0, 1)


def test_a_twin_that_came_to_nothing_is_not_called_done() -> None:
    lost = {"task_id": "1", "which": "twin", "reason": "ValueError: no", "state": "failed"}
    view = project(
        RESEARCH,
        log(begun(), planned(1, sub("1")), spawned(1, "1"),
            ev(3, "agent.twin_started", f"{agent('1')}|twin:t", agent("1"), task_id="1", title="Part 1"),
            ev(5, "agent.cancelled", agent("1"), "research:1", **lost), ended(5, "1", text="Found.")),
    )  # fmt: skip

    twin = view.lanes["task:1/twin"]
    assert (twin.state, twin.activity) == ("failed", "ValueError: no")


def test_when_the_twin_was_quicker_its_lane_says_so() -> None:
    view = project(
        RESEARCH,
        log(begun(), planned(1, sub("1")), spawned(1, "1"),
            ev(3, "agent.twin_started", f"{agent('1')}|twin:t", agent("1"), task_id="1", title="Part 1"),
            ev(5, "agent.cancelled", agent("1"), "research:1", task_id="1", which="first", reason="the other won"),
            ended(5, "1", text="Found.")),
    )  # fmt: skip

    twin = view.lanes["task:1/twin"]
    assert (twin.state, twin.activity) == ("done", "was quicker than the first")
