"""A person leaves a chat while it still tells something, over a line on which what the page is told comes late."""

from collections.abc import Callable
from typing import Any

import pytest
from steps import CHAT, RUN_ENDED, Open, run_example
from streamlit.testing.v1 import AppTest


class SlowLine:
    """What the server tells a page is held back while `held`; what the page says arrives."""

    def __init__(self, page: Any) -> None:
        self.page, self.held, self.said = page, False, b""
        self._late: list[Callable[[], None]] = []
        page.route_web_socket("**/_stcore/stream", self._open)

    def _open(self, browser: Any) -> None:
        server = browser.connect_to_server()

        def told(message: Any) -> None:
            if self.held:
                self._late.append(lambda: browser.send(message))
            else:
                browser.send(message)

        def said(message: bytes) -> None:
            self.said += message
            server.send(message)

        server.on_message(told)
        browser.on_message(said)

    def until_said(self, word: bytes) -> None:
        """Come back when the page has said this to the server."""
        for _ in range(1200):
            if word in self.said:
                self.said = b""
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"the page never said {word!r}")

    def let_go(self) -> None:
        while self._late:
            self._late.pop(0)()
        self.held = False


@pytest.fixture
def line(open_page: Open, site: Any) -> SlowLine:
    """A page whose chat works, and the line it is on, which has just become slow."""
    site.clock(hold=2)
    line = SlowLine(open_page())
    line.page.reload()
    run_example(line.page, CHAT)
    line.page.wait_for_url("**/?thread=*")
    line.held, line.said = True, b""
    return line


def end_of_run(line: SlowLine, site: Any) -> None:
    """The run ends, the page that still shows it says so, and only then hears what it was told before."""
    site.clock(hold=30)
    line.page.wait_for_selector(RUN_ENDED)
    line.until_said(b"moved")
    line.let_go()


def test_a_run_that_ends_while_its_chat_is_left_does_not_bring_it_back(line: SlowLine, site: Any) -> None:
    line.page.click(".st-key-new_chat button")
    line.until_said(b"new_chat")
    end_of_run(line, site)
    line.page.wait_for_url(f"{site.url}/")
    line.page.wait_for_selector(".card")
    run_example(line.page, CHAT)
    assert line.page.locator(".turn").count() == 1


def test_a_run_that_ends_while_another_page_is_opened_does_not_take_it_away(line: SlowLine, site: Any) -> None:
    line.page.click(".st-key-pages >> text=Documents")
    end_of_run(line, site)
    line.page.wait_for_selector(".sx-h1 >> text=What the agents may cite")
    line.page.wait_for_url(f"{site.url}/documents")
    assert line.page.locator(".turn").count() == 0


def anywhere() -> None:
    """A script that shows where the person has gone, if not to where the request comes from."""
    import streamlit as st

    from ui import session

    if st.session_state.pop("sent_by_itself", False):
        session.by_itself()
    if not st.session_state.pop("cut_short", False):
        st.text(session.elsewhere(st.session_state["page"]))


@pytest.mark.parametrize(("page", "thread"), [("documents", None), ("", None), ("", "another")])
def test_where_a_person_goes_counts_when_what_the_page_sent_was_cut_short(page: str, thread: str | None) -> None:
    """The page's own request was replaced by the person's before anything came of it."""
    app = AppTest.from_function(anywhere)
    app.session_state["page"], app.query_params["thread"] = "", "one"
    assert app.run().text[0].value == "None"
    app.session_state["sent_by_itself"] = app.session_state["cut_short"] = True
    app.run()
    app.session_state["page"] = page
    app.query_params.pop("thread")
    if thread:
        app.query_params["thread"] = thread
    assert app.run().text[0].value == "None"
    app.session_state["page"], app.query_params["thread"] = "", "one"
    app.session_state["sent_by_itself"] = True  # late, and of the place that was left
    assert app.run().text[0].value == str((page, thread))
