"""State that graphs share. Bulky things (documents, transcripts) stay out of it and travel as ids."""

from typing import Annotated, Any, TypedDict

from langchain_core.messages import AnyMessage
from langgraph.graph.message import add_messages


class ChatState(TypedDict):
    """One conversation: questions and final answers only. What agents said to themselves is in the run's events."""

    messages: Annotated[list[AnyMessage], add_messages]


def question_of(state: ChatState) -> str:
    """Text of the newest message of the person."""
    for message in reversed(state["messages"]):
        if message.type == "human":
            return str(message.text)
    raise ValueError("messages: none is from a person; send at least one with role 'user'")


def as_node(title: str, *, speaks: bool = False, **more: Any) -> dict[str, Any]:
    """Metadata of a node for whoever draws it.

    `speaks`: the tokens of this node's model are the answer. `agent=NAME`: the node is one agent's loop of reasoning
    and acting. `team=True`: the node spreads into the sub-agents of a plan. `parts=True`: it runs parts of its own, by
    `run_plan` with what is known of them, so that one that is missing can be tried again.
    """
    return {"title": title, "speaks": speaks, **more}
