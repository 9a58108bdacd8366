"""Figures of the last hour, from the stored events: counted once for all who look."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.postgres import Pool

LOOKED_FOR_S = 15.0
"""The hour is counted again at most this often, however many pages look."""

Figures = Mapping[str, dict[str, Any]]


@dataclass(slots=True)
class LastHour:
    """One query's rows by their `name`."""

    query: str
    _rows: Figures = field(default_factory=dict)
    _counted_at: float = float("-inf")
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def figures(self, pool: Pool) -> Figures:
        """Name -> its row, at most `LOOKED_FOR_S` old."""
        async with self._turn:  # who comes while it is being counted waits for that count
            if time.monotonic() - self._counted_at > LOOKED_FOR_S:
                async with pool.connection() as connection:
                    rows = await (await connection.execute(self.query)).fetchall()
                self._rows, self._counted_at = {row["name"]: row for row in rows}, time.monotonic()
            return self._rows
