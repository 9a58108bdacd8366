"""The effect ledger in Postgres: intents and results, written through the run's fence."""

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
import psycopg
from psycopg.types.json import Jsonb

from agents.effects import EffectKey, Entry
from app.events import json_safe
from app.postgres import STALE_WRITER, Pool, StaleWriter

_BEGIN = """
insert into effects (thread_id, checkpoint_ns, call_id, run_id, tool, args, args_hash, effect)
values (%s, %s, %s, %s, %s, %s, %s, %s) on conflict do nothing
"""
_WHERE = "thread_id = %s and checkpoint_ns = %s and call_id = %s"


class RunLedger:
    """One claim's view of the ledger."""

    def __init__(self, pool: Pool, run_id: str, epoch: int) -> None:
        self._pool, self._run_id, self._epoch = pool, run_id, epoch

    async def begin(self, key: EffectKey, tool: str, args: Mapping[str, Any], effect: str) -> Entry:
        """Write the intent unless there is one; what was known before."""
        place = (key.thread_id, key.checkpoint_ns, key.call_id)
        values = (*place, self._run_id, tool, Jsonb(json_safe(args)), args_digest(args), effect)
        async with self._fenced() as connection:
            if (await connection.execute(_BEGIN, values)).rowcount:
                return Entry("new")
            known = await connection.execute(f"select result, ended_at from effects where {_WHERE}", place)
            row = await known.fetchone()
        if row is None or row["ended_at"] is None:
            return Entry("begun")
        return Entry("ended", row["result"])

    async def end(self, key: EffectKey, result: Mapping[str, Any]) -> None:
        """Write the result."""
        place = (key.thread_id, key.checkpoint_ns, key.call_id)
        async with self._fenced() as connection:
            update = f"update effects set result = %s, ended_at = now() where {_WHERE}"
            await connection.execute(update, (Jsonb(json_safe(result)), *place))

    async def forget(self, key: EffectKey) -> None:
        """Take the intent back."""
        place = (key.thread_id, key.checkpoint_ns, key.call_id)
        async with self._fenced() as connection:
            await connection.execute(f"delete from effects where {_WHERE} and ended_at is null", place)

    @asynccontextmanager
    async def _fenced(self) -> AsyncIterator[Any]:
        """A transaction that only the run's owner can commit. Raises StaleWriter for everybody else."""
        try:
            async with self._pool.connection() as connection, connection.transaction():
                await connection.execute("select fence(%s, %s)", (self._run_id, self._epoch))
                yield connection
        except psycopg.DatabaseError as error:
            if error.sqlstate == STALE_WRITER:
                raise StaleWriter(f"run {self._run_id} belongs to another worker") from error
            raise


def args_digest(args: Mapping[str, Any]) -> str:
    """Equal for equal work, whatever the order of its arguments."""
    return hashlib.sha256(orjson.dumps(args, option=orjson.OPT_SORT_KEYS, default=str)).hexdigest()
