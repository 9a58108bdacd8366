"""Splits a question into sub-tasks with roles and dependencies."""

from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

from agents.agent import Agent


class SubTask(BaseModel):
    """One piece of work for one sub-agent."""

    id: str = Field(description="short and unique in the plan, for example 1")
    title: str = Field(description="two to five words, for a label")
    question: str = Field(description="the whole sub-question, understandable without the others")
    role: str = Field(description="one of the roles listed in the instructions")
    depends_on: list[str] = Field(description="ids of sub-tasks whose results are needed first; usually empty")
    estimate_s: float = Field(default=0, description="seconds that you expect it to take; 0 if you cannot tell")
    tools: SkipJsonSchema[list[str]] = []
    """Which of the role's tools it may call; empty is all of them. A person's choice, so no model is asked."""
    enabled: SkipJsonSchema[bool] = True
    """False: a person switched it off, and whatever needs it goes on without."""


class Plan(BaseModel):
    """A directed acyclic graph of sub-tasks."""

    tasks: list[SubTask] = Field(description="one to six sub-tasks")
    note: str = Field(description="one sentence: why the question was split this way")
    quorum: int = Field(
        default=0, ge=0, description="go on when this many of the results that a step waits for are there; 0: all"
    )
    look_again: bool = Field(
        default=False, description="true if what to ask next can only be known from the first results"
    )
    in_turn: SkipJsonSchema[bool] = False
    """One sub-task after the other: to do them side by side would not be quicker."""


planner = Agent(
    prompt="""\
You plan the work of a team that answers a question from a collection of documents.

- A simple question gets exactly one sub-task: a team would only cost time. Say so in the note.
- Otherwise split it into two to six sub-tasks that can be worked on at the same time, one for each thing to look up.
- Let a sub-task depend on another only if it cannot start without that result.
- Do not plan the final write-up: it is always written after the last sub-task.
- When you are shown what was found so far, plan only what is still needed, and give no sub-task when nothing is.
- When you are told that a sub-task failed, plan exactly one in its place: ask in another way, or another role.
- Roles: {roles}""",
    output=Plan,
)
