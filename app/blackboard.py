"""The blackboard in Postgres: one row per entry, one per claim, written through the run's fence."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg.types.json import Jsonb
from psycopg_pool import PoolTimeout

from agents.blackboard import CLAIM_LEASE_S, MAX_KEY_CHARS, MAX_VALUE_CHARS, Claimed, Entry
from agents.errors import RunLost, ToolFailed
from agents.memory import Conflict
from app.events import json_safe, text_safe
from app.models.faults import to_json
from app.postgres import STALE_WRITER, Pool, StaleWriter

MAX_ENTRIES = 1_000
"""Entries of one board: every agent that reads it in full pays for all of them."""

_HERE = "thread_id = %(thread)s and board = %(board)s and owner = %(owner)s"
_FIELDS = "key, value, version, author, written_at"
_FIRST = f"""
insert into board_entries (thread_id, board, owner, key, value, version, author, once)
select %(thread)s, %(board)s, %(owner)s, %(key)s, %(value)s, 1, %(author)s, %(once)s
where (select count(*) from board_entries where {_HERE}) < %(most)s
on conflict do nothing returning {_FIELDS}
"""
_NEXT = f"""
update board_entries set value = %(value)s, version = version + 1, author = %(author)s, once = %(once)s,
    written_at = clock_timestamp()
where {_HERE} and key = %(key)s and version = %(expected)s returning {_FIELDS}
"""
_CLAIM = """
insert into board_claims as held (thread_id, board, owner, key, author, until)
values (%(thread)s, %(board)s, %(owner)s, %(key)s, %(author)s,
        clock_timestamp() + %(lease_s)s * interval '1 second')
on conflict (thread_id, board, key) do update set author = excluded.author, until = excluded.until
where held.owner = excluded.owner and (held.until < clock_timestamp() or held.author = excluded.author)
returning key, author, until
"""


class RunBoard:
    """The board of one conversation (or, with `board`, of one run), as one claim of a run sees it."""

    def __init__(
        self, pool: Pool, thread_id: str, owner: str, *, board: str = "", fence: tuple[str, int] | None = None
    ) -> None:
        """`fence`: run and epoch; once the run is somebody else's, nothing more is written from here."""
        self._pool, self._fence = pool, fence
        self._place = {"thread": thread_id, "board": board, "owner": owner}

    async def read(self, key: str) -> Entry:
        """What is there; version 0 when nothing is."""
        async with self._connected() as connection:
            return await self._read(connection, _key(key))

    async def entries(self) -> Mapping[str, Entry]:
        """All of it, oldest first."""
        async with self._connected() as connection:
            sql = f"select {_FIELDS} from board_entries where {_HERE} order by written_at, key"
            rows = await (await connection.execute(sql, self._place)).fetchall()
        return {row["key"]: Entry(**row) for row in rows}

    async def write(self, key: str, value: Any, expected_version: int, author: str, *, once: str = "") -> Entry:
        """Put the next version. Raises Conflict with the actual one."""
        put = {**self._place, "key": _key(key), "value": _value(value), "author": text_safe(author), "once": once,
               "expected": expected_version, "most": MAX_ENTRIES}  # fmt: skip
        async with self._connected(fenced=True) as connection:
            done = await (await connection.execute(_NEXT if expected_version else _FIRST, put)).fetchone()
            if done is not None:
                return Entry(**done)
            return await self._not_written(connection, put)

    async def _not_written(self, connection: Any, put: Mapping[str, Any]) -> Entry:
        """Why a write did nothing: it was here before, somebody was quicker, or the board is full."""
        sql = f"select once from board_entries where {_HERE} and key = %(key)s"
        row = await (await connection.execute(sql, put)).fetchone()
        there = await self._read(connection, put["key"])
        if row and put["once"] and row["once"] == put["once"]:
            return there
        if row is None and put["expected"] == 0:
            raise ToolFailed("blackboard", f"{MAX_ENTRIES} entries of {MAX_ENTRIES}", "write under a key that is there")
        raise Conflict(f"blackboard entry {there.key}", put["expected"], there.version, there.author)

    async def _read(self, connection: Any, key: str) -> Entry:
        sql = f"select {_FIELDS} from board_entries where {_HERE} and key = %(key)s"
        row = await (await connection.execute(sql, {**self._place, "key": key})).fetchone()
        return Entry(**row) if row else Entry(key, None, 0, "", None)

    async def claim(self, key: str, author: str, lease_s: float = CLAIM_LEASE_S) -> Claimed:
        """Take the key, or say who has it."""
        put = {**self._place, "key": _key(key), "author": text_safe(author), "lease_s": lease_s}
        until = time.monotonic() + 10
        while time.monotonic() < until:
            async with self._connected(fenced=True) as connection:
                if taken := await (await connection.execute(_CLAIM, put)).fetchone():
                    return Claimed(**taken, mine=True)
                sql = f"select key, author, until from board_claims where {_HERE} and key = %(key)s"
                if held := await (await connection.execute(sql, put)).fetchone():
                    return Claimed(**held, mine=False)
            # it was given back between the two statements
        raise RunLost(f"claim {key}: it changes hands faster than it can be read")

    async def release(self, key: str, author: str) -> bool:
        """Give the key back."""
        gone = f"delete from board_claims where {_HERE} and key = %(key)s and author = %(author)s"
        async with self._connected(fenced=True) as connection:
            put = {**self._place, "key": _key(key), "author": text_safe(author)}
            return bool((await connection.execute(gone, put)).rowcount)

    @asynccontextmanager
    async def _connected(self, *, fenced: bool = False) -> AsyncIterator[Any]:
        """A connection; `fenced`: in a transaction that only the run's owner can commit. Raises RunLost."""
        try:
            async with self._pool.connection() as connection:
                if not (fenced and self._fence):
                    yield connection
                    return
                async with connection.transaction():
                    await connection.execute("select fence(%s, %s)", self._fence)
                    yield connection
        except psycopg.DatabaseError as error:
            if error.sqlstate == STALE_WRITER:
                raise StaleWriter(f"run {self._fence} belongs to another worker") from error
            raise RunLost(f"the blackboard is out of reach: {error}") from error
        except PoolTimeout as error:
            raise RunLost(f"the blackboard is out of reach: {error}") from error


def _key(key: str) -> str:
    if not 0 < len(key.strip()) <= MAX_KEY_CHARS:
        raise ToolFailed("key", f"{len(key)} characters of 1 to {MAX_KEY_CHARS}", "use a short name")
    return text_safe(key.strip())


def _value(value: Any) -> Jsonb:
    safe = json_safe(value)
    if (size := len(to_json(safe))) > MAX_VALUE_CHARS:
        raise ToolFailed("value", f"{size:,} bytes of {MAX_VALUE_CHARS:,}", "write what matters, in fewer words")
    return Jsonb(safe)
