"""A person looks at a plan before it runs: approves it, changes it, sends it away."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from crew import Ran, crew, passage, run
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from scripted import ScriptedModel, calls, fills, says

from agents.planner import Plan, SubTask
from app.borders import Rejected
from app.plan_answers import checked_plan_answer
from graphs import research

QUESTION = "Compare one and two"
THREAD = {"configurable": {"thread_id": "t"}}


def part(id_: str, needs: str = "", **more: Any) -> dict[str, Any]:
    return {
        "id": id_, "title": f"Part {id_}", "question": f"sub-question {id_}?", "role": "researcher",
        "depends_on": needs.split(), **more,
    }  # fmt: skip


def planned(*parts: dict[str, Any]) -> Plan:
    return Plan(tasks=[SubTask.model_validate(it) for it in parts], note="Split.")


class Reviewed:
    """A research run that asks first."""

    def __init__(self, model: ScriptedModel) -> None:
        self.graph: Any = research.build().compile(checkpointer=InMemorySaver())
        self.context = replace(crew(model, [passage("A fact.")]), review_plan=True)

    async def ask(self) -> dict[str, Any]:
        await run(self.graph, self.context, QUESTION, **THREAD)
        (question,) = (await self.graph.aget_state(THREAD)).interrupts
        return dict(question.value)

    async def answer(self, answer: dict[str, Any]) -> Ran:
        return await run(self.graph, self.context, Command(resume=answer), **THREAD)


async def test_a_plan_waits_for_a_person_and_runs_when_approved(scripted: Callable[..., Any]) -> None:
    model = scripted(
        {
            "Question: ": [says("Both.")],
            "sub-question 1?": [says("One.")],
            "sub-question 2?": [says("Two.")],
            QUESTION: [fills(planned(part("1", estimate_s=3.0), part("2")))],  # asked once, also after the answer
        }
    )
    it = Reviewed(model)

    asked = await it.ask()
    ran = await it.answer({"decision": "approve"})

    assert {name: asked[name] for name in ("kind", "question", "choices", "limits")} == {
        "kind": "plan",
        "question": "Run this plan?",
        "choices": ["approve", "edit", "reject"],
        "limits": {"max_parallel": 8, "max_subtasks": 64},
    }
    assert asked["plan"]["tasks"][0]["title"] == "Part 1"
    assert "researcher" in asked["roles"]
    assert "search_documents" in asked["tools"]["researcher"]
    assert asked["estimates"] == {"1": {"seconds": 3.0, "usd": None}, "2": {"seconds": 8.0, "usd": None}}
    assert [found.text for found in ran.state["findings"]] == ["One.", "Two."]


async def test_what_is_switched_off_does_not_run_and_what_needed_it_goes_on(scripted: Callable[..., Any]) -> None:
    model = scripted(
        {
            "Question: ": [says("Both.")],
            "other words": [says("Two.")],
            QUESTION: [fills(planned(part("1"), part("2", "1")))],
        }
    )
    it = Reviewed(model)

    await it.ask()
    changed = planned(part("1", enabled=False), part("2", "1", question="other words"))
    ran = await it.answer({"decision": "edit", "plan": changed.model_dump()})

    assert [(found.task_id, found.text) for found in ran.state["findings"]] == [("2", "Two.")]
    assert [task["id"] for task in ran.of("plan.proposed")[-1]["tasks"]] == ["2"]


async def test_a_tool_that_was_not_left_to_a_sub_task_is_neither_shown_nor_run(scripted: Callable[..., Any]) -> None:
    model = scripted(
        {
            "Question: ": [says("Both.")],
            "sub-question 1?": [calls(("search_documents", {"query": "one"})), says("Without looking.")],
            QUESTION: [fills(planned(part("1")))],
        }
    )
    it = Reviewed(model)

    await it.ask()
    changed = planned(part("1", tools=["calculator"]))
    ran = await it.answer({"decision": "edit", "plan": changed.model_dump()})

    asked = next(asked for asked in model.asked if asked.opening == "sub-question 1?")
    assert [tool.name for tool in asked.tools] == ["calculator"]
    assert it.context.corpus.asked == []  # type: ignore[attr-defined]
    assert ran.state["findings"][0].text == "Without looking."


async def test_a_rejected_plan_ends_the_run_and_says_why(scripted: Callable[..., Any]) -> None:
    model = scripted({QUESTION: [fills(planned(part("1"), part("2")))]})
    it = Reviewed(model)

    await it.ask()
    ran = await it.answer({"decision": "reject", "reason": "too dear"})

    assert ran.state["messages"][-1].text == "The plan was not run: too dear"
    assert ran.of("agent.spawned") == []


# -- at the border -------------------------------------------------------------------------------------------------


ASKED = {
    "kind": "plan",
    "roles": {"researcher": "finds facts"},
    "tools": {"researcher": ["search_documents", "calculator"]},
    "limits": {"max_parallel": 8, "max_subtasks": 3},
}


@pytest.mark.parametrize(
    ("answer", "field"),
    [
        ("yes", "decision"),
        ({"decision": "perhaps"}, "decision"),
        ({"decision": "edit"}, "plan.tasks"),
        ({"decision": "edit", "plan": {"tasks": "all", "note": ""}}, "plan.tasks"),
        ({"decision": "edit", "plan": {"tasks": [{"id": "1"}], "note": ""}}, "plan.tasks.0.title"),
        ({"decision": "edit", "plan": {"tasks": [], "note": ""}}, "plan.tasks"),
        ({"decision": "edit", "plan": {"tasks": [part("1"), part("2", role="cook")], "note": ""}}, "plan.tasks.1.role"),
        ({"decision": "edit", "plan": {"tasks": [part("1", question=" ")], "note": ""}}, "plan.tasks.0.question"),
        ({"decision": "edit", "plan": {"tasks": [part("1", tools=["shell"])], "note": ""}}, "plan.tasks.0.tools"),
        ({"decision": "edit", "plan": {"tasks": [part("1", "2")], "note": ""}}, "plan.tasks.0.depends_on"),
        ({"decision": "edit", "plan": {"tasks": [part("1", "1")], "note": ""}}, "plan.tasks.0.depends_on"),
        ({"decision": "edit", "plan": {"tasks": [part("1", enabled=False)], "note": ""}}, "plan.tasks"),
        ({"decision": "edit", "plan": {"tasks": [part("1", title="\x00")], "note": ""}}, "plan.tasks.0.title"),
        ({"decision": "edit", "plan": {"tasks": [part("1")], "note": "", "quorum": -1}}, "plan.quorum"),
        ({"decision": "reject", "reason": 7}, "reason"),
        ({"decision": "reject", "reason": "x" * 2001}, "reason"),
    ],
)  # fmt: skip
def test_an_answer_that_cannot_be_taken_names_its_field(answer: Any, field: str) -> None:
    with pytest.raises(Rejected) as refused:
        checked_plan_answer(ASKED, answer)

    assert refused.value.field == field
    assert refused.value.fix


def test_an_edit_comes_back_whole() -> None:
    taken = checked_plan_answer(ASKED, {"decision": "edit", "plan": {"tasks": [part("1")], "note": ""}, "more": 1})

    assert taken == {"decision": "edit", "plan": planned(part("1")).model_copy(update={"note": ""}).model_dump()}
    assert checked_plan_answer(ASKED, {"decision": "reject"}) == {"decision": "reject", "reason": ""}
