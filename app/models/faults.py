"""What an error answer of a model server means: whether repeating can help, when, and what else would.

Pure functions over status, headers and body. Servers agree on none of them: bodies are read in whichever of the usual
shapes they come, and JSON as leniently as it is safe.
"""

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from agents.errors import RefusedRequestKind, UnavailableKind

NEXT_MOVE: dict[UnavailableKind, str] = {
    "refused": "check that the server runs and that its URL is right",
    "connect_timeout": "check host and port, or raise connect_timeout_s",
    "first_token_timeout": "retry when the server has less to do, or raise first_token_timeout_s",
    "between_tokens_timeout": "retry, or raise between_tokens_timeout_s",
    "total_timeout": "ask for a shorter answer, or raise model_timeout_s",
    "rate_limited": "retry later",
    "server_error": "retry later, or read the server's log",
    "bad_response": "check that the URL is that of an OpenAI-compatible server and ends in /v1",
    "cut_stream": "retry",
}


def to_json(value: object) -> bytes:
    """UTF-8 JSON. Lone surrogates, which no UTF-8 can carry, become question marks."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace")


def from_json(text: bytes | str, constant: Callable[[str], Any] | None = None) -> Any:
    """JSON as servers and models write it: with line breaks in strings, NaN (becomes null), lone surrogates.

    `constant` is asked about NaN and Infinity and may raise. Raises ValueError, and nothing else, on garbage.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        try:
            return orjson.loads(to_json(json.loads(text, strict=False, parse_constant=constant)))
        except RecursionError:
            raise error from None


def parsed_body(text: bytes) -> object:
    try:
        return from_json(text)
    except ValueError:
        return text.decode(errors="replace")


def told(body: object) -> tuple[str, str]:
    """Code and sentence of an error body, whichever of the usual shapes it has."""
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, dict):
        said = error.get("message") or error.get("detail") or ""
        return str(error.get("code") or error.get("type") or ""), " ".join(str(said).split())[:400]
    return "", " ".join(str(error).split())[:200]


def why_refused(status: int, code: str, said: str, problem: str) -> tuple[RefusedRequestKind, str, int, str]:
    words = f"{code} {said}".lower()
    if any(mark in words for mark in ("context_length", "context length", "context window", "prompt is too long")):
        return (
            "context_too_long",
            problem,
            status,
            "shorten the conversation or use a model with a longer context",
        )
    if status in (401, 403):
        return "unauthorized", problem, status, "set the right key for this endpoint"
    if status == 404:
        return "unknown_model", problem, status, "set a model name that this server lists under /v1/models"
    return "bad_request", problem, status, "change the request: repeating it cannot help"


def retry_after_s(value: str | None, server_date: str | None = None) -> float | None:
    """Seconds to wait by a `Retry-After` header, given as seconds or as a date on the server's own clock."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            now = _date(server_date) if server_date else datetime.now(UTC)
            seconds = (_date(value) - now).total_seconds()
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _date(value: str) -> datetime:
    parsed = parsedate_to_datetime(value)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
