"""Hand the floor to another specialist."""

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, Field, create_model

from agents.tools.contract import Contract, with_contract

HAND_OVER = "hand_over"
MAX_WORDS_CHARS = 1_000
"""Of a reason, and of a brief: what is longer belongs into the answer of whoever knows it."""


class Handover(TypedDict):
    """Who gets the floor, why, and what they need to know."""

    to: str
    reason: str
    brief: str


def handover(peers: Mapping[str, str]) -> BaseTool:
    """A tool that hands the floor to one of `peers`: name -> field."""
    listed = "\n".join(f"- {name}: {field}" for name, field in peers.items())

    async def hand_over(to: str, reason: str, brief: str = "") -> tuple[str, Handover]:
        handed = Handover(to=to, reason=reason[:MAX_WORDS_CHARS], brief=brief[:MAX_WORDS_CHARS])
        return f"The {to} has the floor now.", handed

    tool = StructuredTool.from_function(
        coroutine=hand_over,
        name=HAND_OVER,
        description=(
            "Hand the floor to another specialist, who then answers the person in your place. Call it when the "
            "question belongs to their field and not to yours, before you look anything up. Specialists:\n"
            f"{listed}"
        ),
        args_schema=_arguments(peers),
        response_format="content_and_artifact",
    )
    # it names who speaks next and changes nothing in the world
    return with_contract(tool, Contract(timeout_s=2, effect="read", trusted=True))


def _arguments(peers: Mapping[str, str]) -> type[BaseModel]:
    # a name that is not there never reaches the tool: the model is told which there are
    names: Any = Literal[*peers]
    to = Field(description="name of the specialist")
    reason = Field(description="one sentence: why it is theirs")
    brief = Field(default="", description="what you found or promised so far; empty when nothing")
    return create_model("HandOver", to=(names, to), reason=(str, reason), brief=(str, brief))
