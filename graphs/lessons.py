"""Lessons of earlier attempts (Reflexion): kept for their owner alone, read before the next attempt.

The one seam between a graph and what it remembers: the context's memory where there is one, else the lessons that the
thread itself has in its state. Memory is a help and no need: when it fails, the attempt goes on and says so.
"""

from collections.abc import Sequence

from agents.context import Context
from agents.memory import as_evidence, keep_lesson, lessons_for
from graphs.gaps import Gap, spared

LESSONS = 5
"""Of one thread; each costs tokens in every call."""
_TITLE = "Lessons of earlier attempts"


async def recall(context: Context, task: str, known: Sequence[str]) -> tuple[str, list[Gap]]:
    """What a request is followed by, for whoever tries it; empty when nothing was learnt. `known`: of this thread."""
    items, gaps = await spared(_TITLE, context, lessons_for(context, task))
    told = as_evidence(items or ()) or "\n".join(f"- {lesson}" for lesson in known[:LESSONS])
    return (f"\n\nContext:\nLessons from earlier attempts:\n{told}" if told else ""), gaps


async def keep(context: Context, task: str, lessons: Sequence[str], author: str) -> list[Gap]:
    """Write lessons down for attempts to come."""

    async def write() -> None:
        for lesson in lessons:
            await keep_lesson(context, task, lesson, author=author)

    return (await spared(_TITLE, context, write()))[1] if lessons else []
