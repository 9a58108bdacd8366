"""A scripted model that knows who asks: by the system prompt, as all roles of a debate are asked in the same words."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from crew import FixedCorpus
from langchain_core.messages import AIMessage, BaseMessage
from scripted import Asked, ScriptedModel, Step

from agents.agent import assemble, discover_agents, team_roles
from agents.context import Context, Limits
from retrieval.documents import Chunk


class ByRole(ScriptedModel):
    """`script`: role -> its steps, in order; a call too many and a step left over are objected to."""

    def __init__(self, script: Mapping[str, Sequence[Step]], **more: Any) -> None:
        super().__init__(script, **more)

    def asked_of(self, role: str) -> list[Asked]:
        """Every call of one role."""
        return [asked for asked in self.asked if role_of(asked) == role]

    async def _step(self, messages: Sequence[BaseMessage], options: dict[str, Any]) -> AIMessage:
        asked = Asked(messages, options.pop("tools", ()), options.pop("tool_choice", None), options)
        self._asked.append(asked)
        steps = self._steps.get(role_of(asked))
        if not steps:
            self._unscripted.append(f"{role_of(asked)}: {asked.opening}")
            raise AssertionError(f"unscripted call of {role_of(asked)}: {asked.opening}")
        step = steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step if isinstance(step, AIMessage) else await step(asked)


def role_of(asked: Asked) -> str:
    """Whose system prompt the conversation begins with."""
    team = discover_agents()
    roles = "; ".join(f"{name} ({line})" for name, line in team_roles(team).items())
    told = str(asked.messages[0].text)
    return next(name for name, agent in team.items() if told.startswith(agent.prompt.replace("{roles}", roles)))


def few(roles: Iterable[str], model: ByRole, passages: Sequence[Chunk] = (), **limits: Any) -> Context:
    """A context with these roles alone: to put all of them together takes longer than most graphs."""
    bounds, models, team = Limits(**limits), {"large": model, "small": model}, discover_agents()
    made = assemble({role: team[role] for role in roles}, models, bounds)
    return Context(models, made, FixedCorpus(passages), bounds)
