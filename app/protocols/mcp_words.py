"""Runs, passages and steps in the words of our MCP tools: their schemas and what fills them. Pure."""

from collections.abc import Mapping
from typing import Any

from app.events import json_safe
from app.protocols.openai_words import made_by
from app.protocols.unfetched import unfetched
from app.words import call_words
from retrieval.documents import Hit

Row = Mapping[str, Any]
Json = dict[str, Any]

_TEXT = {"type": "string"}
_OBJECTS = {"type": "array", "items": {"type": "object"}}
ANSWER_SCHEMA: Json = {
    "type": "object",
    "properties": {
        "run_id": {**_TEXT, "description": "the run, which stays"},
        "thread_id": {**_TEXT, "description": "give it back to go on with this conversation"},
        "status": {**_TEXT, "description": "succeeded, waiting for a person, failed or cancelled"},
        "text": {**_TEXT, "description": "the answer, with citations as [1]"},
        "sources": {**_OBJECTS, "description": "what the numbers stand for: n, document, title, heading, page, quote"},
        "missing": {**_OBJECTS, "description": "parts that could not be answered, and why"},
        "artefacts": {**_OBJECTS, "description": "figures and files: id, name, media_type, size, path on this server"},
        "asks": {**_OBJECTS, "description": "what a person has to answer on the page before it goes on"},
    },
    "required": ["run_id", "thread_id", "status", "text", "sources", "missing", "asks"],
}
PASSAGES_SCHEMA: Json = {
    "type": "object",
    "properties": {"passages": {**_OBJECTS, "description": "best first: document, title, heading, page, text, score"}},
    "required": ["passages"],
}


def question_schema(max_chars: int) -> Json:
    """What a graph is given."""
    return {
        "type": "object",
        "properties": {
            "question": {**_TEXT, "minLength": 1, "maxLength": max_chars, "description": "what to answer"},
            "thread_id": {**_TEXT, "description": "the conversation to go on with; a new one without it"},
        },
        "required": ["question"],
        "additionalProperties": False,
    }


def query_schema(max_chars: int, max_passages: int) -> Json:
    """What the search is given."""
    return {
        "type": "object",
        "properties": {
            "query": {**_TEXT, "minLength": 1, "maxLength": max_chars, "description": "a few content words"},
            "k": {"type": "integer", "minimum": 1, "maximum": max_passages, "description": "how many passages"},
        },
        "required": ["query"],
        "additionalProperties": False,
    }


def answer(run: Row) -> Json:
    """A run that has ended, or waits."""
    output = run["output"] or {}
    content = {
        "run_id": run["run_id"],
        "thread_id": run["thread_id"],
        "status": run["status"],
        "text": unfetched(str(output.get("text") or "")),
        "sources": list(output.get("sources") or ()),
        "missing": list(output.get("missing") or ()),
        "artefacts": made_by(output),
        "asks": [it if isinstance(it, Mapping) else {"question": it} for it in run["asked"]],
    }
    safe: Json = json_safe(content)
    return safe


def why(run: Row) -> str:
    """Why a run has no answer."""
    going = run["status"] in ("queued", "running")
    said = "The server is going down; the run goes on." if going else f"The run is {run['status']}."
    error = run["error"] or {"message": said}
    return " ".join(str(error[name]) for name in ("message", "fix") if error.get(name))


def passage(hit: Hit) -> Json:
    """One passage with its place."""
    it = hit.chunk
    return {"chunk_id": it.id, "document_id": it.document_id, "document": it.document, "title": it.title,
            "heading": it.heading, "page": it.page, "text": it.text, "score": round(hit.score, 4)}  # fmt: skip


def doing(kind: str, data: Mapping[str, Any]) -> str:
    """What an event says that the run does now; "" for those that say nothing to others."""
    match kind:
        case "node.started":
            return str(data.get("name", ""))
        case "plan.proposed":
            return f"planned {len(data.get('tasks') or ())} sub-tasks"
        case "agent.spawned":
            return f"began: {data.get('title', '')}"
        case "agent.finished":
            return f"{data.get('state', 'done')}: {data.get('title', '')}"
        case "tool.started":
            args = data.get("args")
            return call_words(str(data.get("name", "")), args if isinstance(args, Mapping) else {})
    return ""
