"""The product as a person has it: `sextant up` in a process of its own, and a real browser."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, async_playwright, expect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
READY_S = 60

expect.set_options(timeout=60_000)  # a crowded machine is slow, not wrong


class Running:
    """One `sextant up`."""

    def __init__(self, home: Path, port: int = 0) -> None:
        self.home, self.port = home, port
        self._environment = {**os.environ, "SEXTANT_HOME": str(home)}
        self._environment.pop("DATABASE_URL", None)
        self.process = self._start()
        self.url = self._ready()

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "app.cli", "up", "--no-browser", "--port", str(self.port)],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=(self.home / "up.log").open("a"),
            text=True,
        )

    def _ready(self) -> str:
        assert self.process.stdout is not None
        self.greeting = ""
        for line in self.process.stdout:
            self.greeting += line
            if "Ctrl-C" in line and (found := re.search(r"ready: (http://\S+)", self.greeting)):
                return found[1]
        raise AssertionError(f"up ended with {self.process.wait()}: {(self.home / 'up.log').read_text()[-2000:]}")

    def kill(self) -> None:
        """kill -9: nothing is said goodbye to."""
        self.process.kill()
        self.process.wait()

    def rise(self) -> None:
        """Start again, where it was."""
        self.process = self._start()
        self.url = self._ready()

    def stop(self) -> int:
        """Ctrl-C, and the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(READY_S)


@pytest.fixture(scope="session")
def sextant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A running product on a home of its own, for all end-to-end tests."""
    running = Running(tmp_path_factory.mktemp("e2e"))
    yield running
    if running.process.poll() is None:
        running.stop()


@pytest.fixture
def up() -> Iterator[Callable[[Path], Running]]:
    """Starts one on a home that a test has made."""
    started: list[Running] = []

    def start(home: Path) -> Running:
        started.append(Running(home))
        return started[-1]

    yield start
    for running in started:
        running.stop()


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Running]:
    """One that may be killed: a home and a port of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = Running(tmp_path, port)
    yield running
    running.stop()


@contextmanager
def slowly(url: str, over: str = "known about debate") -> Iterator[None]:
    """The demo model behind this server dawdles over some parts of the research example, as long as the block lasts.

    So no page is too late to steer its run, or to see it at work. By default it is the part about debate.
    """
    endpoint = next(it["url"] for it in httpx.get(f"{url}/api/models", timeout=60).json()["models"] if it["demo"])
    httpx.put(f"{endpoint}/demo/faults", json={"match": over, "slow_factor": 15}, timeout=60).raise_for_status()
    try:
        yield
    finally:
        with suppress(httpx.HTTPError):  # it may have died with its server
            httpx.delete(f"{endpoint}/demo/faults", timeout=60)


@pytest.fixture
def dawdling() -> Callable[..., AbstractContextManager[None]]:
    """`with dawdling(url):` a run of the research example does not end."""
    return slowly


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Chromium from the distribution. Skipped with a reason where there is none, unless that is forbidden."""
    if not CHROMIUM:
        if os.environ.get("SEXTANT_REQUIRE_BROWSER"):
            pytest.fail("SEXTANT_REQUIRE_BROWSER is set and there is no Chromium on PATH")
        pytest.skip("no Chromium on PATH; on Debian: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        await browser.close()
