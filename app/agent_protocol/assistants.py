"""Assistants: every graph in `graphs/` is one. They come from files, so here they are read and never written."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, get_type_hints

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, Field, create_model
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError, PydanticUserError

from app.activities import Activity
from app.agent_protocol import wire
from app.borders import NotFound
from app.compose import App


class AssistantSearch(BaseModel):
    """Which assistants."""

    graph_id: str | None = None
    name: str | None = None
    metadata: dict[str, Any] | None = None
    limit: int = Field(default=10, ge=1, le=1000)
    offset: int = Field(default=0, ge=0)


def activity_of(app: App, named: str) -> Activity:
    """The graph of an assistant, by its id or by the graph's name. Raises NotFound."""
    for name, activity in app.activities.items():
        if named in (name, wire.assistant_id(name)):
            return activity
    raise NotFound(f"there is no assistant {named}; the graphs are {', '.join(sorted(app.activities))}")


def assistants_router(get_app: Callable[[], App]) -> APIRouter:
    """Routes under `/assistants`."""
    router = APIRouter(prefix="/assistants")
    since = datetime.now(UTC)

    def found(search: AssistantSearch) -> list[dict[str, Any]]:
        known = [wire.assistant(activity, since) for activity in get_app().activities.values()]
        return [
            it
            for it in known
            if search.graph_id in (None, it["graph_id"])
            and (search.name or "").lower() in it["name"].lower()
            and (search.metadata or {}).items() <= it["metadata"].items()
        ]

    @router.post("/search")
    async def search(body: AssistantSearch) -> Response:
        """Graphs as assistants."""
        all_, end = found(body), body.offset + body.limit
        more = {"X-Pagination-Next": str(end)} if end < len(all_) else {}
        return wire.reply(all_[body.offset : end], more)

    @router.post("/count")
    async def count(body: AssistantSearch) -> int:
        """How many match."""
        return len(found(body))

    @router.get("/{assistant_id}")
    async def assistant(assistant_id: str) -> Response:
        """One graph as an assistant."""
        return wire.reply(wire.assistant(activity_of(get_app(), assistant_id), since))

    @router.get("/{assistant_id}/graph")
    async def graph(assistant_id: str, xray: str = "false") -> Response:
        """Its nodes and edges."""
        compiled = activity_of(get_app(), assistant_id).builder.compile()
        depth: int | bool = int(xray) if xray.isdigit() and len(xray) < 3 else xray == "true"
        return wire.reply(compiled.get_graph(xray=depth).to_json())

    @router.get("/{assistant_id}/schemas")
    async def schemas(assistant_id: str) -> Response:
        """JSON schemas of what goes in, comes out and is kept."""
        return wire.reply(_schemas(activity_of(get_app(), assistant_id)))

    @router.get("/{assistant_id}/subgraphs")
    async def subgraphs(assistant_id: str) -> dict[str, Any]:
        """None: agents work inside a node, and are no part of the graph that LangGraph could name."""
        activity_of(get_app(), assistant_id)
        return {}

    return router


def _schemas(activity: Activity) -> dict[str, Any]:
    builder = activity.builder
    return {
        "graph_id": activity.name,
        "input_schema": _schema(builder.input_schema),
        "output_schema": _schema(builder.output_schema),
        "state_schema": _schema(builder.state_schema),
        "config_schema": {"type": "object", "properties": {}},
        "context_schema": None,
    }


def _schema(state: type[Any]) -> dict[str, Any] | None:
    """A JSON schema, or None for a state whose types have none.

    Made from the fields, because pydantic takes no `typing.TypedDict` before Python 3.12.
    """
    if issubclass(state, BaseModel):
        return state.model_json_schema()
    try:
        fields: dict[str, Any] = {name: (hint, None) for name, hint in get_type_hints(state).items()}
        schema: dict[str, Any] = create_model(state.__name__, **fields).model_json_schema()
    except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError, PydanticUserError, NameError):
        return None
    return schema
