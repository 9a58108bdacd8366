"""The remote agents of this installation over HTTP: how each is, and a person's yes to a card that has changed."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from agents.errors import ToolFailed
from app.borders import Conflict
from app.compose import App
from app.gate import Admin
from app.remote_api import Sha256


class Approval(BaseModel):
    """A card that was read."""

    sha256: Sha256


def peers_router(get_app: Callable[[], App]) -> APIRouter:
    """`/peers`."""
    router = APIRouter(prefix="/peers", tags=["remote agents"])

    @router.get("")
    async def peers() -> dict[str, Any]:
        """Who a plan may give work to, and whether they answer."""
        return {"peers": await get_app().peers.shown()}

    @router.post("/{peer}/approve")
    async def approve(peer: str, body: Approval, owner: Admin) -> dict[str, Any]:
        """Approve the card of this hash. Refused when the agent shows another one by now."""
        try:
            now = await get_app().peers.approve(peer, body.sha256, owner)
        except ToolFailed as error:
            raise Conflict("peer_away", f"{peer}: {error.problem}", field="peer",
                           fix="approve it when it answers") from error  # fmt: skip
        if now != body.sha256:
            raise Conflict("card_changed", f"{peer}: it shows another card by now", field="sha256", actual=now,
                           fix="read it again, and approve what it says now")  # fmt: skip
        return {"peers": await get_app().peers.shown()}

    @router.delete("/{peer}/approve")
    async def withdraw(peer: str, _: Admin) -> dict[str, Any]:
        """Take the yes back: this agent is asked nothing until its card is approved again."""
        await get_app().peers.withdraw(peer)
        return {"peers": await get_app().peers.shown()}

    return router
