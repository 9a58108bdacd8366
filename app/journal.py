"""The append-only log of what runs do: written in small batches by the one worker of a run, followed by anybody.

A run's rows are numbered 1..n without gaps. A batch is one transaction that starts with the run's fence, so a worker
that lost its run can add nothing. Followers are woken by NOTIFY and read rows; the notification itself carries no news.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import orjson
import psycopg
from psycopg.types.json import Jsonb

from app.events import TERMINAL, RunEvent, joined
from app.postgres import STALE_WRITER, Pool, StaleWriter, Statement

log = logging.getLogger(__name__)

CHANNEL = "sextant_events"
COMMANDS = "sextant_commands"
"""Says that somebody wishes something of a run; what, is in its row."""
FLUSH_S = 0.05
"""Pause that lets tokens gather: a row for 50 ms of a span instead of one for each token."""
READ_ROWS = 1_000
GATHER_S = 0.02
"""Least time between two looks of a follower: a step's end is several transactions, and one look."""
SETTLED_S = 0.25
"""Silence after which a follower is told that there is no more for now."""
IDLE_S = 3.0
"""A follower looks at the rows at least this often, in case a notification was lost with its connection."""
RETRY_S = (0.1, 0.5, 1.0, 2.0, 4.0)

# one statement is one round trip and its own transaction; the fence is in it, and refuses all of it
_STORE = """
with fenced as materialized (select fence(%(run_id)s, %(epoch)s)),
stored as (
    insert into run_events (run_id, seq, at, type, span_id, parent_id, attempt, data)
    select %(run_id)s, it.seq, to_timestamp(it.at), it.type, it.span_id, it.parent_id, it.attempt, it.data
    from fenced, jsonb_to_recordset(%(rows)s::jsonb) as it
        (seq bigint, at float8, type text, span_id text, parent_id text, attempt int, data jsonb)
)
select pg_notify(%(channel)s, %(run_id)s) from fenced
"""
# the run's row alone: admission locks the thread and then the run, so an end that touched both would wait in a ring
_FINISH = (
    "update runs set status = %s, output = %s, error = %s, "
    "finished_at = case when %s = 'waiting' then null else now() end where run_id = %s"
)
_SELECT = (
    "select seq, extract(epoch from run_events.at)::float8 as at, type, span_id, parent_id, attempt, data "
    "from run_events where run_id = %s and seq > %s order by seq limit %s"
)


Row = dict[str, Any]
Also = Callable[[Any, str], Awaitable[None]]
"""(connection, run id): what else belongs into the transaction that ends a run."""


@dataclass(frozen=True, slots=True)
class Result:
    """A run's row at its end."""

    values: tuple[Any, ...]
    also: Also


class Recorder:
    """Writes one run's events for one claim of it."""

    def __init__(self, pool: Pool, run_id: str, epoch: int, last_seq: int, *, flush_s: float = FLUSH_S) -> None:
        self._pool, self._run_id, self._epoch, self._seq, self._flush_s = pool, run_id, epoch, last_seq, flush_s
        self._waiting: list[RunEvent] = []
        self._unsure: list[Row] = []
        """Sent to the database, which has not said whether they are stored."""
        self._news = asyncio.Event()
        self._closing = asyncio.Event()
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self.lost: asyncio.Event = asyncio.Event()
        """Set when another worker has the run: nothing written from then on is kept."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name=f"recorder {self._run_id}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()
        async with self._turn:
            await self._store()

    def emit(self, event: RunEvent) -> None:
        """Take an event; it is stored within `flush_s` and a round trip."""
        self._waiting.append(event)
        self._news.set()

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[Statement]:
        """A statement that stores what waits, for the transaction of somebody else whom the run's fence guards too.

        What that transaction rests on is told with it or not at all. Raises StaleWriter when another worker has the
        run, and what ended the recorder, if something did.
        """
        if self._task and self._task.done():
            self._task.result()
        async with self._turn:
            if self._unsure:
                await self._attempt(self._unsure)
            self._refuse_if_lost()
            self._unsure = rows = self._taken()
            yield self._statement(rows)
            self._settled(rows)

    async def finish(self, event: RunEvent, status: str, output: Jsonb, error: Jsonb, also: Also) -> None:
        """In one transaction everything waiting, the terminal event, the run's result, and what `also` does.

        Raises StaleWriter when another worker has the run. So no reader ever sees a result without its end.
        """
        await self._close()
        async with self._turn:
            await self._store(event, Result((status, output, error, status, self._run_id), also))
        self._refuse_if_lost()

    async def flush(self) -> None:
        """Store everything waiting and take no more. Raises StaleWriter when another worker has the run."""
        await self._close()
        async with self._turn:
            await self._store()
        self._refuse_if_lost()

    def _refuse_if_lost(self) -> None:
        if self.lost.is_set():
            raise StaleWriter(f"run {self._run_id} belongs to another worker")

    async def _close(self) -> None:
        """End the task that stores; what waits is for whoever closes."""
        self._closing.set()
        self._news.set()
        if self._task:
            await self._task

    async def _run(self) -> None:
        while not self.lost.is_set():
            await self._news.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._flush_s):
                    await self._closing.wait()
            if self._closing.is_set():
                return
            self._news.clear()
            async with self._turn:
                await self._store()

    # -- with the turn -----------------------------------------------------------------------------------------------

    async def _store(self, end: RunEvent | None = None, result: Result | None = None) -> None:
        """Write what waits, and a run's end; nothing once the run is lost."""
        if self._unsure:
            await self._attempt(self._unsure)
        rows = self._taken()
        if end:
            rows.append(self._row(end, self._seq + len(rows) + 1))
        if rows and not self.lost.is_set():
            await self._attempt(rows, result)

    def _taken(self) -> list[Row]:
        taken, self._waiting = joined(self._waiting), []
        return [self._row(event, seq) for seq, event in enumerate(taken, self._seq + 1)]

    def _row(self, event: RunEvent, seq: int) -> Row:
        return {
            "seq": seq, "at": event.at, "type": event.type, "span_id": event.span_id, "parent_id": event.parent_id,
            "attempt": event.attempt, "data": dict(event.data),
        }  # fmt: skip

    def _statement(self, rows: list[Row]) -> Statement:
        values = {"run_id": self._run_id, "epoch": self._epoch, "channel": CHANNEL, "rows": orjson.dumps(rows).decode()}
        return (_STORE, values) if rows else ("select fence(%(run_id)s, %(epoch)s)", values)

    def _settled(self, rows: list[Row]) -> None:
        self._unsure = []
        if rows:
            self._seq = rows[-1]["seq"]

    async def _attempt(self, rows: list[Row], result: Result | None = None) -> None:
        unsure = rows is self._unsure
        # a result that nobody waits for any more is not tried again, and its end not told without it
        self._unsure = rows[:-1] if result else rows
        for pause_s in (*RETRY_S, None):
            try:
                await self._write(rows, result)
                return self._settled(rows)
            except StaleWriter:
                self._unsure = []
                self.lost.set()
                return
            except psycopg.errors.UniqueViolation as error:
                if not unsure or error.diag.table_name != "run_events":
                    raise
                # the commit went through and only its acknowledgement was lost with the connection
                return self._settled(rows)
            except (psycopg.OperationalError, psycopg.errors.ConnectionException) as error:
                if pause_s is None:
                    raise
                unsure = True
                log.warning("run %s: events wait for the database: %s", self._run_id, error)
                await asyncio.sleep(pause_s)

    async def _write(self, rows: list[Row], result: Result | None) -> None:
        try:
            async with self._pool.connection() as connection:
                if result is None:
                    await connection.execute(*self._statement(rows))
                    return
                async with connection.transaction():
                    await connection.execute(*self._statement(rows))
                    await connection.execute(_FINISH, result.values)
                    await result.also(connection, self._run_id)
        except psycopg.DatabaseError as error:
            if error.sqlstate == STALE_WRITER:
                raise StaleWriter(f"run {self._run_id} belongs to another worker") from error
            raise


class Journal:
    """Reads and follows runs' events. One LISTEN connection for each process."""

    def __init__(self, pool: Pool, conninfo: str) -> None:
        self._pool, self._conninfo = pool, conninfo
        self._readers: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._closed = asyncio.Event()
        self.commands: asyncio.Queue[str] = asyncio.Queue()
        """Ids of runs of which somebody wishes something."""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Self]:
        """Keep followers awake for as long as the context lasts."""
        task = asyncio.create_task(self._listen(), name="journal listener")
        try:
            yield self
        finally:
            self.close()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def close(self) -> None:
        """End every follower at its next step; for a server that is going down."""
        self._closed.set()
        self._wake_all()

    @property
    def closed(self) -> bool:
        """True once `close` was called."""
        return self._closed.is_set()

    async def read(self, run_id: str, after: int = 0) -> list[RunEvent]:
        """Events after seq `after`, all of them."""
        out: list[RunEvent] = []
        while True:
            async with self._pool.connection() as connection:
                rows = await (await connection.execute(_SELECT, (run_id, after, READ_ROWS))).fetchall()
            out += [
                RunEvent(
                    row["type"], row["span_id"], row["parent_id"], row["data"], row["at"], row["attempt"], row["seq"]
                )
                for row in rows
            ]
            if len(rows) < READ_ROWS:
                return out
            after = out[-1].seq

    async def follow(self, run_id: str, after: int = 0) -> AsyncIterator[list[RunEvent]]:
        """Batches of events as they are stored, until the run's terminal event or `close`.

        Yields an empty batch when nothing came for a while, so that the caller can look at the run's row.
        """
        if after and await self._is_over(run_id, after):
            return
        woken = asyncio.Event()
        self._readers[run_id].add(woken)
        try:
            while not self._closed.is_set():
                woken.clear()
                looked_at = time.monotonic()
                batch = await self.read(run_id, after)
                if batch:
                    after = batch[-1].seq
                yield batch
                if batch and batch[-1].type in TERMINAL:
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(SETTLED_S if batch else IDLE_S):
                        await woken.wait()
                        await asyncio.sleep(looked_at + GATHER_S - time.monotonic())
        finally:
            self._readers[run_id].discard(woken)
            if not self._readers[run_id]:
                del self._readers[run_id]

    async def _is_over(self, run_id: str, after: int) -> bool:
        """Nothing comes after `after`: somebody asks again who has seen the end."""
        last = "select seq, type from run_events where run_id = %s order by seq desc limit 1"
        async with self._pool.connection() as connection:
            row = await (await connection.execute(last, (run_id,))).fetchone()
        return row is not None and row["seq"] <= after and row["type"] in TERMINAL

    async def _listen(self) -> None:
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True) as connection:
                    await connection.execute(f"listen {CHANNEL}; listen {COMMANDS}")
                    self._wake_all()  # whatever was stored while nobody listened
                    async for note in connection.notifies():
                        if note.channel == COMMANDS:
                            self.commands.put_nowait(note.payload)
                        for reader in self._readers.get(note.payload, ()):
                            reader.set()
            except psycopg.Error as error:
                log.warning("event listener lost the database, trying again: %s", error)
                await asyncio.sleep(RETRY_S[1])

    def _wake_all(self) -> None:
        for readers in self._readers.values():
            for reader in readers:
                reader.set()
