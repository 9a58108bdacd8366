"""Which MCP servers this installation has, how one is connected, and how they look to people.

The SDK is imported when the first server is connected: half a second that nobody without servers waits for.
"""

from collections.abc import Collection, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agents.remote.definitions import Definition, offered_names
from agents.remote.pins import Pin
from agents.remote.remotes import Connection, Remote
from agents.remote.servers import Server, read_servers
from agents.tools.contract import Contract
from agents.tools.remote import contract_for
from app.settings import Settings, variable

FILE = "mcp.json"


def servers_of(settings: Settings, roles: Collection[str]) -> tuple[Server, ...]:
    """The servers that the settings name. Raises ServersInvalid with the field that is wrong."""
    path = servers_file(settings)
    return read_servers(path, variable, roles) if path else ()


def servers_file(settings: Settings) -> Path | None:
    """Where they are named; None where nobody names any."""
    default = settings.home / FILE
    return settings.mcp_servers or (default if default.exists() else None)


def connect(server: Server) -> AbstractAsyncContextManager[Connection]:
    """A session with a server."""
    from agents.remote.mcp_client import connected

    return connected(server)


def shown(remote: Remote) -> dict[str, Any]:
    """A server as the API tells it."""
    server, health = remote.server, remote.health
    names = offered_names(server.name, sorted({*remote.pinned, *(remote.defined or {})}))
    return {
        "name": server.name,
        "transport": server.transport,
        "target": server.target,
        "roles": list(server.roles),
        "trust_on_first_use": server.trust_on_first_use,
        "state": health.state,
        "since": datetime.fromtimestamp(health.since, UTC).isoformat(),
        "about": health.about,
        "last_error": health.last_error,
        "tools": [*(_tool(remote, tool, name) for tool, name in names.items()),
                  *(_unfit(tool, why) for tool, why in remote.unfit.items() if tool not in names)],
    }  # fmt: skip


def _tool(remote: Remote, tool: str, name: str) -> dict[str, Any]:
    pin, now = remote.pinned.get(tool), (remote.defined or {}).get(tool)
    state = remote.pin_state(tool)
    definition = pin.definition if pin else now
    contract = contract_for(remote, definition) if definition else None
    return {
        "tool": tool,
        "name": name,
        "state": state,
        "problem": remote.unfit.get(tool, ""),
        "effect": contract.effect if contract else None,
        "asks": _asks(contract) if contract else "always",
        "callable": state in ("approved", "unseen") and pin is not None,
        "approved": _approved(pin) if pin else None,
        "offered": _definition(now) if now else None,
    }


def _unfit(tool: str, why: str) -> dict[str, Any]:
    return {"tool": tool, "name": "", "state": "unfit", "problem": why, "effect": None, "asks": "always",
            "callable": False, "approved": None, "offered": None}  # fmt: skip


def _asks(contract: Contract) -> str:
    """When a person is asked about a call."""
    return "always" if contract.approval else "after_reading" if contract.reaches_out else "never"


def _approved(pin: Pin) -> dict[str, Any]:
    return {**_definition(pin.definition), "by": pin.approved_by, "at": pin.approved_at.isoformat()}


def _definition(it: Definition) -> dict[str, Any]:
    hints: Mapping[str, Any] = it.raw.get("annotations") or {}
    return {"sha256": it.sha256, "description": it.description, "schema": it.schema, "hints": dict(hints)}
