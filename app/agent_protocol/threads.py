"""Threads: the conversations of one owner, their states and how they came to them."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response
from psycopg.types.json import Jsonb
from pydantic import BaseModel, Field

from app.agent_protocol import wire
from app.agent_protocol.assistants import activity_of
from app.agent_protocol.given import checked_values
from app.agent_protocol.rows import Row, Rows, checked_thread_id
from app.agent_protocol.states import Busy, Reader, edited
from app.borders import Conflict, NotFound, Rejected, checked_json
from app.compose import App
from app.gate import Owner

MAX_STATES = 1000


class ThreadBody(BaseModel):
    """A new thread."""

    thread_id: str | None = None
    metadata: dict[str, Any] | None = Field(default=None, description="`graph_id` names the graph, else it is chat")
    if_exists: str = Field(default="raise", description="raise or do_nothing")
    supersteps: list[Any] | None = None
    ttl: Any = None


class ThreadChange(BaseModel):
    """What to merge into a thread's metadata."""

    metadata: dict[str, Any] | None = None


class ThreadWhere(BaseModel):
    """Which threads."""

    metadata: dict[str, Any] | None = None
    values: dict[str, Any] | None = None
    ids: list[str] | None = Field(default=None, max_length=1000)
    status: str | None = Field(default=None, description="idle, busy, interrupted or error")


class ThreadSearch(ThreadWhere):
    """Which threads, and what of them."""

    limit: int = Field(default=10, ge=1, le=1000)
    offset: int = Field(default=0, ge=0)
    sort_by: str = "updated_at"
    sort_order: str = "desc"
    select: list[str] | None = None


class StateBody(BaseModel):
    """A change of a thread's state."""

    values: dict[str, Any] | None = None
    as_node: str | None = None
    checkpoint: dict[str, Any] | None = None
    checkpoint_id: str | None = None


class StateAt(BaseModel):
    """Where a state is."""

    checkpoint: dict[str, Any]
    subgraphs: bool = False
    select: list[str] | None = None


class HistoryBody(BaseModel):
    """Which states."""

    limit: int = Field(default=10, ge=1, le=MAX_STATES)
    before: str | dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    checkpoint: dict[str, Any] | None = None
    select: list[str] | None = None


Select = Annotated[list[str] | None, Query()]


def threads_router(get_app: Callable[[], App]) -> APIRouter:
    """Routes under `/threads`, runs apart."""
    router = APIRouter(prefix="/threads")

    async def shown(rows: Rows, thread_id: str, owner: str) -> dict[str, Any]:
        app = get_app()
        thread = await rows.thread(thread_id)
        _, state = await Reader(app).current(thread, await app.runs.runs(thread_id, owner))
        return wire.thread(thread, state)

    @router.post("")
    async def create(body: ThreadBody, owner: Owner) -> Response:
        """A new thread, or the one of that id if `if_exists` says so."""
        thread_id = await new_thread(get_app(), owner, body)
        return wire.reply(await shown(Rows(get_app().pool, owner), thread_id, owner))

    @router.post("/search")
    async def search(body: ThreadSearch, owner: Owner) -> Response:
        """Threads that match, with their states unless `select` leaves those out."""
        return await _found(get_app(), owner, body)

    @router.post("/count")
    async def count(body: ThreadWhere, owner: Owner) -> int:
        """How many threads match."""
        return await Rows(get_app().pool, owner).count(where_of(get_app(), body))

    @router.get("/{thread_id}")
    async def thread(thread_id: str, owner: Owner) -> Response:
        """One thread with its state."""
        return wire.reply(await shown(Rows(get_app().pool, owner), thread_id, owner))

    @router.patch("/{thread_id}")
    async def change(thread_id: str, body: ThreadChange, owner: Owner, prefer: str = Header(default="")) -> Response:
        """Merge metadata."""
        rows = Rows(get_app().pool, owner)
        await rows.describe(thread_id, checked_json(body.metadata or {}, "metadata"))
        if "return=minimal" in prefer:
            return Response(status_code=204)
        return wire.reply(await shown(rows, thread_id, owner))

    @router.delete("/{thread_id}", status_code=204)
    async def delete(thread_id: str, owner: Owner) -> None:
        """Stop what runs in it, and remove it with all that belongs to it."""
        await get_app().runs.delete_thread(thread_id, owner)

    @router.post("/{thread_id}/copy")
    async def copy(thread_id: str, owner: Owner) -> Response:
        """A thread equal to this one, without what is at work in it."""
        rows = Rows(get_app().pool, owner)
        new = await rows.copy(await rows.thread(thread_id), await get_app().runs.runs(thread_id, owner))
        return wire.reply(await shown(rows, new, owner))

    _states(router, get_app)
    return router


def _states(router: APIRouter, get_app: Callable[[], App]) -> None:
    @router.get("/{thread_id}/state")
    async def state(thread_id: str, owner: Owner, subgraphs: bool = False, select: Select = None) -> Response:
        """The newest state of the branch that is being read."""
        return await _state_at(get_app(), thread_id, owner, None, subgraphs, select)

    @router.get("/{thread_id}/state/{checkpoint_id}")
    async def state_at(
        thread_id: str, checkpoint_id: str, owner: Owner, subgraphs: bool = False, select: Select = None
    ) -> Response:
        """The state at a checkpoint of this thread."""
        return await _state_at(get_app(), thread_id, owner, checkpoint_id, subgraphs, select)

    @router.post("/{thread_id}/state/checkpoint")
    async def state_at_checkpoint(thread_id: str, body: StateAt, owner: Owner) -> Response:
        """The state at a checkpoint of this thread, named as other answers name it."""
        return await _state_at(get_app(), thread_id, owner, checkpoint_in(body.checkpoint), body.subgraphs, body.select)

    @router.post("/{thread_id}/state")
    async def update_state(thread_id: str, body: StateBody, owner: Owner) -> Response:
        """Write a new state after the newest one, or after the one given, which is then where the thread goes on."""
        return await _changed(get_app(), thread_id, owner, body)

    @router.post("/{thread_id}/history")
    async def history(thread_id: str, body: HistoryBody, owner: Owner) -> Response:
        """States, newest first: those of the branch that is being read, then those of the others."""
        return await _history(get_app(), thread_id, owner, body)


async def _found(app: App, owner: str, body: ThreadSearch) -> Response:
    """Threads that match, a page of them."""
    only = body.select or ()
    found = await Rows(app.pool, owner).search(
        where_of(app, body), limit=body.limit, offset=body.offset, sort_by=body.sort_by, sort_order=body.sort_order
    )
    more = {"X-Pagination-Next": str(body.offset + body.limit)} if len(found) == body.limit else {}
    if only and not {"values", "interrupts"} & set(only):
        return wire.reply([wire.thread(row, None, only) for row in found], more)
    reader, out = Reader(app), []
    for row in found:
        _, state = await reader.current(row, await app.runs.runs(row["thread_id"], owner))
        out.append(wire.thread(row, state, only))
    return wire.reply(out, more)


async def _state_at(
    app: App, thread_id: str, owner: str, checkpoint_id: str | None, subgraphs: bool, select: Sequence[str] | None
) -> Response:
    """The state at a checkpoint; without one, the newest of the branch that is being read."""
    reader, runs = Reader(app), await app.runs.runs(thread_id, owner)
    if checkpoint_id is None:
        thread = await app.runs.thread(thread_id, owner)
        run, snapshot = await reader.current(thread, runs, subgraphs=subgraphs)
    else:
        run = await reader.run_of(thread_id, checkpoint_id, runs)
        snapshot = await reader.at(run, checkpoint_id, subgraphs=subgraphs)
    above = await reader.above(run, snapshot, runs) if run and snapshot else ""
    return wire.reply(wire.picked_state(wire.state(thread_id, snapshot, above), select or ()))


async def _changed(app: App, thread_id: str, owner: str, body: StateBody) -> Response:
    """Where the new state is. Raises Conflict when there is none to change, or when a run is at it."""
    runs = await app.runs.runs(thread_id, owner)
    thread, reader = await app.runs.thread(thread_id, owner), Reader(app)
    checkpoint_id = body.checkpoint_id or (body.checkpoint and checkpoint_in(body.checkpoint))
    if checkpoint_id:
        run: Row | None = dict(await reader.run_of(thread_id, checkpoint_id, runs))
    else:
        run = dict(found) if (found := (await reader.current(thread, runs))[0]) else None
    if run is None:
        raise Conflict("state_missing", "thread: it has no state yet", field="thread_id",
                       fix="give these values as the input of its first run")  # fmt: skip
    values = body.values
    if values is not None:
        values = checked_values(activity_of(app, run["graph"]), values, "values", app.settings.max_question_chars)
    try:
        config = await edited(app, run, checkpoint_id or None, values, body.as_node)
    except Busy as busy:
        raise Conflict("thread_busy", f"thread: {busy}", field="thread_id",
                       fix="wait for the run, or cancel it") from busy  # fmt: skip
    if run["run_id"] != thread["head_run_id"]:
        await Rows(app.pool, owner).point(thread_id, run["run_id"])
    return wire.reply({"checkpoint": wire.checkpoint(thread_id, config)})


async def _history(app: App, thread_id: str, owner: str, body: HistoryBody) -> Response:
    """As many states as were asked for, from behind `before` on."""
    thread, runs = await app.runs.thread(thread_id, owner), await app.runs.runs(thread_id, owner)
    before = checkpoint_in(body.before) if isinstance(body.before, dict) else body.before
    only = checkpoint_in(body.checkpoint) if body.checkpoint else None
    out: list[dict[str, Any]] = []
    begun = before is None
    async for _, snapshot, above in Reader(app).history(thread, runs, body.metadata or {}):
        state = wire.state(thread_id, snapshot, above)
        if begun and only in (None, state["checkpoint_id"]):
            out.append(wire.picked_state(state, body.select or ()))
        begun = begun or state["checkpoint_id"] == before
        if len(out) == body.limit:
            break
    return wire.reply(out)


async def new_thread(app: App, owner: str, body: ThreadBody) -> str:
    """Create a thread; its id. Raises Conflict for one that exists, unless the body says to take that."""
    for name in ("supersteps", "ttl"):
        if getattr(body, name):
            raise Rejected("not_offered", f"{name}: not offered here", field=name, fix="leave it out")
    metadata = checked_json(body.metadata or {}, "metadata")
    graph = activity_of(app, metadata["graph_id"]).name if metadata.get("graph_id") else default_graph(app)
    rows, thread_id = Rows(app.pool, owner), checked_thread_id(body.thread_id)
    kept = {name: value for name, value in metadata.items() if name not in ("graph_id", "assistant_id")}
    if not await rows.create(thread_id, graph, kept):
        await rows.thread(thread_id)
        if body.if_exists != "do_nothing":
            raise Conflict("thread_exists", f"thread: {thread_id} exists", field="thread_id", actual=thread_id,
                           fix='say if_exists: "do_nothing" to go on with it')  # fmt: skip
    return thread_id


def default_graph(app: App) -> str:
    """What answers where no graph is named."""
    return "chat" if "chat" in app.activities else min(app.activities)


def where_of(app: App, body: ThreadWhere) -> dict[str, Any]:
    """Conditions for the rows. What is no column is refused, not ignored."""
    if body.values:
        raise Rejected("not_offered", "values: states cannot be searched", field="values",
                       fix="search by metadata, ids or status")  # fmt: skip
    metadata = checked_json(dict(body.metadata or {}), "metadata")
    where: dict[str, Any] = {}
    for name in ("graph_id", "assistant_id"):
        if named := metadata.pop(name, None):
            known = [it for it in app.activities if named in (it, wire.assistant_id(it))]
            where["graph"] = known[0] if known and where.get("graph", known[0]) == known[0] else ""
    where |= {"metadata": Jsonb(metadata)} if metadata else {}
    where |= {"ids": body.ids} if body.ids is not None else {}
    return where | ({"status": body.status} if body.status else {})


def checkpoint_in(data: dict[str, Any]) -> str | None:
    """The id in a checkpoint as answers name it. A nested one cannot be read: agents are no subgraphs."""
    if data.get("checkpoint_ns"):
        raise NotFound(f"there is no state under {str(data['checkpoint_ns'])[:100]}")
    id_ = data.get("checkpoint_id")
    return str(id_) if id_ else None
