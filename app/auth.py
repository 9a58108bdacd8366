"""API keys: who is asking. A key is `sx_<id>_<secret>`; the database holds its SHA-256 and never the key.

While no key was ever made and strangers cannot reach the address, everybody is the owner `local`, so the first run
needs no password. The first key closes the door for good: from then on every request says who it is.
"""

import hashlib
import hmac
import ipaddress
import re
import secrets
import string
from typing import Any

from app.borders import NotFound, Rejected
from app.postgres import Pool

LOCAL = "local"
"""Owner of everything while nobody signs in; of what the command line starts, always."""
BATCH = "batch"
"""Owner of a batch's runs. Not `local`: ten thousand rows are no conversations, and would bury those in a list.

Each row is answered as if it were alone, so these runs have no memory.
"""
MAX_OWNER_CHARS = 64
ID_CHARS = 8
SECRET_BYTES = 32
USED_EVERY_S = 60
"""`last_used_at` is not written more often than this."""

_OWNER = re.compile(r"[A-Za-z0-9_-]+")
_KEY = re.compile(rf"sx_([a-z0-9]{{{ID_CHARS}}})_[A-Za-z0-9_-]{{40,50}}")
_NOBODY = "0" * 64

Row = dict[str, Any]


class Keys:
    """The keys of one database."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, owner: str, label: str = "") -> tuple[str, Row]:
        """A new key for `owner`, shown this once, and its row."""
        owner = checked_owner(owner)
        alphabet = string.ascii_lowercase + string.digits
        key_id = "".join(secrets.choice(alphabet) for _ in range(ID_CHARS))
        key = f"sx_{key_id}_{secrets.token_urlsafe(SECRET_BYTES)}"
        insert = "insert into api_keys (key_id, owner, label, sha256) values (%s, %s, %s, %s) returning *"
        rows = await self._all(insert, key_id, owner, _checked_label(label), _digest(key))
        return key, _shown(rows[0])

    async def all(self) -> list[Row]:
        """All keys, oldest first, without what could be used."""
        return [_shown(row) for row in await self._all("select * from api_keys order by created_at, key_id")]

    async def revoke(self, key_id: str) -> Row:
        """End a key: its next request is refused. Raises NotFound."""
        update = "update api_keys set revoked_at = coalesce(revoked_at, now()) where key_id = %s returning *"
        if rows := await self._all(update, key_id):
            return _shown(rows[0])
        raise NotFound(f"there is no key {key_id}; `sextant key list` shows them")

    async def ever_made(self) -> bool:
        """True from the first key on, also when all were revoked."""
        return bool(await self._all("select 1 from api_keys limit 1"))

    async def usable(self) -> bool:
        """True when somebody could sign in."""
        return bool(await self._all("select 1 from api_keys where revoked_at is null limit 1"))

    async def owner_of(self, key: str) -> str | None:
        """Whose key this is, or None. The comparison takes as long for a wrong key as for a right one."""
        parts = _KEY.fullmatch(key)
        query = (
            "select *, coalesce(last_used_at < now() - %s * interval '1 second', true) as stale "
            "from api_keys where key_id = %s"
        )
        found = await self._all(query, USED_EVERY_S, parts[1] if parts else "")
        row: Row = found[0] if found else {"sha256": _NOBODY}
        right = hmac.compare_digest(row["sha256"], _digest(key))
        if not right or row["revoked_at"]:
            return None
        if row["stale"]:
            await self._all("update api_keys set last_used_at = now() where key_id = %s returning 1", row["key_id"])
        return str(row["owner"])

    async def _all(self, sql: str, *params: Any) -> list[Row]:
        async with self._pool.connection() as connection:
            return list(await (await connection.execute(sql, params)).fetchall())


def checked_owner(owner: str) -> str:
    """A name that is safe in ids and namespaces. Raises Rejected."""
    if not (len(owner) <= MAX_OWNER_CHARS and _OWNER.fullmatch(owner)):
        raise Rejected(
            "owner_malformed", f"owner: 1 to {MAX_OWNER_CHARS} of A-Z a-z 0-9 _ - are allowed", field="owner",
            limit=MAX_OWNER_CHARS, actual=len(owner), fix="choose a short name without dots or spaces",
        )  # fmt: skip
    if owner == BATCH:
        raise Rejected(
            "owner_reserved", f"owner: {BATCH} is whose batches are", field="owner", fix="choose another name"
        )
    return owner


def _checked_label(label: str) -> str:
    if len(label) > 100 or not label.isprintable():
        raise Rejected("label_malformed", "label: at most 100 printable characters", field="label", limit=100,
                       actual=len(label), fix="say in a few words where the key is used")  # fmt: skip
    return label


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address to listen on, or a name in a `Host` header."""
    if host.strip("[]").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _shown(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "sha256"}
