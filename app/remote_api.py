"""MCP servers over HTTP: how each is, what it defines, and a person's yes to definitions that they have read, or no."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, StringConstraints

from agents.errors import ToolFailed
from agents.remote.remotes import Remote
from app.borders import Conflict, NotFound
from app.compose import App
from app.gate import Admin
from app.remotes import shown

MAX_APPROVED = 200

Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]

Tools = Annotated[list[str], Query(min_length=1, max_length=MAX_APPROVED)]


class Approval(BaseModel):
    """Tools, each with the hash of the definition that was read."""

    tools: dict[str, Sha256] = Field(min_length=1, max_length=MAX_APPROVED)


def remotes_router(get_app: Callable[[], App]) -> APIRouter:
    """Routes under `/remotes`."""
    router = APIRouter(prefix="/remotes", tags=["remotes"])

    @router.get("")
    async def remotes() -> dict[str, Any]:
        """All MCP servers: health, tools, what of them is approved."""
        return {"remotes": [shown(it) for it in get_app().remotes.remotes.values()]}

    @router.post("/{server}/approve")
    async def approve(server: str, body: Approval, owner: Admin) -> dict[str, Any]:
        """Approve definitions, all of them or none. Refused when the server defines one otherwise by now."""
        remote = _found(get_app(), server)
        try:
            others = await remote.approve(body.tools, by=owner)
        except ToolFailed as error:
            raise Conflict("remote_away", f"{server}: {error.problem}", field="server",
                           fix="approve it when it is connected") from error  # fmt: skip
        if others:
            tool, now = next(iter(others.items()))
            raise Conflict(
                "definition_changed", f"tools.{tool}: the server defines it otherwise by now, or not at all",
                field=f"tools.{tool}", actual=now or None, fix="read it again, and approve what it says now",
            )  # fmt: skip
        return shown(remote)

    @router.delete("/{server}/approve")
    async def withdraw(server: str, tool: Tools, _: Admin) -> dict[str, Any]:
        """Take the yes to tools back, all of them or none: from the next call on no agent can use them."""
        remote = _found(get_app(), server)
        if unknown := await remote.withdraw(tool):
            raise NotFound(f"nobody has approved {unknown[0][:100]} of {server[:100]}")
        return shown(remote)

    return router


def _found(app: App, server: str) -> Remote:
    if remote := app.remotes.remotes.get(server):
        return remote
    raise NotFound(f"there is no server {server[:100]}")
