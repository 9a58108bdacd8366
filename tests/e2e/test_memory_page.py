"""Memory as a person has it: what the assistant was told to remember is listed with its author, and can be deleted."""

from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FACT = "my travel budget is 500 <b>euros</b>."


async def told(http: httpx.AsyncClient, text: str) -> None:
    """Say it in a chat, and wait for the answer."""
    thread_id = (await http.post("agent/threads", json={})).json()["thread_id"]
    said = {"messages": [{"role": "user", "content": text}]}
    answer = await http.post(f"agent/threads/{thread_id}/runs/wait", json={"assistant_id": "chat", "input": said})
    assert answer.status_code == 200


async def test_what_is_remembered_is_listed_with_its_author_and_can_be_deleted(browser: Browser, sextant: Any) -> None:
    async with httpx.AsyncClient(base_url=f"{sextant.url}/api/", timeout=60) as http:
        await told(http, f"Remember: {FACT}")
        [kept] = (await http.get("memories/search", params={"query": "travel budget"})).json()["memories"]

        page = await browser.new_page(viewport={"width": 1440, "height": 900})
        await page.goto(sextant.url)
        await page.get_by_role("link", name="Memory").click()
        row = page.locator(".sx-doc", has_text="travel budget")
        await expect(row).to_contain_text("500 <b>euros</b>")  # as text
        await expect(row).to_contain_text("remembered by assistant, version 1")

        await page.get_by_label("Something to remember").fill("I live in Graz.")
        await page.get_by_role("button", name="Remember", exact=True).click()
        mine = page.locator(".sx-doc", has_text="I live in Graz.")
        await expect(mine).to_contain_text("remembered by You, version 1")

        await page.locator(f".st-key-ask_{kept['key']} button").first.click()
        await page.locator(f".st-key-do_{kept['key']} button").click()
        await expect(row).to_have_count(0)
        await expect(mine).to_be_visible()
        assert (await http.get(f"memories/{kept['key']}")).status_code == 404
        await page.close()
