"""A plan that a person looks at before it runs: drawn, edited, estimated as one edits, answered like any request."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from steps import CONTRAST, INPUT, RUN_ENDED, Open, ask, texts

from app.list_schedule import makespan, spans
from ui import runview

pytestmark = pytest.mark.browser

CARD = ".plan-card.open"
ROW = f"{CARD} .task"
CASES = json.loads((Path(__file__).parents[1] / "support" / "schedules.json").read_text())
SPANS = """([tasks, width]) => {
  const seconds = new Map(tasks.map((task) => [task.id, task.seconds]));
  const made = scheduled(runnableTasks(tasks), (id) => seconds.get(id), width);
  return {spans: Object.fromEntries(made.spans), makespan: made.makespan, path: made.path};
}"""

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def js(chromium: Any) -> Iterator[Run]:
    """Evaluate an expression beside the component's scripts."""
    page = chromium.new_page()
    page.add_script_tag(content=runview.module_source().replace("export default ", ""))
    yield page.evaluate
    page.close()


def asked(open_page: Open, what: str = "!review", **how: Any) -> Any:
    page = open_page(**how)
    ask(page, f"{what} please")
    page.wait_for_selector(CARD)
    return page


def answer(page: Any) -> Any:
    """What the run was told."""
    view = "async (id) => (await (await fetch(`/api/runs/${id}/view`)).json()).requests[0].answer"
    return page.evaluate(view, page.get_attribute(".turn", "data-run"))


# -- the schedule


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_page_schedules_as_the_engine_does(js: Run, case: dict[str, Any]) -> None:
    tasks = [{"id": id_, "seconds": s, "depends_on": needs} for id_, (s, needs) in case["tasks"].items()]
    assert js(SPANS, [tasks, case["width"]])["spans"] == case["spans"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_plan_is_scheduled_alike(js: Run, data: st.DataObject) -> None:
    ids = [f"t{at}" for at in range(data.draw(st.integers(1, 10)))]
    needs = {
        id_: data.draw(st.lists(st.sampled_from(ids[:at]), unique=True)) if at else [] for at, id_ in enumerate(ids)
    }
    seconds = {id_: float(data.draw(st.integers(1, 9))) for id_ in ids}
    width = data.draw(st.integers(1, 4))

    made = js(SPANS, [[{"id": i, "seconds": seconds[i], "depends_on": needs[i]} for i in ids], width])

    assert {id_: tuple(span) for id_, span in made["spans"].items()} == spans(seconds, needs, width)
    assert made["makespan"] == makespan(seconds, needs, width)
    assert sum(seconds[id_] for id_ in made["path"]) == made["makespan"]


def test_what_is_off_is_waited_for_by_nobody(js: Run) -> None:
    tasks = [
        {"id": "a", "seconds": 9, "depends_on": [], "enabled": False},
        {"id": "b", "seconds": 2, "depends_on": ["a"]},
    ]
    assert js(SPANS, [tasks, 2])["spans"] == {"b": [0, 2]}


def test_what_would_close_a_circle_is_known(js: Run) -> None:
    tasks = [{"id": "a", "depends_on": []}, {"id": "b", "depends_on": ["a"]}, {"id": "c", "depends_on": ["b"]}]
    circles = js("(tasks) => tasks.map((it) => tasks.map((need) => closesCircle(tasks, it.id, need.id)))", tasks)
    assert circles == [[True, True, True], [False, True, True], [False, False, True]]


# -- the card


def test_a_plan_is_run_as_it_is(open_page: Open, site: Any) -> None:
    page = asked(open_page)
    assert texts(page, f"{ROW} .name") == [
        "Write-ahead log", "Logical replication", "Physical replication", "Version limits", "Cut-over steps",
    ]  # fmt: skip
    assert page.inner_text(f"{ROW}:last-child .muted") == "researcher, after 2 and 3 · 4.0 s"
    assert page.inner_text(".forecast b") == "About 13.0 s"
    assert page.inner_text(".forecast .muted") == "28.0 s one after another · 3 at once · about $0.037"
    assert texts(page, ".forecast-row.critical .n") == ["2", "5"]
    page.click(f"{CARD} footer .filled")
    page.wait_for_selector(".told >> text=approved by you.")
    assert answer(page) == {"decision": "approve"}
    site.clock(hold=100)
    page.wait_for_selector(RUN_ENDED)


def test_an_edited_plan_goes_back_whole(open_page: Open) -> None:
    page = asked(open_page)
    page.locator(f"{ROW} input[type=checkbox]").nth(3).uncheck()
    assert page.inner_text(f"{ROW}:nth-child(4) .muted") == "off"
    assert page.inner_text(".forecast .muted") == "22.0 s one after another · 3 at once · about $0.033"

    page.locator(".task-line").nth(4).click()
    row = page.locator(ROW).nth(4)
    row.locator(".pick >> text=2 Logical replication").click()  # 5 no longer waits for 2
    assert page.inner_text(".forecast b") == "About 9.0 s"
    row.locator("input[type=text]").fill("Steps")
    row.locator("textarea").fill("Which steps?")
    row.locator(".pick >> text=Read document").click()
    assert page.locator(f"{CARD} footer .filled").inner_text() == "Run with 2 sub-tasks changed"
    page.click(f"{CARD} footer .filled")
    page.wait_for_selector(".told >> text=approved by you, with 2 sub-tasks changed.")

    sent = answer(page)
    tasks = {task["id"]: task for task in sent["plan"]["tasks"]}
    assert sent["decision"] == "edit" and list(tasks) == ["1", "2", "3", "4", "5"]
    assert sent["plan"]["quorum"] == 0  # what the card does not show is kept
    assert tasks["4"]["enabled"] is False
    changed = {"title": "Steps", "question": "Which steps?", "depends_on": ["3"], "tools": ["search_documents"]}
    assert tasks["5"] == {"id": "5", "role": "researcher", "estimate_s": 0, "enabled": True, **changed}


def test_a_circle_cannot_be_chosen_and_says_why(open_page: Open) -> None:
    page = asked(open_page)
    page.locator(".task-line").nth(1).click()
    row = page.locator(ROW).nth(1)
    blocked = row.locator(".pick >> text=5 Cut-over steps")
    assert blocked.get_attribute("aria-disabled") == "true"
    assert blocked.get_attribute("title") == "Not possible: 5 waits for this one"
    assert "5 cannot be chosen: it waits for this one." in row.inner_text()
    blocked.click(force=True)
    assert blocked.get_attribute("aria-pressed") == "false"
    assert page.locator(f"{CARD} footer .filled").inner_text() == "Run this plan"


def test_another_role_brings_its_own_tools(open_page: Open) -> None:
    page = asked(open_page)
    page.locator(".task-line").first.click()
    row = page.locator(ROW).first
    row.locator("select").select_option("analyst")
    assert texts(page, f"{ROW}:first-child [aria-label='May use'] .pick") == ["Calculator"]
    assert "Computes, checks figures." in row.inner_text()
    page.click(f"{CARD} footer >> text=Undo edit")
    assert row.locator("select").input_value() == "researcher"
    assert page.locator(f"{CARD} footer .filled").inner_text() == "Run this plan"


def test_what_cannot_be_run_cannot_be_sent(open_page: Open) -> None:
    page = asked(open_page)
    for at in range(5):
        page.locator(f"{ROW} input[type=checkbox]").nth(at).uncheck()
    assert page.locator(f"{CARD} footer .filled").is_disabled()
    assert "switch one on" in page.inner_text(f"{CARD} .trouble")
    page.locator(f"{ROW} input[type=checkbox]").first.check()
    page.locator(".task-line").first.click()
    page.locator(f"{ROW} textarea").fill(" ")
    assert page.locator(f"{CARD} footer .filled").is_disabled()


def test_a_plan_is_rejected_with_a_reason(open_page: Open) -> None:
    page = asked(open_page)
    page.click(f"{CARD} >> text=Do not run it")
    page.fill(".reason input", "too dear")
    page.keyboard.press("Enter")
    page.wait_for_selector(".told >> text=rejected by you: too dear")
    assert answer(page) == {"decision": "reject", "reason": "too dear"}


def test_the_whole_card_works_from_the_keyboard(open_page: Open) -> None:
    page = asked(open_page)
    page.locator(f"{ROW} input[type=checkbox]").first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # opens the row
    assert page.locator(f"{ROW}:first-child .task-fields").is_visible()
    page.keyboard.press("Tab")
    page.keyboard.type("!")
    assert page.inner_text(f"{ROW}:first-child .name").endswith("!")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".told >> text=approved by you, with 1 sub-task changed.")


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_and_can_be_read(open_page: Open, dark: bool) -> None:
    page = asked(open_page, width=390, height=844, dark=dark)
    page.locator(".task-line").nth(1).click()
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    card, picks = page.locator(CARD).bounding_box(), page.locator(f"{ROW} .pick")
    for at in range(picks.count()):
        box = picks.nth(at).bounding_box()
        assert box["height"] >= 40 and box["x"] + box["width"] <= card["x"] + card["width"]
    for words in (".estimate", ".task-line .muted", ".pick[aria-disabled]", ".forecast .muted"):
        assert page.locator(f"{CARD} {words}").first.evaluate(CONTRAST) >= 4.5, words


def test_hostile_words_of_a_plan_stay_words(open_page: Open) -> None:
    page = asked(open_page, "!evilplan")
    page.locator(".task-line").first.click()
    assert "<img src=x" in page.inner_text(CARD)
    assert page.evaluate("window.hacked") is None


# -- the switch


def choose(page: Any, graph: str) -> None:
    page.click(".st-key-graph_menu button")
    page.locator("[data-testid=stPopoverBody]").get_by_text(graph, exact=True).click()
    page.wait_for_selector(f".st-key-graph_menu >> text={graph}")
    page.keyboard.press("Escape")


def sent(site: Any) -> dict[str, Any]:
    """The request that the page made last."""
    told: dict[str, Any] = site.clock()
    return dict(told["sent"][-1])


def test_the_switch_is_there_for_graphs_that_plan_and_is_remembered(open_page: Open, site: Any) -> None:
    page = open_page()
    switch = page.get_by_text("Review the plan first")
    switch.click()
    page.wait_for_selector(".st-key-plan_first input:checked", state="attached")
    choose(page, "Chat")
    switch.wait_for(state="detached")
    ask(page, "hello")
    page.wait_for_selector(RUN_ENDED)
    assert "review_plan" not in sent(site)

    choose(page, "Research")
    page.wait_for_selector(".st-key-plan_first input:checked", state="attached")
    page.fill(INPUT, "!review it")
    page.press(INPUT, "Enter")
    page.wait_for_selector(CARD)
    assert sent(site)["review_plan"] is True
