"""Ways in which one role of a graph fails: gone, hanging, at fault, talking nonsense; as steps of a script."""

import asyncio
from collections.abc import Sequence

from langchain_core.messages import AIMessage
from scripted import Asked, Step, says

from agents.errors import ModelUnavailable

GONE = ModelUnavailable("model", "connection refused", kind="refused", url="http://127.0.0.1", retry_after_s=0)
PATIENCE_S = 60.0
"""Deadline of a step, where a test lets one hang; on a loop whose time jumps, so that nobody waits for it."""


async def hangs(asked: Asked) -> AIMessage:
    """Never answer."""
    await asyncio.Event().wait()
    raise AssertionError("nobody wakes it")


NONSENSE = [says("I would rather talk about the weather.")] * 4
"""Of a role whose answer has a shape: it is asked in three ways, and once more."""

FAILURES: dict[str, Sequence[Step]] = {"gone": [GONE] * 3, "hanging": [hangs], "at fault": [ValueError("bang")]}
TYPED_FAILURES: dict[str, Sequence[Step]] = {**FAILURES, "nonsense": NONSENSE}
TEXT_FAILURES: dict[str, Sequence[Step]] = {**FAILURES, "nonsense": [says("   ")]}
