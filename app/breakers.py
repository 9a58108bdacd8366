"""The breakers that all processes share, in Postgres: a row is an open one. Without a database each is on its own."""

import logging
from collections.abc import Mapping

import psycopg
from psycopg_pool import PoolTimeout

from agents.breaker import Standing
from app.postgres import Pool

log = logging.getLogger(__name__)

_TRIP = """
insert into breakers (service, why, retry_at)
values (%(service)s, %(why)s, clock_timestamp() + make_interval(secs => %(wait_s)s))
on conflict (service) do update set why = excluded.why, retry_at = excluded.retry_at, probe_until = null
"""
# a row that another process removed a moment ago is a closed breaker: whoever asks may call it
_PROBE = """
with taken as (
    update breakers set probe_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
    where service = %(service)s and retry_at <= clock_timestamp()
        and (probe_until is null or probe_until <= clock_timestamp())
    returning 1
)
select exists (select from taken) or not exists (select from breakers where service = %(service)s) as mine
"""
_RELEASE = "update breakers set probe_until = null where service = %s"
_STANDINGS = """
select service, why, greatest(extract(epoch from retry_at - clock_timestamp()), 0)::float8 as retry_in_s from breakers
"""
MAX_SERVICE_CHARS = 300
_GONE = (psycopg.Error, PoolTimeout)


class PostgresSwitch:
    """One row for each service that is not closed."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def trip(self, service: str, why: str, wait_s: float) -> None:
        """Open it for `wait_s`."""
        clean = why.replace("\x00", "\ufffd").encode(errors="replace").decode()
        values = {"service": service[:MAX_SERVICE_CHARS], "why": clean, "wait_s": wait_s}
        try:
            async with self._pool.connection() as connection:
                await connection.execute(_TRIP, values)
        except _GONE as error:
            log.warning("the breaker of %s opens in this process alone: %s", service, error)

    async def probe(self, service: str, lease_s: float) -> bool:
        """True for the one caller who may try it now."""
        try:
            async with self._pool.connection() as connection:
                values = {"service": service[:MAX_SERVICE_CHARS], "lease_s": lease_s}
                row = await (await connection.execute(_PROBE, values)).fetchone()
        except _GONE as error:
            log.warning("%s is tried without asking other processes: %s", service, error)
            return True
        return bool(row and row["mine"])

    async def release(self, service: str) -> None:
        """The probe came to no end: whoever asks next may try."""
        try:
            async with self._pool.connection() as connection:
                await connection.execute(_RELEASE, (service[:MAX_SERVICE_CHARS],))
        except _GONE as error:
            log.warning("the probe of %s is held until its time is over: %s", service, error)

    async def close(self, service: str) -> None:
        """It works again."""
        try:
            async with self._pool.connection() as connection:
                await connection.execute("delete from breakers where service = %s", (service[:MAX_SERVICE_CHARS],))
        except _GONE as error:
            log.warning("the breaker of %s closes in this process alone: %s", service, error)

    async def standings(self) -> Mapping[str, Standing] | None:
        """Every service that is not closed; None when nobody knows."""
        try:
            async with self._pool.connection() as connection:
                rows = await (await connection.execute(_STANDINGS)).fetchall()
        except _GONE:
            return None
        return {
            row["service"]: Standing("open" if row["retry_in_s"] else "half-open", row["retry_in_s"], row["why"])
            for row in rows
        }
