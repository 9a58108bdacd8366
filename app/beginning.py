"""What a run begins with: the last state of the run before it, and what it was given; where it stands again. Pure."""

from collections.abc import Collection, Mapping
from typing import Any

from langchain_core.messages import HumanMessage
from langgraph.channels import BinaryOperatorAggregate

from agents.guard import person_says
from app.shapes import Shape


def first_state(channels: Mapping[str, Any], before: Mapping[str, Any], given: Mapping[str, Any], run_id: str) -> Any:
    """The input of a graph. What has a reducer is joined with what was there; anything else replaces it.

    `given` has a question, which becomes the newest message unless its values bring messages of their own. Of the
    conversation in `before` all is carried on: who calls has paged out what is too much.
    """
    new = dict(given.get("values") or {})
    if "messages" in channels:
        new.setdefault("messages", [asked_in(given["question"], run_id, given.get("through"))])
    joined = {name: _joined(channels.get(name), before, name, value) for name, value in new.items()}
    return {**before, **joined}


def asked_in(question: str, run_id: str, through: str | None) -> HumanMessage:
    """A run's question as a message: a person's own words, unless another program asked `through` a door of ours."""
    return HumanMessage(question, id=run_id) if through else person_says(question, id=run_id)


def _joined(channel: Any, before: Mapping[str, Any], name: str, value: Any) -> Any:
    if name in before and isinstance(channel, BinaryOperatorAggregate):
        return channel.operator(before[name], value)
    return value


def before_team(shape: Shape, upcoming: Collection[str]) -> str | None:
    """Node behind which the team comes next once more; None when a graph has no team, or its work is not over.

    Of several nodes with parts one is taken by a choice that all of them stand behind, and is taken again.

    `upcoming` are the nodes that would come next. A team that has not ended is not sent back: what its finished
    sub-tasks came to is kept with the step that it is in.
    """
    leads = shape.before()
    team = next((node.id for node in shape.nodes if node.parts), None)
    if team is None or not all(_leads(leads, team, node) for node in upcoming):
        return None
    return next(iter(leads[team]), "__start__")


def _leads(before: Mapping[str, Collection[str]], source: str, target: str) -> bool:
    """True when `target` comes after `source`."""
    return any(node == source or _leads(before, source, node) for node in before.get(target, ()))
