"""The store: what an owner's agents remember beyond one conversation. Each owner has a namespace of its own."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response
from langgraph.store.base import GetOp, ListNamespacesOp, MatchCondition, PutOp, SearchItem, SearchOp
from pydantic import BaseModel, Field

from app.agent_protocol import wire
from app.borders import NotFound, Rejected, checked_json
from app.compose import App
from app.gate import Owner

ROOT = "users"
MAX_LABELS = 16
MAX_LABEL_CHARS = 200
OPERATORS = {"$eq", "$ne", "$gt", "$gte", "$lt", "$lte"}


class Place(BaseModel):
    """Where an item is."""

    namespace: list[str] = Field(default_factory=list)
    key: str = Field(min_length=1, max_length=MAX_LABEL_CHARS)


class ItemBody(Place):
    """An item."""

    value: dict[str, Any]
    index: Any = None
    ttl: float | None = None


class ItemSearch(BaseModel):
    """Which items."""

    namespace_prefix: list[str] = Field(default_factory=list)
    filter: dict[str, Any] | None = None
    limit: int = Field(default=10, ge=1, le=1000)
    offset: int = Field(default=0, ge=0)
    query: str | None = None


class NamespaceSearch(BaseModel):
    """Which namespaces."""

    prefix: list[str] | None = None
    suffix: list[str] | None = None
    max_depth: int | None = Field(default=None, ge=1, le=MAX_LABELS)
    limit: int = Field(default=100, ge=1, le=1000)
    offset: int = Field(default=0, ge=0)


def store_router(get_app: Callable[[], App]) -> APIRouter:
    """Routes under `/store`."""
    router = APIRouter(prefix="/store")

    async def ask(operation: Any) -> Any:
        """One operation."""
        return (await get_app().store.abatch([operation]))[0]

    @router.put("/items", status_code=204)
    async def put(body: ItemBody, owner: Owner) -> None:
        """Store an item, in place of the one that was there."""
        if body.ttl is not None:
            raise Rejected("not_offered", "ttl: items stay until they are deleted", field="ttl", fix="leave it out")
        await ask(PutOp(place(owner, body.namespace), checked_json(body.key, "key"), checked_json(body.value, "value")))

    @router.get("/items")
    async def get(key: str, owner: Owner, namespace: Annotated[str, Query()] = "") -> Response:
        """One item; the labels of its namespace are joined by dots."""
        item = await ask(GetOp(place(owner, namespace.split(".") if namespace else ()), checked_json(key, "key")))
        if item is None:
            raise NotFound(f"there is no item {key[:100]} in {namespace[:100] or 'the root'}")
        return wire.reply(shown(item))

    @router.delete("/items", status_code=204)
    async def delete(body: Place, owner: Owner) -> None:
        """Remove an item, if it is there."""
        await ask(PutOp(place(owner, body.namespace), checked_json(body.key, "key"), None))

    @router.post("/items/search")
    async def search(body: ItemSearch, owner: Owner) -> Response:
        """Items under a namespace whose fields match."""
        if body.query:
            raise Rejected("not_offered", "query: items have no index", field="query", fix="use filter")
        found = await ask(
            SearchOp(place(owner, body.namespace_prefix), checked_filter(body.filter), body.limit, body.offset)
        )
        return wire.reply({"items": [shown(item) for item in found]})

    @router.post("/namespaces")
    async def namespaces(body: NamespaceSearch, owner: Owner) -> Response:
        """Namespaces that hold items."""
        match = [MatchCondition("prefix", place(owner, body.prefix or ()))]
        if body.suffix:
            match.append(MatchCondition("suffix", labels(body.suffix)))
        depth = body.max_depth and body.max_depth + 2
        found = await ask(ListNamespacesOp(tuple(match), depth, body.limit, body.offset))
        return wire.reply({"namespaces": [list(it[2:]) for it in found]})

    return router


def place(owner: str, namespace: Sequence[str]) -> tuple[str, ...]:
    """An owner's namespace. Raises Rejected for labels that could mean another place."""
    return (ROOT, owner, *labels(namespace))


def labels(namespace: Sequence[str]) -> tuple[str, ...]:
    """Labels that cannot be taken for two, or for a pattern. Raises Rejected."""
    checked_json(list(namespace), "namespace")
    for label in namespace:
        if not 0 < len(label) <= MAX_LABEL_CHARS or "." in label or "*" in label:
            raise Rejected("namespace_invalid", f"namespace: label {label[:100]!r}", field="namespace",
                           limit=MAX_LABEL_CHARS, fix="use labels without dots and stars")  # fmt: skip
    if len(namespace) > MAX_LABELS:
        raise Rejected("namespace_invalid", f"namespace: {len(namespace)} labels", field="namespace", limit=MAX_LABELS,
                       actual=len(namespace), fix=f"use at most {MAX_LABELS}")  # fmt: skip
    return tuple(namespace)


def checked_filter(wanted: dict[str, Any] | None) -> dict[str, Any] | None:
    """Fields and what they must be, or how they must compare. Raises Rejected for operators that do not exist."""
    for name, condition in checked_json(wanted or {}, "filter").items():
        strange = {it for it in condition if it.startswith("$")} - OPERATORS if isinstance(condition, dict) else set()
        if strange:
            raise Rejected("filter_invalid", f"filter.{name}: there is no {min(strange)[:20]}", field=f"filter.{name}",
                           fix=f"use any of {', '.join(sorted(OPERATORS))}")  # fmt: skip
    return wanted


def shown(item: Any) -> dict[str, Any]:
    """An item as its owner named it."""
    score = {"score": item.score} if isinstance(item, SearchItem) and item.score is not None else {}
    return {"namespace": list(item.namespace[2:]), "key": item.key, "value": item.value,
            "created_at": item.created_at, "updated_at": item.updated_at, **score}  # fmt: skip
