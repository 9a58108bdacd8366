"""Memory over HTTP: what is kept for a person, shown with author and version, to correct and to delete by them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from agents.errors import RunLost, ToolFailed
from agents.memory import MAX_TEXT_CHARS, Conflict, Item, Kind
from agents.paging import PERSON
from app import borders
from app.borders import MAX_ID_CHARS, NotFound, Rejected, checked_id, checked_json
from app.compose import App
from app.gate import Owner, database_gone

MAX_LISTED = 500
MAX_QUERY_CHARS = 2_000


class Statement(BaseModel):
    """What a person wants to be known."""

    text: str = Field(min_length=1, max_length=MAX_TEXT_CHARS)


class Correction(Statement):
    """What one thing should say."""

    version: int = Field(ge=0)
    """The version that was read."""


def memories_router(get_app: Callable[[], App]) -> APIRouter:
    """Routes under `/memories`."""
    router = APIRouter(prefix="/memories", tags=["memory"])

    @router.get("")
    async def listed(
        owner: Owner,
        kind: Kind | None = None,
        limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 100,
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> Response:
        """What is kept, newest first: facts and lessons, or one kind. Pages belong to a conversation and go with it."""
        kinds: tuple[Kind, ...] = (kind,) if kind else ("fact", "lesson")
        async with _answering() as answer:
            found = await get_app().memory.items(owner, kinds=kinds, limit=limit, offset=offset)
            answer.append(JSONResponse({"memories": [shown(it) for it in found]}))
        return answer[0]

    @router.get("/search")
    async def searched(
        owner: Owner, query: Annotated[str, Query(min_length=1, max_length=MAX_QUERY_CHARS)]
    ) -> Response:
        """Facts and lessons that fit, best first."""
        async with _answering() as answer:
            found = await get_app().memory.recall(owner, query, 20, kinds=("fact", "lesson"))
            answer.append(JSONResponse({"memories": [{**shown(it), "score": it.score} for it in found]}))
        return answer[0]

    @router.post("", status_code=201)
    async def kept(body: Statement, owner: Owner) -> Response:
        """Keep a statement of the person's own."""
        async with _answering() as answer:
            item = await get_app().memory.keep(owner, checked_json(body.text, "text"), author=PERSON)
            answer.append(JSONResponse(shown(item), 201))
        return answer[0]

    @router.get("/{memory_key}")
    async def versions(memory_key: str, owner: Owner) -> Response:
        """All versions of one thing, newest first."""
        async with _answering() as answer:
            if not (found := await get_app().memory.versions(owner, checked_id(memory_key, "memory_key"))):
                raise NotFound(f"nothing is kept under {memory_key[:MAX_ID_CHARS]}")
            answer.append(JSONResponse({"versions": [shown(it) for it in found]}))
        return answer[0]

    @router.put("/{memory_key}")
    async def corrected(memory_key: str, body: Correction, owner: Owner) -> Response:
        """Write the next version; refused when somebody has written since."""
        async with _answering() as answer:
            memory, text = get_app().memory, checked_json(body.text, "text")
            if not (found := await memory.versions(owner, checked_id(memory_key, "memory_key"))):
                raise NotFound(f"nothing is kept under {memory_key[:MAX_ID_CHARS]}")
            it = found[0]
            item = await memory.keep(owner, text, author=PERSON, kind=it.kind, key=it.key, about=it.about,
                                     scope=it.scope, expected_version=body.version)  # fmt: skip
            answer.append(JSONResponse(shown(item)))
        return answer[0]

    @router.delete("/{memory_key}", status_code=204)
    async def forgotten(memory_key: str, owner: Owner) -> Response:
        """Forget one thing, with all of its versions."""
        async with _answering() as answer:
            if not await get_app().memory.forget(owner, checked_id(memory_key, "memory_key")):
                raise NotFound(f"nothing is kept under {memory_key[:MAX_ID_CHARS]}")
            answer.append(Response(status_code=204))
        return answer[0]

    return router


@asynccontextmanager
async def _answering() -> AsyncIterator[list[Response]]:
    """Memory's refusals as this API says them; the block leaves its answer in the list."""
    answer: list[Response] = []
    try:
        yield answer
    except Conflict as conflict:
        raise borders.Conflict("memory_conflict", f"{conflict.thing}: {conflict.problem}", field="version",
                               actual=conflict.actual, fix=conflict.next_move) from conflict  # fmt: skip
    except ToolFailed as refusal:
        raise Rejected("memory_refused", f"{refusal.thing}: {refusal.problem}", field="text",
                       fix=refusal.next_move) from refusal  # fmt: skip
    except RunLost:
        answer[:] = [database_gone()]


def shown(item: Item) -> dict[str, Any]:
    """One thing as the API tells it."""
    return {"key": item.key, "text": item.text, "kind": item.kind, "version": item.version, "author": item.author,
            "about": item.about, "thread_id": item.scope or None,
            "written_at": item.written_at.isoformat()}  # fmt: skip
