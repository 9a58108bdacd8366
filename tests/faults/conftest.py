"""Workers to be killed, and a database, a model and a world for them."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

sys.path.insert(0, str(Path(__file__).parent))

from fleet import Field, Fleet
from patterns import World
from spoken import Speaker

from app.journal import Journal
from app.postgres import migrate, open_pool


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    """Worker processes, two seconds after they are first asked for."""
    async with Fleet(tmp_path_factory.mktemp("fleet")).ready() as fleet:
        yield fleet


@pytest_asyncio.fixture(loop_scope="session")
async def field(fleet: Fleet, database_url: str, tmp_path: Path) -> AsyncIterator[Field]:
    """A database with a model and a world."""
    model = Speaker()
    async with (
        await open_pool(database_url) as pool,
        model.serving() as model_url,
        Journal(pool, database_url).listening() as journal,
    ):
        await migrate(pool)
        made = Field(fleet, pool, database_url, journal, model, model_url, World(tmp_path / "world.jsonl"))
        await made.queue.open(pool)
        yield made
