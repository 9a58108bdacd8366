"""What a run begins with: the last state of the run before it, and what it was given. Pure."""

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import HumanMessage
from langgraph.channels import BinaryOperatorAggregate

CARRIED_MESSAGES = 20
"""Messages of the conversation so far that a run starts with."""


def first_state(channels: Mapping[str, Any], before: Mapping[str, Any], given: Mapping[str, Any], run_id: str) -> Any:
    """The input of a graph. What has a reducer is joined with what was there; anything else replaces it.

    `given` has a question, which becomes the newest message unless its values bring messages of their own.
    """
    new = dict(given.get("values") or {})
    if "messages" in channels:
        new.setdefault("messages", [HumanMessage(given["question"], id=run_id)])
        before = {**before, "messages": list(before.get("messages", ()))[-CARRIED_MESSAGES:]}
    joined = {name: _joined(channels.get(name), before, name, value) for name, value in new.items()}
    return {**before, **joined}


def _joined(channel: Any, before: Mapping[str, Any], name: str, value: Any) -> Any:
    if name in before and isinstance(channel, BinaryOperatorAggregate):
        return channel.operator(before[name], value)
    return value
