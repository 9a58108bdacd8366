"""Agents are data; the root makes them work."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from crew import crew
from langchain_core.messages import HumanMessage
from langgraph.errors import GraphRecursionError
from scripted import ScriptedModel, calls, fills, says

from agents.agent import Agent, assemble, discover_agents, recursion_limit, team_roles
from agents.context import Limits
from agents.planner import Plan, SubTask


def test_every_role_is_found_by_its_file() -> None:
    team = discover_agents()

    assert set(team) >= {"assistant", "planner", "researcher", "writer"}
    assert all(isinstance(agent, Agent) and agent.prompt for agent in team.values())


def test_planners_are_offered_those_who_say_what_they_do() -> None:
    assert team_roles(discover_agents()) == {
        "programmer": "computes by running a program: simulations, statistics, tables, plots",
        "researcher": "finds and cites facts in the documents",
    }


def test_an_agent_is_data() -> None:
    with pytest.raises(FrozenInstanceError):
        discover_agents()["writer"].prompt = "otherwise"  # type: ignore[misc]


async def test_an_agent_gets_its_prompt_its_tools_and_its_model(scripted: Callable[..., Any]) -> None:
    large, small = scripted([says("from the large one")]), scripted([says("from the small one")])
    team = {
        "big": Agent("You are big.", discover_agents()["assistant"].tools),
        "little": Agent("You are little.", model="small"),
    }
    made = assemble(team, {"large": large, "small": small}, Limits())

    big = await made["big"].ainvoke({"messages": [HumanMessage("hi")]})
    little = await made["little"].ainvoke({"messages": [HumanMessage("hi")]})

    assert big["messages"][-1].text == "from the large one"
    assert little["messages"][-1].text == "from the small one"
    assert [message.text for message in large.asked[0].messages] == ["You are big.", "hi"]
    assert {tool.name for tool in large.asked[0].tools} == {tool.name for tool in team["big"].tools}
    assert small.asked[0].tools == ()


async def test_a_planner_reads_who_there_is(scripted: Callable[..., Any]) -> None:
    plan = Plan(tasks=[SubTask(id="1", title="T", question="Q", role="researcher", depends_on=[])], note="n")
    model = scripted([fills(plan)])

    result = await crew(model).agents["planner"].ainvoke({"messages": [HumanMessage("hi")]})

    assert result["structured_response"] == plan
    system = model.asked[0].messages[0].text
    assert "Roles: programmer (computes by running a program" in system
    assert "; researcher (finds and cites facts in the documents)" in system
    assert "{" not in system
    assert model.asked[0].options["response_format"]["json_schema"]["name"] == "Plan"


async def test_the_prompt_of_a_turn_begins_with_the_bytes_of_the_turn_before(scripted: Callable[..., Any]) -> None:
    model = scripted([calls(("now", {})), calls(("calculator", {"expression": "1+1"})), says("2")])

    await crew(model).agents["assistant"].ainvoke({"messages": [HumanMessage("hi")]})

    for before, after in zip(model.asked, model.asked[1:], strict=False):
        assert [repr(message) for message in after.messages][: len(before.messages)] == [
            repr(message) for message in before.messages
        ]
        assert after.tools == before.tools


@pytest.mark.parametrize("steps", [1, 2, 5])
async def test_the_limit_of_super_steps_is_enough_for_the_steps_and_hardly_more(
    scripted: Callable[..., Any], steps: int
) -> None:
    config = {"recursion_limit": recursion_limit(Limits(max_steps=steps))}
    ask = {"messages": [HumanMessage("hi")]}
    patient = scripted([*[calls(("now", {}))] * (steps - 1), says("done")])

    result = await crew(patient, max_steps=steps).agents["assistant"].ainvoke(ask, config)
    assert result["messages"][-1].text == "done"

    endless = ScriptedModel([calls(("now", {}))] * 99)
    with pytest.raises(GraphRecursionError):
        await crew(endless, max_steps=99).agents["assistant"].ainvoke(ask, config)
    assert steps < len(endless.asked) <= recursion_limit(Limits(max_steps=steps))
