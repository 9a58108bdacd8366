"""Signing in, as a person sees it: a key goes in, the page works, somebody else sees nothing of it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]

RUN_MS = 60_000


def key(home: Path, *command: str) -> str:
    """What `sextant key ...` prints."""
    environment = {**os.environ, "SEXTANT_HOME": str(home)}
    environment.pop("DATABASE_URL", None)
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "key", *command], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def closed(sextant: Any, tmp_path: Path) -> Iterator[Any]:
    """Another server, which asks for keys: ann's and bob's."""
    ann, bob = key(tmp_path, "add", "ann", "--label", "laptop"), key(tmp_path, "add", "bob")
    running = type(sextant)(tmp_path)
    running.keys = {"ann": ann, "bob": bob}
    yield running
    running.stop()


async def sign_in(page: Page, with_key: str) -> None:
    await page.locator("input#key").fill(with_key)
    await page.get_by_role("button", name="Sign in").click()


async def test_a_person_signs_in_asks_stops_and_signs_out(browser: Browser, closed: Any) -> None:
    page = await (await browser.new_context()).new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    await page.goto(closed.url)
    await sign_in(page, "sx_wrong")
    await expect(page.get_by_role("alert")).to_contain_text("wrong or was revoked", timeout=RUN_MS)
    await sign_in(page, closed.keys["ann"])

    question = "What is an idempotency key, and which tool calls need one?"
    await page.get_by_text(question).first.click()
    await expect(page.locator(".answer[data-final=true]")).to_be_visible(timeout=RUN_MS)  # the stream has her cookie
    await expect(page.locator("[class*=st-key-thread_succeeded]")).to_have_count(1)

    other = await (await browser.new_context()).new_page()
    await other.goto(page.url)  # the very address of her chat
    await sign_in(other, closed.keys["bob"])
    await expect(other.get_by_text("What should the agents work on?")).to_be_visible(timeout=RUN_MS)
    await expect(other.locator("[class*=st-key-thread_succeeded]")).to_have_count(0)

    await page.get_by_role("button", name="Sign out").click()
    await expect(page.locator("input#key")).to_be_visible(timeout=RUN_MS)
    assert errors == []


async def test_a_revoked_key_is_out_at_the_next_click(browser: Browser, closed: Any) -> None:
    page = await (await browser.new_context()).new_page()
    await page.goto(closed.url)
    await sign_in(page, closed.keys["bob"])
    await expect(page.get_by_text("What should the agents work on?")).to_be_visible(timeout=RUN_MS)
    listed = key(closed.home, "list")
    assert "ann" in listed and "laptop" in listed and closed.keys["bob"] not in listed
    [row] = [line for line in listed.splitlines() if " bob " in line]
    assert "No key is left" not in key(closed.home, "revoke", row.split()[0])
    assert "revoked" in key(closed.home, "list")
    await page.reload()
    await expect(page.locator("input#key")).to_be_visible(timeout=RUN_MS)
