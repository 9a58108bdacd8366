"""The effect ledger in Postgres: intents and results, written through the run's fence."""

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
import psycopg
from psycopg.types.json import Jsonb

from agents.effects import Earlier, EffectKey, Entry
from agents.errors import RunLost
from app.events import json_safe
from app.postgres import STALE_WRITER, Pool, StaleWriter

_BEGIN = """
insert into effects (thread_id, checkpoint_ns, call_id, run_id, tool, args, args_hash, effect)
values (%s, %s, %s, %s, %s, %s, %s, %s) on conflict do nothing
"""
_DONE_BEFORE = """
with recursive line as (
    select run_id, input from runs where run_id = %(forked_from)s
    union all
    select runs.run_id, runs.input from runs join line on runs.run_id = line.input -> 'fork' ->> 'run_id'
)
select result from effects where tool = %(tool)s and args_hash = %(digest)s and ended_at is not null
    and result ->> 'status' is distinct from 'error' and (
    run_id in (select run_id from line)
    or (run_id = %(run_id)s
        and begun_at < (select (input ->> 'redone_at')::timestamptz from runs where run_id = %(run_id)s))
) limit 1
"""
# the same work, begun under another id and never ended, that nobody has done or decided on since
_OPEN = """
with recursive line as (
    select run_id, input from runs where run_id = %(run_id)s
    union all
    select runs.run_id, runs.input from runs join line on runs.run_id = line.input -> 'fork' ->> 'run_id'
)
select thread_id, checkpoint_ns, call_id from effects as it
where run_id in (select run_id from line) and tool = %(tool)s and args_hash = %(digest)s and ended_at is null
    and not exists (
        select from effects as later where later.run_id in (select run_id from line) and later.tool = it.tool
            and later.args_hash = it.args_hash and later.ended_at > it.begun_at
            and later.result ->> 'status' is distinct from 'error')
"""
_TWIN = Jsonb({"twin": True})
# the runs that this one goes on from, and those that it was forked from, are its own past and no other branch
_ELSEWHERE = """
with recursive line as (
    select run_id, parent_run_id, thread_id, input from runs where run_id = %(run_id)s
    union
    select past.run_id, past.parent_run_id, past.thread_id, past.input from runs past join line
        on past.run_id in (line.parent_run_id, line.input -> 'fork' ->> 'run_id')
)
select effects.result, effects.ended_at, runs.input ->> 'question' as question from runs join effects using (run_id)
where runs.thread_id = (select thread_id from line where run_id = %(run_id)s)
    and runs.run_id not in (select run_id from line)
    and effects.tool = %(tool)s and effects.args_hash = %(digest)s
    and effects.result ->> 'status' is distinct from 'error' and effects.ended_at is not null
order by effects.ended_at desc limit 1
"""
_WHERE = "thread_id = %s and checkpoint_ns = %s and call_id = %s"


class RunLedger:
    """One claim's view of the ledger."""

    def __init__(self, pool: Pool, run_id: str, epoch: int, forked_from: str | None = None) -> None:
        self._pool, self._run_id, self._epoch, self._forked_from = pool, run_id, epoch, forked_from
        self._under_way: set[tuple[str, ...]] = set()

    async def begin(self, key: EffectKey, tool: str, args: Mapping[str, Any], effect: str) -> Entry:
        """Write the intent unless there is one; what was known before."""
        place = _place(key)
        values = (*place, self._run_id, tool, Jsonb(json_safe(args)), args_digest(args), effect)
        async with self._fenced() as connection:
            if (await connection.execute(_BEGIN, values)).rowcount:
                entry = await self._already_done(connection, place, tool, args_digest(args))
            else:
                known = await connection.execute(f"select result, ended_at, tries from effects where {_WHERE}", place)
                entry = _entry(await known.fetchone())
        if entry.state != "ended":
            self._under_way.add(place)
        return entry

    async def elsewhere(self, tool: str, args: Mapping[str, Any]) -> Earlier | None:
        """The last time that this was done in a branch which the run does not go on from."""
        values = {"run_id": self._run_id, "tool": tool, "digest": args_digest(args)}
        async with self._fenced() as connection:
            row = await (await connection.execute(_ELSEWHERE, values)).fetchone()
        if row is None:
            return None
        return Earlier(row["result"], row["ended_at"].isoformat(timespec="seconds"), row["question"] or "")

    async def _already_done(self, connection: Any, place: tuple[str, ...], tool: str, digest: str) -> Entry:
        """A fork repeats no effect of the run that it was forked from, nor does a part that is tried again.

        Same tool, same arguments: its first result.
        """
        values = {"forked_from": self._forked_from, "run_id": self._run_id, "tool": tool, "digest": digest}
        found = await connection.execute(_DONE_BEFORE, values)
        if (row := await found.fetchone()) is None:
            return await self._twin(connection, place, values)
        update = f"update effects set result = %s, ended_at = now() where {_WHERE}"
        await connection.execute(update, (Jsonb(row["result"]), *place))
        return Entry("ended", row["result"])

    async def _twin(self, connection: Any, place: tuple[str, ...], values: Mapping[str, Any]) -> Entry:
        """New, unless the same was begun before and nobody knows how it ended: then that is what is known of it."""
        rows = await (await connection.execute(_OPEN, values)).fetchall()
        if {tuple(row.values()) for row in rows} <= {place, *self._under_way}:
            return Entry("new")
        await connection.execute(f"update effects set result = %s where {_WHERE}", (_TWIN, *place))
        return Entry("begun", tries=1, twin=True)

    async def end(self, key: EffectKey, result: Mapping[str, Any]) -> None:
        """Write the result."""
        place = _place(key)
        async with self._fenced() as connection:
            update = f"update effects set result = %s, ended_at = now() where {_WHERE}"
            await connection.execute(update, (Jsonb(json_safe(result)), *place))
        self._under_way.discard(place)

    async def undo(self, key: EffectKey) -> None:
        """Strike out the intent: the call was never made."""
        place = _place(key)
        async with self._fenced() as connection:
            await connection.execute(f"delete from effects where {_WHERE}", place)
        self._under_way.discard(place)

    def leave(self, key: EffectKey) -> None:
        """Nobody waits for this call any more, and how it ends will not be known."""
        self._under_way.discard(_place(key))

    async def again(self, key: EffectKey) -> None:
        """Count one more try."""
        async with self._fenced() as connection:
            await connection.execute(f"update effects set tries = tries + 1 where {_WHERE}", _place(key))

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
            # not the tool's failure, and no observation for an agent: who carries the run next finds the intent
            raise RunLost(f"run {self._run_id}: the effect ledger cannot be written: {error}") from error


def _place(key: EffectKey) -> tuple[str, ...]:
    return (key.thread_id, key.checkpoint_ns, key.call_id)


def _entry(row: Mapping[str, Any]) -> Entry:
    if row["ended_at"] is None:
        return Entry("begun", tries=row["tries"], twin=row["result"] is not None)
    return Entry("ended", row["result"])


def args_digest(args: Mapping[str, Any]) -> str:
    """Equal for equal work, whatever the order of its arguments."""
    return hashlib.sha256(orjson.dumps(args, option=orjson.OPT_SORT_KEYS, default=str)).hexdigest()
