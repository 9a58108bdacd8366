"""The remote agents of this installation over HTTP, for its page."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter

from app.compose import App


def peers_router(get_app: Callable[[], App]) -> APIRouter:
    """`/peers`."""
    router = APIRouter(tags=["remote agents"])

    @router.get("/peers")
    async def peers() -> dict[str, Any]:
        """Who a plan may give work to, and whether they answer."""
        return {"peers": await get_app().peers.shown()}

    return router
