"""One server for the tests of all protocols."""

from collections.abc import Iterator

import pytest
from house import House, house
from protocol_graphs import Gates, protocol_graphs
from speaking_graphs import speaking_graphs

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
