"""Ask every agent of the product one question, in a process of its own: `python ask_everyone.py URL`."""

# ruff: noqa: E402 - LangGraph reads the variable when it is imported
from app.settings import require_strict_msgpack

require_strict_msgpack()

import asyncio
import sys

from langchain_core.messages import HumanMessage

from agents.agent import assemble, discover_agents
from agents.context import Context, Limits
from app.models import Endpoint, Models, chat_model


class Nothing:
    """A corpus without documents."""

    async def search(self, query: str, k: int = 8) -> list[object]:
        return []


async def main(url: str) -> None:
    model = chat_model(Endpoint(url, "demo-large"))
    team, limits = discover_agents(), Limits(max_steps=1)
    models = {"large": model, "small": model}
    agents = assemble(team, models, limits)
    context = Context(models, agents, Nothing(), limits)  # type: ignore[arg-type]
    for name in sorted(agents):
        await agents[name].ainvoke({"messages": [HumanMessage("What is Amdahl's law?")]}, context=context)
    await Models({}).aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
