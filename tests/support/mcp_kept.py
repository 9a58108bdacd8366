"""What tests of remote servers stand on: pins in memory, servers under other names, waits for what a process does."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from agents.remote.definitions import Definition
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

    async def withdraw(self, server: str, tools: Sequence[str]) -> None:
        """Not those any more."""
        self.kept[server] = {tool: pin for tool, pin in self.kept[server].items() if tool not in tools}


Kept = Callable[..., AbstractAsyncContextManager[Remotes]]


def named(server: Server, name: str) -> Server:
    """The same under another name."""
    return replace(server, name=name)


async def there(path: Path) -> str:
    """What a process has written, once it has."""
    return await asyncio.wait_for(asyncio.to_thread(_written, path), PATIENCE_S)


def _written(path: Path) -> str:
    for _ in range(PATIENCE_S * 100):
        if path.exists() and (text := path.read_text()):
            return text
        time.sleep(0.01)
    raise AssertionError(f"nothing was written to {path.name}")


async def gone(pid: int) -> None:
    """Come back when a process is no more, or only waits to be buried."""
    await asyncio.to_thread(_gone, pid)


def _gone(pid: int) -> None:
    for _ in range(PATIENCE_S * 100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} still runs")
