"""One question, asked by several leads, is worked on once: whoever is first claims it on the board, the others wait.

A claim is kept by its worker's place in the plan, so a resumed run has it still; its lease outlasts the sub-task, and a
worker that failed gives it back, so that another one may try. Only questions that need nothing of other parts, in the
same words, are the same question: whether two wordings mean the same is nothing to bet a finding on.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

from langchain_core.callbacks import adispatch_custom_event
from langgraph.config import get_config

from agents.blackboard import Blackboard, Conflict, Entry, told_written
from agents.context import Context
from agents.errors import ToolFailed
from agents.planner import SubTask

LOOK_S, MAX_LOOK_S = 0.1, 1.0
"""Between two looks at whether somebody else's finding is there."""


async def asked_once(context: Context, sub: SubTask, work: Callable[[], Awaitable[str]]) -> str:
    """What `work` comes to, or what another worker of the run found for the same question."""
    board = context.board
    if board is None:
        return await work()
    key, pause_s = _key(sub.question), LOOK_S
    while True:
        if (there := await board.read(key)).version:
            return await _taken(sub, there)
        claimed = await board.claim(key, sub.id, lease_s=2 * context.limits.subtask_timeout_s)
        if claimed.mine:
            return await _worked(board, key, sub, work)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, MAX_LOOK_S)


async def _worked(board: Blackboard, key: str, sub: SubTask, work: Callable[[], Awaitable[str]]) -> str:
    kept = False
    try:
        text = await work()
        if text:
            try:
                await told_written(await board.write(key, text, 0, sub.id))
                kept = True
            except (Conflict, ToolFailed):
                pass  # a twin was quicker, or it is too long for a board: it is found all the same
        return text
    finally:
        if not kept:
            await board.release(key, sub.id)


async def _taken(sub: SubTask, there: Entry) -> str:
    if there.author != sub.id:
        said = {"text": f"the same question as {there.author}: its finding is taken", "version": there.version}
        await adispatch_custom_event("board.taken", said)
    return str(there.value)


def _key(question: str) -> str:
    """Of this run: an earlier turn may have been answered from other documents."""
    plain = " ".join(question.casefold().split()).rstrip("?!. ")
    run = str(get_config()["configurable"].get("thread_id", ""))
    return f"question {hashlib.sha256(f'{run} {plain}'.encode('utf-8', 'replace')).hexdigest()[:24]}"
