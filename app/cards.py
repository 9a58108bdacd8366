"""Cards of remote agents in Postgres."""

from collections.abc import Mapping
from typing import Any

import orjson

from agents.errors import RunLost
from agents.remote.cards import CardPin
from agents.remote.peers import Peer
from agents.remote.pins import BY_SETTINGS
from app.postgres import Pool
from app.queue import DATABASE_GONE

_INSERT = (
    "insert into peer_cards (peer, url, sha256, card, approved_by) "
    "values (%(peer)s, %(url)s, %(sha256)s, %(card)s::jsonb, %(by)s) on conflict (peer, url) do "
)
_REPLACE = (
    "update set sha256 = excluded.sha256, card = excluded.card, approved_by = excluded.approved_by, "
    "approved_at = clock_timestamp(), withdrawn_at = null"
)
_PIN = "select * from peer_cards where peer = %(peer)s and url = %(url)s"
_WITHDRAW = "update peer_cards set withdrawn_at = now() where peer = %(peer)s and url = %(url)s"


class PostgresCards:
    """The cards of one database."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def first(self, peer: Peer, card: Mapping[str, Any], sha256: str) -> CardPin:
        """The agent's pin; this card becomes it where there never was one. Raises RunLost."""
        values = _values(peer, card=orjson.dumps(card).decode(), sha256=sha256, by=BY_SETTINGS)
        try:
            async with self._pool.connection() as connection:
                if (row := await (await connection.execute(_PIN, values)).fetchone()) is None:
                    await connection.execute(f"{_INSERT} nothing", values)
                    row = await (await connection.execute(_PIN, values)).fetchone()
        except DATABASE_GONE as error:
            raise RunLost(f"approved cards are out of reach: {error}") from error
        assert row is not None
        withdrawn = row["withdrawn_at"] is not None
        return CardPin(row["sha256"], row["card"], row["approved_by"], row["approved_at"], withdrawn)

    async def approve(self, peer: Peer, card: Mapping[str, Any], sha256: str, by: str) -> None:
        """This card, in the place of what was pinned."""
        values = _values(peer, card=orjson.dumps(card).decode(), sha256=sha256, by=by)
        async with self._pool.connection() as connection:
            await connection.execute(f"{_INSERT} {_REPLACE}", values)

    async def withdraw(self, peer: Peer) -> bool:
        """Hold the agent whatever it shows; False when nothing was pinned of it."""
        async with self._pool.connection() as connection:
            return bool((await connection.execute(_WITHDRAW, _values(peer))).rowcount)


def _values(peer: Peer, **more: Any) -> dict[str, Any]:
    return {"peer": peer.name, "url": peer.url, **more}
