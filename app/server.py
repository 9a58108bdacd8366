"""HTTP in, JSON and event streams out: the one API that the page, the terminal and anybody's program speak.

Every error has one shape: `{"error": {code, message, field, limit, actual, fix}}`. Nothing here outlives a request but
the event streams, which end with `bye` when the server goes down, so that it can.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.security import APIKeyCookie, APIKeyHeader, HTTPBearer
from psycopg import DataError, OperationalError
from psycopg_pool import PoolTimeout
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from agents.errors import RunLost
from app.agent_protocol import agent_protocol_router
from app.artefacts_api import artefacts_router
from app.borders import Conflict, NotFound, Rejected
from app.compose import App
from app.documents_api import documents_router
from app.gate import COOKIE, BodyLimits, Gate, Refused, database_gone, sign_in_router
from app.live import drawn
from app.memories_api import memories_router
from app.metrics_api import metrics_router
from app.models_api import models_router
from app.peers_api import peers_router
from app.protocols.a2a_server import a2a_router
from app.protocols.chat_completions import chat_completions_router
from app.protocols.mcp_endpoint import McpEndpoint
from app.protocols.openai_words import OpenAiErrors
from app.queue import QueueTrouble
from app.remote_api import remotes_router
from app.replies import Streams, error_response
from app.runs_api import runs_router, threads_router
from app.shapes import Shape, draw
from app.tools_api import tools_router

log = logging.getLogger(__name__)

WAYS_TO_SIGN = (
    HTTPBearer(auto_error=False), APIKeyHeader(name="X-Api-Key", auto_error=False),
    APIKeyCookie(name=COOKIE, auto_error=False),
)  # fmt: skip
"""For the documentation; the gate decides."""

GetApp = Callable[[], App]


def api(get_app: GetApp, *, allowed_origins: tuple[str, ...] = ()) -> FastAPI:
    """The API as an ASGI application, to be mounted under `/api` or served alone."""
    app = FastAPI(
        title="Sextant", version=version("sextant"), docs_url="/docs", openapi_url="/openapi.json", redoc_url=None,
        dependencies=[Depends(way) for way in WAYS_TO_SIGN],
    )  # fmt: skip
    streams = Streams(lambda: get_app().settings.max_streams)
    _errors(app)
    _health(app, get_app)
    app.include_router(sign_in_router(get_app))
    app.include_router(threads_router(get_app))
    app.include_router(runs_router(get_app, streams))
    app.include_router(documents_router(get_app))
    app.include_router(memories_router(get_app))
    app.include_router(artefacts_router(get_app))
    app.include_router(remotes_router(get_app))
    app.include_router(tools_router(get_app))
    app.include_router(models_router(get_app))
    app.include_router(metrics_router(get_app))
    app.include_router(peers_router(get_app))
    app.include_router(agent_protocol_router(get_app, streams))
    app.include_router(chat_completions_router(get_app, streams))
    app.include_router(a2a_router(get_app, streams))
    app.router.routes.append(Route("/mcp", McpEndpoint(get_app, streams, allowed_origins), include_in_schema=False))
    # what is added last comes first
    app.add_middleware(BodyLimits)
    app.add_middleware(Gate, get_app=get_app)
    app.add_middleware(OpenAiErrors)
    if allowed_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=allowed_origins, allow_methods=["*"], allow_headers=["*"],
            expose_headers=["Content-Location", "Location", "X-Pagination-Next", "Mcp-Session-Id"],
        )  # fmt: skip
    return app


def _errors(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return error.response

    @app.exception_handler(Rejected)
    async def rejected(_: Request, error: Rejected) -> Response:
        return error_response(
            409 if isinstance(error, Conflict) else 422, error.code, error.message,
            field=error.field, limit=error.limit, actual=error.actual, fix=error.fix,
        )  # fmt: skip

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
    @app.exception_handler(RunLost)
    async def unavailable(_: Request, error: Exception) -> Response:
        log.warning("database unavailable: %s", error)
        return database_gone()

    @app.exception_handler(QueueTrouble)
    async def queue_unavailable(request: Request, error: Exception) -> Response:
        if isinstance(error.__cause__, OperationalError | PoolTimeout):
            return await unavailable(request, error.__cause__)
        raise error

    @app.exception_handler(DataError)
    @app.exception_handler(UnicodeEncodeError)
    async def not_text(_: Request, error: Exception) -> Response:
        said = "NUL and lone surrogates cannot be stored"
        return error_response(422, "not_text", f"request: {said}", fix="remove those characters and send it again")

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, error: Exception) -> Response:
        said = f"Something unforeseen happened: {type(error).__name__}."
        return error_response(500, "internal", said, fix="try again; the server's log has the details")


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
                "plans": it.plans,
                "shape": drawn(draw(*_sketch(it.shape), across=True)),
            }
            for it in activities
        ],
        "examples": [
            {"graph": it.name, "question": question, "note": note}
            for it in sorted(activities, key=lambda it: (it.name != "research", it.name != "chat", it.name))
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
