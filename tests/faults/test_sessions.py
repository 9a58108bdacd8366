"""Conversations by the hundred, all at once, on a pool of twenty connections."""

import asyncio
from typing import Any

import pytest
from extent import LONGEST_S, extent
from patterns import ECHO
from premises import house
from spoken import Speaker

from app.models import Endpoint

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow, pytest.mark.timeout(LONGEST_S)]

SESSIONS = extent(250, 500)
POOL = 20


class Hall(Speaker):
    """A model that answers when everybody has come."""

    def __init__(self) -> None:
        super().__init__()
        self.here = 0
        self.full, self.open = asyncio.Event(), asyncio.Event()

    async def complete(self, request: Any) -> Any:
        self.here += 1
        if self.here == SESSIONS:
            self.full.set()
        await self.open.wait()
        return await super().complete(request)


async def test_hundreds_of_sessions_share_twenty_connections(database_url: str) -> None:
    hall, used = Hall(), []
    async with (
        hall.serving() as url,
        house(database_url, Endpoint(url, ECHO.name), concurrency=SESSIONS, max_connections=POOL) as it,
    ):
        sessions = [asyncio.create_task(it.ask(f"question {n}")) for n in range(SESSIONS)]
        await asyncio.wait_for(hall.full.wait(), LONGEST_S)
        # everybody waits for the model: who held a connection meanwhile would hold it in every one of these looks
        for _ in range(50):
            stats = it.pool.get_stats()
            used.append(stats["pool_size"] - stats["pool_available"])
            await asyncio.sleep(0.02)
        hall.open.set()
        answers = [row["output"]["answer"] for row in await asyncio.gather(*sessions)]

        assert answers == [f"question {n}" for n in range(SESSIONS)]
        assert min(used) == 0
        stats = it.pool.get_stats()
        assert stats.get("requests_errors", 0) == 0
        assert stats["pool_size"] <= POOL
