"""What an agent is: data. A role file holds one; the composition root assembles it with LangChain's `create_agent`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import Any, Literal

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool
from pydantic import BaseModel

import agents
from agents.context import Context, Limits
from agents.middleware import stack
from agents.offering import OfferRemote
from agents.paging import PageOut
from agents.policy import Calling
from agents.structured import FillShape, Refusals
from agents.tracing import AsOne


@dataclass(frozen=True, slots=True)
class Agent:
    """One role."""

    prompt: str
    """System prompt, the same at every turn, so that a prefix cache can hit. `{roles}` becomes the team's list."""

    tools: Sequence[BaseTool] = ()
    """All that the role may call."""

    grants: frozenset[str] = frozenset()
    """Names of tools with effects that the role may call without a person, even after it read what others wrote."""

    model: Literal["large", "small"] = "large"
    """Model role; routine work goes to `small`."""

    output: type[BaseModel] | None = None
    """Shape of the answer, or None for text."""

    role: str = ""
    """One line for a planner that chooses among roles. Empty: not offered to planners."""

    recalls: bool = False
    """What memory knows is put beside the question: for who speaks with the person."""


def discover_agents() -> dict[str, Agent]:
    """Role name -> agent: every module in `agents/` that holds an `Agent` of its own name."""
    modules = {found.name: import_module(f"agents.{found.name}") for found in iter_modules(agents.__path__)}
    return {
        name: getattr(module, name)
        for name, module in modules.items()
        if isinstance(getattr(module, name, None), Agent)
    }


def team_roles(team: Mapping[str, Agent]) -> dict[str, str]:
    """Role name -> its one line, for the roles that planners may choose from."""
    return {name: agent.role for name, agent in team.items() if agent.role}


def roles_of(context: Context) -> dict[str, str]:
    """Role name -> its one line, for all that a plan may name in this run: our own, and remote agents."""
    return {**team_roles(discover_agents()), **context.peers}


def assemble(
    team: Mapping[str, Agent],
    models: Mapping[str, BaseChatModel],
    limits: Limits,
    peers: Mapping[str, str] = MappingProxyType({}),
    calling: Calling | None = None,
) -> dict[str, Any]:
    """Compile every agent on its model, with the one middleware list. A caller's checkpointer is inherited.

    `peers` are remote agents that a plan may name beside our own.
    """
    roles = "; ".join(f"{name} ({line})" for name, line in {**team_roles(team), **peers}.items())
    refusals, calling = Refusals(), calling or Calling()
    refuse_doubles(team)
    return {
        name: create_agent(
            models[agent.model],
            list(agent.tools),
            system_prompt=agent.prompt.replace("{roles}", roles),
            middleware=[
                AsOne(
                    stack(
                        limits.max_steps,
                        limits.subtask_tokens,
                        limits.subtask_usd,
                        shaping=FillShape(name, agent.output, refusals) if agent.output else None,
                        paging=PageOut(agent.model, recalls=agent.recalls),
                        calling=calling,
                        grants=agent.grants,
                        offering=OfferRemote(name),
                    )
                )
            ],
            context_schema=Context,
            name=name,
        )
        for name, agent in team.items()
    }


def refuse_doubles(team: Mapping[str, Agent]) -> None:
    """Of two tools with one name the later would silently take the place of the other. Raises ValueError."""
    for role, agent in team.items():
        names = [tool.name for tool in agent.tools]
        if double := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"agent {role}: {names.count(double)} tools are called {double}; rename all but one")


def tools_of(assembled: Any) -> list[BaseTool]:
    """What an assembled agent may call, which is not what its file says where somebody assembled it otherwise."""
    node = assembled.nodes.get("tools")
    return list(node.bound.tools_by_name.values()) if node else []


def recursion_limit(limits: Limits) -> int:
    """Super-steps that `max_steps` model calls and their tools can take: the bound is ours, never LangGraph's."""
    return 2 * limits.max_steps + 4
