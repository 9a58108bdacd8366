"""What a page shows when the worker behind it is killed in mid-sentence, and how soon two pages know of a stop."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from aiohttp import web
from playwright.async_api import Browser, Page, expect

from app.demo_model.server import DemoServer
from app.embedded_postgres import EmbeddedServer

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

RUN_MS = 90_000
STOP_MS = 2_000
ROUNDS = 3
HOLD = "Hold the line."
NOTE = "Save a note titled Budget that says we spend 500 on search."
COMPARE = "Compare ReAct, planning with parallel sub-agents, and debate: latency, cost and when each pays"
FINAL = ".answer[data-final=true]"
OVER = ".turn.over"


class Slow(DemoServer):
    """A demo model whose pace changes, and which keeps one question waiting for as long as it is told to."""

    def __init__(self) -> None:
        super().__init__(ttft_ms=0, tokens_per_s=140)
        self.held, self.free = asyncio.Event(), asyncio.Event()

    async def chat(self, request: web.Request) -> web.StreamResponse:
        if HOLD.encode() in await request.read():
            self.held.set()
            await self.free.wait()
        return await super().chat(request)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Base URL, for as long as the context lasts."""
        runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        finally:
            self.free.set()
            await runner.cleanup()


class Api:
    """A server by HTTP."""

    def __init__(self, url: str) -> None:
        self._http = httpx.AsyncClient(base_url=f"{url}/api", timeout=60)

    async def start(self, graph: str, question: str) -> tuple[str, str]:
        """Thread and run of a question."""
        thread_id = (await self.post("threads", {"graph": graph}))["thread_id"]
        body = {"assistant_id": graph, "input": {"messages": [{"role": "user", "content": question}]}}
        return thread_id, (await self.post(f"threads/{thread_id}/runs", body))["run_id"]

    async def post(self, path: str, body: Any = None) -> dict[str, Any]:
        return dict((await self._http.post(path, json=body)).raise_for_status().json())

    async def get(self, path: str) -> dict[str, Any]:
        return dict((await self._http.get(path)).raise_for_status().json())


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of processes that share a home."""
    return {**{name: value for name, value in os.environ.items() if name != "DATABASE_URL"},
            "SEXTANT_HOME": str(tmp_path)}  # fmt: skip


@pytest.fixture
def workers(environment: dict[str, str], tmp_path: Path) -> Iterator[Any]:
    """Starts `sextant worker`; whatever is left of them ends with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(model_url: str) -> subprocess.Popen[bytes]:
        log = (tmp_path / "worker.log").open("ab")
        command = [sys.executable, "-m", "app.cli", "worker", "--concurrency", "4"]
        env = {**environment, "SEXTANT_MODEL_URL": model_url}
        started.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


async def opened(browser: Browser, url: str, thread_id: str) -> Page:
    page = await browser.new_page(viewport={"width": 1440, "height": 900})
    await page.goto(f"{url}/?thread={thread_id}")
    await expect(page.locator(".turn").first).to_be_visible(timeout=RUN_MS)
    return page


async def raw_text(page: Page) -> str:
    return str(await page.locator(".answer").last.evaluate("element => element.rawText"))


def notes(home: Path) -> int:
    """Notes that are in the store."""
    server = EmbeddedServer(home / "postgres")
    try:
        with psycopg.connect(server.acquire()) as connection:
            [count] = connection.execute("select count(*) from store where prefix like 'notes.%'").fetchone() or [None]
            return int(count or 0)
    finally:
        server.release()


async def test_a_worker_killed_in_mid_sentence_costs_the_page_nothing(
    browser: Browser, sextant: Any, workers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Slow()
    async with model.serving() as model_url:
        monkeypatch.setenv("SEXTANT_MODEL_URL", model_url)
        monkeypatch.setenv("SEXTANT_WORKER_CONCURRENCY", "1")
        running = await asyncio.to_thread(type(sextant), tmp_path)
        try:
            api = Api(running.url)
            await api.start("chat", HOLD)  # takes the one place in the server's own worker
            await asyncio.wait_for(model.held.wait(), 60)
            worker = workers(model_url)
            thread_id, run_id = await api.start("chat", NOTE)
            page = await opened(browser, running.url, thread_id)
            await expect(page.locator(".request.open .filled")).to_be_visible(timeout=RUN_MS)
            model.tokens_per_s = 2
            await page.locator(".request.open .filled").click()
            await expect(page.locator(".answer.streaming")).to_be_visible(timeout=RUN_MS)

            worker.send_signal(signal.SIGKILL)
            begun = await raw_text(page)
            assert begun
            assert notes(tmp_path) == 1
            await expect(page.locator(".turn .status.r-lost")).to_be_visible(timeout=RUN_MS)
            assert (await api.get(f"runs/{run_id}"))["status"] == "lost"
            model.tokens_per_s = 140
            model.free.set()  # the server's worker has a place now, and takes over

            await expect(page.locator(FINAL)).to_be_visible(timeout=RUN_MS)
            stored = await api.get(f"runs/{run_id}")
            assert stored["status"] == "succeeded"
            assert begun in stored["output"]["answer"] != begun
            assert await raw_text(page) == stored["output"]["answer"]
            await page.reload()
            await expect(page.locator(FINAL)).to_be_visible(timeout=RUN_MS)
            assert await raw_text(page) == stored["output"]["answer"]
            assert len((await api.get(f"runs/{run_id}/effects"))["effects"]) == 1
            assert notes(tmp_path) == 1
        finally:
            await asyncio.to_thread(running.stop)


WATCH = """(turn) => {
  const see = () => { if (turn.classList.contains("over")) window.overAt ??= Date.now(); };
  new MutationObserver(see).observe(turn, {attributes: true});
  see();
}"""
STOP = """(button) => { window.stoppedAt = Date.now(); button.click(); }"""


async def test_a_stop_is_in_two_tabs_within_two_seconds_and_after_a_reload(
    browser: Browser, sextant: Any, dawdling: Any
) -> None:
    """By the pages' own clocks. A machine that is busy elsewhere may be late once; the product is not late thrice."""
    api = Api(sextant.url)
    late_ms = []
    for _ in range(ROUNDS):
        with dawdling(sextant.url):
            thread_id, run_id = await api.start("research", COMPARE)
            tabs = [await opened(browser, sextant.url, thread_id) for _ in range(2)]
            await expect(tabs[0].locator(".lane.l-running").first).to_be_visible(timeout=RUN_MS)
            for tab in tabs:
                await tab.locator(".turn").first.evaluate(WATCH)
            await tabs[0].locator(".panel .stop, .status .stop").locator("visible=true").evaluate(STOP)
            for tab in tabs:
                await expect(tab.locator(OVER)).to_be_visible(timeout=RUN_MS)
                await expect(tab.locator(".fold")).to_contain_text("Stopped.")
        clicked = await tabs[0].evaluate("window.stoppedAt")
        late_ms.append(max([await tab.evaluate("window.overAt") - clicked for tab in tabs]))
        assert (await api.get(f"runs/{run_id}"))["status"] == "cancelled"
        for tab in tabs:
            await tab.reload()
            await expect(tab.locator(OVER)).to_contain_text("Stopped.", timeout=RUN_MS)
            await tab.close()
        if late_ms[-1] <= STOP_MS:
            break
    print(f"stop shown in both tabs after {late_ms} ms")
    assert min(late_ms) <= STOP_MS, f"{late_ms} ms"
