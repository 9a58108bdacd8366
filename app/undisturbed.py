"""See an end through. A person's stop comes by two ways, and the second must not cut short what the first has begun."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def undisturbed(work: Coroutine[Any, Any, None]) -> None:
    """Do `work` although this task is cancelled once more meanwhile; another time still ends it."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
