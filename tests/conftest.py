"""What many tests stand on. Real things: a server that the product's own code starts, a database per test."""

# ruff: noqa: E402 - LangGraph reads the variable when it is imported, which half of what follows does
from app.settings import require_strict_msgpack

require_strict_msgpack()

import os
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from hypothesis import settings
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier
from scripted import Script, ScriptedModel

from app.embedded_postgres import EmbeddedServer
from app.postgres import Pool, migrate, open_pool

# a gate that draws other examples each time fails on another day than the one that broke it; `make soak` explores
settings.register_profile("gate", derandomize=True, deadline=None)  # a crowded machine is slow, not wrong
settings.register_profile("soak", max_examples=500, deadline=None)
settings.load_profile("soak" if os.environ.get("SEXTANT_SOAK") else "gate")


@pytest.fixture
def scripted() -> Iterator[Callable[..., ScriptedModel]]:
    """Makes models that follow a script, and fails the test when one was not followed to its end."""
    made: list[ScriptedModel] = []

    def make(script: Script, **more: Any) -> ScriptedModel:
        made.append(ScriptedModel(script, **more))
        return made[-1]

    yield make
    for model in made:
        model.check_used_up()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The conninfo of one embedded server for all tests."""
    server = EmbeddedServer(tmp_path_factory.mktemp("home") / "postgres")
    try:
        yield server.acquire()
    finally:
        server.release()


@pytest.fixture
def database_url(postgres: str) -> Iterator[str]:
    """The conninfo of an empty database of this test's own."""
    name = Identifier(f"test_{uuid4().hex}")
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(SQL("create database {}").format(name))
        yield make_conninfo(postgres, dbname=name.as_string().strip('"'))
        admin.execute(SQL("drop database {} with (force)").format(name))


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """A pool on this test's database, migrated (60 ms: cheaper than a template would be to explain)."""
    async with await open_pool(database_url) as pool:
        await migrate(pool)
        yield pool
