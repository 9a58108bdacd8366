"""Artefacts over HTTP: to their owner, in a form in which no browser runs what is inside them."""

from collections.abc import Callable
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import Response

from app.artefacts import read_artefact
from app.borders import NotFound, checked_id
from app.compose import App
from app.gate import Owner

SHOWN = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""What a browser may show in place: it holds pixels and no script."""
TEXT = "text/plain; charset=utf-8"
CACHE_S = 86_400
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-site",
    "Cache-Control": f"private, max-age={CACHE_S}, immutable",
}


def artefacts_router(get_app: Callable[[], App]) -> APIRouter:
    """Routes under `/artefacts`."""
    router = APIRouter(prefix="/artefacts", tags=["artefacts"])

    @router.get("/{artefact_id}", response_class=Response)
    async def artefact(artefact_id: str, owner: Owner) -> Response:
        """Its bytes: pictures and plain text to be shown, everything else to be saved."""
        kept = await read_artefact(get_app().pool, checked_id(artefact_id, "artefact_id"), owner)
        if kept is None:
            raise NotFound(f"there is no artefact {artefact_id}")
        it = kept.artefact
        shown = it.media_type in SHOWN or it.media_type == "text/plain"
        media_type = TEXT if it.media_type == "text/plain" else it.media_type if shown else "application/octet-stream"
        disposition = f"{'inline' if shown else 'attachment'}; filename*=UTF-8''{quote(it.name, safe='')}"
        return Response(kept.data, media_type=media_type, headers={**HEADERS, "Content-Disposition": disposition})

    return router
