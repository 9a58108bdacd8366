"""A shape from any model: each rung over real HTTP, on servers that refuse, ignore, wrap, cut and leave out."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from crew import Ran, crew, run
from demo import RecordedDemo, recorded_demo
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.tools import tool
from pydantic import BaseModel
from scripted import fills

from agents.agent import Agent, assemble, discover_agents
from agents.allowance import Allowance, Budget
from agents.asking import ask_for
from agents.context import Context, Limits
from agents.errors import BudgetExceeded, ModelRefusedRequest, ModelUnavailable, Unreadable
from agents.planner import Plan
from agents.structured import MAX_STARTS, objects_in
from app.models import Deadlines

pytestmark = pytest.mark.timeout(60)

QUESTION = "Compare ReAct, planning with parallel sub-agents, and debate: latency, cost and when each pays"
NO_SCHEMA, NO_TOOLS = {"refuse_response_format": True}, {"refuse_tools": True}
CUT = {"cut_json_at": 25, "cut_tool_arguments_at": 25}


@pytest.fixture
async def demo() -> AsyncIterator[RecordedDemo]:
    async with recorded_demo() as made:
        yield made


def rungs(demo: RecordedDemo) -> list[str]:
    """What each request asked for."""
    return [_rung(body) for body in demo.asked]


def _rung(body: dict[str, Any]) -> str:
    if "response_format" in body:
        return "json_schema"
    if any(tool["function"]["name"] == "answer_plan" for tool in body.get("tools", ())):
        return "tool_call"
    return "repair" if body["messages"][-1]["content"].startswith("That is no Plan") else "text"


async def planned(demo: RecordedDemo, context: Context | None = None, **limits: Any) -> Plan:
    plan = await ask_for(context or crew(demo.model(), **limits), "planner", Plan, QUESTION)
    assert [task.title for task in plan.tasks][:1] == ["ReAct in brief"]
    assert {task.role for task in plan.tasks} == {"researcher"}
    return plan


# -- down the ladder


@pytest.mark.parametrize(
    ("faults", "taken"),
    [
        ({}, ["json_schema"]),
        (NO_SCHEMA, ["json_schema", "tool_call"]),
        (NO_SCHEMA | NO_TOOLS, ["json_schema", "tool_call", "text"]),
        ({"ignore_response_format": True}, ["json_schema", "tool_call"]),
        ({"ignore_response_format": True, "ignore_tools": True}, ["json_schema", "tool_call", "text"]),
        ({"json_in": "prose"}, ["json_schema"]),
        ({"json_in": "fence"}, ["json_schema"]),
        (NO_SCHEMA | NO_TOOLS | {"json_in": "prose"}, ["json_schema", "tool_call", "text"]),
        (NO_SCHEMA | {"ignore_tools": True, "json_in": "fence"}, ["json_schema", "tool_call", "text"]),
        ({"cut_json_at": 25}, ["json_schema", "tool_call"]),
        (CUT | {"times": 3}, ["json_schema", "tool_call", "text", "repair"]),
        ({"lose_json_field": "note", "times": 1}, ["json_schema", "repair"]),
        (
            NO_SCHEMA | NO_TOOLS | {"lose_json_field": "note", "times": 3},
            ["json_schema", "tool_call", "text", "repair"],
        ),
    ],
)
async def test_every_kind_of_server_gives_the_same_plan(
    demo: RecordedDemo, faults: dict[str, Any], taken: list[str]
) -> None:
    whole = await planned(demo)
    demo.bodies.clear()
    demo.faults(faults)

    if taken != ["json_schema", "tool_call", "text", "repair"] or "refuse_tools" not in faults:
        assert await planned(demo) == whole
    else:  # the refusals are spent by then, so that the repair is answered in full
        await planned(demo)
    assert rungs(demo) == taken


async def test_an_answer_that_came_as_a_call_stays_as_text(demo: RecordedDemo) -> None:
    demo.faults(NO_SCHEMA)

    ran = await run(crew(demo.model()).agents["planner"], None, QUESTION)

    said = ran.state["messages"][-1]
    assert (said.tool_calls, said.additional_kwargs) == ([], {"refusal": None} if said.additional_kwargs else {})
    assert Plan.model_validate_json(str(said.text)) == ran.state["structured_response"]


async def test_the_repair_shows_the_model_its_answer_and_what_is_wrong_with_it(demo: RecordedDemo) -> None:
    demo.faults({"lose_json_field": "note", "times": 1})

    await planned(demo)

    first, repair = demo.asked
    *before, said, complaint = repair["messages"]
    assert before == first["messages"]
    assert said["role"] == "assistant" and '"ReAct in brief"' in said["content"]
    assert complaint["content"].startswith("That is no Plan: note: Field required.")
    assert '"depends_on"' in complaint["content"]


async def test_what_never_can_be_read_is_said_with_the_last_reason(demo: RecordedDemo) -> None:
    demo.faults(CUT)

    with pytest.raises(Unreadable, match=r"planner: no Plan in its answer \(no JSON object in it\)"):
        await planned(demo)
    assert rungs(demo) == ["json_schema", "tool_call", "text", "repair"]


async def test_an_agent_with_tools_uses_them_before_it_fills_its_shape(demo: RecordedDemo) -> None:
    class Sum(BaseModel):
        """The sum."""

        total: int

    @tool
    def calculator(expression: str) -> str:
        """Work out an expression."""
        return "42"

    team = {"adder": Agent("You add.", [calculator], output=Sum)}
    for faults in ({}, NO_SCHEMA):
        demo.faults(faults)
        models = {"large": demo.model()}
        context = Context(models, assemble(team, models, Limits()), crew(demo.model()).corpus)
        assert isinstance(await ask_for(context, "adder", Sum, "What is 19 plus 23?"), Sum)
        assert [message["content"] for message in demo.asked[-1]["messages"] if message["role"] == "tool"] == ["42"]


# -- what is remembered


async def test_a_refused_rung_is_not_tried_again_at_that_endpoint(demo: RecordedDemo) -> None:
    context = crew(demo.model())
    demo.faults(NO_SCHEMA)

    await planned(demo, context)
    await planned(demo, context)
    assert rungs(demo) == ["json_schema", "tool_call", "tool_call"]

    demo.bodies.clear()
    await planned(demo, crew(demo.model(temperature=0.5)))
    assert rungs(demo) == ["json_schema", "tool_call"]  # another model object: nothing is known of it


async def test_a_request_that_is_refused_in_every_form_was_not_refused_for_its_form(demo: RecordedDemo) -> None:
    context = crew(demo.model())
    demo.faults({"status": 400})
    with pytest.raises(ModelRefusedRequest):
        await planned(demo, context)
    assert len(demo.bodies) == 3

    demo.faults()
    await planned(demo, context)
    assert rungs(demo)[3:] == ["json_schema"]


async def test_a_wrong_key_is_not_taken_for_a_refused_form(demo: RecordedDemo) -> None:
    demo.faults({"status": 401})
    with pytest.raises(ModelRefusedRequest, match="401"):
        await planned(demo)
    assert len(demo.bodies) == 1


# -- what holds on every rung


async def test_a_rung_is_retried_like_any_call(demo: RecordedDemo) -> None:
    demo.faults(NO_SCHEMA, {"status": 503, "retry_after_s": 0, "every": 2, "times": 1})

    await planned(demo)
    assert rungs(demo) == ["json_schema", "tool_call", "tool_call"]


async def test_a_rung_is_paid_from_the_budget(demo: RecordedDemo) -> None:
    team = crew(demo.model())
    poor = Context(team.models, team.agents, team.corpus, team.limits, Allowance(Budget(steps=2)))
    demo.faults({"ignore_response_format": True, "ignore_tools": True})

    with pytest.raises(BudgetExceeded):
        await planned(demo, poor)
    assert rungs(demo) == ["json_schema", "tool_call"]


async def test_a_rung_keeps_the_deadline(demo: RecordedDemo) -> None:
    demo.faults(NO_SCHEMA, {"silence": True, "every": 2, "times": 1})

    await planned(demo, crew(demo.model(Deadlines(total_s=0.2))))
    assert rungs(demo) == ["json_schema", "tool_call", "tool_call"]


async def test_a_server_that_calls_it_a_fault_of_its_own_is_understood(scripted: Callable[..., Any]) -> None:
    told = "HTTP 500: tools param requires the template engine"
    lacking = ModelUnavailable("model m", told, kind="server_error", url="u", status=500, retry_after_s=0)
    down = ModelUnavailable("model m", "HTTP 500: out of memory", kind="server_error", url="u", status=500,
                            retry_after_s=0)  # fmt: skip
    plan = Plan(tasks=[], note="n")

    assert await ask_for(crew(scripted([lacking] * 3 + [fills(plan)])), "planner", Plan, "Q?") == plan
    with pytest.raises(ModelUnavailable, match="out of memory"):
        await ask_for(crew(scripted([down] * 3)), "planner", Plan, "Q?")


# -- what is counted


async def told(demo: RecordedDemo) -> Ran:
    return await run(crew(demo.model()).agents["planner"], None, QUESTION)


async def test_what_cannot_be_read_is_told_by_role_and_rung(demo: RecordedDemo) -> None:
    demo.faults({"ignore_response_format": True, "cut_tool_arguments_at": 25})

    unreadable = (await told(demo)).of("llm.unreadable")

    assert [(it["role"], it["shape"], it["rung"]) for it in unreadable] == [
        ("planner", "Plan", "json_schema"),
        ("planner", "Plan", "tool_call"),
    ]
    assert unreadable[0]["problem"] == "no JSON object in it"
    assert "not JSON, or cut" in unreadable[1]["problem"]


async def test_a_refusal_is_no_unreadable_answer(demo: RecordedDemo) -> None:
    demo.faults(NO_SCHEMA | NO_TOOLS)
    assert (await told(demo)).of("llm.unreadable") == []


# -- reading


@pytest.mark.parametrize(
    ("text", "objects"),
    [
        ('{"a": 1}', [{"a": 1}]),
        ('Sure: {"a": 1}. {this} helps.', [{"a": 1}]),
        ('```json\n{"a": {"b": [1]}}\n```', [{"a": {"b": [1]}}]),
        ('{"draft": 1} no, rather {"a": 2}', [{"a": 2}, {"draft": 1}]),
        ('<think>{"a": 1}</think>{"a": 2}', [{"a": 2}]),
        ('<think>{"a": 1} and so on', []),
        ('{"a": "line\nbreak"}', [{"a": "line\nbreak"}]),
        ('{"a": {"b": 1}', [{"b": 1}]),
        ("[1, 2]", []),
        ("", []),
        ("{" * 10_000, []),
        ('{"a":' * 100_000, []),
    ],
)
def test_objects_are_found_in_what_models_write(text: str, objects: list[Any]) -> None:
    assert list(objects_in(text)) == objects


@given(st.text(alphabet='{}[]":, a1\\\n', max_size=300))
def test_no_text_breaks_the_search_for_objects(text: str) -> None:
    assert len(list(objects_in(text))) <= MAX_STARTS


def test_every_role_with_a_shape_can_be_asked_for_it_in_words() -> None:
    shapes = [agent.output for agent in discover_agents().values() if agent.output]
    assert Plan in shapes
    assert all(shape.model_json_schema()["properties"] for shape in shapes)
