"""`sextant key add`, `list` and `revoke`: who may use the server. They need the database alone, running or not."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from rich.table import Table

from app.commands.start import starting
from app.launch import CommandFailed, Signals, launch, load_settings
from app.terminal_blocks import console, safe

if TYPE_CHECKING:
    from app.auth import Keys


@asynccontextmanager
async def _opened() -> AsyncIterator["Keys"]:
    settings = load_settings()
    with starting("Opening the database"):
        from app.auth import Keys
        from app.postgres import database, migrate, open_pool
    url = settings.database_url.get_secret_value() if settings.database_url else None
    async with database(url, settings.home) as conninfo, await open_pool(conninfo, max_size=2) as pool:
        await migrate(pool)
        yield Keys(pool)


def add(owner: str, label: str, *, debug: bool) -> None:
    """Make a key; on standard output there is nothing but the key."""

    async def command(signals: Signals) -> int:
        async with _opened() as keys:
            first = not await keys.ever_made()
            key, row = await keys.add(owner, label)
        print(key)
        print(f"Key {row['key_id']} for {owner}. It is shown this once: only its hash is kept.", file=sys.stderr)
        if first:
            print("From now on every request needs a key; the page asks for it.", file=sys.stderr)
        return 0

    launch(command, debug=debug)


def show(*, debug: bool) -> None:
    """All keys, oldest first."""

    async def command(signals: Signals) -> int:
        async with _opened() as keys:
            rows = await keys.all()
        table = Table("id", "owner", "label", "made", "last used", "state", box=None, pad_edge=False)
        for row in rows:
            used = f"{row['last_used_at']:%Y-%m-%d %H:%M}" if row["last_used_at"] else "never"
            state = "revoked" if row["revoked_at"] else "in use"
            made = f"{row['created_at']:%Y-%m-%d %H:%M}"
            table.add_row(row["key_id"], row["owner"], safe(row["label"]), made, used, state)
        console(sys.stdout).print(table if rows else "There are no keys: whoever reaches the server may use it.")
        return 0

    launch(command, debug=debug)


def revoke(key_id: str, *, debug: bool) -> None:
    """End a key."""

    async def command(signals: Signals) -> int:
        async with _opened() as keys:
            if key_id not in [row["key_id"] for row in await keys.all()]:
                raise CommandFailed(f"There is no key {key_id!r}.", "`sextant key list` shows them.")
            row = await keys.revoke(key_id)
            left = await keys.usable()
        none = " No key is left that works, and nobody gets in: `sextant key add NAME` makes one."
        print(f"Key {row['key_id']} of {row['owner']} is revoked." + ("" if left else none))
        return 0

    launch(command, debug=debug)
