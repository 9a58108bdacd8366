"""Runs and errors in the words of OpenAI's API. Pure but for the one middleware that turns our errors into theirs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from starlette._utils import get_route_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.activities import Activity
from app.citations import CITATION_CHARS as CITATION_CHARS
from app.events import text_safe
from app.protocols.unfetched import unfetched

PREFIX = "/v1"
DONE = b"data: [DONE]\n\n"
MAX_SOURCES = 20
MAX_SOURCE_CHARS = 160
MAX_ASKED_CHARS = 1_000
GOING_DOWN = {
    "message": "The server is going down; the run goes on. Send the same Idempotency-Key again for its answer.",
    "type": "server_error", "param": None, "code": "going_down",
}  # fmt: skip

DELETED = {
    "message": "The conversation was deleted meanwhile.", "type": "invalid_request_error", "param": None,
    "code": "not_found",
}  # fmt: skip
NO_DATABASE = {
    "message": "The database does not answer; the run goes on. Try again in a moment.", "type": "server_error",
    "param": None, "code": "database_unavailable",
}  # fmt: skip

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_STATUS = {422: 400}
"""What a field did wrong is 400 there."""
_FAILED = {"ModelUnavailable": 503, "Refused": 403, "BudgetExceeded": 402}

Row = Mapping[str, Any]
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Failure:
    """A run without an answer."""

    status: int
    error: Json


# -- nouns -----------------------------------------------------------------------------------------------------------


def model(activity: Activity) -> Json:
    """A graph as a model."""
    return {"id": activity.name, "object": "model", "created": 0, "owned_by": "sextant",
            "description": activity.description}  # fmt: skip


def completion(run: Row) -> Json:
    """A finished run as a chat completion."""
    message = {"role": "assistant", "content": text_of(run), "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(run)}
    return {**_head(run, "chat.completion"), "choices": [choice], "usage": usage_of(run)}


def chunk(run: Row, delta: Json, finished: str | None = None, *, usage: bool) -> bytes:
    """One piece of a stream; where usage was asked for, all but the last say that they have none."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finished}
    more = {"usage": None} if usage else {}
    return event({**_head(run, "chat.completion.chunk"), "choices": [choice], **more})


def last_chunk(run: Row) -> bytes:
    """What the run took."""
    return event({**_head(run, "chat.completion.chunk"), "choices": [], "usage": usage_of(run)})


def event(data: Json) -> bytes:
    """One event of a stream."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


def _head(run: Row, kind: str) -> Json:
    return {"id": f"chatcmpl-{run['run_id']}", "object": kind, "created": int(run["created_at"].timestamp()),
            "model": run["graph"]}  # fmt: skip


def usage_of(run: Row) -> Json:
    """Tokens of all models that the run asked."""
    meters = (run["output"] or {}).get("meters", {})
    asked, said = int(meters.get("tokens_in") or 0), int(meters.get("tokens_out") or 0)
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def finish_reason(run: Row) -> str:
    """`length` where the budget ended the work."""
    return "length" if (run["output"] or {}).get("budget_reached") else "stop"


# -- text ------------------------------------------------------------------------------------------------------------


def text_of(run: Row) -> str:
    """The answer with its sources; of a run that asks a person, what it asks."""
    output = run["output"] or {}
    if run["status"] == "waiting":
        asked = " ".join(str(it.get("what") or it.get("question") or it.get("kind", "")) for it in run["asked"])
        asks = f"The team waits for a person: {asked[:MAX_ASKED_CHARS]} Answer it on the page; it goes on there."
        return unfetched(asks)
    return unfetched(str(output.get("text") or "") + sources_of(output))


def sources_of(output: Row) -> str:
    """What the numbers in the text stand for, a line each; "" where there are none."""
    sources = output.get("sources") or ()
    if not sources:
        return ""
    more = [f"... and {len(sources) - MAX_SOURCES} more"] if len(sources) > MAX_SOURCES else []
    return "\n\nSources:\n" + "\n".join([*map(_source, sources[:MAX_SOURCES]), *more])


def made_by(output: Row) -> list[Json]:
    """What a run has made beside its text, and where its owner finds it."""
    return [
        {**{name: it.get(name) for name in ("id", "name", "media_type", "size")}, "path": f"/api/artefacts/{it['id']}"}
        for it in output.get("artefacts") or ()
    ]


def _source(source: Row) -> str:
    parts = dict.fromkeys(str(source[name]) for name in ("title", "heading") if source.get(name))
    page = f", page {source['page']}" if source.get("page") else ""
    line = " ".join(f"{', '.join(parts) or source.get('document', '')}{page}".split())
    return f"[{source['n']}] {line[:MAX_SOURCE_CHARS]}"


# -- errors ----------------------------------------------------------------------------------------------------------


def failure_of(run: Row) -> Failure | None:
    """Why a run has no answer; None when it has one, or asks."""
    if run["status"] in ("succeeded", "waiting"):
        return None
    if run["status"] == "cancelled":
        return Failure(409, _error("The run was stopped.", "run_cancelled", 409))
    if run["status"] != "failed":
        return Failure(503, GOING_DOWN)
    error = run["error"] or {}
    kind = str(error.get("kind", "internal"))
    said = " ".join(str(error[name]) for name in ("message", "fix") if error.get(name))
    status = _FAILED.get(kind, 500)
    return Failure(status, _error(said, kind, status))


def _error(message: str, code: str, status: int, param: Any = None) -> Json:
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"message": text_safe(message), "type": kind, "param": param, "code": code}


class OpenAiErrors:
    """Whatever refuses a request under `/v1`, the gate and the size limit too, says it in OpenAI's shape."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or not get_route_path(scope).startswith(f"{PREFIX}/"):
            await self.app(scope, receive, send)
            return
        held: list[Message] = []

        async def translated(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                held.append(message)
            elif held and message["type"] == "http.response.body":
                held.append(message)
                if not message.get("more_body"):
                    for ours in _translated(held):
                        await send(ours)
            else:
                await send(message)

        await self.app(scope, receive, translated)


def _translated(held: list[Message]) -> list[Message]:
    start, body = held[0], b"".join(it.get("body", b"") for it in held[1:])
    try:
        error = orjson.loads(body)["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return held
    if not isinstance(error, dict) or "type" in error:
        return held
    given: int = start["status"]
    status = _STATUS.get(given, given)
    said = "; ".join(str(error[name]) for name in ("message", "fix") if error.get(name))
    body = orjson.dumps({"error": _error(said, str(error.get("code")), status, error.get("field"))})
    headers = [it for it in start["headers"] if it[0].lower() != b"content-length"]
    start = {**start, "status": status, "headers": [*headers, (b"content-length", str(len(body)).encode())]}
    return [start, {"type": "http.response.body", "body": body}]
