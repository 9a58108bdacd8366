"""What the scripts decide, apart from any page: patches, order of lanes, words, which sentence a citation means."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ui import runview

pytestmark = pytest.mark.browser

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def js(chromium: Any) -> Iterator[Run]:
    """Evaluate an expression beside the component's scripts."""
    page = chromium.new_page()
    page.add_script_tag(content=runview.module_source().replace("export default ", ""))
    yield page.evaluate
    page.close()


def lane(id_: str, parent: str | None = None, depth: int = 0, **more: Any) -> dict[str, Any]:
    return {"id": id_, "parent_id": parent, "depth": depth, **more}


def test_a_new_lane_goes_under_its_parent_and_a_known_one_stays(js: Run) -> None:
    lanes = [lane("a"), lane("a1", "a", 1), lane("a11", "a1", 2), lane("b")]
    placed = "(lanes, lane) => { placeLane(lanes, lane); return lanes.map((it) => it.id + (it.state || '')); }"
    apply = f"([lanes, lane]) => ({placed})(lanes, lane)"
    assert js(apply, [lanes, lane("a2", "a", 1)]) == ["a", "a1", "a11", "a2", "b"]
    assert js(apply, [lanes, lane("b", state="!")]) == ["a", "a1", "a11", "b!"]
    assert js(apply, [lanes, lane("c")]) == ["a", "a1", "a11", "b", "c"]
    assert js(apply, [lanes, lane("x", "gone", 1)]) == ["a", "a1", "a11", "b", "x"]


def test_a_patch_changes_only_what_it_names(js: Run) -> None:
    view = {"status": "running", "lanes": [], "findings": [{"lane_id": "a", "text": "x"}], "sources": [],
            "answer": {"text": "Hel", "blocks": [["p", {}, ["a"]], ["p", {}, ["Hel"]]], "final": False}}  # fmt: skip
    patch = {"seq": 2, "set": {"status": "succeeded"}, "findings": [{"lane_id": "a", "text": "y"}],
             "answer": {"append": "lo", "blocks_from": 1, "blocks": [["p", {}, ["Hello"]]], "final": True}}  # fmt: skip
    merged = js(
        "([view, patch]) => { const dirty = [...mergePatch(view, patch)]; return {view, dirty}; }", [view, patch]
    )
    assert merged["dirty"] == ["status", "findings", "answer"]
    assert merged["view"]["answer"] == {
        "text": "Hello",
        "blocks": [["p", {}, ["a"]], ["p", {}, ["Hello"]]],
        "final": True,
    }
    assert merged["view"]["findings"] == [{"lane_id": "a", "text": "y"}]


def test_an_answer_that_began_anew_replaces_the_old_text(js: Run) -> None:
    merge = "([answer, patch]) => { mergeAnswer(answer, patch); return answer; }"
    answer = {"text": "old", "blocks": ["old"], "final": False}
    assert js(merge, [answer, {"text": "", "blocks_from": 0, "blocks": []}]) == {
        "text": "",
        "blocks": [],
        "final": False,
    }


@pytest.mark.parametrize(
    ("waits", "words"),
    [
        ([], "not started"),
        (["A"], "starts when A is done"),
        (["A", "B"], "starts after A and B"),
        (["A", "B", "C", "D"], "starts after A and 3 more"),
    ],
)
def test_an_unstarted_lane_says_what_it_waits_for(js: Run, waits: list[str], words: str) -> None:
    assert js("(lane) => waitsFor(lane)", {"state": "pending", "waits_for": waits}) == words


def test_of_a_long_quote_the_sentence_in_use_is_marked(js: Run) -> None:
    quote = (
        "Cats sleep most of the day. A debate of three agents over two rounds makes seven calls. "
        + "Filler words. " * 20
    )
    parts = "([source, passage, statement]) => quoteParts(source, passage, statement)"
    source = {"quote": quote.strip()}
    before, used, after = js(parts, [source, None, "Three agents in a debate need seven calls over two rounds."])
    assert used == "A debate of three agents over two rounds makes seven calls."
    assert before == "Cats sleep most of the day. "
    assert after.startswith(" Filler words.")
    assert js(parts, [source, None, "Something else entirely, about volcanoes."])[1] == ""


def test_a_short_quote_is_marked_within_its_passage(js: Run) -> None:
    parts = "([source, passage, statement]) => quoteParts(source, passage, statement)"
    marked = js(parts, [{"quote": "the disk"}, {"text": "It can fill the disk of it."}, ""])
    assert marked == ["It can fill ", "the disk", " of it."]
    assert js(parts, [{"quote": "the disk"}, {"text": "Replaced since."}, ""]) == ["", "the disk", ""]


def test_an_answer_as_plain_text(js: Run) -> None:
    blocks = [["p", {}, ["A ", ["strong", {}, ["b"]], ["cite", {"n": 2, "key": "k"}, []]]],
              ["ul", {}, [["li", {}, ["one"]], ["li", {}, ["two"]]]],
              ["p", {}, [["a", {"href": "https://a.b"}, ["x"]]]]]  # fmt: skip
    assert js("(blocks) => plainText(blocks)", blocks) == "A b[2]\n\n- one\n- two\n\nx (https://a.b)"


SPANS = "(lanes, now) => { const axis = new Axis(lanes, now); return {breaks: axis.breaks, span: axis.span, "
SPANS += "places: [0, 2, 3, 300, 600, now].map((second) => axis.at(second)), ticks: axis.ticks()}; }"


def test_days_of_waiting_leave_room_for_seconds_of_work(js: Run) -> None:
    asked = {"kind": "model", "start": 0, "end": 2, "failed": False}
    told = {"kind": "model", "start": 600, "end": None, "failed": False}
    waits = lane("a", start=0, end=2, state="waiting", segments=[asked])
    axis = js(f"([lanes, now]) => ({SPANS})(lanes, now)", [[waits], 600])
    assert axis["breaks"] == [[2, 600]]
    assert axis["span"] == 5

    works = lane("a", start=0, end=None, state="running", segments=[asked, told])
    axis = js(f"([lanes, now]) => ({SPANS})(lanes, now)", [[works], 602])
    assert axis["breaks"] == [[2, 600]]
    places = axis["places"]
    assert places == sorted(places)
    assert places[-1] <= axis["span"] <= 10
    assert [0, "0"] in axis["ticks"]
    assert "10:01" in [words for _, words in axis["ticks"]]


def test_short_pauses_stay_as_long_as_they_were(js: Run) -> None:
    parts = [{"kind": "model", "start": 0, "end": 2}, {"kind": "model", "start": 9, "end": 10}]
    axis = js(
        f"([lanes, now]) => ({SPANS})(lanes, now)", [[lane("a", start=0, end=10, state="done", segments=parts)], 10]
    )
    assert axis["breaks"] == []
    assert axis["places"][1] == 2


def test_a_number_that_a_browser_rounds_is_not_exact(js: Run) -> None:
    assert js("() => [isExact({a: [1, 2.5, 'x', null]}), isExact({a: {b: 2 ** 60}})]") == [True, False]


@pytest.mark.parametrize(
    ("told", "value", "kind"),
    [
        ({"type": "string"}, "x", "text"),
        ({"type": "string"}, "x" * 100, "long"),
        ({"type": "integer"}, 3, "integer"),
        ({"type": "integer"}, "three", "json"),
        ({"type": "boolean"}, True, "switch"),
        ({"enum": ["a", "b"]}, "b", "choice"),
        ({"enum": ["a", "b"]}, "c", "text"),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, None, "number"),
        ({"anyOf": [{"type": "number"}, {"type": "string"}]}, 2, "json"),
        ({"$ref": "#/$defs/Who"}, "me", "choice"),
        ({"$ref": "#/$defs/__proto__"}, "me", "text"),
        ({"type": "object"}, {"a": 1}, "json"),
        ({"type": "array", "items": {"type": "string"}}, ["a"], "list"),
        ({"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/Name"}}, {"type": "null"}]}, None, "list"),
        ({"type": "array", "items": {"type": "string"}}, ["a", 1], "json"),
        ({"type": "array", "items": {"type": "number"}}, [1], "json"),
    ],
)
def test_the_field_of_an_argument_follows_its_schema(js: Run, told: Any, value: Any, kind: str) -> None:
    schema = {"properties": {"it": told}, "$defs": {"Who": {"enum": ["me", "you"]}, "Name": {"type": "string"}}}
    assert js("([schema, args]) => fieldsOf(schema, args)[0].kind", [schema, {"it": value}]) == kind


def test_a_budget_that_broke_is_told_in_its_unit(js: Run) -> None:
    more = {"command": "resume", "budget": {"usd": 1.5, "steps": 14}}
    view = {"budget_reached": {"unit": "steps", "limit": 6, "actual": 7, "share": 1.167, "more": more},
            "status": "failed", "missing": [], "error": {"kind": "BudgetExceeded"}}  # fmt: skip
    assert js("(view) => budgetReached(view).words", view) == "Budget reached: 7 of 6 model calls"
    raised = js("(view) => remedy(view)", view)
    assert (raised["command"], raised["budget"], raised["words"]) == (
        "resume", more["budget"], "Raise to 14 model calls and go on"
    )  # fmt: skip
    ended = {**view, "status": "succeeded", "budget_reached": {**view["budget_reached"], "more": None}}
    assert js("(view) => remedy(view)", ended) is None


def test_only_work_is_on_the_clock(js: Run) -> None:
    worked = "([view, now]) => workedAt(view, now)"
    assert js(worked, [{"worked_s": None, "rested_s": 304}, 308]) == 4
    assert js(worked, [{"worked_s": 2, "rested_s": 0}, 200]) == 2


def test_numbers_keep_their_unit_and_decimals(js: Run) -> None:
    times = js("() => [seconds(9.66), seconds(75.2), clock(3671), clock(9)]")
    assert times == ["9.7 s", "1 min 15 s", "1:01:11", "0:09"]
    assert js("() => [tokens(999), tokens(35_300), dollars(0.0364)]") == ["999", "35.3k", "$0.036"]


def test_a_first_view_that_waits_for_a_person_is_told_to_the_page_beside_it(js: Run) -> None:
    views = """(statuses) => {
      const told = [], turn = { runId: "r", said: () => ({}) };
      const page = { draw() {}, voice: { say() {} }, trigger: (...it) => told.push(it.join(" ")) };
      return statuses.map((status) => {
        Conversation.prototype.onView.call(page, turn, { status }, null);
        return told.length;
      });
    }"""
    assert js(views, ["waiting", "waiting", "running", "running"]) == [1, 1, 2, 2]
    assert js(views, ["running", "waiting"]) == [0, 1]


def test_on_a_phone_parts_stand_under_the_node_that_is_drawn_and_else_under_a_team(js: Run) -> None:
    parts = [lane("p1", "desk", kind="agent", state="done"), lane("p2", "desk", kind="agent", state="done")]
    titles = "([lanes, nodes]) => withTeams({lanes, shape: {nodes}}).map((row) => row.title || row.id)"
    assert js(titles, [parts, [{"id": "desk", "title": "Billing"}]]) == ["Billing", "p1", "p2"]
    assert js(titles, [parts, []]) == ["Team", "p1", "p2"]


def test_what_is_missing_from_an_ended_run_is_not_said_to_run(js: Run) -> None:
    words = "([reason, status]) => gapWords(reason, status)"
    assert js(words, ["running", "cancelled"]) == "Not finished when it was stopped."
    assert js(words, ["cancelled", "cancelled"]) == "Not finished when it was stopped."
    assert js(words, ["second try", "failed"]) == "Not finished when the run ended."
    assert js(words, ["blocked", "cancelled"]) == "Not begun."
    assert js(words, ["timed out after 30 s", "succeeded"]) == "Timed out after 30 s."


def test_what_was_found_but_not_cited_is_said_to_be_so(js: Run) -> None:
    view = {"answer": {"final": True, "unsupported": 0, "text": ""}, "sources": [{"cited": False}, {"cited": False}]}
    words = "These were found; no answer cites them."
    stopped = {**view, "status": "cancelled", "answer": {**view["answer"], "final": False}}
    assert js("sourcesFoot", {**view, "status": "succeeded"}) == words
    assert js("sourcesFoot", stopped) == words
    assert js("sourcesFoot", {**stopped, "status": "running"}) == ""
