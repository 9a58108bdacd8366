"""HTTP in, JSON and event streams out: the one API that the page, the terminal and anybody's program speak.

Every error has one shape: `{"error": {code, message, field, limit, actual, fix}}`. Nothing here outlives a request but
the event streams, which end with `bye` when the server goes down, so that it can.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from importlib.metadata import version
from typing import Any

import orjson
from fastapi import FastAPI, Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from psycopg import OperationalError
from psycopg_pool import PoolTimeout
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from app.borders import NotFound, Rejected
from app.compose import App
from app.documents_api import documents_router
from app.live import LiveView, drawn
from app.shapes import Shape, draw

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 4_000_000
PATCH_S = 0.06
"""Least time between two patches of one stream; what happens in between travels together."""
KEEP_ALIVE_S = 15.0
TERMINAL = ("succeeded", "failed", "cancelled")

GetApp = Callable[[], App]


class Message(BaseModel):
    """One message of the Agent Protocol."""

    role: str = Field(default="user", description="user")
    content: Any


class RunInput(BaseModel):
    """What a run is given."""

    messages: list[Message] = Field(min_length=1, max_length=100)


class RunBody(BaseModel):
    """Start a run of one graph."""

    model_config = ConfigDict(extra="ignore")

    assistant_id: str = Field(description="name of the graph")
    input: RunInput
    multitask_strategy: str = Field(default="enqueue", description="enqueue, interrupt or branch")
    after: str | None = Field(default=None, description="run to go on from; empty for the beginning")
    budget: dict[str, Any] | None = Field(default=None, description="any of steps, tokens, usd, seconds")


class ThreadBody(BaseModel):
    """Create a conversation."""

    graph: str = "chat"
    thread_id: str | None = None


class ThreadChange(BaseModel):
    """Rename a conversation, or read another branch of it."""

    title: str | None = None
    head_run_id: str | None = None


class BudgetBody(BaseModel):
    """Limits of a run: any of steps, tokens, usd, seconds."""

    budget: dict[str, Any] | None = None


class AnswerBody(BaseModel):
    """What a person says to a question: for an approval, a decision with args or a reason."""

    answer: Any


class ForkBody(BaseModel):
    """Where to fork from, and what to change."""

    checkpoint_id: str
    values: dict[str, Any] | None = None
    question: str | None = None


def error_response(status: int, code: str, message: str, **more: Any) -> JSONResponse:
    """The one shape of an error."""
    return JSONResponse({"error": {"code": code, "message": message, **more}}, status)


def api(get_app: GetApp) -> FastAPI:
    """The API as an ASGI application, to be mounted under `/api` or served alone."""
    app = FastAPI(title="Sextant", version=version("sextant"), docs_url="/docs", openapi_url="/openapi.json")
    _errors(app)
    _health(app, get_app)
    _threads(app, get_app)
    _runs(app, get_app)
    app.include_router(documents_router(get_app))
    app.add_middleware(BodyLimit)
    return app


class BodyLimit:
    """Refuse JSON bodies over `MAX_BODY_BYTES`; uploads have a limit of their own."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers", ()))
        if scope["type"] == "http" and b"multipart/" not in headers.get(b"content-type", b""):
            length = headers.get(b"content-length", b"0")
            if not length.isdigit() or int(length) > MAX_BODY_BYTES:
                refusal = error_response(
                    413,
                    "body_too_large",
                    f"body: {length.decode('ascii', 'replace')} bytes of at most {MAX_BODY_BYTES:,}",
                    field="body",
                    limit=MAX_BODY_BYTES,
                    fix="upload long text as a document",
                )
                await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _errors(app: FastAPI) -> None:
    @app.exception_handler(Rejected)
    async def rejected(_: Request, error: Rejected) -> Response:
        return error_response(
            422, error.code, error.message, field=error.field, limit=error.limit, actual=error.actual, fix=error.fix
        )

    @app.exception_handler(NotFound)
    async def not_found(_: Request, error: NotFound) -> Response:
        return error_response(404, "not_found", str(error), fix="check the id, or start a new one")

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
        return error_response(
            422, "invalid", f"{field}: {first['msg']}", field=field, fix="see /api/docs for the shape"
        )

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        return error_response(error.status_code, "http", str(error.detail), fix="see /api/docs for the routes")

    @app.exception_handler(OperationalError)
    @app.exception_handler(PoolTimeout)
    async def database_gone(_: Request, error: Exception) -> Response:
        log.warning("database unavailable: %s", error)
        return error_response(503, "database_unavailable", "The database does not answer.", fix="try again in a moment")


def _health(app: FastAPI, get_app: GetApp) -> None:
    @app.get("/health")
    async def health() -> dict[str, str]:
        """The process serves."""
        return {"status": "ok"}

    @app.get("/ready")
    async def ready() -> Response:
        """The database answers and a worker takes runs."""
        sextant = get_app()
        checks = {"worker": sextant.runs.queue.ready, "database": await _database_answers(sextant)}
        return JSONResponse({"ready": all(checks.values()), **checks}, 200 if all(checks.values()) else 503)

    @app.get("/info")
    async def info() -> dict[str, Any]:
        """What is installed, how it is doing, and what to try."""
        return await described_installation(get_app())


async def described_installation(sextant: App) -> dict[str, Any]:
    """Everything that a front page says about this installation."""
    settings, stats, activities = sextant.settings, sextant.corpus.stats(), sextant.activities.values()
    database = await _database_answers(sextant)
    model = "Demo model ready" if settings.demo else f"{settings.model} set"
    return {
        "version": version("sextant"),
        "demo": settings.demo,
        "models": {"large": settings.model, "small": settings.small_model or settings.model, "embed": stats.embedder},
        "graphs": [
            {
                "name": it.name,
                "title": it.name.capitalize(),
                "description": it.description,
                "shape": drawn(draw(*_sketch(it.shape))),
            }
            for it in activities
        ],
        "examples": [
            {"graph": it.name, "question": question, "note": note}
            for it in sorted(activities, key=lambda it: it.name, reverse=True)
            for question, note in it.examples.items()
        ],
        "index": {name: getattr(stats, name) for name in ("documents", "chunks", "embedded", "pending")},
        "health": [
            {"name": "Model", "ok": True, "text": model},
            {"name": "Index", "ok": stats.chunks > 0, "text": f"{stats.documents} documents, {stats.chunks} passages"},
            {"name": "Database", "ok": database, "text": "Database ready" if database else "Database does not answer"},
        ],
        "limits": {"max_upload_mb": settings.max_upload_mb, "max_question_chars": settings.max_question_chars},
        "started_in_s": round(sextant.started_in_s, 1),
    }


def _sketch(shape: Shape) -> tuple[Shape, list[dict[str, Any]]]:
    """A team that has no plan yet is sketched as three sub-agents, so that a card shows what will happen."""
    if any(node.team for node in shape.nodes):
        return shape, [{"id": str(n), "title": "", "depends_on": []} for n in range(4)]
    return shape, []


async def _database_answers(sextant: App) -> bool:
    with suppress(OperationalError, PoolTimeout, TimeoutError):
        async with asyncio.timeout(2), sextant.pool.connection() as connection:
            await connection.execute("select 1")
            return True
    return False


def _threads(app: FastAPI, get_app: GetApp) -> None:
    @app.get("/threads")
    async def threads() -> dict[str, Any]:
        """Conversations, newest first."""
        return {"threads": await get_app().runs.threads()}

    @app.post("/threads")
    async def create_thread(body: ThreadBody) -> dict[str, Any]:
        """A new conversation."""
        return await get_app().runs.create_thread(body.graph, body.thread_id)

    @app.get("/threads/{thread_id}")
    async def thread(thread_id: str) -> dict[str, Any]:
        """One conversation."""
        return await get_app().runs.thread(thread_id)

    @app.patch("/threads/{thread_id}")
    async def change(thread_id: str, body: ThreadChange) -> dict[str, Any]:
        """Rename a conversation, or read another branch of it."""
        runs = get_app().runs
        if body.title is not None:
            await runs.rename_thread(thread_id, body.title)
        if body.head_run_id is not None:
            await runs.choose_branch(thread_id, body.head_run_id)
        return await runs.thread(thread_id)

    @app.delete("/threads/{thread_id}", status_code=204)
    async def delete_thread(thread_id: str) -> None:
        """Stop and remove a conversation."""
        await get_app().runs.delete_thread(thread_id)

    @app.get("/threads/{thread_id}/runs")
    async def thread_runs(thread_id: str) -> dict[str, Any]:
        """Runs of the branch that is being read, oldest first, each with the branches beside it."""
        line = await get_app().runs.branch(thread_id)
        return {"runs": [{**public(run), "siblings": run["siblings"]} for run in line]}

    @app.post("/threads/{thread_id}/runs")
    async def start(
        thread_id: str, body: RunBody, idempotency_key: str | None = Header(default=None)
    ) -> dict[str, Any]:
        """Admit a run. The same `Idempotency-Key` with the same body returns the same run."""
        question = body.input.messages[-1].content
        run = await get_app().runs.start(
            thread_id,
            body.assistant_id,
            question,
            idempotency_key=idempotency_key,
            multitask=body.multitask_strategy,
            after=body.after,
            budget=body.budget,
        )
        return public(run)


def public(run: Mapping[str, Any]) -> dict[str, Any]:
    """A run's row as strangers see it."""
    names = (
        "run_id",
        "thread_id",
        "graph",
        "status",
        "question",
        "output",
        "error",
        "created_at",
        "started_at",
        "finished_at",
    )
    return {name: run[name] for name in names}


def _runs(app: FastAPI, get_app: GetApp) -> None:
    @app.get("/runs/{run_id}")
    async def run(run_id: str) -> dict[str, Any]:
        """One run, with its output once it has one."""
        return public(await get_app().runs.run(run_id))

    @app.post("/runs/{run_id}/cancel", status_code=202)
    async def cancel(run_id: str) -> dict[str, Any]:
        """Stop a run."""
        return public(await get_app().runs.cancel(run_id))

    @app.post("/runs/{run_id}/resume", status_code=202)
    async def resume(run_id: str, body: BudgetBody | None = None) -> dict[str, Any]:
        """Go on with a stopped, failed or lost run, with another budget if one is given."""
        return public(await get_app().steering.resume(run_id, body and body.budget))

    @app.post("/runs/{run_id}/retry", status_code=202)
    async def retry(run_id: str, body: BudgetBody | None = None) -> dict[str, Any]:
        """Try again what failed or is missing; what is finished is not done again."""
        return public(await get_app().steering.retry(run_id, body and body.budget))

    @app.post("/runs/{run_id}/answer-now", status_code=202)
    async def answer_now(run_id: str) -> dict[str, Any]:
        """Stop looking, and answer from what has returned."""
        return public(await get_app().steering.answer_now(run_id))

    @app.get("/questions")
    async def questions() -> dict[str, Any]:
        """What waits for a person, over all conversations."""
        return {"questions": await get_app().steering.open_questions()}

    @app.post("/runs/{run_id}/questions/{interrupt_id}", status_code=202)
    async def answer(run_id: str, interrupt_id: str, body: AnswerBody) -> dict[str, Any]:
        """Answer one question of a waiting run. The first answer counts; a later one is told so."""
        return public(await get_app().steering.answer(run_id, interrupt_id, body.answer))

    @app.get("/runs/{run_id}/history")
    async def history(run_id: str) -> dict[str, Any]:
        """Checkpoints of the run, newest first."""
        return {"checkpoints": await get_app().steering.history(run_id)}

    @app.get("/runs/{run_id}/effects")
    async def effects(run_id: str) -> dict[str, Any]:
        """What has left Sextant in this run."""
        return {"effects": await get_app().steering.effects(run_id)}

    @app.post("/runs/{run_id}/fork")
    async def fork(run_id: str, body: ForkBody) -> dict[str, Any]:
        """A new run from a checkpoint of this one, with its state or its question changed."""
        return public(await get_app().steering.fork(run_id, body.checkpoint_id, body.values, body.question))

    @app.get("/runs/{run_id}/view")
    async def view(run_id: str) -> Response:
        """What the run looks like at this moment."""
        live, _ = await _live_view(get_app(), run_id)
        return Response(orjson.dumps(live.whole()), media_type="application/json")

    @app.get("/runs/{run_id}/events")
    async def events(run_id: str, after: int = 0) -> StreamingResponse:
        """The run's raw log as an event stream, from after `after` on."""
        await get_app().runs.run(run_id)
        return _stream(_raw(get_app(), run_id, after))

    @app.get("/runs/{run_id}/live")
    async def live(run_id: str) -> StreamingResponse:
        """The run as a view, then what changes in it."""
        prepared = await _live_view(get_app(), run_id)
        return _stream(_patches(get_app(), run_id, *prepared))


def _stream(body: AsyncIterator[bytes]) -> StreamingResponse:
    headers = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
    return StreamingResponse(body, media_type="text/event-stream", headers=headers)


def _sse(event: str, data: Any, id_: int | None = None) -> bytes:
    head = f"id: {id_}\n" if id_ is not None else ""
    return f"{head}event: {event}\nretry: 500\ndata: ".encode() + orjson.dumps(data) + b"\n\n"


async def _live_view(sextant: App, run_id: str) -> tuple[LiveView, Mapping[str, Any]]:
    run = await sextant.runs.run(run_id)
    activity = sextant.activities.get(run["graph"])
    live = LiveView(run, activity.shape if activity else Shape((), ()))
    live.apply(await sextant.journal.read(run_id))
    live.status(run["status"])
    return live, run


async def _patches(sextant: App, run_id: str, live: LiveView, run: Mapping[str, Any]) -> AsyncIterator[bytes]:
    yield _sse("view", {"seq": live.view.seq, "whole": True, "view": live.whole()}, live.view.seq)
    if run["status"] in TERMINAL and live.view.ended is not None:
        yield _sse("end", {"status": run["status"]})
        return
    follower = sextant.journal.follow(run_id, live.view.seq)
    async for batch in follower:
        live.apply(batch)
        if not batch:
            run = await sextant.runs.run(run_id)
            live.status(run["status"])
        if patch := live.patch():
            yield _sse("patch", {"seq": live.view.seq, **patch}, live.view.seq)
        elif not batch:
            yield b": still here\n\n"
        if live.view.ended is not None:
            yield _sse("end", {"status": live.view.status})
            return
        await asyncio.sleep(PATCH_S)
    yield _sse("bye", {})


async def _raw(sextant: App, run_id: str, after: int) -> AsyncIterator[bytes]:
    async for batch in sextant.journal.follow(run_id, after):
        for it in batch:
            data = {"seq": it.seq, "at": it.at, "span_id": it.span_id, "parent_id": it.parent_id, "attempt": it.attempt,
                    "data": it.data}  # fmt: skip
            yield _sse(it.type, data, it.seq)
        if not batch:
            yield b": still here\n\n"
    yield _sse("bye" if sextant.journal.closed else "end", {})
