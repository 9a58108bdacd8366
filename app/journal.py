"""The append-only log of what runs do: written in small batches by the one worker of a run, followed by anybody.

A run's rows are numbered 1..n without gaps. A batch is one transaction that starts with the run's fence, so a worker
that lost its run can add nothing. Followers are woken by NOTIFY and read rows; the notification itself carries no news.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg.types.json import Jsonb

from app.events import TERMINAL, RunEvent, joined
from app.postgres import STALE_WRITER, Pool, StaleWriter

log = logging.getLogger(__name__)

CHANNEL = "sextant_events"
COMMANDS = "sextant_commands"
"""Says that somebody wishes something of a run; what, is in its row."""
FLUSH_S = 0.05
"""Pause that lets tokens gather: a row for 50 ms of a span instead of one for each token."""
READ_ROWS = 1_000
IDLE_S = 3.0
"""A follower looks at the rows at least this often, in case a notification was lost with its connection."""
RETRY_S = (0.1, 0.5, 1.0, 2.0, 4.0)

_INSERT = (
    "insert into run_events (run_id, seq, at, type, span_id, parent_id, attempt, data) "
    "values (%s, %s, to_timestamp(%s), %s, %s, %s, %s, %s)"
)
# the run's row alone: admission locks the thread and then the run, so an end that touched both would wait in a ring
_FINISH = (
    "update runs set status = %s, output = %s, error = %s, "
    "finished_at = case when %s = 'waiting' then null else now() end where run_id = %s"
)
_SELECT = (
    "select seq, extract(epoch from run_events.at)::float8 as at, type, span_id, parent_id, attempt, data "
    "from run_events where run_id = %s and seq > %s order by seq limit %s"
)


Also = Callable[[Any, str], Awaitable[None]]
"""(connection, run id): what else belongs into the transaction that ends a run."""


@dataclass(frozen=True, slots=True)
class Result:
    """A run's row at its end."""

    values: tuple[Any, ...]
    also: Also


class Recorder:
    """Writes one run's events for one claim of it."""

    def __init__(self, pool: Pool, run_id: str, epoch: int, last_seq: int) -> None:
        self._pool, self._run_id, self._epoch, self._seq = pool, run_id, epoch, last_seq
        self._waiting: list[RunEvent] = []
        self._news = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._emitted = self._stored = 0
        self._broken = False
        self._progress = asyncio.Condition()
        self.lost: asyncio.Event = asyncio.Event()
        """Set when another worker has the run: nothing written from then on is kept."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name=f"recorder {self._run_id}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._hurry.set()
        self._news.set()
        if self._task:
            await self._task

    def emit(self, event: RunEvent) -> None:
        """Take an event; it is stored within `FLUSH_S` and a round trip."""
        self._waiting.append(event)
        self._emitted += 1
        self._news.set()

    async def sync(self) -> None:
        """Come back when all that was emitted so far is stored. Raises StaleWriter when another worker has the run."""
        target = self._emitted
        if self._stored < target and self._task and not self._task.done():
            self._hurry.set()
            async with self._progress:
                await self._progress.wait_for(lambda: self._stored >= target or self.lost.is_set() or self._broken)
        if self._broken and self._task:
            await asyncio.shield(self._task)  # raises what ended it
        self._refuse_if_lost()

    async def finish(self, event: RunEvent, status: str, output: Jsonb, error: Jsonb, also: Also) -> None:
        """Store everything waiting, then in one transaction the terminal event, the run's result, and what `also` does.

        Raises StaleWriter when another worker has the run. So no reader ever sees a result without its end.
        """
        await self.flush()
        await self._store([event], Result((status, output, error, status, self._run_id), also))
        self._refuse_if_lost()

    async def flush(self) -> None:
        """Store everything waiting and take no more. Raises StaleWriter when another worker has the run."""
        self._closing.set()
        self._hurry.set()
        self._news.set()
        if self._task:
            await self._task
        self._refuse_if_lost()

    def _refuse_if_lost(self) -> None:
        if self.lost.is_set():
            raise StaleWriter(f"run {self._run_id} belongs to another worker")

    async def _run(self) -> None:
        try:
            while not (self._closing.is_set() and not self._waiting) and not self.lost.is_set():
                await self._news.wait()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._hurry.wait(), FLUSH_S)
                self._news.clear()
                if not self._closing.is_set():
                    self._hurry.clear()
                taken, self._waiting = self._waiting, []
                if taken:
                    await self._store(joined(taken))
                await self._tell(len(taken))
        except BaseException:
            self._broken = True
            await self._tell(0)
            raise

    async def _tell(self, stored: int) -> None:
        async with self._progress:
            self._stored += stored
            self._progress.notify_all()

    async def _store(self, batch: list[RunEvent], result: Result | None = None) -> None:
        numbered = [replace(event, seq=self._seq + at) for at, event in enumerate(batch, 1)]
        unsure = False
        for pause_s in (*RETRY_S, None):
            try:
                await self._insert(numbered, result)
                self._seq = numbered[-1].seq
                return
            except StaleWriter:
                self.lost.set()
                return
            except psycopg.errors.UniqueViolation as error:
                if not unsure or error.diag.table_name != "run_events":
                    raise
                # the commit went through and only its acknowledgement was lost with the connection
                self._seq = numbered[-1].seq
                return
            except (psycopg.OperationalError, psycopg.errors.ConnectionException) as error:
                if pause_s is None:
                    raise
                unsure = True
                log.warning("run %s: events wait for the database: %s", self._run_id, error)
                await asyncio.sleep(pause_s)

    async def _insert(self, events: list[RunEvent], result: Result | None) -> None:
        rows = [
            (self._run_id, it.seq, it.at, it.type, it.span_id, it.parent_id, it.attempt, Jsonb(dict(it.data)))
            for it in events
        ]
        try:
            async with self._pool.connection() as connection, connection.transaction():
                async with connection.pipeline():
                    await connection.execute("select fence(%s, %s)", (self._run_id, self._epoch))
                    await connection.cursor().executemany(_INSERT, rows)
                    await connection.execute("select pg_notify(%s, %s)", (CHANNEL, self._run_id))
                if result:
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
                batch = await self.read(run_id, after)
                if batch:
                    after = batch[-1].seq
                yield batch
                if batch and batch[-1].type in TERMINAL:
                    return
                if not batch:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(woken.wait(), IDLE_S)
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
