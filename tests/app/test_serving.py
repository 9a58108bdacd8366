"""The port of the page: the one that is wanted, or the next free one, also when two start at once."""

import socket
from types import SimpleNamespace
from typing import Any

import pytest

from app.serving import _announce, _listener


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


def test_a_port_that_is_taken_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    stats = SimpleNamespace(documents=1, chunks=2)
    app: Any = SimpleNamespace(
        corpus=SimpleNamespace(stats=lambda: stats), started_in_s=1.0, settings=SimpleNamespace(demo=True, home="h")
    )
    _announce(app, "http://127.0.0.1:8502", 8501)
    assert "  Not on port 8501, which another program has.\n" in capsys.readouterr().out
    _announce(app, "http://127.0.0.1:8501", 0)
    assert "Not on port" not in capsys.readouterr().out
