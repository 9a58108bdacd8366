"""Steps that the browser tests share."""

import re
from collections.abc import Callable
from typing import Any

RAW = "document.querySelector('[data-testid=stBidiComponentIsolated]').shadowRoot.querySelector('.answer').rawText"
"""The answer's text as it was received."""
RESEARCH, CHAT = 0, 1
INPUT = "[data-testid=stChatInputTextArea]"
RUN_ENDED = ".turn.over"

Open = Callable[..., Any]


def ask(page: Any, question: str) -> None:
    page.fill(INPUT, question)
    page.press(INPUT, "Enter")
    page.wait_for_selector(".question")


def run_example(page: Any, which: int = RESEARCH) -> None:
    page.locator(".card").nth(which).click()
    page.wait_for_selector(".turn")


def texts(page: Any, selector: str) -> list[str]:
    return [text.strip() for text in page.locator(selector).all_inner_texts()]


def address(page: Any, site: Any) -> str:
    page.wait_for_url(re.compile(r"thread="))
    return str(page.url).removeprefix(site.url)
