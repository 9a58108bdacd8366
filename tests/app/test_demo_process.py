"""The demo model beside the app: there for as long as the app is, and no longer."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import aiohttp

from app.demo_process import demo_model


def children_of(pid: int) -> list[int]:
    """Processes that were started by this one and still are; those that ended are on their way out."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def demo_models() -> list[int]:
    """Children of ours that are demo models."""
    found = []
    for pid in children_of(os.getpid()):
        with suppress(OSError):  # gone meanwhile
            found += [pid] if b"app.demo_model" in Path(f"/proc/{pid}/cmdline").read_bytes() else []
    return found


async def answers(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(f"{url}/models") as reply:
            return reply.status == 200
    except aiohttp.ClientError:
        return False


async def test_one_that_is_killed_comes_back_where_it_was_and_ends_with_the_app() -> None:
    before = set(demo_models())
    async with asyncio.timeout(120), aiohttp.ClientSession() as http:
        async with demo_model() as url:
            [first] = set(demo_models()) - before
            os.kill(first, signal.SIGKILL)
            while set(demo_models()) - before <= {first} or not await answers(http, url):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            [second] = set(demo_models()) - before
            assert second != first
        assert set(demo_models()) == before
        assert not await answers(http, url)
