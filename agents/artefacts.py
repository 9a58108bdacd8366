"""What a tool made and nobody should carry in a message: figures, files, long results. They travel as ids."""

from dataclasses import dataclass
from typing import Protocol

MAX_BYTES = 5_000_000
"""Largest single artefact."""
MAX_NAME_CHARS = 120


@dataclass(frozen=True, slots=True)
class Artefact:
    """One thing that is kept. In a tool message's `artifact`, a list of these as dicts stands under `artefacts`."""

    id: str
    name: str
    media_type: str
    size: int
    """Bytes."""


class Artefacts(Protocol):
    """Where a run keeps what its tools made. The same thing kept twice in a run is one."""

    async def keep(self, name: str, media_type: str, data: bytes) -> Artefact:
        """Keep it for the run's owner. Raises ToolFailed when it is too large, or the run has too many."""
        ...

    async def read(self, id: str) -> bytes:
        """Its bytes. Raises ToolFailed when the owner has no such thing, or has it no longer."""
        ...
