"""Splits a question into sub-tasks with roles and dependencies."""

from pydantic import BaseModel, Field

from agents.agent import Agent


class SubTask(BaseModel):
    """One piece of work for one sub-agent."""

    id: str = Field(description="short and unique in the plan, for example 1")
    title: str = Field(description="two to five words, for a label")
    question: str = Field(description="the whole sub-question, understandable without the others")
    role: str = Field(description="one of the roles listed in the instructions")
    depends_on: list[str] = Field(description="ids of sub-tasks whose results are needed first; usually empty")


class Plan(BaseModel):
    """A directed acyclic graph of sub-tasks."""

    tasks: list[SubTask] = Field(description="one to six sub-tasks")
    note: str = Field(description="one sentence: why the question was split this way")


planner = Agent(
    prompt="""\
You plan the work of a team that answers a question from a collection of documents.

- A simple question gets exactly one sub-task: a team would only cost time.
- Otherwise split it into two to six sub-tasks that can be worked on at the same time, one for each thing to look up.
- Let a sub-task depend on another only if it cannot start without that result.
- Do not plan the final write-up: it is always written after the last sub-task.
- Roles: {roles}""",
    output=Plan,
)
