"""After the answer: how the run went, and the same question with one agent, in a real browser."""

from typing import Any

import pytest
from steps import CONTRAST, RUN_ENDED, Open, ask, texts

pytestmark = pytest.mark.browser

QUESTION = "Compare the write-ahead log, logical replication and physical replication"
WENT = ".went"


def over(open_page: Open, site: Any, question: str = QUESTION, **how: Any) -> Any:
    """A page with a run that has just ended."""
    site.clock(hold=100)
    page = open_page(**how)
    ask(page, question)
    page.wait_for_selector(f"{RUN_ENDED} {WENT}")
    return page


def test_how_it_went_is_closed_until_it_is_wanted(open_page: Open, site: Any) -> None:
    page = over(open_page, site)
    assert page.inner_text(f"{WENT} summary") == "How this run went\none change would help"
    assert not page.locator(".went-figures").is_visible()
    page.locator(f"{WENT} summary").focus()
    page.keyboard.press("Enter")
    assert page.inner_text(".went-advice").startswith("About 6.1 s less. “Logical replication” took 11.6 s")
    assert texts(page, ".went-figures dt") == ["Took", "One after another", "Shortest possible", "Faster"]
    assert texts(page, ".went-figures b") == ["24.8 s", "41.9 s", "13.1 s", "1.7×"]
    assert texts(page, ".went-path .name") == ["Plan", "Logical replication", "Cut-over steps", "Write"]
    assert "1 answer of the planner, asked for by schema, could not be read" in page.inner_text(WENT)


def test_a_step_of_the_path_is_shown_in_the_run(open_page: Open, site: Any) -> None:
    page = over(open_page, site)
    page.click(f"{WENT} summary")
    page.locator(".went-step").nth(1).click()
    assert page.inner_text(".panel .lane.selected .name") == "Logical replication"
    assert page.locator(".panel .bar.critical").count() == 4
    page.locator(".went-step").nth(1).click()
    assert page.locator(".panel .lane.selected").count() == 1  # a second look closes nothing


def test_a_call_tells_its_figures(open_page: Open, site: Any) -> None:
    page = over(open_page, site)
    title = page.locator(".panel .seg.k-model").first.get_attribute("title")
    assert title == "1.5 s · first token 0.4 s · 1.8k in, 212 out · $0.003"


def test_one_agent_alone_is_told_so_without_a_page_of_figures(open_page: Open, site: Any) -> None:
    page = over(open_page, site, "!chat hello")
    page.click(f"{WENT} summary")
    assert page.inner_text(".went-advice") == "Nothing worth changing: one agent did all of it."
    assert texts(page, ".went-figures dt") == ["Took"]
    assert page.get_by_text("Compare with one agent").is_hidden()


def test_nothing_is_said_of_a_run_that_goes_on(open_page: Open, site: Any) -> None:
    site.clock(hold=5)
    page = open_page()
    ask(page, QUESTION)
    page.wait_for_selector(".findings:visible")
    assert not page.locator(WENT).is_visible()
    assert page.get_by_text("Compare with one agent").is_hidden()


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_and_can_be_read(open_page: Open, site: Any, dark: bool) -> None:
    page = over(open_page, site, width=390, height=844, dark=dark)
    page.click(f"{WENT} summary")
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    for words in (".went-figures .muted", ".went-head", ".went-step .took", ".went-advice"):
        assert page.locator(words).first.evaluate(CONTRAST) >= 4.5, words
    assert page.locator(".went-step").first.bounding_box()["height"] >= 40


# -- one agent


def test_a_team_is_compared_with_one_agent(open_page: Open, site: Any) -> None:
    page = over(open_page, site)
    page.click("text=Compare with one agent")
    page.wait_for_selector(".compared-table td")
    assert page.inner_text(".branches .place") == "2/2"
    assert texts(page, ".compared-table thead th") == ["Research", "One agent", "Difference"]
    rows = [text.split("\t") for text in texts(page, ".compared-table tbody tr")]
    assert [row[0] for row in rows] == ["Time", "Tokens", "Cost, estimated", "Model calls", "Sources cited"]
    assert rows[0][1:] == ["24.8 s", "6.4 s", "team 3.9 times as long"]
    assert rows[4][1:] == ["6", "1", "team 5 more"]

    page.click("text=Read the team's answer")
    page.wait_for_selector(".answer >> text=keep a physical standby")
    page.wait_for_selector(".compared-table td")
    assert page.get_by_text("Compare with one agent").is_hidden()  # it is there already
    assert page.locator("text=Read the one agent's answer").is_visible()


def test_the_comparison_waits_for_the_one_agent_and_survives_a_reload(open_page: Open, site: Any) -> None:
    page = over(open_page, site)
    site.clock(hold=None)
    page.click("text=Compare with one agent")
    page.wait_for_selector(".branches .place >> text=2/2")
    page.click(".branches button >> nth=0")
    page.wait_for_selector(".compared >> text=still at work")
    site.clock(hold=100)
    page.wait_for_selector(".compared-table td")
    page.reload()
    page.wait_for_selector(".compared-table td")
