"""What a browser is sent: patches that add up to exactly the whole view, and words that say what is so."""

import copy
import json
from collections.abc import Iterable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runlogs import (
    CHAT,
    EPOCH,
    RESEARCH,
    agent,
    begun,
    ended,
    ev,
    finds,
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
from app.live import LiveView, drawn
from app.shapes import Node, Shape, draw

RUN = {"run_id": "r", "thread_id": "t", "graph": "research", "question": "Why?"}


def live(shape: Shape, *events: RunEvent | Iterable[RunEvent]) -> LiveView:
    view = LiveView(RUN, shape)
    view.apply(log(*events))
    return view


def whole(shape: Shape, *events: RunEvent | Iterable[RunEvent], now: float = 100) -> dict[str, Any]:
    return live(shape, *events).whole(EPOCH + now)


def by_id(items: list[dict[str, Any]], name: str = "id") -> dict[str, dict[str, Any]]:
    return {item[name]: item for item in items}


def merged(view: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """What the page does with a patch (`mergePatch` in `ui/runview/feed.js`)."""
    view = copy.deepcopy(view)
    view |= patch.get("set", {})
    for name, id_ in (("lanes", "id"), ("findings", "lane_id")):
        for item in patch.get(name, ()):
            at = next(at for at, known in enumerate(view[name]) if known[id_] == item[id_])
            view[name][at] = item
    if answer := dict(patch.get("answer", {})):
        view["answer"]["text"] += answer.pop("append", "")
        view["answer"]["blocks"] = view["answer"]["blocks"][: answer.pop("blocks_from")] + answer.pop("blocks")
        view["answer"] |= answer
    return view


# -- patches ---------------------------------------------------------------------------------------


@given(logs(), st.data())
def test_patches_add_up_to_the_whole_view(events: list[RunEvent], data: st.DataObject) -> None:
    reader, now = LiveView(RUN, RESEARCH), EPOCH
    first = data.draw(st.integers(0, len(events)))
    reader.apply(events[:first])
    shown = json.loads(orjson.dumps(reader.whole(now)))
    at = first
    while at < len(events):
        batch = events[at : at + data.draw(st.integers(1, 6))]
        at, now = at + len(batch), max(now, batch[-1].at) + data.draw(st.sampled_from([0.0, 0.3]))
        reader.apply(batch)
        patch = json.loads(orjson.dumps(reader.patch(now)))
        shown = merged(shown, patch)

        fresh = LiveView(RUN, RESEARCH)
        fresh.apply(events[:at])
        expected = json.loads(orjson.dumps(fresh.whole(now)))
        assert {**shown, "now": now} == expected


@given(logs())
def test_an_answer_arrives_byte_for_byte(events: list[RunEvent]) -> None:
    reader = LiveView(RUN, RESEARCH)
    text = str(reader.whole(EPOCH)["answer"]["text"])
    for event in events:
        reader.apply([event])
        answer = reader.patch(event.at).get("answer", {})
        text = answer["text"] if "text" in answer else text + answer.get("append", "")

        assert text == reader.view.answer


def test_only_what_changed_is_sent() -> None:
    view = live(RESEARCH, begun(), planned(1, sub("1"), sub("2")), spawned(1, "1"), spawned(1, "2"))
    view.whole(EPOCH + 2)
    view.apply([ev(2, "tool.started", "x", agent("2"), name="search_documents", args={"query": "slots"})])

    patch = view.patch(EPOCH + 2)

    assert [lane["id"] for lane in patch["lanes"]] == ["task:2"]
    assert set(patch["set"]) == {"meters", "now"}


def test_when_nothing_happened_nothing_is_sent() -> None:
    view = live(RESEARCH, begun(), planned(1, sub("1")), spawned(1, "1"))
    view.whole(EPOCH + 2)

    assert view.patch(EPOCH + 2.5) == {}


def test_an_answer_grows_by_what_is_new_and_only_its_last_block_is_sent_again() -> None:
    start = [*begun(), *node(0, None, "answer:1"), ev(0, "llm.started", "l", "answer:1", speaks=True)]
    view = live(CHAT, start, ev(1, "llm.token", "l", "answer:1", text="One.\n\nTwo"))
    view.whole(EPOCH + 1)
    view.apply([ev(2, "llm.token", "l", "answer:1", text=" and three.")])

    answer = view.patch(EPOCH + 2)["answer"]

    assert answer["append"] == " and three."
    assert (answer["blocks_from"], answer["blocks"]) == (1, [["p", {}, ["Two and three."]]])


def test_an_answer_that_starts_anew_is_sent_whole() -> None:
    start = [*begun(), *node(0, None, "answer:1"), *says(0, 1, "answer:1", "Let me look.", speaks=True)]
    view = live(CHAT, start)
    view.whole(EPOCH + 1)
    view.apply(list(says(2, 3, "answer:1", "It is so.", speaks=True)))

    assert view.patch(EPOCH + 3)["answer"]["text"] == "It is so."


def test_a_question_that_was_answered_is_sent_again() -> None:
    asked = ev(1, "interrupt.raised", "answer:1", "run", id="q", what="May I?")
    view = live(CHAT, begun(), node(0, None, "answer:1"), asked)
    assert view.whole(EPOCH)["requests"][0]["answer"] is None
    view.apply([ev(2, "interrupt.answered", "answer:1", "run", id="q", answer="yes", by="me")])

    assert view.patch(EPOCH)["set"]["requests"][0]["answer"] == "yes"


def test_a_source_that_somebody_else_found_too_is_sent_again() -> None:
    found = [*finds(1, 2, agent("1"), source("aaa111")), *finds(3, 4, agent("2"), source("aaa111"))]
    view = live(RESEARCH, begun(), planned(1, sub("1"), sub("2")), spawned(1, "1"), spawned(1, "2"), found[:3])
    assert view.whole(EPOCH)["sources"][0]["found_by"] == ["Part 1"]
    view.apply(found[3:])

    assert view.patch(EPOCH)["set"]["sources"][0]["found_by"] == ["Part 1", "Part 2"]


# -- what the page is told -------------------------------------------------------------------------


def two_done_of_five() -> list[RunEvent]:
    """1 took 3.9 s, 3 took 4.5 s; 2 is late at 9.7 s; 4 is on its third try; 5 needs 2 and 3."""
    tasks = [sub("1", title="Write-ahead log"), sub("2", title="Logical replication"), sub("3", title="Physical"),
             sub("4", title="Version limits"), sub("5", "2", "3", title="Cut-over steps")]  # fmt: skip
    return [
        *begun(), *planned(2, *tasks), *(spawned(2, n) for n in "1234"),
        *finds(2, 3, agent("1"), source("aaa111"), source("bbb222", "d2")),
        ended(5.9, "1", text="It [aaa111]. So [bbb222]."),
        ended(6.5, "3", text="Well."), *list(says(7, 99, agent("2"), "Decoding [aa"))[:2],
        ev(7, "llm.retry", agent("4"), "research:1", attempt=3, reason="search timed out"),
    ]  # fmt: skip


def test_a_run_in_the_middle() -> None:
    view = whole(RESEARCH, two_done_of_five(), now=11.7)

    assert view["status"] == "running"
    assert view["status_line"] == {
        "lead": "2 of 5 sub-tasks are done.",
        "rest": "Waiting on logical replication, 5.5 s over the median. Version limits is on try 3.",
    }
    assert [task["state"] for task in view["plan"]] == ["done", "running", "done", "retrying", "blocked"]
    lanes = by_id(view["lanes"])
    assert list(lanes) == ["plan", "task:1", "task:2", "task:3", "task:4", "task:5", "write"]
    assert lanes["task:2"]["late_s"] == 5.5
    assert lanes["task:5"]["waits_for"] == ["Logical replication"]
    assert lanes["write"]["waits_for"] == ["Logical replication", "Version limits", "Cut-over steps"]
    assert [lane["id"] for lane in view["lanes"] if lane["critical"]] == ["plan", "task:2"]
    assert view["median_s"] == 4.2
    assert view["serial_s"] is view["floor_s"] is view["speedup"] is None
    assert [finding["lane_id"] for finding in view["findings"]] == ["task:1", "task:2", "task:3"]
    assert by_id(view["findings"], "lane_id")["task:2"]["streaming"]
    assert by_id(view["findings"], "lane_id")["task:2"]["blocks"] == [["p", {}, ["Decoding"]]]  # no half citation


def test_the_drawing_of_a_run_in_the_middle() -> None:
    shape = whole(RESEARCH, two_done_of_five(), now=11.7)["shape"]
    boxes, arrows = by_id(shape["nodes"]), by_id(shape["edges"])

    assert {id_: (box["state"], box["note"]) for id_, box in boxes.items()} == {
        "plan": ("done", "2.0 s"), "task:1": ("done", "3.9 s"), "task:2": ("running", ""), "task:3": ("done", "4.5 s"),
        "task:4": ("retrying", "try 3"), "task:5": ("blocked", ""), "write": ("pending", ""),
    }  # fmt: skip
    assert [id_ for id_, box in boxes.items() if box["critical"]] == ["plan", "task:2"]
    assert [id_ for id_, edge in arrows.items() if edge["critical"]] == ["plan>task:2"]
    assert {id_: edge["state"] for id_, edge in arrows.items()} == {
        "plan>task:1": "taken", "plan>task:2": "taken", "plan>task:3": "taken", "plan>task:4": "taken",
        "task:2>task:5": "waiting", "task:3>task:5": "waiting", "task:1>write": "waiting",
        "task:4>write": "waiting", "task:5>write": "idle",
    }  # fmt: skip


HELP = Shape(
    (Node("route", "Route"), Node("billing", "Billing"), Node("other", "Other"), Node("check", "Check"),
     Node("mend", "Mend"), Node("send", "Send")),
    (("route", "billing"), ("route", "other"), ("billing", "check"), ("other", "check"), ("check", "mend"),
     ("check", "send"), ("mend", "check")),
    ("route",),
    (("route", "billing"), ("route", "other"), ("check", "mend"), ("check", "send")),
)  # fmt: skip


def test_what_was_decided_shows_as_soon_as_the_next_step_begins() -> None:
    begins = [*begun(), *node(0, 1, "route:1")]
    undecided = whole(HELP, begins, now=1)["shape"]
    assert {by_id(undecided["edges"])[it]["state"] for it in ("route>billing", "route>other")} == {"idle"}

    at_check = [*begins, *node(1, 2, "other:1"), *node(2, None, "check:1")]
    shape = whole(HELP, at_check, now=3)["shape"]
    arrows, boxes = by_id(shape["edges"]), by_id(shape["nodes"])
    assert (arrows["route>other"]["state"], arrows["route>billing"]["state"]) == ("taken", "not_taken")
    assert (boxes["billing"]["state"], boxes["other"]["state"], boxes["check"]["state"]) == (
        "not_taken", "done", "running",
    )  # fmt: skip
    assert (arrows["billing>check"]["state"], arrows["check>send"]["state"]) == ("idle", "waiting")

    mends = [*at_check, ev(3, "node.finished", "check:1", "run", state="done"), *node(3, 4, "mend:1")]
    again = by_id(whole(HELP, mends, node(4, None, "check:2"), now=5)["shape"]["edges"])
    assert (again["check>mend"]["state"], again["mend>check"]["state"]) == ("taken", "taken")

    sent = [*at_check, ev(3, "node.finished", "check:1", "run", state="done"), *node(3, 4, "send:1")]
    at_once = whole(HELP, sent, ev(4, "run.finished", answer="Sent."))["shape"]
    arrows = by_id(at_once["edges"])
    assert (arrows["check>send"]["state"], arrows["check>mend"]["state"]) == ("taken", "not_taken")
    assert arrows["mend>check"]["state"] == "not_taken"
    assert by_id(at_once["nodes"])["mend"]["state"] == "not_taken"


def test_an_arrow_past_the_critical_path_is_not_on_it() -> None:
    tasks = [sub("1"), sub("2", "1"), sub("3", "1", "2")]
    view = whole(RESEARCH, begun(), planned(1, *tasks), spawned(1, "1"), ended(2, "1"), spawned(2, "2"), ended(3, "2"),
                 spawned(3, "3"), ended(4, "3"), written(4, 5, "A."))  # fmt: skip

    arrows = by_id(view["shape"]["edges"])
    assert arrows["task:1>task:2"]["critical"] and arrows["task:2>task:3"]["critical"]
    assert not arrows["task:1>task:3"]["critical"]


def test_positions_do_not_move_during_a_run() -> None:
    view = LiveView(RUN, RESEARCH)
    view.apply(log(begun(), planned(1, sub("1"), sub("2"))))
    places = [(box["id"], box["x"], box["y"], box["w"]) for box in view.whole(EPOCH + 1)["shape"]["nodes"]]
    for event in [spawned(1, "1"), spawned(2, "2"), ended(3, "1"), ended(4, "2"), *written(5, 6, "A.")]:
        view.apply([event])
        now = view.whole(event.at)["shape"]["nodes"]
        assert [(box["id"], box["x"], box["y"], box["w"]) for box in now] == places


def test_sixty_sub_tasks_are_one_box_that_counts() -> None:
    ids = [str(n) for n in range(60)]
    start = [*begun(), *planned(1, *(sub(id_) for id_ in ids))]

    view = whole(RESEARCH, start, [spawned(1, id_) for id_ in ids[:20]], [ended(2, id_) for id_ in ids[:7]], now=2)

    box = by_id(view["shape"]["nodes"])["research"]
    assert (box["state"], box["note"], box["critical"]) == ("running", "7/60", True)
    assert len(view["lanes"]) == 62


def test_what_a_plan_was_expected_to_take_is_told() -> None:
    sentence = "Side by side: about 2.1 s with 0.02 s of coordination, 4 s one after the other."
    plan = ev(1, "plan.proposed", "plan:1", "run", tasks=[sub("1"), sub("2")], parallel_s=2, decision=sentence)

    assert whole(RESEARCH, [*begun(), plan], now=2)["expected"] == {"parallel_s": 2, "decision": sentence}
    assert whole(CHAT, [*begun()], now=2)["expected"] == {}


@pytest.mark.parametrize(
    ("tool", "ok", "bare"), [("calculator", True, 0), ("fetch_page", True, 1), ("calculator", False, 1)]
)
def test_what_a_tool_has_computed_needs_no_source(tool: str, ok: bool, bare: int) -> None:
    body = [
        *begun(), *planned(1, sub("1")), spawned(1, "1"), *finds(1, 2, agent("1"), source("aaa111")),
        ev(2, "tool.started", "sum", agent("1"), name=tool, args={}, call_id="sum"),
        ev(2, "tool.finished", "sum", agent("1"), ok=ok, text="80/29 = 2.75862068966", sources=[]),
        ended(3, "1", text="x [aaa111]"),
    ]  # fmt: skip
    view = whole(RESEARCH, body, written(4, 8, "Yes [aaa111].\n\nThe result is **2.7586**."))
    assert view["answer"]["unsupported"] == bare


def test_a_run_that_is_done() -> None:
    body = [
        *begun(), *planned(1, sub("1"), sub("2")), spawned(1, "1"), spawned(1, "2"),
        *finds(1, 2, agent("1"), source("aaa111", score=0.1), source("bbb222", score=0.9), source("ccc333")),
        ended(3, "1", text="x [bbb222]"), ended(4, "2", "failed", "", "gone"),
    ]  # fmt: skip
    view = whole(RESEARCH, body, written(4, 8, "**Yes** [aaa111].\n\nNo source.\n\n- a [aaa111]\n- b"))

    assert view["status_line"] == {"lead": "1 of 2 sub-tasks", "rest": "in 8.0 s, 1 model call."}
    assert (view["serial_s"], view["floor_s"], view["speedup"], view["ended_s"]) == (10, 8, 1.25, 8)
    assert [(it["n"], it["key"], it["cited"]) for it in view["sources"]] == [
        (1, "aaa111", True), (2, "bbb222", False), (3, "ccc333", False),
    ]  # fmt: skip
    assert view["answer"]["unsupported"] == 2  # a paragraph, and a list with a bare item
    cited = ["cite", {"n": 1, "key": "aaa111"}, []]
    assert view["answer"]["blocks"][0] == ["p", {}, [["strong", {}, ["Yes"]], " ", cited, "."]]
    assert not any(lane["waits_for"] for lane in view["lanes"])


def test_one_agent_is_told_by_its_loop() -> None:
    start = [*begun(), *node(0, None, "answer:1")]
    look = [*says(0, 1, "answer:1", "", calls=["search_documents"]), *list(finds(1, 2, "answer:1"))[:1]]
    again = [*says(0, 1, "answer:1", "", calls=["search_documents"]), *finds(1, 2, "answer:1"),
             *says(2, 3, "answer:1", "So.", speaks=True), *finds(3, 4, "answer:1")]  # fmt: skip
    end = [ev(5, "node.finished", "answer:1", "run", state="done", reason=""), ev(5, "run.finished", answer="So.")]

    def boxes(*events: Any) -> list[tuple[str, str]]:
        return [(box["state"], box["note"]) for box in whole(CHAT, *events)["shape"]["nodes"]]

    assert boxes(start) == [("running", ""), ("pending", "")]
    assert boxes(start, look) == [("done", ""), ("running", "")]
    assert boxes(start, again) == [("running", "2x"), ("done", "2x")]
    assert boxes(start, again, end) == [("done", "2x"), ("done", "2x")]
    assert boxes(start, says(0, 1, "answer:1", "So.", speaks=True), end) == [("done", ""), ("not_taken", "")]


def test_a_graph_that_has_not_run_is_drawn_without_states() -> None:
    picture = drawn(draw(RESEARCH))

    assert {box["state"] for box in picture["nodes"]} == {"pending"}
    assert {edge["state"] for edge in picture["edges"]} == {"idle"}


# -- what the row knows and no event does ----------------------------------------------------------


def test_nothing_runs_in_a_run_whose_worker_is_gone_and_all_does_again_when_it_is_heard_of() -> None:
    view = live(RESEARCH, two_done_of_five())
    view.status("lost")

    lost = view.whole(EPOCH + 12)
    assert (lost["status"], lost["status_line"]["lead"]) == ("lost", "The worker is gone.")
    assert [lane["state"] for lane in lost["lanes"]] == ["done", "done", "lost", "done", "lost", "blocked", "pending"]
    assert "running" not in json.dumps([lost["shape"], lost["plan"], lost["findings"]])

    view.apply([ev(13, "llm.token", f"llm-{agent('2')}-7", agent("2"), text="a")])
    again = view.whole(EPOCH + 13)
    assert again["status"] == "running"
    assert by_id(again["lanes"])["task:2"]["state"] == "running"


@pytest.mark.parametrize("status", ["lost", "queued", "waiting"])
def test_a_run_that_has_ended_stays_so(status: str) -> None:
    view = live(RESEARCH, begun(), planned(1, sub("1")), spawned(1, "1"), ended(2, "1"), written(2, 3, "A."))
    view.status(status)

    assert view.whole(EPOCH)["status"] == "succeeded"


def test_a_row_that_is_well_says_nothing() -> None:
    view = live(RESEARCH, begun())
    view.status("lost")
    view.status("running")

    assert view.whole(EPOCH)["status"] == "running"


def test_a_clock_behind_the_workers_makes_no_negative_times() -> None:
    view = whole(RESEARCH, begun(), planned(1, sub("1")), spawned(1, "1"), now=-50)

    assert view["lanes"][0]["start"] == 0
    assert view["status_line"]["rest"]


# -- one sentence ----------------------------------------------------------------------------------


def asks(*kinds: str) -> list[RunEvent]:
    return [ev(2, "interrupt.raised", "write:1", "run", id=f"q{n}", kind=kind) for n, kind in enumerate(kinds)]


TWO = [*begun(), *planned(1, sub("1", title="Latency"), sub("2", title="SLA terms"))]
STOPPED = {"message": "Stopped.", "fix": ""}
SPENT = {"unit": "steps", "limit": 6, "actual": 6, "share": 1, "more": None}


@pytest.mark.parametrize(
    ("events", "lead", "rest"),
    [
        ([], "Queued.", "It starts as soon as a worker is free."),
        (begun(), "Starting.", ""),
        ([*begun(), *node(0, None, "plan:1")], "Plan.", ""),
        ([*begun(), *node(0, None, "plan:1"), *list(says(0, 9, "plan:1", "x"))[:1]], "Plan.",
         "Waiting for the first token."),
        ([*TWO, spawned(1, "1"), spawned(1, "2")], "0 of 2 sub-tasks are done.", "Working on latency, SLA terms."),
        ([*TWO, spawned(1, "1"), ended(2, "1"), spawned(2, "2")], "1 of 2 sub-tasks is done.", "Working on SLA terms."),
        ([*begun(), *planned(1, sub("1")), spawned(1, "1"), ended(2, "1"), *list(written(2, 9, "x"))[:2]], "Write.",
         "1 of 1 sub-task done."),
        ([*begun(), *planned(1, *(sub(n) for n in "12345")), *(spawned(1, n) for n in "12345")],
         "0 of 5 sub-tasks are done.", "Working on part 1, part 2, part 3 and 2 more."),
        ([ev(2, "run.cancelled", error=STOPPED)], "Stopped.", "It had not begun."),
        ([*TWO, ev(2, "run.cancelled", error=STOPPED)], "Stopped.", "What was found so far is kept."),
        ([*TWO, *asks("approval"), ev(2, "run.waiting")], "Waiting for you.",
         "One step reaches outside Sextant, so it needs your word."),
        ([*TWO, *asks("approval", "approval", "doubt"), ev(2, "run.waiting")], "Waiting for you.",
         "2 steps reach outside Sextant, so each one needs your word. "
         "One step may have happened or not, and only you can tell."),
        ([*TWO, *asks("colour"), ev(2, "run.waiting")], "Waiting for you.",
         "It asks you something before it goes on."),
        ([*TWO, ev(2, "run.failed", error={"message": "large: 503"})], "The run failed.", "large: 503"),
        ([*TWO, ev(2, "run.failed", error={"message": "6 of 6"}, budget_reached=SPENT)], "Ended early.",
         "6 of 6 model calls spent. What was found so far is kept."),
        ([*TWO, ev(2, "run.handed_back")], "Queued.", "It starts as soon as a worker is free."),
    ],
)  # fmt: skip
def test_the_sentence_of_a_team(events: Iterable[RunEvent], lead: str, rest: str) -> None:
    assert whole(RESEARCH, events, now=2)["status_line"] == {"lead": lead, "rest": rest}


def test_only_work_is_on_the_clock_and_the_rest_is_said() -> None:
    """Two seconds of work, five minutes of waiting, four seconds in the queue, three more of work."""
    question = ev(2, "interrupt.raised", "answer:1", "run", id="i1", kind="approval")
    asking = [*begun(), *node(0, None, "answer:1"), question, ev(2, "run.waiting", open=["i1"])]
    waiting = whole(CHAT, asking, now=200)
    assert (waiting["worked_s"], waiting["rested_s"], waiting["waited_s"]) == (2, 0, 0)

    heard = [ev(302, "run.resumed"), ev(306, "run.started", question="Q?")]
    going = whole(CHAT, asking, heard, now=308)
    assert (going["worked_s"], going["rested_s"], going["waited_s"]) == (None, 304, 300)

    view = whole(
        CHAT, asking, heard, says(306, 309, "answer:1", "A.", speaks=True), ev(309, "run.finished", answer="A.")
    )
    assert (view["worked_s"], view["waited_s"], view["ended_s"]) == (5, 300, 309)
    assert view["status_line"] == {
        "lead": "Answered",
        "rest": "in 5.0 s, 1 model call. It waited 5 min 0 s for you and stood still for 4.0 s.",
    }
    assert view["speedup"] == 1


def test_what_lies_between_a_stop_and_its_resume_is_no_work() -> None:
    stopped = [*begun(), *node(0, None, "answer:1"), ev(2, "run.cancelled", error=STOPPED)]
    resumed = [ev(3602, "run.resumed"), ev(3603, "run.started", question="Q?"), ev(3605, "run.finished", answer="A.")]
    view = whole(CHAT, stopped, resumed)
    assert (view["worked_s"], view["waited_s"]) == (4, 0)
    assert view["status_line"]["rest"] == "in 4.0 s, 0 model calls. It stood still for 1 h 0 min."


@pytest.mark.parametrize(
    ("events", "lead", "rest"),
    [
        (node(0, None, "answer:1"), "Assistant.", ""),
        ([*node(0, None, "answer:1"), *list(finds(0, 1, "answer:1"))[:1]], "Search documents “slots”.", ""),
        ([*node(0, 1, "answer:1"), *says(0, 1, "answer:1", "x", cost_usd=0.0412), ev(1, "run.finished", answer="x")],
         "Answered", "in 1.0 s for $0.041, 1 model call."),
    ],
)  # fmt: skip
def test_the_sentence_of_one_agent(events: Iterable[RunEvent], lead: str, rest: str) -> None:
    assert whole(CHAT, begun(), events, now=2)["status_line"] == {"lead": lead, "rest": rest}
