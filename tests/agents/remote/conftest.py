"""Servers in processes of their own, and pins in memory."""

import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mcp_peer
import pytest

from agents.remote.definitions import Definition
from agents.remote.mcp_client import connected
from agents.remote.pins import BY_SETTINGS, Pin
from agents.remote.remotes import Remotes
from agents.remote.servers import Server

PATIENCE_S = 60


class MemoryPins:
    """Pins of a dict."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Pin]] = {}

    async def of(self, server: str) -> Mapping[str, Pin]:
        """Tool -> its pin."""
        return dict(self.kept.get(server, {}))

    async def trust_first(self, server: str, definitions: Sequence[Definition]) -> None:
        """Only the first time."""
        if server not in self.kept:
            await self.approve(server, definitions, BY_SETTINGS)

    async def approve(self, server: str, definitions: Sequence[Definition], by: str) -> None:
        """In the place of what was there."""
        pins = {it.tool: Pin(it, by, datetime.now(UTC)) for it in definitions}
        self.kept[server] = {**self.kept.get(server, {}), **pins}


@pytest.fixture
def peer(tmp_path: Path) -> Server:
    """A server that behaves until a tool is called that does not."""
    return Server(
        "peer", command=sys.executable, args=(mcp_peer.__file__, "stdio", str(tmp_path)), env={"PATH": "/usr/bin:/bin"},
        trust_on_first_use=True, connect_timeout_s=PATIENCE_S, call_timeout_s=PATIENCE_S,
    )  # fmt: skip


Kept = Callable[..., AbstractAsyncContextManager[Remotes]]


@pytest.fixture
def kept() -> Kept:
    """Keeps servers connected while a block lasts."""

    @asynccontextmanager
    async def keep(*servers: Server, pins: Any = None) -> AsyncIterator[Remotes]:
        async with Remotes(servers, pins or MemoryPins(), connected).kept() as remotes:
            yield remotes

    return keep


def named(server: Server, name: str) -> Server:
    """The same under another name."""
    return replace(server, name=name)
