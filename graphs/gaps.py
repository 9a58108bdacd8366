"""Steps that a run can do without: what one came to, or what is missing now and why; never what sinks the run."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypedDict, TypeVar

from langgraph.errors import GraphBubbleUp

from agents.context import Context
from agents.errors import RunError, RunLost
from graphs.scheduling import Finding

Value = TypeVar("Value")


class Gap(TypedDict):
    """A part that the answer lacks, as a run's output names it."""

    title: str
    reason: str


async def spared(title: str, context: Context, call: Coroutine[Any, Any, Value]) -> tuple[Value | None, list[Gap]]:
    """What `call` returns; or None, and the gap that it leaves.

    It has a sub-task's deadline, is not begun when the run concludes, and is cut short when a person wants the answer
    now. Interrupts, and the end of this worker's claim, pass through.
    """
    if context.allowance.concluding():
        call.close()
        return None, [Gap(title=title, reason="not begun: the run was to conclude")]
    job = asyncio.ensure_future(call)
    now = asyncio.ensure_future(context.allowance.hurry.wait())
    timeout_s = context.limits.subtask_timeout_s
    try:
        await asyncio.wait({job, now}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if job.done() and not job.cancelled():
            return job.result(), []
        if job.cancelled():  # by something inside it: nobody cancelled the step
            return None, [Gap(title=title, reason="something it waited for was cancelled")]
        reason = "cut short when the answer was asked for" if now.done() else f"not finished within {timeout_s:g} s"
    except (GraphBubbleUp, RunLost):
        raise
    except RunError as error:
        reason = str(error)
    except Exception as error:  # somebody else's code: whatever it raises, the run goes on and says so
        reason = f"{type(error).__name__}: {error}"
    finally:
        job.cancel()
        now.cancel()
        await asyncio.wait({job, now})
    return None, [Gap(title=title, reason=reason)]


def gaps_in(findings: Sequence[Finding]) -> list[Gap]:
    """Parts of a plan that came to less than was asked."""
    return [Gap(title=it.title, reason=it.reason or it.state) for it in findings if it.state != "done"]


def unnamed(gaps: Sequence[Gap], text: str) -> list[Gap]:
    """Those that `text` does not speak of: whoever wrote it was told to, and need not have done it."""
    return [gap for gap in gaps if gap["title"].lower() not in text.lower()]


def with_gaps(text: str, gaps: Sequence[Mapping[str, object]]) -> str:
    """`text`, and what it lacks in a last paragraph."""
    if not gaps:
        return text
    named = "; ".join(f"{gap['title']} ({str(gap['reason']).rstrip('.')})" for gap in gaps)
    return f"{text}\n\n*Not done: {named}.*"
