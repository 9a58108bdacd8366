"""Graphs as agents and runs as tasks, in A2A's words: cards, tasks, artefacts, questions. Pure.

A task is a run: its id is the run's, its context is the conversation. The answer is an artefact of two parts, the text
as a reader sees it and, as data, its sources, what is missing, and what was made beside it.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from a2a.types import (
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    AgentSkill,
    APIKeySecurityScheme,
    Artifact,
    HTTPAuthSecurityScheme,
    Message,
    Part,
    Role,
    SecurityRequirement,
    SecurityScheme,
    StringList,
    Task,
    TaskState,
    TaskStatus,
)  # fmt: skip
from google.protobuf.json_format import MessageToDict, ParseDict  # type: ignore[import-untyped]
from google.protobuf.struct_pb2 import Struct, Value  # type: ignore[import-untyped]

from app.activities import Activity
from app.borders import Rejected, checked_answer
from app.events import json_safe
from app.plan_answers import checked_plan_answer
from app.protocols.openai_words import made_by
from app.protocols.unfetched import unfetched
from graphs.reviewing import KIND

ANSWER = "answer"
"""Name and id of the one artefact."""
MARKDOWN, JSON = "text/markdown", "application/json"
INPUT_MODES, OUTPUT_MODES = ("text/plain", JSON), (MARKDOWN, JSON)
BINDINGS = ("JSONRPC", "HTTP+JSON")
VERSION = "1.0"

STATES = {
    "queued": TaskState.TASK_STATE_SUBMITTED,
    "running": TaskState.TASK_STATE_WORKING,
    "lost": TaskState.TASK_STATE_WORKING,  # another worker is about to take it
    "waiting": TaskState.TASK_STATE_INPUT_REQUIRED,
    "succeeded": TaskState.TASK_STATE_COMPLETED,
    "failed": TaskState.TASK_STATE_FAILED,
    "cancelled": TaskState.TASK_STATE_CANCELED,
}

Row = Mapping[str, Any]


def as_json(message: Any) -> Any:
    """A message of the protocol, or a value inside one, as JSON has it."""
    return MessageToDict(message)


# -- cards -----------------------------------------------------------------------------------------------------------


def card(activity: Activity, url: str, version: str, *, key_needed: bool) -> AgentCard:
    """A graph as an agent at `url`; its one skill is what its file says of it."""
    title = activity.name.capitalize()
    skill = AgentSkill(
        id=activity.name, name=title, description=activity.description, tags=[activity.name, "sextant"],
        examples=list(activity.examples), input_modes=INPUT_MODES, output_modes=OUTPUT_MODES,
    )  # fmt: skip
    needed = [SecurityRequirement(schemes={name: StringList()}) for name in _SCHEMES] if key_needed else []
    faces = [AgentInterface(url=url, protocol_binding=it, protocol_version=VERSION) for it in BINDINGS]
    return AgentCard(
        name=title, description=activity.description, version=version,
        supported_interfaces=faces,
        capabilities=AgentCapabilities(streaming=True, push_notifications=True, extended_agent_card=False),
        security_schemes=_SCHEMES, security_requirements=needed, skills=[skill],
        default_input_modes=INPUT_MODES, default_output_modes=OUTPUT_MODES,
    )  # fmt: skip


_SCHEMES = {
    "bearer": SecurityScheme(http_auth_security_scheme=HTTPAuthSecurityScheme(scheme="Bearer")),
    "key": SecurityScheme(api_key_security_scheme=APIKeySecurityScheme(location="header", name="X-Api-Key")),
}


# -- tasks -----------------------------------------------------------------------------------------------------------


def task(run: Row, asked: Sequence[Row] = (), text: str | None = None) -> Task:
    """A run as a task. `asked`: its open questions; `text`: what it has said so far, while it is at work."""
    said = Message(
        message_id=str((run["input"].get("a2a") or {}).get("message_id") or run["run_id"]), role=Role.ROLE_USER,
        parts=[Part(text=run["question"], media_type="text/plain")], task_id=run["run_id"], context_id=run["thread_id"],
    )  # fmt: skip
    whole = answer(run["output"]) if run["output"] else None
    partial = Artifact(artifact_id=ANSWER, name=ANSWER, parts=[_text(text)]) if text else None
    return Task(
        id=run["run_id"], context_id=run["thread_id"], status=status(run, asked), history=[said],
        artifacts=[it for it in (whole or partial,) if it], metadata=_struct({"graph": run["graph"]}),
    )  # fmt: skip


def status(run: Row, asked: Sequence[Row] = ()) -> TaskStatus:
    """Where a run stands, and what there is to say about it."""
    at: datetime = run["finished_at"] or run["started_at"] or run["created_at"]
    told = TaskStatus(state=STATES[run["status"]], message=_about(run, asked))
    told.timestamp.FromDatetime(at)
    return told


def _about(run: Row, asked: Sequence[Row]) -> Message | None:
    if run["status"] == "waiting":
        sentences = [str(it.get("what") or it.get("question") or "An answer is needed.") for it in asked]
        parts = [_text("\n".join(sentences)), _data({"questions": list(asked)})]
    elif run["status"] == "failed" and (error := run["error"]):
        parts = [_text(" ".join(str(error[name]) for name in ("message", "fix") if error.get(name)))]
    else:
        return None
    place = {"task_id": run["run_id"], "context_id": run["thread_id"]}
    return Message(message_id=f"{run['run_id']}:{run['status']}", role=Role.ROLE_AGENT, parts=parts, **place)


def answer(output: Row) -> Artifact | None:
    """The answer as a reader sees it, and its sources; None where there is no text."""
    if not (text := unfetched(str(output.get("text") or output.get("answer") or ""))):
        return None
    sources = [{name: it.get(name) for name in _SHOWN} for it in output.get("sources", ())]
    more = {"sources": sources, "missing": list(output.get("missing", ())), "artefacts": made_by(output)}
    return Artifact(artifact_id=ANSWER, name=ANSWER, parts=[_text(text), _data(more)])


_SHOWN = ("n", "document", "title", "heading", "page", "quote")


def _text(text: str) -> Part:
    return Part(text=text, media_type=MARKDOWN)


def _data(data: Any) -> Part:
    return Part(data=ParseDict(json_safe(data), Value()), media_type=JSON)


def _struct(data: Row) -> Struct:
    struct = Struct()
    struct.update(data)
    return struct


# -- what a client says ----------------------------------------------------------------------------------------------


def question_in(message: Message) -> str:
    """Text of a message; data as JSON. Raises Rejected for parts that are neither."""
    return "\n".join(_said(part, at) for at, part in enumerate(message.parts)).strip()


def _said(part: Part, at: int) -> str:
    kind = part.WhichOneof("content")
    if kind == "text":
        return part.text
    if kind == "data":
        return orjson.dumps(as_json(part.data)).decode()
    raise Rejected("content_not_text", f"message.parts.{at}: {kind or 'nothing'} given", field=f"message.parts.{at}",
                   actual=kind, fix="send text or data; upload files as documents")  # fmt: skip


def answers_in(message: Message, asked: Mapping[str, Row]) -> dict[str, Any]:
    """Interrupt id -> answer, checked against the questions `asked`. Raises Rejected with what can be said."""
    data = next((as_json(it.data) for it in message.parts if it.WhichOneof("content") == "data"), None)
    if isinstance(data, dict) and data and set(data) <= set(asked):
        given = data
    elif len(asked) == 1:
        (id_, question), *_ = asked.items()
        given = {id_: data if data is not None else _worded(question_in(message), question)}
    else:
        raise Rejected("answer_ambiguous", f"message: {len(asked)} questions are open", field="message.parts",
                       actual=list(asked), fix="send a data part: an object of answers by question id")  # fmt: skip
    return {id_: _checked(asked[id_], it) for id_, it in given.items()}


def _checked(question: Row, given: Any) -> Any:
    return (checked_plan_answer if question.get("kind") == KIND else checked_answer)(question, given)


def _worded(text: str, question: Row) -> Any:
    """What somebody wrote, as a decision where one is wanted: `reject: too expensive`."""
    if not (choices := question.get("choices")):
        return text
    word, _, reason = re.sub(r"^(\W*)(\w*)\W*", r"\2 ", text).partition(" ")
    decision = next((it for it in choices if it.lower() == word.lower()), word or text)
    return {"decision": decision, **({"reason": reason.strip()} if reason.strip() else {})}
