"""Pages as agents read them: from a real server on loopback, through the parser's process, kept and marked when old."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiohttp import web
from crew import crew, run
from langchain.agents import create_agent
from langchain_core.messages import ToolMessage
from scripted import ScriptedModel, calls, says

from agents.context import Context, Page, Passage
from agents.errors import Refused, ToolFailed
from agents.middleware import stack
from agents.tools.fetch import SHOWN_CHARS, fetch_page
from app.web import FRESH_S, Web

PAGE = """<html><head><title>Tides</title></head><body><nav>Home | About</nav><h1>High water</h1>
<p>The tide turns every six hours and twelve minutes.</p><script>alert(1)</script></body></html>"""


@dataclass
class Site:
    """A server whose page can change and go away."""

    host: str = ""
    body: str = PAGE
    status: int = 200
    asked: int = 0
    now: float = 1000.0

    async def page(self, request: web.Request) -> web.Response:
        self.asked += 1
        kind = request.query.get("type", "text/html")
        return web.Response(body=self.body.encode("latin-1"), status=self.status, content_type=kind)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    it = Site()
    app = web.Application()
    app.router.add_get("/{name}", it.page)
    runner = web.AppRunner(app)
    await runner.setup()
    at = web.TCPSite(runner, "127.0.0.1", 0)
    await at.start()
    host, port = at._server.sockets[0].getsockname()  # type: ignore[union-attr]
    it.host = f"{host}:{port}"
    yield it
    await runner.cleanup()


@pytest.fixture
async def reader(site: Site) -> AsyncIterator[Web]:
    it = Web([site.host], clock=lambda: site.now)
    yield it
    await it.aclose()


async def test_a_page_is_its_text_without_furniture(site: Site, reader: Web) -> None:
    page = await reader.read(f"http://{site.host}/tides")
    assert page.title == "Tides"
    text = " ".join(it.text for it in page.passages)
    assert "six hours and twelve minutes" in text and "alert" not in text and "About" not in text
    assert page.passages[-1].heading == "High water"


async def test_a_page_is_kept_for_a_while_and_given_with_its_age_when_it_is_gone(site: Site, reader: Web) -> None:
    url = f"http://{site.host}/tides"
    await reader.read(url)
    site.now += FRESH_S / 2
    assert (await reader.read(url)).stale is False and site.asked == 1
    site.now += FRESH_S
    site.status = 503
    old = await reader.read(url)
    assert old.stale and old.age_s == 1.5 * FRESH_S and site.asked == 2
    site.status, site.body = 200, PAGE.replace("six", "seven")
    assert "seven hours" in (await reader.read(url)).passages[-1].text


async def test_of_long_pages_few_are_kept(site: Site) -> None:
    site.body = "The tide turns. " * 20_000
    reader = Web([site.host], clock=lambda: site.now, kept_chars=700_000)
    try:
        for name in ("one", "two", "three", "three", "two", "one"):
            await reader.read(f"http://{site.host}/{name}?type=text/plain")
    finally:
        await reader.aclose()

    assert site.asked == 4  # two of them fit, and the first had to go


@pytest.mark.parametrize(
    ("body", "kind"), [("\x89PNG\r\n", "image/png"), ("", "text/html"), ("%PDF-1.7 no", "application/pdf")]
)
async def test_what_holds_no_text_is_said(site: Site, reader: Web, body: str, kind: str) -> None:
    site.body = body
    with pytest.raises(ToolFailed, match=r"127\.0\.0\.1") as failed:
        await reader.read(f"http://{site.host}/x?type={kind}")
    assert failed.value.next_move


async def test_an_address_inside_is_refused_before_anything_is_sent(site: Site) -> None:
    reader = Web()
    with pytest.raises(Refused):
        await reader.read(f"http://{site.host}/tides")
    assert site.asked == 0


class Shelf:
    """The web, of one page."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def read(self, url: str) -> Page:
        return replace(self._page, url=url)


async def told(page: Page | None, **args: Any) -> ToolMessage:
    """What an agent is told that fetches this page."""
    url = "https://a.example/tides"
    model = ScriptedModel([calls(("fetch_page", {"url": url, **args})), says("Read.")])
    agent = create_agent(model, [fetch_page], middleware=stack(4), context_schema=Context)
    context = replace(crew(model), web=Shelf(page) if page else None)
    ran = await run(agent, context)
    return next(it for it in ran.state["messages"] if isinstance(it, ToolMessage))


LONG = Page("", "Tides", tuple(Passage(f"{n} " + "x" * (SHOWN_CHARS // 3), f"Part {n}") for n in range(5)))


async def test_a_long_page_comes_in_parts_each_of_which_can_be_cited() -> None:
    first, second = await told(LONG), await told(LONG, part=2)
    assert "part 1 of 3" in first.text and "part 2 of 3" in second.text
    keys = [source["key"] for message in (first, second) for source in message.artifact["sources"]]
    assert len(set(keys)) == 4
    assert all(f"[{key}]" in first.text + second.text for key in keys)
    assert first.artifact["sources"][0]["url"] == "https://a.example/tides"


async def test_the_same_passage_has_the_same_key_every_time() -> None:
    assert (await told(LONG)).artifact == (await told(LONG)).artifact


@pytest.mark.parametrize(
    ("page", "args", "problem"),
    [
        (LONG, {"part": 9}, "give one of 1 to 3"),
        (LONG, {"part": 0}, "give one of 1 to 3"),
        (None, {}, "no way to the web"),
    ],
)
async def test_what_cannot_be_read_is_an_observation(page: Page | None, args: dict[str, Any], problem: str) -> None:
    message = await told(page, **args)
    assert message.status == "error" and problem in message.text


async def test_an_old_copy_says_so() -> None:
    assert "this is a copy, 1,350 s old" in (await told(replace(LONG, stale=True, age_s=1350.0))).text
