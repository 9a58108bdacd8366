"""The port of the page: the one that is wanted, or the next free one, also when two start at once."""

import socket

import pytest

from app.serving import _listener


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_two_that_start_at_once_take_two_ports(free_port: int) -> None:
    with _listener("127.0.0.1", free_port) as first, _listener("127.0.0.1", free_port) as second:
        assert first.getsockname()[1] == free_port
        assert second.getsockname()[1] > free_port
        with socket.create_connection(second.getsockname(), timeout=60):
            pass
