"""Approved definitions of remote tools in Postgres."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from agents.remote.definitions import Definition, Unfit, definition_of
from agents.remote.pins import BY_SETTINGS, Pin
from app.postgres import Pool

_INSERT = (
    "insert into remote_pins (server, tool, sha256, definition, approved_by) values (%s, %s, %s, %s::jsonb, %s) "
    "on conflict (server, tool) do "
)
_REPLACE = (
    "update set sha256 = excluded.sha256, definition = excluded.definition, approved_by = excluded.approved_by, "
    "approved_at = clock_timestamp(), withdrawn_at = null"
)


class PostgresPins:
    """The pins of one database."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def of(self, server: str) -> Mapping[str, Pin]:
        """Tool -> its pin. One that was approved under other rules, and is unfit by these, is none."""
        async with self._pool.connection() as connection:
            found = await connection.execute(
                "select * from remote_pins where server = %s and withdrawn_at is null", (server,)
            )
            rows = await found.fetchall()
        return {row["tool"]: pin for row in rows if (pin := _pin(row))}

    async def trust_first(self, server: str, definitions: Sequence[Definition]) -> None:
        """Pin all of these, unless anything was ever pinned of this server."""
        async with self._pool.connection() as connection, connection.transaction():
            # two processes may see a server for the first time at once; the second must not add to the first's
            await connection.execute("select pg_advisory_xact_lock(hashtext('remote_pins'), hashtext(%s))", (server,))
            found = await connection.execute("select 1 from remote_pins where server = %s limit 1", (server,))
            if await found.fetchone() is None:
                for it in definitions:
                    await connection.execute(f"{_INSERT} nothing", _values(server, it, BY_SETTINGS))

    async def approve(self, server: str, definitions: Sequence[Definition], by: str) -> None:
        """Pin these in the place of what was pinned of the same tools."""
        async with self._pool.connection() as connection, connection.transaction():
            for it in definitions:
                await connection.execute(f"{_INSERT} {_REPLACE}", _values(server, it, by))

    async def withdraw(self, server: str, tools: Sequence[str]) -> None:
        """Pin these no more. Their rows stay, so that nothing is trusted as first seen again."""
        update = "update remote_pins set withdrawn_at = now() where server = %s and tool = any(%s)"
        async with self._pool.connection() as connection:
            await connection.execute(update, (server, list(tools)))


def _values(server: str, it: Definition, by: str) -> tuple[str, ...]:
    return server, it.tool, it.sha256, orjson.dumps(it.raw).decode(), by


def _pin(row: Mapping[str, Any]) -> Pin | None:
    try:
        definition = definition_of(row["definition"])
    except Unfit:
        return None
    # as numbered then: jsonb writes some numbers otherwise, and the hash is of what the server wrote
    pinned = Definition(definition.tool, row["sha256"], definition.raw, definition.description, definition.schema)
    return Pin(pinned, row["approved_by"], row["approved_at"])
