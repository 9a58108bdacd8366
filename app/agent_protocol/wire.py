"""The protocol's nouns as JSON: assistants, threads, runs, states, messages. Pure but for the encoding of what a state
holds, which can be anything that a graph puts into it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

import orjson
from fastapi.responses import Response
from langgraph.types import StateSnapshot

from app.activities import Activity
from app.events import json_safe

Row = Mapping[str, Any]
Json = dict[str, Any]

ASSISTANT_NAMESPACE = UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")
"""The ecosystem's own, so that a graph of one name has one assistant id on every server."""

RUN_STATUS = {
    "queued": "pending",
    "running": "running",
    "lost": "running",  # another worker is about to take it
    "waiting": "interrupted",
    "cancelled": "interrupted",
    "succeeded": "success",
    "failed": "error",
}
_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY


# -- encoding --------------------------------------------------------------------------------------------------------


def encoded(data: Any) -> bytes:
    """JSON of anything that a state can hold; text that is no text loses those characters, as in events."""
    try:
        return orjson.dumps(data, _plain, _OPTIONS)
    except TypeError:
        return orjson.dumps(json_safe(_all_plain(data)))


def reply(data: Any, headers: Mapping[str, str] | None = None) -> Response:
    """`data` as a JSON response."""
    return Response(encoded(data), 200, headers, media_type="application/json")


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return value.model_dump()
    if isinstance(value, set | frozenset):
        return list(value)
    return str(value)


def _all_plain(value: Any) -> Any:
    """The same without one encoder's limits, for `json_safe`."""
    if isinstance(value, Mapping):
        return {str(key): _all_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_all_plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return _all_plain(asdict(value))
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return _all_plain(value.model_dump())
    return value.isoformat() if isinstance(value, datetime) else value


# -- nouns -----------------------------------------------------------------------------------------------------------


def assistant_id(graph: str) -> str:
    """Every graph is one assistant; its id can be computed by anybody."""
    return str(uuid5(ASSISTANT_NAMESPACE, graph))


def assistant(activity: Activity, created_at: datetime) -> Json:
    """A graph as an assistant."""
    return {
        "assistant_id": assistant_id(activity.name),
        "graph_id": activity.name,
        "name": activity.name.capitalize(),
        "description": activity.description,
        "config": {},
        "context": {},
        "metadata": {"created_by": "system"},
        "version": 1,
        "created_at": created_at,
        "updated_at": created_at,
    }


def thread(row: Row, state: StateSnapshot | None, only: Iterable[str] = ()) -> Json:
    """A conversation; `only` names the fields that are wanted."""
    whole = {
        "thread_id": row["thread_id"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "state_updated_at": row["state_updated_at"],
        "metadata": {**row["metadata"], "graph_id": row["graph"], "assistant_id": assistant_id(row["graph"])},
        "status": row["state"],
        "config": {},
        "context": {},
        "values": state.values if state else {},
        "interrupts": {it.id: [*it.interrupts] for it in state.tasks if it.interrupts} if state else {},
    }
    return _picked(whole, only)


def run(row: Row, only: Iterable[str] = ()) -> Json:
    """A run."""
    request = row["input"].get("request", {})
    whole = {
        "run_id": row["run_id"],
        "thread_id": row["thread_id"],
        "assistant_id": assistant_id(row["graph"]),
        "created_at": row["created_at"],
        "updated_at": row["finished_at"] or row["started_at"] or row["created_at"],
        "metadata": request.get("metadata") or {},
        "status": RUN_STATUS[row["status"]],
        "kwargs": request,
        "multitask_strategy": request.get("multitask_strategy") or "enqueue",
    }
    return _picked(whole, only)


def state(thread_id: str, snapshot: StateSnapshot | None, parent_id: str | None = None) -> Json:
    """The state at one checkpoint; `parent_id` where LangGraph knows none because a run is a thread to it."""
    if snapshot is None:
        empty = checkpoint(thread_id, None)
        return {"values": {}, "next": [], "tasks": [], "metadata": {}, "created_at": None, "checkpoint": empty,
                "parent_checkpoint": None, "interrupts": [], "checkpoint_id": None,
                "parent_checkpoint_id": None}  # fmt: skip
    here = checkpoint(thread_id, snapshot.config)
    above = checkpoint(thread_id, snapshot.parent_config) if snapshot.parent_config else None
    if parent_id:
        above = {**here, "checkpoint_id": parent_id, "checkpoint_map": None}
    return {
        "values": snapshot.values,
        "next": list(snapshot.next),
        "tasks": [_task(thread_id, task) for task in snapshot.tasks],
        "metadata": snapshot.metadata,
        "created_at": snapshot.created_at,
        "checkpoint": here,
        "parent_checkpoint": above,
        "interrupts": list(snapshot.interrupts),
        "checkpoint_id": here["checkpoint_id"],
        "parent_checkpoint_id": above and above["checkpoint_id"],
    }


def _task(thread_id: str, task: Any) -> Json:
    nested = isinstance(task.state, StateSnapshot)
    return {
        "id": task.id,
        "name": task.name,
        "path": list(task.path),
        "error": str(task.error) if task.error else None,
        "interrupts": list(task.interrupts),
        "checkpoint": checkpoint(thread_id, task.state) if task.state and not nested else None,
        "state": state(thread_id, task.state) if nested else None,
        "result": task.result,
    }


def checkpoint(thread_id: str, config: Mapping[str, Any] | None) -> Json:
    """Where a state is stored. The thread is the conversation, not what a run is to LangGraph."""
    place = (config or {}).get("configurable", {})
    return {
        "thread_id": thread_id,
        "checkpoint_ns": place.get("checkpoint_ns", ""),
        "checkpoint_id": place.get("checkpoint_id"),
        "checkpoint_map": place.get("checkpoint_map"),
    }


def picked_state(whole: Json, only: Iterable[str]) -> Json:
    """Fields of a state; `values.<key>` picks one of its values."""
    wanted = list(only)
    if not wanted:
        return whole
    keys = [name.removeprefix("values.") for name in wanted if name.startswith("values.")]
    some = _picked(whole, [name for name in wanted if not name.startswith("values.")] or ["checkpoint"])
    return {**some, "values": {key: whole["values"].get(key) for key in keys}} if keys else some


def _picked(whole: Json, only: Iterable[str]) -> Json:
    wanted = set(only)
    return {name: value for name, value in whole.items() if name in wanted} if wanted else whole
