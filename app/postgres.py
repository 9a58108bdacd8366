"""Open the one database: DATABASE_URL or the embedded server; pool, migrations, checkpointers, store.

Everything that must outlive a process is in this Postgres: threads, runs, events, the queue, checkpoints,
memory. Only this module knows how to reach it and what shape it has.
"""

import asyncio
import hashlib
import logging
import math
import select
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString
from weakref import WeakKeyDictionary

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata, CheckpointTuple
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.store.postgres.aio import AsyncPostgresStore
from procrastinate.schema import SchemaManager
from psycopg import AsyncConnection, AsyncCursor
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from agents.errors import RunLost
from app.embedded_postgres import EmbeddedServer
from app.postgres_binaries import DatabaseUnavailable

__all__ = [
    "DatabaseUnavailable",
    "FencedSaver",
    "Pool",
    "StaleWriter",
    "checkpointer",
    "database",
    "migrate",
    "open_pool",
    "opened_store",
]

Pool = AsyncConnectionPool[AsyncConnection[DictRow]]
Statement = tuple[LiteralString, Mapping[str, Any]]

CONNECT_TIMEOUT_S = 10
POOL_TIMEOUT_S = 30.0
"""How long a caller waits for a free connection."""
TRANSACTION_TIMEOUT_S = 10
"""Ours take milliseconds."""
BELIEVED_S = 0.1
"""For so long after a connection answered, its silent socket is proof enough that the server is there."""
WATCH_PERIOD_S = 1.0
WATCH_PERIOD_MAX_S = 60.0
MIGRATION_TIMEOUT_S = 120.0
MIGRATION_POLL_S = 0.05
MIGRATION_LOCK = 0x5E7A17  # any number that nobody else locks in this database
MIGRATIONS = Path(__file__).with_name("sql")
STALE_WRITER = "SX001"

logger = logging.getLogger(__name__)


class StaleWriter(RunLost):
    """This process lost the run to another one: nothing that it writes from now on is kept."""


@asynccontextmanager
async def database(url: str | None, home: Path) -> AsyncIterator[str]:
    """Yield a conninfo that answers: of `url`, or of the embedded server, held until the end of the block."""
    if url:
        yield await _checked(url)
        return
    server = EmbeddedServer(home / "postgres")
    try:
        conninfo = await asyncio.to_thread(server.acquire)
        watch = asyncio.create_task(_keep_running(server))
        try:
            yield conninfo
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
    finally:
        await asyncio.to_thread(server.release)


async def _checked(url: str) -> str:
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error:  # its text may quote the password
        raise DatabaseUnavailable(
            "DATABASE_URL is not a connection string. Write postgresql://USER:PASSWORD@HOST:5432/DATABASE,"
            " or unset it to use the embedded Postgres."
        ) from None
    conninfo = make_conninfo(url, connect_timeout=parts.get("connect_timeout") or CONNECT_TIMEOUT_S)
    try:
        async with await AsyncConnection.connect(conninfo, autocommit=True) as connection:
            await connection.execute("select 1")
    except psycopg.Error as error:
        place = " ".join(f"{name}={parts[name]}" for name in ("host", "port", "dbname", "user") if name in parts)
        raise DatabaseUnavailable(
            f"No Postgres answers at DATABASE_URL ({place}): {str(error).strip()}\n"
            "Start it, correct the URL, or unset DATABASE_URL to use the embedded Postgres."
        ) from error
    return conninfo


async def _keep_running(server: EmbeddedServer) -> None:
    """Bring the server back when it dies under us (the kernel's memory killer likes it)."""
    period_s = WATCH_PERIOD_S
    while True:
        await asyncio.sleep(period_s)
        try:
            await asyncio.to_thread(server.revive)
            period_s = WATCH_PERIOD_S
        except DatabaseUnavailable as error:
            logger.error("%s", error)
            period_s = min(period_s * 2, WATCH_PERIOD_MAX_S)


async def open_pool(
    conninfo: str, *, min_size: int = 2, max_size: int = 20, transaction_timeout_s: int = TRANSACTION_TIMEOUT_S
) -> Pool:
    """Open a pool whose connections outlive a restart of the server. The caller closes it."""

    async def configure(connection: AsyncConnection[DictRow]) -> None:
        await connection.set_autocommit(True)
        await _bound_transactions(connection, transaction_timeout_s)

    pool = AsyncConnectionPool(
        conninfo,
        connection_class=AsyncConnection[DictRow],
        # autocommit isn't among them: the queue's listener passes its own beside these, and would fail on two
        kwargs={"prepare_threshold": 0, "row_factory": dict_row},
        configure=configure,
        check=StillThere(),
        min_size=min_size,
        max_size=max_size,
        timeout=POOL_TIMEOUT_S,
        open=False,
    )
    logging.getLogger("psycopg").addFilter(_is_news)
    try:
        await pool.open(wait=True, timeout=POOL_TIMEOUT_S)
    except PoolTimeout as error:
        await pool.close()
        raise DatabaseUnavailable(
            f"Postgres gave no {min_size} connections in {POOL_TIMEOUT_S:.0f} s. Look for a full"
            " max_connections or a server that is going down, and start again."
        ) from error
    return pool


class StillThere:
    """Raises when a connection that leaves the pool is dead; asks the server only where its socket cannot tell.

    A server that ends or dies closes its sockets, and a closed one is readable. What vanishes without a word is found
    by the question. That costs a round trip, and was a third of all statements of a turn when each use asked. One that
    ends in the very millisecond between look and use fails as it would in mid-use.
    """

    def __init__(self, believed_s: float = BELIEVED_S) -> None:
        self._believed_s = believed_s
        self._answered_at: WeakKeyDictionary[Any, float] = WeakKeyDictionary()

    async def __call__(self, connection: AsyncConnection[DictRow]) -> None:
        answered_at = self._answered_at.get(connection, -math.inf)
        if time.monotonic() < answered_at + self._believed_s and not _readable(connection.fileno()):
            return
        await AsyncConnectionPool.check_connection(connection)
        self._answered_at[connection] = time.monotonic()


def _readable(descriptor: int) -> bool:
    """True when there is something to read, be it the end."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(0))


def _is_news(record: logging.LogRecord) -> bool:
    """A pipeline warns of its abortion beside the error that caused it; each refused write would do so."""
    return not record.getMessage().endswith("pipeline aborted")


async def _bound_transactions(connection: AsyncConnection[DictRow], seconds: int) -> None:
    """Let no transaction outlive its process's attention; 0 is no bound.

    A worker that is paused in the middle of one holds its run's row, and whoever wants to take the run over would wait
    for as long as the pause lasts. Before Postgres 17 this covers only what idles between two statements.
    """
    for name, since in (("idle_in_transaction_session_timeout", 0), ("transaction_timeout", 170_000)):
        if connection.info.server_version >= since:
            await connection.execute("select set_config(%s, %s, false)", (name, f"{seconds}s"))


# migrations


@dataclass(frozen=True)
class Migration:
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


async def migrate(pool: Pool) -> None:
    """Bring the schema up to this code, one process at a time. Nothing to do costs milliseconds."""
    async with pool.connection() as connection:
        await _lock(connection)
        try:
            await _bound_transactions(connection, 0)  # an index over years of events takes its time
            applied = await _applied(connection)
            await _apply_queue(connection, applied)
            await _apply_ours(connection, applied)
            await AsyncPostgresSaver(connection).setup()
            await AsyncPostgresStore(connection).setup()
        finally:
            with suppress(psycopg.OperationalError):  # connection lost, and the lock with it
                await connection.execute("select pg_advisory_unlock(%s)", (MIGRATION_LOCK,))
                await _bound_transactions(connection, TRANSACTION_TIMEOUT_S)


async def _lock(connection: AsyncConnection[DictRow]) -> None:
    """Poll: a waiting statement holds a snapshot, for which `create index concurrently` waits: deadlock."""
    try:
        async with asyncio.timeout(MIGRATION_TIMEOUT_S):
            while True:
                if await _try_lock(connection):
                    return
                await asyncio.sleep(MIGRATION_POLL_S)
    except TimeoutError:
        raise DatabaseUnavailable(
            f"Another process has been migrating this database for {MIGRATION_TIMEOUT_S:.0f} s. An open"
            " transaction may block it: look into pg_stat_activity, end it, and start again."
        ) from None


async def _try_lock(connection: AsyncConnection[DictRow]) -> bool:
    cursor = await connection.execute("select pg_try_advisory_lock(%s) as locked", (MIGRATION_LOCK,))
    row = await cursor.fetchone()
    return row is not None and bool(row["locked"])


async def _applied(connection: AsyncConnection[DictRow]) -> dict[str, str]:
    await connection.execute(
        "create table if not exists sextant_migrations"
        " (name text primary key, applied_at timestamptz not null default now(), sha256 text not null)"
    )
    cursor = await connection.execute("select name, sha256 from sextant_migrations")
    return {row["name"]: row["sha256"] for row in await cursor.fetchall()}


async def _apply_queue(connection: AsyncConnection[DictRow], applied: dict[str, str]) -> None:
    """The queue keeps no record of its own upgrades, so its files get rows in our table."""
    files = _migrations(Path(SchemaManager.get_migrations_path()), prefix="procrastinate/")
    if any(migration.name in applied for migration in files):
        for migration in files:
            if migration.name not in applied:
                await _apply(connection, migration.sql, [migration])
        return
    cursor = await connection.execute("select to_regclass('procrastinate_jobs') is not null as there")
    row = await cursor.fetchone()
    if row is not None and row["there"]:
        raise DatabaseUnavailable(
            "This database holds the job queue of another program: a table procrastinate_jobs that Sextant"
            " didn't make. Give Sextant a database of its own: CREATE DATABASE, and name it in DATABASE_URL."
        )
    await _apply(connection, SchemaManager.get_schema(), files)


async def _apply_ours(connection: AsyncConnection[DictRow], applied: dict[str, str]) -> None:
    files = _migrations(MIGRATIONS)
    _refuse_strangers({migration.name: migration.sha256 for migration in files}, applied)
    for migration in files:
        if migration.name not in applied:
            await _apply(connection, migration.sql, [migration])


def _refuse_strangers(known: dict[str, str], applied: dict[str, str]) -> None:
    for name, sha256 in applied.items():
        if name.startswith("procrastinate/"):
            continue
        if name not in known:
            raise DatabaseUnavailable(
                f"A newer Sextant has migrated this database ({name} is unknown here). Update Sextant, or"
                " restore a backup from before."
            )
        if known[name] != sha256:
            raise DatabaseUnavailable(
                f"app/sql/{name}.sql was changed after this database had applied it. Restore the file and"
                " put the change into a new one with the next number."
            )


def _migrations(folder: Path, prefix: str = "") -> list[Migration]:
    # read as text: a checkout with other line ends is the same migration
    return [Migration(prefix + path.stem, path.read_text("utf-8")) for path in sorted(folder.glob("*.sql"))]


async def _apply(connection: AsyncConnection[DictRow], sql: str, records: Sequence[Migration]) -> None:
    async with connection.transaction(), connection.cursor() as cursor:
        await cursor.execute(sql, prepare=False)  # several statements can't be prepared
        await cursor.executemany(
            "insert into sextant_migrations (name, sha256) values (%s, %s)",
            [(record.name, record.sha256) for record in records],
        )


# what LangGraph writes through


class FencedSaver(AsyncPostgresSaver):
    """A checkpointer for one claim of one run: it stores nothing once another worker has claimed the run.

    All that it writes for a run goes through `_cursor(pipeline=True)`, one transaction on an autocommit
    connection, so the fence in front decides over all of it. The method is private: a test pins it.
    """

    def __init__(self, pool: Pool, run_id: str, epoch: int) -> None:
        super().__init__(pool)
        self.run_id = run_id
        self.epoch = epoch
        self.beside: Callable[[], AbstractAsyncContextManager[Statement]] = self._alone
        """Around each write: the statement that fences it, and stores what it rests on in the same transaction."""
        self.first = False
        """Nobody held the run before, so nothing is stored of it but what was written through here."""
        self._written: set[str] = set()

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        place = config["configurable"]
        ours = self.first and place["thread_id"] == self.run_id
        if ours and place.get("checkpoint_ns", "") not in self._written:
            return None
        return await super().aget_tuple(config)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        self._written.add(config["configurable"]["checkpoint_ns"])
        return await super().aput(config, checkpoint, metadata, new_versions)

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncIterator[AsyncCursor[DictRow]]:
        try:
            if not pipeline:
                async with super()._cursor() as cursor:
                    yield cursor
                return
            async with self.beside() as fence, super()._cursor(pipeline=True) as cursor:
                await cursor.execute(*fence)
                yield cursor
        except psycopg.Error as error:
            if error.sqlstate == STALE_WRITER:
                raise StaleWriter(
                    f"Run {self.run_id} was claimed by another worker after epoch {self.epoch}; this one stops."
                ) from error
            if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
                # no failure of the agent in whose step it happens: nobody may turn it into a finding
                raise RunLost(f"run {self.run_id}: its checkpoints are out of reach: {error}") from error
            raise

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[Statement]:
        yield "select fence(%(run_id)s, %(epoch)s)", {"run_id": self.run_id, "epoch": self.epoch}


def checkpointer(pool: Pool, run_id: str, epoch: int) -> FencedSaver:
    """One per run and loop: a saver locks around each statement, so a shared one makes all runs queue."""
    return FencedSaver(pool, run_id, epoch)


@asynccontextmanager
async def opened_store(pool: Pool) -> AsyncIterator[AsyncPostgresStore]:
    """The long-term store. One for each process: each has a background task that gathers operations."""
    store = AsyncPostgresStore(pool)
    yield store
    # it ends this task only when it is collected, too late for the loop; the field is private, a test pins it
    if task := store._task:
        task.cancel()
        await asyncio.wait([task])
