"""One server for all tests of the protocol, and the ecosystem's own client."""

from collections.abc import AsyncIterator, Iterator

import pytest
from house import House, house
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from protocol_graphs import Gates, protocol_graphs

GATES = Gates()


@pytest.fixture
def gates() -> Gates:
    """What holds the graph `waits` back."""
    return GATES


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[House]:
    """The server."""
    home = tmp_path_factory.mktemp("house")
    with house(home, postgres, protocol_graphs(GATES), max_streams=40) as running:
        yield running


@pytest.fixture
async def client(server: House) -> AsyncIterator[LangGraphClient]:
    """langgraph-sdk's client, set up as its users do."""
    async with get_client(url=f"{server.url}/api/agent", api_key=None) as client:
        yield client
