"""Servers in processes of their own, kept connected while a test lasts."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import mcp_peer
import pytest
from mcp_kept import PATIENCE_S, Kept, MemoryPins

from agents.remote.mcp_client import connected
from agents.remote.remotes import Remotes
from agents.remote.servers import Server


@pytest.fixture
def peer(tmp_path: Path) -> Server:
    """A server that behaves until a tool is called that does not."""
    return Server(
        "peer", command=sys.executable, args=(mcp_peer.__file__, "stdio", str(tmp_path)), env={"PATH": "/usr/bin:/bin"},
        trust_on_first_use=True, connect_timeout_s=PATIENCE_S, call_timeout_s=PATIENCE_S,
    )  # fmt: skip


@pytest.fixture
def kept() -> Kept:
    """Keeps servers connected while a block lasts."""

    @asynccontextmanager
    async def keep(*servers: Server, pins: Any = None) -> AsyncIterator[Remotes]:
        async with Remotes(servers, pins or MemoryPins(), connected).kept() as remotes:
            yield remotes

    return keep
