"""Workers to be killed, and a database, a model and a world for them."""

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import pytest_asyncio
from psycopg.conninfo import make_conninfo

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


@pytest.fixture
def empty_database(postgres: str) -> Iterator[Callable[[], str]]:
    """Makes databases for a test that needs several."""
    made: list[str] = []
    with psycopg.connect(postgres, autocommit=True) as admin:

        def make() -> str:
            made.append(f"test_{uuid4().hex}")
            admin.execute(f"create database {made[-1]}".encode())
            return make_conninfo(postgres, dbname=made[-1])

        yield make
        for name in made:
            admin.execute(f"drop database {name} with (force)".encode())
