"""Ask an agent that looks things up, and keep which passages it was shown: any other key was invented."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.messages import AnyMessage, HumanMessage, ToolMessage

from agents.agent import recursion_limit
from agents.context import Context
from agents.errors import RunError
from agents.handing import handover_in
from agents.middleware import NO_ANSWER
from agents.tools.handover import Handover

CITATION = re.compile(r"\s{0,3}\[([0-9a-f]{6,12}(?:\s*[,;]\s*[0-9a-f]{6,12})*)\]")
"""`[3f9a1c]`, or `[3f9a1c, 77ab01]`."""

TRIES = 2


@dataclass(frozen=True, slots=True)
class LookedUp:
    """What an agent came to, and what it was shown on the way."""

    text: str
    """Empty when it was made to stop before it had an answer: its sentence about that is none."""
    shown: list[str]
    """Keys of all passages that its tools returned."""
    message: AnyMessage
    """The answer as it was given, with its marks."""
    value: Any = None
    """Its typed output; None for a role that has none."""
    handed: Handover | None = None
    """Whom it gave the floor to instead of answering."""


async def looked_up(context: Context, name: str, *messages: str | AnyMessage) -> LookedUp:
    """Let agent `name` look things up and answer. Raises RunError."""
    put = [HumanMessage(message) if isinstance(message, str) else message for message in messages]
    config = {"recursion_limit": recursion_limit(context.limits)}
    result = await context.agents[name].ainvoke({"messages": put}, config, context=context)
    said = result["messages"]
    shown = list(dict.fromkeys(_keys_shown(said)))
    text, value = str(said[-1].text).strip(), result.get("structured_response")
    return LookedUp("" if text == NO_ANSWER else text, shown, said[-1], value, handover_in(said[-1]))


async def needed(context: Context, name: str, *messages: str | AnyMessage) -> LookedUp:
    """The same for a step that a run cannot do without: a blank answer is asked for once more, then it is an error.

    A resumed run is given back what agents had answered before. Such an answer costs no call and is no try of its own,
    or a run that once failed over a blank answer would fail over it for ever.
    """
    blanks = 0
    while True:
        before = context.allowance.steps
        found = await looked_up(context, name, *messages)
        if found.text or found.handed:
            return found
        if found.message.text == NO_ANSWER:  # asked once more it would be stopped once more
            return replace(found, text=NO_ANSWER)
        blanks += context.allowance.steps > before
        if blanks == TRIES:
            raise RunError(name, f"its answer was blank, {TRIES} times", "resume the run to try it again")


def _keys_shown(messages: Iterable[AnyMessage]) -> Iterable[str]:
    for message in messages:
        artifact = message.artifact if isinstance(message, ToolMessage) else None
        for source in artifact.get("sources", ()) if isinstance(artifact, dict) else ():
            yield str(source.get("key"))


def keys_in(text: str) -> list[str]:
    """Citation keys in order of first appearance."""
    return list(dict.fromkeys(key for group in CITATION.findall(text) for key in re.split(r"\s*[,;]\s*", group)))


def without(text: str, keys: Collection[str]) -> str:
    """`text` with the citations of `keys` taken out."""

    def kept(group: re.Match[str]) -> str:
        left = [key for key in keys_in(group[0]) if key not in keys]
        return f" [{', '.join(left)}]" if left else ""

    return CITATION.sub(kept, text)
