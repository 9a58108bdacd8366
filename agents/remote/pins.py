"""Which definitions a person has approved. A pin holds the whole definition, so a tool is shown as it was approved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from agents.remote.definitions import Definition

BY_SETTINGS = "settings"
"""Who approved what was trusted on first use."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One approved definition."""

    definition: Definition
    approved_by: str
    approved_at: datetime


class Pins(Protocol):
    """Where they are kept."""

    async def of(self, server: str) -> Mapping[str, Pin]:
        """Tool -> its pin."""
        ...

    async def trust_first(self, server: str, definitions: Sequence[Definition]) -> None:
        """Pin all of these, unless anything was ever pinned of this server."""
        ...

    async def approve(self, server: str, definitions: Sequence[Definition], by: str) -> None:
        """Pin these in the place of what was pinned of the same tools."""
        ...

    async def withdraw(self, server: str, tools: Sequence[str]) -> None:
        """Pin these no more. What was pinned once is not trusted as first seen again."""
        ...
