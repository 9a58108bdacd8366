"""Lessons of earlier attempts (Reflexion): kept for their owner alone, read before the next attempt.

The one seam between a graph and what it remembers: the run's store, where there is one. A lesson is kept under a key
made from its words, so the same one is never there twice. Memory is a help and no need: without it, or when it fails,
the attempt goes on with the lessons of its own thread.
"""

import hashlib
from collections.abc import Sequence

from langgraph.runtime import Runtime
from langgraph.store.base import SearchItem

from agents.context import Context
from graphs.gaps import Gap, spared

LESSONS = 5
"""Newest lessons that are read before an attempt; each costs tokens in every call."""
KEPT = 50
"""Of one owner for one kind of job; older ones are forgotten."""
_TITLE = "Lessons of earlier attempts"


async def recall(runtime: Runtime[Context], job: str) -> tuple[list[str], list[Gap]]:
    """The newest lessons of this owner for this kind of job."""
    lessons, gaps = await spared(_TITLE, runtime.context, _read(runtime, job))
    return lessons or [], gaps


async def keep(runtime: Runtime[Context], job: str, lessons: Sequence[str]) -> list[Gap]:
    """Write lessons down for attempts to come."""
    _, gaps = await spared(_TITLE, runtime.context, _write(runtime, job, lessons))
    return gaps


def as_context(lessons: Sequence[str]) -> str:
    """What a request is followed by, for whoever tries next; nothing when there are none."""
    return "\n\nContext:\nLessons from earlier attempts:\n" + "\n".join(f"- {it}" for it in lessons) if lessons else ""


async def _read(runtime: Runtime[Context], job: str) -> list[str]:
    return [str(item.value["text"]) for item in (await _newest(runtime, job))[:LESSONS]]


async def _write(runtime: Runtime[Context], job: str, lessons: Sequence[str]) -> None:
    if (store := runtime.store) is None:
        return
    for text in lessons:
        key = hashlib.sha256(text.encode()).hexdigest()[:32]
        await store.aput(_place(runtime, job), key, {"text": text}, index=False)
    for old in (await _newest(runtime, job))[KEPT:]:
        await store.adelete(_place(runtime, job), old.key)


async def _newest(runtime: Runtime[Context], job: str) -> list[SearchItem]:
    found = await runtime.store.asearch(_place(runtime, job), limit=2 * KEPT) if runtime.store else []
    return sorted(found, key=lambda item: item.updated_at, reverse=True)


def _place(runtime: Runtime[Context], job: str) -> tuple[str, str, str]:
    return ("lessons", runtime.context.owner, job)
