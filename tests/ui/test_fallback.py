"""The page without an event stream, driven without a browser: the same chat through polling and native elements."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from streamlit import config
from streamlit.testing.v1 import AppTest

import ui

MAIN = Path(ui.__file__).with_name("main.py")


@pytest.fixture
def page(site: Any) -> Iterator[AppTest]:
    """The page, told where the scripted API is, asked for polling."""
    before = config.get_option("server.port")
    config.set_option("server.port", site.port)
    opened = AppTest.from_file(str(MAIN), default_timeout=30)
    opened.query_params["live"] = "poll"
    yield opened.run()
    config.set_option("server.port", before)


def html(page: AppTest) -> str:
    return " ".join(str(element.proto.body) for element in page.get("html"))


def test_examples_are_buttons_and_one_starts_a_run(page: AppTest, site: Any) -> None:
    site.clock(hold=11.6)
    page.button(key="example_0").click().run()
    assert not page.exception
    assert page.query_params["thread"]
    assert "2 of 5 sub-tasks are done." in html(page)
    lanes = page.dataframe[0].value
    assert list(lanes["agent"])[:3] == ["Plan", "Write-ahead log", "Logical replication"]
    assert "running" in set(lanes["state"])
    assert [button.label for button in page.button if button.label == "Stop"] == ["Stop"]


def test_the_answer_and_its_sources_arrive(page: AppTest, site: Any) -> None:
    site.clock(hold=30)
    page.button(key="example_0").click().run()
    drawn = html(page)
    assert "<strong>Move with logical replication" in drawn
    assert "<td>no <sup>[3]</sup></td>" in drawn
    assert "[4] postgresql-18-manual.pdf, page 889: An unused slot" in drawn
    assert not [button for button in page.button if button.label == "Stop"]


def test_a_question_typed_goes_to_the_chosen_graph(page: AppTest, site: Any) -> None:
    site.clock(hold=30)
    page.radio(key="graph").set_value("chat").run()
    page.chat_input(key="question").set_value("What about lag?").run()
    assert not page.exception
    assert "do not fail over" in html(page)


def test_requests_are_answered_with_native_fields(page: AppTest, site: Any) -> None:
    site.clock(hold=9)
    page.chat_input(key="question").set_value("!asking please").run()
    assert not page.exception
    assert "Open change ticket: Upgrade orders-db" in html(page)
    labels = [button.label for button in page.button]
    assert labels.count("Approve") == 1
    assert "Approve with edits" not in labels
    given = page.text_area[0].value
    page.text_area[0].set_value(given.replace("30", "45")).run()
    edited = next(button for button in page.button if button.label == "Approve with edits")
    assert "Approve" not in [button.label for button in page.button]
    edited.click().run()
    assert not page.exception
    assert "Open change ticket: Upgrade orders-db" not in html(page)

    page.text_input[0].set_value("mail 4711").run()
    next(button for button in page.button if button.label == "Happened").click().run()
    page.text_input[0].set_value("Europe").run()
    next(button for button in page.button if button.label == "Answer").click().run()
    assert "<p>All of it is settled.</p>" in html(page)


def test_a_plan_is_changed_as_text(page: AppTest, site: Any) -> None:
    site.clock(hold=9)
    page.chat_input(key="question").set_value("!review please").run()
    assert not page.exception
    assert "Run this plan?" in html(page)
    given = page.text_area[0].value
    page.text_area[0].set_value(given.replace("Cut-over steps", "Steps")).run()
    next(button for button in page.button if button.label == "Approve with edits").click().run()
    assert not page.exception
    view = httpx.get(f"{site.url}/api/runs/{site.clock()['runs'][-1]}/view").json()
    answer = view["requests"][0]["answer"]
    assert answer["decision"] == "edit"
    assert [task["title"] for task in answer["plan"]["tasks"]][-1] == "Steps"


def test_hostile_text_is_text(page: AppTest, site: Any) -> None:
    site.clock(hold=9)
    page.chat_input(key="question").set_value("!hostile <script>x</script>").run()
    drawn = html(page)
    assert "<script" not in drawn
    assert "&lt;img src=x onerror=" in drawn


def test_a_server_that_is_away_is_said_in_words(page: AppTest) -> None:
    config.set_option("server.port", 1)
    away = AppTest.from_file(str(MAIN), default_timeout=30).run()
    assert not away.exception
    assert "The server cannot be reached." in html(away)
    assert "sextant up" in html(away)
