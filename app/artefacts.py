"""Artefacts in Postgres: written through the run's fence, read by their owner alone, gone with their run's steps."""

import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg_pool import PoolTimeout

from agents.artefacts import MAX_BYTES, MAX_NAME_CHARS, Artefact
from agents.errors import RunLost, ToolFailed
from app.events import text_safe
from app.postgres import STALE_WRITER, Pool, StaleWriter

MAX_KEPT = 100
"""Artefacts of one run."""
MAX_KEPT_BYTES = 50_000_000
"""Of all artefacts of one run together."""
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}/[a-z0-9][a-z0-9.+-]{0,60}")
_UNKNOWN_TYPE = "application/octet-stream"

_KEEP = """
insert into artefacts (artefact_id, run_id, owner, name, media_type, size, data)
select %(id)s, %(run)s, %(owner)s, %(name)s, %(media_type)s, %(size)s, %(data)s
where (select count(*) < %(most)s and coalesce(sum(size), 0) + %(size)s <= %(most_bytes)s
       from artefacts where run_id = %(run)s)
on conflict do nothing
"""
_THERE = "select 1 from artefacts where artefact_id = %(id)s"
_READ = "select name, media_type, size, data from artefacts where artefact_id = %s and owner = %s"


@dataclass(frozen=True, slots=True)
class Kept:
    """An artefact with its bytes."""

    artefact: Artefact
    data: bytes


class RunArtefacts:
    """What one claim of a run keeps."""

    def __init__(self, pool: Pool, run_id: str, owner: str, *, epoch: int) -> None:
        """`epoch`: of the claim; once the run is somebody else's, nothing more is kept from here."""
        self._pool, self._run, self._owner, self._epoch = pool, run_id, owner, epoch

    async def keep(self, name: str, media_type: str, data: bytes) -> Artefact:
        """Keep it. Raises ToolFailed with the limit and the actual."""
        if len(data) > MAX_BYTES:
            raise ToolFailed(name, f"{len(data):,} bytes of {MAX_BYTES:,}", "make it smaller")
        name = clean_name(name)
        made = Artefact(_id(self._run, name, data), name, _clean_type(media_type), len(data))
        put = {"id": made.id, "run": self._run, "owner": self._owner, "name": made.name, "media_type": made.media_type,
               "size": made.size, "data": data, "most": MAX_KEPT, "most_bytes": MAX_KEPT_BYTES}  # fmt: skip
        async with self._fenced() as connection:
            stored = bool((await connection.execute(_KEEP, put)).rowcount)
            if not stored and not await (await connection.execute(_THERE, put)).fetchone():
                limit = f"{MAX_KEPT} artefacts or {MAX_KEPT_BYTES / 1e6:.0f} MB of a run are reached"
                raise ToolFailed(name, limit, "make fewer, or smaller ones")
        return made

    async def read(self, id: str) -> bytes:
        """Its bytes."""
        try:
            kept = await read_artefact(self._pool, id, self._owner)
        except (psycopg.OperationalError, PoolTimeout) as error:
            raise RunLost(f"artefacts are out of reach: {error}") from error
        if kept is None:
            raise ToolFailed("artefact", f"there is none with the id {id[:80]!r}", "use an id that a tool returned")
        return kept.data

    @asynccontextmanager
    async def _fenced(self) -> AsyncIterator[Any]:
        """A transaction that only the run's owner can commit. Raises RunLost."""
        try:
            async with self._pool.connection() as connection, connection.transaction():
                await connection.execute("select fence(%s, %s)", (self._run, self._epoch))
                # two calls of one turn keep at the same time: the limit is of both together
                await connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 11))", (self._run,))
                yield connection
        except psycopg.DatabaseError as error:
            if error.sqlstate == STALE_WRITER:
                raise StaleWriter(f"run {self._run} belongs to another worker") from error
            raise RunLost(f"artefacts are out of reach: {error}") from error
        except PoolTimeout as error:
            raise RunLost(f"artefacts are out of reach: {error}") from error


async def read_artefact(pool: Pool, id: str, owner: str) -> Kept | None:
    """The artefact, if this owner has it."""
    async with pool.connection() as connection:
        row = await (await connection.execute(_READ, (text_safe(id), owner))).fetchone()
    if row is None:
        return None
    return Kept(Artefact(id, row["name"], row["media_type"], row["size"]), bytes(row["data"]))


def clean_name(name: str) -> str:
    """A file name that is safe in a header, a terminal and a page: no folder, no control character."""
    last = re.split(r"[/\\]", name)[-1]
    printable = "".join(char for char in last if char.isprintable()).strip(" .")
    return (text_safe(printable) or "artefact")[-MAX_NAME_CHARS:]


def _clean_type(media_type: str) -> str:
    return media_type if _MEDIA_TYPE.fullmatch(media_type) else _UNKNOWN_TYPE


def _id(run_id: str, name: str, data: bytes) -> str:
    digest = hashlib.sha256(f"{run_id}\0{name}\0".encode())
    digest.update(data)
    return digest.hexdigest()[:32]
