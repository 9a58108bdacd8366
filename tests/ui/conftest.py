"""The real page over a scripted API, in its own process, and a real Chromium to look at it."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# The folder above is on the path for helpers of other tests, and there this folder would pass for the package `ui`.
TESTS = str(Path(__file__).parents[1])
sys.path[:], before = [place for place in sys.path if place != TESTS], sys.path[:]
import ui  # noqa: E402, F401

sys.path[:] = [str(Path(__file__).parent), *before]  # for `steps`

FIXTURE = Path(__file__).parent / "fixture" / "server.py"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
START_S = 60


@dataclass
class Site:
    """The server under test, and the clock of its runs."""

    url: str
    port: int

    def clock(self, **told: Any) -> dict[str, Any]:
        """Hold all runs at a second (`hold=11.6`), let them go (`hold=None`), cut streams (`drop=True`)."""
        body = json.dumps(told).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/fixture/clock", body, headers, method="POST")
        with urllib.request.urlopen(request, timeout=60) as response:
            answer: dict[str, Any] = json.load(response)
            return answer


def start() -> tuple[subprocess.Popen[bytes], Site]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(FIXTURE), "--port", str(port)]
    process = subprocess.Popen(command, cwd=FIXTURE.parent)  # not the root: the look must not hang on where one starts
    site = Site(f"http://127.0.0.1:{port}", port)
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"{site.url}/api/info", timeout=START_S).close()
            return process, site
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    process.kill()
    raise RuntimeError(f"the scripted server did not start within {START_S} s")


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def site_server() -> Iterator[Site]:
    process, site = start()
    yield site
    stop(process)


@pytest.fixture
def site(site_server: Site) -> Site:
    """The server with no chats and its clock running."""
    site_server.clock(forget=True, hold=None, indexed=None, busy=False)
    return site_server


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser for the tests of one file: the loop that drives it must end before tests that have one of their own."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        arguments = ["--headless", "--no-sandbox", "--disable-gpu"]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def profile(chromium: Any) -> Iterator[Any]:
    """One browser profile: its cache saves seconds of loading per test."""
    context = chromium.new_context()
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    yield context
    context.close()


@pytest.fixture
def open_page(profile: Any, site: Site) -> Iterator[Callable[..., Any]]:
    """Open the page in a new tab; errors of its scripts fail the test."""
    pages, errors = [], []

    def opened(
        path: str = "/", *, width: int = 1440, height: int = 900, dark: bool = False, still: bool = False
    ) -> Any:
        page = profile.new_page()
        pages.append(page)
        page.set_default_timeout(60_000)  # a crowded machine is slow, not wrong
        page.set_viewport_size({"width": width, "height": height})
        motion = "reduce" if still else "no-preference"
        page.emulate_media(color_scheme="dark" if dark else "light", reduced_motion=motion)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(site.url + path)
        page.wait_for_selector(".home, .turn, .sx-h1", state="attached")
        return page

    yield opened
    for page in pages:
        page.evaluate("localStorage.clear()")
        page.close()
    assert not errors
