"""One server for the tests of all protocols."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from house import House, house
from protocol_graphs import Gates, protocol_graphs
from speaking_graphs import speaking_graphs

from app.auth import Keys
from app.postgres import open_pool

GATES = Gates()


@pytest.fixture
def gates() -> Gates:
    """What holds the graph `waits` back."""
    return GATES


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[House]:
    """The server."""
    home = tmp_path_factory.mktemp("house")
    with house(home, postgres, {**protocol_graphs(GATES), **speaking_graphs()}, max_streams=40) as running:
        yield running


@pytest.fixture(scope="session")
def keyed_server(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[House]:
    """One whose tests make keys."""
    with house(tmp_path_factory.mktemp("keyed"), postgres, protocol_graphs(Gates())) as running:
        yield running


@pytest.fixture(scope="session")
def narrow_server(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[House]:
    """One that lets each owner have one stream."""
    with house(tmp_path_factory.mktemp("narrow"), postgres, protocol_graphs(GATES), max_streams=1) as running:
        yield running


@pytest.fixture
async def narrow_key(narrow_server: House) -> str:
    """Of an owner of this test's own."""
    url = narrow_server.settings.database_url
    assert url
    async with await open_pool(url.get_secret_value(), max_size=2) as pool:
        return (await Keys(pool).add(uuid4().hex))[0]
