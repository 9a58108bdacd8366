"""Workers to be killed, and a database, a model and a world for them."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

sys.path.insert(0, str(Path(__file__).parent))

from fleet import Field, Fleet, opened


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    """Worker processes, two seconds after they are first asked for."""
    async with Fleet(tmp_path_factory.mktemp("fleet")).ready() as fleet:
        yield fleet


@pytest_asyncio.fixture(loop_scope="session")
async def field(fleet: Fleet, database_url: str, tmp_path: Path) -> AsyncIterator[Field]:
    """Of this test's own."""
    async with opened(fleet, database_url, tmp_path) as field:
        yield field
