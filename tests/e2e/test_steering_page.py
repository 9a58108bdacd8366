"""Steering runs in the page, on the real product: stop, answer, queue, branch, resume, and a server that is killed."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]

RUN_MS = 60_000
COMPARE = "Compare ReAct, planning with parallel sub-agents, and debate: latency, cost and when each pays"
NOTE = "Save a note titled Budget that says we spend 500 on search."
KEY = "What is an idempotency key, and which tool calls need one?"
INPUT = "[data-testid=stChatInputTextArea]"
OVER = ".turn.over"
FINAL = ".answer[data-final=true]"


class Api:
    """The same server by HTTP, to set a scene and to see what is stored."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=f"{url}/api", timeout=60)

    def start(self, graph: str, question: str, thread_id: str = "", **more: Any) -> tuple[str, str]:
        """Thread and run of a question."""
        thread_id = thread_id or self.post("threads", {"graph": graph})["thread_id"]
        body = {"assistant_id": graph, "input": {"messages": [{"role": "user", "content": question}]}, **more}
        return thread_id, self.post(f"threads/{thread_id}/runs", body)["run_id"]

    def post(self, path: str, body: Any = None) -> dict[str, Any]:
        return dict(self._http.post(path, json=body).raise_for_status().json())

    def get(self, path: str) -> dict[str, Any]:
        return dict(self._http.get(path).raise_for_status().json())

    def runs(self, thread_id: str) -> list[dict[str, Any]]:
        return list(self.get(f"threads/{thread_id}/runs")["runs"])

    def effects(self, run_id: str) -> list[dict[str, Any]]:
        return list(self.get(f"runs/{run_id}/effects")["effects"])


@pytest.fixture
def api(sextant: Any) -> Iterator[Api]:
    it = Api(sextant.url)
    with closing(it._http):
        yield it


async def opened(browser: Browser, url: str, thread_id: str) -> Page:
    page = await browser.new_page(viewport={"width": 1440, "height": 900})
    await page.goto(f"{url}/?thread={thread_id}")
    await expect(page.locator(".turn").first).to_be_visible(timeout=RUN_MS)
    return page


async def raw_text(page: Page) -> str:
    return str(await page.locator(".answer").last.evaluate("element => element.rawText"))


async def say(page: Page, words: str) -> None:
    await page.fill(INPUT, words)
    await page.press(INPUT, "Enter")


# ---- stop, resume, answer now


async def test_stop_ends_the_run_in_two_tabs_and_resume_brings_it_to_its_answer(
    browser: Browser, sextant: Any, api: Api, dawdling: Any
) -> None:
    with dawdling(sextant.url):
        thread_id, run_id = api.start("research", COMPARE)
        first, second = [await opened(browser, sextant.url, thread_id) for _ in range(2)]
        await expect(first.locator(".lane.l-running").first).to_be_visible(timeout=RUN_MS)

        await first.locator(".panel .stop, .status .stop").locator("visible=true").click()
        for page in (first, second):
            await expect(page.locator(OVER)).to_be_visible(timeout=RUN_MS)
            await expect(page.locator(".fold")).to_contain_text("Stopped.")
    await second.reload()
    await expect(second.locator(OVER)).to_contain_text("Stopped.", timeout=RUN_MS)

    await second.get_by_role("button", name="Resume").click()
    for page in (first, second):  # the other tab finds out by itself
        await expect(page.locator(FINAL)).to_be_visible(timeout=RUN_MS)
        assert await raw_text(page) == api.get(f"runs/{run_id}")["output"]["answer"]


async def test_answer_now_names_what_is_missing_and_retry_fetches_it(
    browser: Browser, sextant: Any, api: Api, dawdling: Any
) -> None:
    with dawdling(sextant.url):
        thread_id, run_id = api.start("research", COMPARE)
        page = await opened(browser, sextant.url, thread_id)
        await expect(page.locator(".lane.l-running[aria-label*=brief]").first).to_be_visible(timeout=RUN_MS)

        await page.locator(".panel .more, .status .more").locator("visible=true").click()
        await page.locator(".menu >> visible=true").get_by_text("Answer with what we have").click()
        await expect(page.locator(FINAL)).to_be_visible(timeout=RUN_MS)

    missing = api.get(f"runs/{run_id}")["output"]["missing"]
    assert missing
    await expect(page.locator(".after")).to_contain_text(f"{missing[0]['title']} is missing.")
    await page.get_by_text(re.compile("Retry the missing part")).click()
    await expect(page.locator(".recover")).to_be_hidden(timeout=RUN_MS)
    await expect(page.locator(FINAL)).to_be_visible(timeout=RUN_MS)
    assert api.get(f"runs/{run_id}")["output"]["missing"] == []


async def test_a_budget_that_is_reached_can_be_raised(browser: Browser, sextant: Any, api: Api) -> None:
    thread_id, run_id = api.start("research", COMPARE, budget={"steps": 6})
    page = await opened(browser, sextant.url, thread_id)
    await expect(page.locator(".after")).to_contain_text("Budget reached: 6 of 6 model calls.", timeout=RUN_MS)
    await expect(page.locator(".panel .rule.high")).to_be_visible()

    await page.click("text=Raise to 12 model calls and go on")
    await expect(page.locator(FINAL)).to_be_visible(timeout=RUN_MS)
    assert api.get(f"runs/{run_id}")["status"] == "succeeded"
    await expect(page.locator(".panel .meters")).to_contain_text("of 12")


# ---- approvals


async def test_an_approval_in_two_tabs_applies_once_and_the_other_is_told(
    browser: Browser, sextant: Any, api: Api
) -> None:
    thread_id, run_id = api.start("chat", NOTE)
    tabs = [await opened(browser, sextant.url, thread_id) for _ in range(2)]
    for page in tabs:
        await expect(page.locator(".request.open .filled")).to_be_visible(timeout=RUN_MS)
        await expect(page.locator("[class*=st-key-need_] button").first).to_be_visible()

    await asyncio.gather(*(page.locator(".request.open .filled").click() for page in tabs))

    for page in tabs:
        await expect(page.locator(FINAL)).to_contain_text("Saved the note", timeout=RUN_MS)
    told = sorted([await page.locator(".told").inner_text() for page in tabs])
    assert [re.sub(r"\s+", " ", words) for words in told] == [
        "Save note approved by you, in another window.", "Save note approved by you."
    ]  # fmt: skip
    assert len(api.effects(run_id)) == 1


async def test_an_edited_approval_does_what_was_edited(browser: Browser, sextant: Any, api: Api) -> None:
    thread_id, run_id = api.start("chat", NOTE)
    page = await opened(browser, sextant.url, thread_id)
    await page.get_by_role("textbox", name="Text", exact=True).fill("We spend 600 on search.", timeout=RUN_MS)
    await page.click("text=Approve with 1 edit")

    await expect(page.locator(FINAL)).to_be_visible(timeout=RUN_MS)
    [effect] = api.effects(run_id)
    assert effect["args"]["text"] == "We spend 600 on search."
    await expect(page.locator(".told")).to_contain_text("approved by you, with 1 edit")
    await page.locator(".question").hover()
    await page.locator(".pencil").click()
    await expect(page.locator(".editor")).to_contain_text("Already done: save note")


async def test_a_branch_asks_before_it_repeats_what_was_done(browser: Browser, sextant: Any, api: Api) -> None:
    thread_id, run_id = api.start("chat", NOTE)
    page = await opened(browser, sextant.url, thread_id)
    await page.locator(".request.open .filled").click(timeout=RUN_MS)
    await expect(page.locator(FINAL)).to_be_visible(timeout=RUN_MS)

    await page.locator(".question").hover()
    await page.locator(".pencil").click()
    await expect(page.locator(".editor")).to_contain_text(
        re.compile("Already done: save note .* at .*you are asked first")
    )
    await page.fill(".editor textarea", f"Please do this: {NOTE}")
    await page.press(".editor textarea", "Enter")

    card = page.locator(".request.open")
    await expect(card).to_contain_text("Save note: do it again?", timeout=RUN_MS)
    await expect(card).to_contain_text(NOTE)
    await card.get_by_role("button", name="Use that result").click()
    await expect(page.locator(FINAL)).to_contain_text("Saved the note", timeout=RUN_MS)
    await expect(page.locator(".told")).to_contain_text("the result from before is used")
    newest = api.runs(thread_id)[-1]["run_id"]
    assert newest != run_id
    assert (len(api.effects(run_id)), api.effects(newest)) == (1, [])


async def test_a_rejection_reaches_the_agent_with_its_reason(browser: Browser, sextant: Any, api: Api) -> None:
    thread_id, run_id = api.start("chat", NOTE)
    page = await opened(browser, sextant.url, thread_id)
    await page.click("text=Reject with a reason", timeout=RUN_MS)
    await page.fill(".reason input", "the figure is old")
    await page.press(".reason input", "Enter")

    await expect(page.locator(FINAL)).to_be_visible(timeout=RUN_MS)
    await expect(page.locator(".told")).to_contain_text("rejected by you: the figure is old")
    assert api.effects(run_id) == []
    assert "the figure is old" in await raw_text(page)


# ---- a second message


async def test_a_second_message_waits_for_the_first_and_is_answered(
    browser: Browser, sextant: Any, api: Api, dawdling: Any
) -> None:
    with dawdling(sextant.url):
        thread_id, _ = api.start("research", COMPARE)
        page = await opened(browser, sextant.url, thread_id)
        await expect(page.locator(".st-key-sent_now")).to_be_visible(timeout=RUN_MS)
        await say(page, KEY)
        queued = page.locator(".turn").nth(1)
        await expect(queued).to_contain_text("It waits for the message before it.", timeout=RUN_MS)

    await expect(page.locator(FINAL)).to_have_count(2, timeout=RUN_MS)
    assert [run["status"] for run in api.runs(thread_id)] == ["succeeded", "succeeded"]


async def test_a_second_message_may_stop_the_first(browser: Browser, sextant: Any, api: Api, dawdling: Any) -> None:
    with dawdling(sextant.url):
        thread_id, _ = api.start("research", COMPARE)
        page = await opened(browser, sextant.url, thread_id)
        await page.get_by_role("radio", name="stops it first").click(timeout=RUN_MS)
        await say(page, KEY)
        await expect(page.locator(OVER).first).to_contain_text("Stopped.", timeout=RUN_MS)
    await expect(page.locator(FINAL)).to_have_count(1, timeout=RUN_MS)
    assert [run["status"] for run in api.runs(thread_id)] == ["cancelled", "succeeded"]


# ---- branches


async def test_an_edited_question_branches_off_and_both_branches_stay(browser: Browser, sextant: Any, api: Api) -> None:
    thread_id, _ = api.start("chat", "What is 2 + 3?")
    page = await opened(browser, sextant.url, thread_id)
    await expect(page.locator(FINAL)).to_contain_text("5", timeout=RUN_MS)
    await say(page, "What is 10 + 4?")
    await expect(page.locator(FINAL)).to_have_count(2, timeout=RUN_MS)

    await page.locator(".question").nth(1).hover()
    await page.locator(".pencil").nth(1).click()
    await page.fill(".editor textarea", "What is 20 + 7?")
    await page.press(".editor textarea", "Enter")

    await expect(page.locator(".branches").locator("visible=true")).to_contain_text("2/2", timeout=RUN_MS)
    await expect(page.locator(FINAL).nth(1)).to_contain_text("27", timeout=RUN_MS)
    assert await page.locator(".turn").count() == 2
    await page.get_by_label("Earlier branch").locator("visible=true").click()
    await expect(page.locator(FINAL).nth(1)).to_contain_text("14", timeout=RUN_MS)
    await page.reload()
    await expect(page.locator(FINAL).nth(1)).to_contain_text("14", timeout=RUN_MS)
    await expect(page.locator(".branches").locator("visible=true")).to_contain_text("1/2")


# ---- a server that is killed


async def test_a_run_whose_server_was_killed_ends_in_the_same_page(
    browser: Browser, mortal: Any, dawdling: Any
) -> None:
    api = Api(mortal.url)
    with dawdling(mortal.url):
        thread_id, run_id = api.start("research", COMPARE)
        page = await opened(browser, mortal.url, thread_id)
        await expect(page.locator(".finding .prose").first).to_be_visible(timeout=RUN_MS)
        mortal.kill()
    await expect(page.locator(".turn .trouble").first).to_contain_text("The connection is gone.", timeout=RUN_MS)
    await expect(page.locator(".away")).to_contain_text("The server does not answer.")
    await asyncio.to_thread(mortal.rise)

    await expect(page.locator(FINAL)).to_be_visible(timeout=RUN_MS)
    stored = api.get(f"runs/{run_id}")
    assert stored["status"] == "succeeded"
    assert await raw_text(page) == stored["output"]["answer"]
    await expect(page.locator(".turn .trouble").first).to_be_hidden()
    await expect(page.locator(".away")).to_be_hidden()
