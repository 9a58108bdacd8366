"""The blackboard: entries that the agents of one conversation, or of one run, read and write together.

Every entry has a version, an author and a time. A write states the version that it rests on and is refused when another
one is there, so no update is lost and nobody holds a lock while a model thinks. A claim is the right to work on one
thing, a sub-question for example: the first to claim a key has it until its lease ends by the database's clock, so a
worker that dies gives it back by doing nothing.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from langchain_core.callbacks import adispatch_custom_event

from agents.memory import Conflict

__all__ = ["Blackboard", "Claimed", "Conflict", "Entry", "changed", "told_written"]

MAX_KEY_CHARS = 200
MAX_VALUE_CHARS = 8_000
"""Of one entry, as JSON: a board is for findings and claims, not for documents."""
CLAIM_LEASE_S = 120.0
PAUSE_S, MAX_PAUSE_S = 0.05, 1.0
"""Before a refused write is tried again, at most: fifty writers of one key needed 2.0 tries for each write (12 with a
pause that begins at a millisecond)."""
_SHOWN_CHARS = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """What is on the board under one key. Version 0: nothing yet."""

    key: str
    value: Any
    version: int
    author: str
    written_at: datetime | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """Who has a key, until when."""

    key: str
    author: str
    until: datetime
    mine: bool
    """True when the caller has it."""


class Blackboard(Protocol):
    """One board. Raises RunLost when this worker's claim of the run is over."""

    async def read(self, key: str) -> Entry:
        """What is there; version 0 and no value when nothing is."""
        ...

    async def entries(self) -> Mapping[str, Entry]:
        """All of it, by key, oldest first."""
        ...

    async def write(self, key: str, value: Any, expected_version: int, author: str, *, once: str = "") -> Entry:
        """Put version `expected_version + 1`. Raises Conflict, which names the actual version.

        `once`: a key of this very write; when it comes again after a crash it is the same write, not a conflict.
        """
        ...

    async def claim(self, key: str, author: str, lease_s: float = CLAIM_LEASE_S) -> Claimed:
        """Take `key` if nobody has it, or keep it if the author does; says who has it now."""
        ...

    async def release(self, key: str, author: str) -> bool:
        """Give a key back before its lease ends. False when the author did not have it."""
        ...


async def changed(board: Blackboard, key: str, author: str, change: Callable[[Any], Any]) -> Entry:
    """Write what `change` makes of the value that is there (None: nothing), again for as long as others are quicker."""
    pause_s = PAUSE_S
    while True:
        seen = await board.read(key)
        try:
            return await board.write(key, change(seen.value), seen.version, author)
        except Conflict:
            # at random: fifty writers who all came second must not come second together again
            await asyncio.sleep(random.uniform(0, pause_s))  # noqa: S311 - guards nothing
            pause_s = min(2 * pause_s, MAX_PAUSE_S)


async def told_written(entry: Entry) -> None:
    """Let whoever watches the run see what was written, by whom, and as which version."""
    data = {
        "place": "board",
        "key": entry.key,
        "version": entry.version,
        "author": entry.author,
        "text": str(entry.value)[:_SHOWN_CHARS],
    }
    await adispatch_custom_event("memory.written", data)
