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


async def times_out(asked: Asked) -> AIMessage:
    """Never answer, until the client's own deadline ends the call: what a role that a run cannot do without gets."""
    await asyncio.sleep(300)
    raise ModelUnavailable("model", "no end within 300 s", kind="total_timeout", url="http://127.0.0.1")


NONSENSE = [says("I would rather talk about the weather.")] * 4
"""Of a role whose answer has a shape: it is asked in three ways, and once more."""

FAILURES: dict[str, Sequence[Step]] = {"gone": [GONE] * 3, "hanging": [hangs], "at fault": [ValueError("bang")]}
TYPED_FAILURES: dict[str, Sequence[Step]] = {**FAILURES, "nonsense": NONSENSE}
TEXT_FAILURES: dict[str, Sequence[Step]] = {**FAILURES, "nonsense": [says("   ")]}
_FATAL: dict[str, Sequence[Step]] = {"hanging": [times_out] * 3}
FATAL_TYPED: dict[str, Sequence[Step]] = {**TYPED_FAILURES, **_FATAL}
FATAL_TEXT: dict[str, Sequence[Step]] = {**TEXT_FAILURES, **_FATAL}
"""The same, of a role without which there is no answer."""
