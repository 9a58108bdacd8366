"""Telling others of a task: a POST to an address that a client named, whenever the task's state has changed.

A client could name an address inside our own network, so only the open web is connected to, whatever a name resolves to
at that moment (`agents/fetching.py`); servers in this network are told when the operator lists them in
`SEXTANT_WEB_INSIDE`. What is owed stands in rows: a restart loses nothing, any process sends, and a receiver that
failed is tried again. So a state may be told twice, and a state that was over in a moment not at all.
"""

import asyncio
import errno
import ipaddress
import logging
import socket
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import aiohttp
import orjson
from a2a.types import AuthenticationInfo, StreamResponse, TaskPushNotificationConfig

from agents.errors import Refused
from agents.fetching import permitted, why_private
from app.borders import NotFound, Rejected, checked_id
from app.postgres import Pool
from app.protocols import a2a_words as words
from app.queue import DATABASE_GONE
from app.runs import TERMINAL, Runs
from app.steering import Steering

log = logging.getLogger(__name__)

MAX_PUSHES = 10
"""Of one task."""
TIMEOUT_S = 10.0
MAX_TRIES = 6
LOOK_S = 0.5
IDLE_S = 2.0
"""Another process may have taken a wish."""
_SIZES = {"url": 2_000, "token": 2_000, "scheme": 100, "credentials": 4_000}

# the lease and the pause after a failure are one: 10 s, then twice as long each time
_TAKE = """
update a2a_pushes p set due_at = now() + 10 * 2 ^ p.tries * interval '1 second', tries = p.tries + 1
from (
    select q.run_id, q.push_id from a2a_pushes q join runs r using (run_id)
    where not q.over and q.due_at <= now() and q.told <> r.status and r.status <> 'queued'
    order by q.due_at limit 20 for update of q skip locked
) owed
where p.run_id = owed.run_id and p.push_id = owed.push_id returning p.*
"""
_TOLD = """
update a2a_pushes set told = %(told)s, tries = 0, due_at = now(), over = %(over)s
where run_id = %(run_id)s and push_id = %(push_id)s
"""
_GIVEN_UP = "update a2a_pushes set over = true where run_id = %s and push_id = %s"

Row = Mapping[str, Any]


class Pushes:
    """Wishes to be told, of one owner's tasks."""

    def __init__(self, pool: Pool, inside: Collection[str]) -> None:
        self._pool, self._inside = pool, inside

    async def set(self, owner: str, run_id: str, wish: TaskPushNotificationConfig) -> TaskPushNotificationConfig:
        """Take a wish, or put it in the place of the one with its id. Raises Rejected for an address of our own."""
        push_id = checked_id(wish.id or run_id, "id")
        given = {"url": wish.url, "token": wish.token, "scheme": wish.authentication.scheme,
                 "credentials": wish.authentication.credentials}  # fmt: skip
        for name, most in _SIZES.items():
            if len(given[name]) > most or any(ord(it) < 32 for it in given[name]):
                raise Rejected("push_invalid", f"{name}: {len(given[name]):,} characters", field=name, limit=most,
                               actual=len(given[name]), fix="send fewer, and no control characters")  # fmt: skip
        await refuse_private(wish.url, self._inside)
        others = [it for it in await self.all(owner, run_id) if it.id != push_id]
        if len(others) >= MAX_PUSHES:
            raise Rejected("pushes_too_many", f"task: {len(others)} addresses are told", field="taskId",
                           limit=MAX_PUSHES, actual=len(others), fix="delete one")  # fmt: skip
        await self._all(
            "insert into a2a_pushes (run_id, push_id, owner, url, token, scheme, credentials) "
            "values (%(run_id)s, %(push_id)s, %(owner)s, %(url)s, %(token)s, %(scheme)s, %(credentials)s) "
            "on conflict (run_id, push_id) do update set url = excluded.url, token = excluded.token, "
            "scheme = excluded.scheme, credentials = excluded.credentials, over = false, tries = 0 returning 1",
            run_id=run_id, push_id=push_id, owner=owner, **given,
        )  # fmt: skip
        return await self.one(owner, run_id, push_id)

    async def all(self, owner: str, run_id: str) -> list[TaskPushNotificationConfig]:
        """All wishes of a task, oldest first."""
        query = "select * from a2a_pushes where run_id = %(run_id)s and owner = %(owner)s order by made_at, push_id"
        return [_wish(row) for row in await self._all(query, run_id=run_id, owner=owner)]

    async def one(self, owner: str, run_id: str, push_id: str) -> TaskPushNotificationConfig:
        """One wish. Raises NotFound."""
        for wish in await self.all(owner, run_id):
            if wish.id == push_id:
                return wish
        raise NotFound(f"there is no push {push_id} of task {run_id}")

    async def delete(self, owner: str, run_id: str, push_id: str) -> None:
        """Tell this address nothing more."""
        delete = (
            "delete from a2a_pushes where run_id = %(run_id)s and push_id = %(push_id)s and owner = %(owner)s "
            "returning 1"
        )
        await self._all(delete, run_id=run_id, push_id=push_id, owner=owner)

    async def _all(self, sql: str, **params: Any) -> list[Row]:
        async with self._pool.connection() as connection:
            return list(await (await connection.execute(sql, params)).fetchall())


def _wish(row: Row) -> TaskPushNotificationConfig:
    wish = TaskPushNotificationConfig(id=row["push_id"], task_id=row["run_id"], url=row["url"], token=row["token"])
    if row["scheme"]:
        wish.authentication.CopyFrom(AuthenticationInfo(scheme=row["scheme"], credentials=row["credentials"]))
    return wish


# -- sending ---------------------------------------------------------------------------------------------------------


async def refuse_private(url: str, inside: Collection[str] = ()) -> None:
    """Raise Rejected unless `url` is of the open web, or listed. Told early; what counts is the socket, see `post`."""
    try:
        parsed = permitted(url, inside)
    except Refused as refused:
        raise Rejected("push_refused", str(refused), field="url", fix="name an address of the open web") from refused
    if f"{parsed.host}:{parsed.port}" in inside:
        return
    try:
        found = await asyncio.get_running_loop().getaddrinfo(parsed.host, parsed.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Rejected("push_refused", f"url: {parsed.host} has no address ({error})", field="url",
                       fix="name a host that can be resolved") from error  # fmt: skip
    for *_, place in found:
        if why := why_private(ipaddress.ip_address(str(place[0]).split("%")[0])):
            raise Rejected("push_refused", f"url: {why}", field="url", fix="name an address of the open web")


async def post(url: str, body: bytes, headers: Mapping[str, str], inside: Collection[str] = ()) -> int:
    """POST to the open web, or to a listed server: the status. Redirects are not followed, the answer is not read."""
    target = permitted(url, inside)
    listed = f"{target.host}:{target.port}" in inside
    connector = aiohttp.TCPConnector(force_close=True, socket_factory=None if listed else _public_socket)
    async with (
        aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False,
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        ) as session,
        session.post(target, data=body, headers=headers, allow_redirects=False) as response,
    ):  # fmt: skip
        return response.status


def _public_socket(info: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, place = info
    if why := why_private(ipaddress.ip_address(str(place[0]).split("%")[0])):
        raise OSError(errno.EACCES, why)
    return socket.socket(family=family, type=kind, proto=protocol)


async def push_for_ever(pool: Pool, runs: Runs, steering: Steering, inside: Collection[str]) -> None:
    """Tell whoever is owed a word, for as long as the process lives."""
    while True:
        found: Sequence[Row] = ()
        try:
            async with pool.connection() as connection:
                found = await (await connection.execute(_TAKE)).fetchall()
            await asyncio.gather(*(_tell(pool, runs, steering, row, inside) for row in found))
            pause_s = LOOK_S if found or await _any_open(pool) else IDLE_S
        except DATABASE_GONE as error:
            log.warning("push notifications wait for the database: %s", error)
            pause_s = IDLE_S
        await asyncio.sleep(pause_s)


async def _any_open(pool: Pool) -> bool:
    async with pool.connection() as connection:
        look = await connection.execute("select 1 from a2a_pushes where not over limit 1")
        return await look.fetchone() is not None


async def _tell(pool: Pool, runs: Runs, steering: Steering, row: Row, inside: Collection[str]) -> None:
    """Tell one receiver how its task stands."""
    told, problem = "", ""
    try:
        run = await runs.run(row["run_id"], row["owner"])
        status = await post(row["url"], await _body(steering, run), _headers(row), inside)
        told, problem = str(run["status"]), "" if status < 300 else f"HTTP {status}"
    except DATABASE_GONE:
        raise
    except NotFound:
        problem = "it is gone"
    except (Refused, aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        problem = str(error) or type(error).__name__
    except Exception as error:
        # whatever one task or receiver is like: the others are told
        log.exception("task %s: push %s", row["run_id"], row["push_id"])
        problem = type(error).__name__
    async with pool.connection() as connection:
        place = {"run_id": row["run_id"], "push_id": row["push_id"]}
        if not problem:
            await connection.execute(_TOLD, {**place, "told": told, "over": told in TERMINAL})
        elif row["tries"] >= MAX_TRIES:
            log.warning("task %s: push %s is told nothing more: %s", row["run_id"], row["push_id"], problem)
            await connection.execute(_GIVEN_UP, tuple(place.values()))


async def _body(steering: Steering, run: Row) -> bytes:
    asked = await steering.questions(run["run_id"], run["owner"]) if run["status"] == "waiting" else []
    open_ = [{"id": it["interrupt_id"], **it["value"]} for it in asked if not it["answered_at"]]
    return orjson.dumps(words.as_json(StreamResponse(task=words.task(run, open_))))


def _headers(row: Row) -> dict[str, str]:
    headers = {"Content-Type": "application/a2a+json"}
    headers |= {"X-A2A-Notification-Token": row["token"]} if row["token"] else {}
    return headers | ({"Authorization": f"{row['scheme']} {row['credentials']}"} if row["credentials"] else {})
