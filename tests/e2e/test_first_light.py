"""First light, as a person sees it: click the research example, watch the team, reload, read the cited answer."""

import re
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]

RUN_MS = 60_000


async def opened(browser: Browser, url: str) -> Page:
    page = await browser.new_page(viewport={"width": 1440, "height": 900})
    await page.goto(url)
    return page


async def run_of(page: Page, url: str) -> dict[str, Any]:
    """The newest run of the page's thread, as the API has it."""
    await expect(page).to_have_url(re.compile("thread="))
    thread_id = httpx.URL(page.url).params["thread"]
    async with httpx.AsyncClient(base_url=url) as client:
        runs = (await client.get(f"/api/threads/{thread_id}/runs")).json()["runs"]
        return dict((await client.get(f"/api/runs/{runs[-1]['run_id']}")).json())


async def raw_text(page: Page) -> str:
    return str(await page.locator(".answer").last.evaluate("element => element.rawText"))


async def test_research_example_runs_side_by_side_survives_a_reload_and_shows_the_stored_text(
    browser: Browser, sextant: Any, dawdling: Any
) -> None:
    with dawdling(sextant.url, "known about"):
        page = await opened(browser, sextant.url)
        await page.locator("button.card[data-graph=research]").first.click()
        await expect(page.locator(".lane.l-running").nth(2)).to_be_visible(timeout=RUN_MS)  # three at once
        await page.reload()
    await expect(page.locator(".answer[data-final=true]")).to_be_visible(timeout=RUN_MS)

    run = await run_of(page, sextant.url)
    assert run["status"] == "succeeded"
    assert await raw_text(page) == run["output"]["answer"]
    assert len(run["output"]["sources"]) >= 3
    assert await page.locator(".answer .chip").count() >= 3


async def test_a_citation_opens_its_passage(browser: Browser, sextant: Any) -> None:
    page = await opened(browser, sextant.url)
    await page.get_by_text("What is an idempotency key").first.click()
    await expect(page.locator(".answer[data-final=true]")).to_be_visible(timeout=RUN_MS)
    run = await run_of(page, sextant.url)
    first = run["output"]["sources"][0]

    await page.locator(".answer .chip").first.click()

    popover = page.locator("[role=dialog]").first
    await expect(popover).to_contain_text(first["title"])
    await expect(popover).to_contain_text(first["quote"][:60])


async def test_two_tabs_show_the_same_run(browser: Browser, sextant: Any) -> None:
    page = await opened(browser, sextant.url)
    await page.get_by_text("What do three items").first.click()
    await expect(page).to_have_url(re.compile("thread="))
    other = await opened(browser, page.url)

    for tab in (page, other):
        await expect(tab.locator(".answer[data-final=true]")).to_contain_text("474.47", timeout=RUN_MS)
    assert await raw_text(page) == await raw_text(other)
