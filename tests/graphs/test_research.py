"""Research: a plan, a team, an answer; a bad plan, a lost part, and what is said of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from crew import Ran, crew, passage, run
from demo import recorded_demo
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore
from mcp_kept import MemoryPins
from scripted import ScriptedModel, calls, fills, says

from agents.agent import Agent, assemble
from agents.allowance import Allowance, Budget
from agents.asking import ask_for
from agents.errors import ModelUnavailable
from agents.planner import Plan, SubTask
from agents.remote.definitions import definition_of
from agents.remote.remotes import Remotes
from agents.remote.servers import Server
from agents.tools.calculator import calculator
from agents.tools.notes import save_note
from graphs import research
from graphs.planning import remedies, second_plan
from graphs.research import brief
from graphs.scheduling import Finding
from graphs.usual import usual

QUESTION = "Compare one and two"


def planned(*parts: tuple[str, str], role: str = "researcher") -> Plan:
    """`("1", "")`, `("2", "1")`: id, and what it needs."""
    tasks = [
        SubTask(id=id_, title=f"Part {id_}", question=f"sub-question {id_}?", role=role, depends_on=needs.split())
        for id_, needs in parts
    ]
    return Plan(tasks=tasks, note="Split.")


async def researched(model: ScriptedModel, given: Any = QUESTION, **limits: Any) -> Ran:
    return await run(research.build().compile(), crew(model, [passage("A fact.")], **limits), given)


def briefed(model: ScriptedModel) -> str:
    """What the writer was told."""
    return next(asked.opening for asked in model.asked if asked.opening.startswith("Question: "))


async def test_a_plan_a_team_and_an_answer(scripted: Callable[..., Any]) -> None:
    model = scripted(
        {
            "Question: ": [says("**Both.**")],
            "sub-question 1?": [calls(("search_documents", {"query": "one"})), says("One is first.")],
            "sub-question 2?": [says("Two comes after.")],
            QUESTION: [fills(planned(("1", ""), ("2", "1")))],
        }
    )

    ran = await researched(model)

    assert [(found.task_id, found.state, found.text) for found in ran.state["findings"]] == [
        ("1", "done", "One is first."),
        ("2", "done", "Two comes after."),
    ]
    assert [str(message.text) for message in ran.state["messages"]] == [QUESTION, "**Both.**"]
    assert [start["name"] for start in ran.of("node.started")] == ["plan", "research", "write"]
    assert briefed(model) == (
        "Question: Compare one and two\n\n## Part 1\nOne is first.\n\n## Part 2\nTwo comes after."
    )


async def test_a_sub_agent_is_told_what_it_needs_and_nothing_else(scripted: Callable[..., Any]) -> None:
    model = scripted(
        {
            "Question: ": [says("Done.")],
            "sub-question 1?": [says("One is first.")],
            "sub-question 2?": [says("Two comes after.")],
            "sub-question 3?": [says("Three is apart.")],
            "Earlier?": [fills(planned(("1", ""), ("2", "1"), ("3", "")))],
        }
    )

    await researched(model, {"messages": [HumanMessage("Earlier?"), AIMessage("Yes."), HumanMessage(QUESTION)]})

    told = {asked.opening[:15]: asked.opening for asked in model.asked}
    assert told["sub-question 2?"] == "sub-question 2?\n\nResult of Part 1:\nOne is first."
    assert told["sub-question 3?"] == "sub-question 3?"
    assert [str(message.text) for message in model.asked[0].messages][1:] == ["Earlier?", "Yes.", QUESTION]


async def test_what_only_a_person_decides_no_planner_does(scripted: Callable[..., Any]) -> None:
    """Its schema names no tools and no switch, yet a model may write them."""
    told = planned(("1", ""), ("2", ""))
    told.tasks[0].tools, told.tasks[1].enabled, told.in_turn = ["nothing"], False, True
    model = scripted(
        {"Question: ": [says("Both.")], QUESTION: [fills(told)], "1?": [says("One.")], "2?": [says("Two.")]}
    )

    ran = await researched(model)

    assert [(it.title, it.state) for it in ran.state["findings"]] == [("Part 1", "done"), ("Part 2", "done")]
    assert [tool.name for asked in model.asked if asked.opening == "sub-question 1?" for tool in asked.tools]
    assert not ran.state["plan"].in_turn


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (
            fills(planned(("1", ""), role="plumber")),
            "sub-task 1: unknown role 'plumber'; there are programmer, researcher",
        ),
        (fills(planned(("1", "2"), ("2", "1"))), "sub-tasks wait for each other"),
        (fills(planned(("1", "9"))), "sub-task 1: depends on 9, which the plan does not hold"),
        (fills(Plan(tasks=[], note="")), "tasks: 0 of 1 to 64"),
    ],
)
async def test_a_bad_plan_goes_back_once_with_the_reason(
    scripted: Callable[..., Any], bad: AIMessage, why: str
) -> None:
    model = scripted(
        {
            "Question: ": [says("Done.")],
            "sub-question 1?": [says("One.")],
            QUESTION: [bad, fills(planned(("1", "")))],
        }
    )

    ran = await researched(model)

    complaint = str(model.asked[1].messages[-1].text)
    assert complaint.startswith("That plan cannot be run: ")
    assert why in complaint
    assert complaint.endswith(f"Plan again: {QUESTION}")
    (told,) = ran.of("plan.proposed")
    assert told["tasks"] == planned(("1", "")).model_dump()["tasks"]


async def test_an_answer_that_never_was_a_plan_goes_back_once_too(scripted: Callable[..., Any]) -> None:
    no_plan = says(json.dumps({"tasks": [{"id": 1}], "note": ""}))
    script = {"Question: ": [says("Done.")], "sub-question 1?": [says("One.")]}
    model = scripted({**script, QUESTION: [no_plan, no_plan, fills(planned(("1", "")))]})

    ran = await researched(model)

    complaint = str(model.asked[2].messages[-1].text)
    assert complaint.startswith("That plan cannot be run: planner: no Plan in its answer (tasks.0.id: ")
    assert complaint.endswith(f"Plan again: {QUESTION}")
    (told,) = ran.of("plan.proposed")
    assert told["tasks"] == planned(("1", "")).model_dump()["tasks"]


async def test_after_two_bad_plans_one_researcher_takes_the_whole_question(scripted: Callable[..., Any]) -> None:
    bad = fills(planned(("1", ""), role="plumber"))
    model = scripted({"Question: ": [says("Done.")], QUESTION: [bad, bad, says("All of it.")]})

    ran = await researched(model)

    (proposed,) = ran.of("plan.proposed")
    assert [(task["role"], task["question"]) for task in proposed["tasks"]] == [("researcher", QUESTION)]
    assert proposed["note"] == "No plan could be run, so one researcher takes the whole question."
    assert ran.state["findings"][0].text == "All of it."


async def test_the_writer_is_told_what_is_missing_and_why(scripted: Callable[..., Any]) -> None:
    gone = ModelUnavailable("large", "503", kind="server_error", url="http://127.0.0.1", retry_after_s=0)
    model = scripted(
        {
            "Result of sub-task 3 of the role researcher:\nIt failed: it answered nothing.": [
                fills(Plan(tasks=[], note=""))
            ],
            "Question: ": [says("Half of it.")],
            "sub-question 1?": [says("One.")],
            "sub-question 2?": [gone] * 3,
            "sub-question 3?": [says("  ")],
            QUESTION: [fills(planned(("1", ""), ("2", ""), ("3", ""), ("4", "2")))],
        }
    )

    ran = await researched(model)

    assert [found.state for found in ran.state["findings"]] == ["done", "failed", "failed", "skipped"]
    assert briefed(model) == (
        "Question: Compare one and two\n\n## Part 1\nOne.\n\nMissing:\n- Part 2: large: 503; retry later\n"
        "- Part 3: it answered nothing\n- Part 4: nothing it depends on has a result"
    )
    assert ran.state["messages"][-1].text == (
        "Half of it.\n\n*Not done: Part 2 (large: 503; retry later); Part 3 (it answered nothing); "
        "Part 4 (nothing it depends on has a result).*"
    )


async def test_when_all_parts_are_missing_the_writer_still_says_so(scripted: Callable[..., Any]) -> None:
    model = scripted(
        {
            "Result of sub-task 1": [ValueError("the planner too")],
            "Question: ": [says("Nothing is known of part 1.")],
            "sub-question 1?": [ValueError("bang")],
            QUESTION: [fills(planned(("1", "")))],
        }
    )

    ran = await researched(model)

    assert briefed(model).startswith("Question: Compare one and two\n\nMissing:\n- Part 1: ValueError: bang; no other")
    assert ran.state["messages"][-1].text == "Nothing is known of part 1."  # it names what is missing itself


async def test_a_second_question_on_the_thread_starts_with_no_findings(scripted: Callable[..., Any]) -> None:
    model = scripted(
        {
            "Question: ": [says("First answer."), says("Second answer.")],
            "sub-question 1?": [says("One."), says("Another.")],
            QUESTION: [fills(planned(("1", ""))), fills(planned(("1", "")))],
        }
    )
    graph = research.build().compile(checkpointer=InMemorySaver())
    context = crew(model)
    thread = {"configurable": {"thread_id": "t"}}

    await run(graph, context, QUESTION, **thread)
    ran = await run(graph, context, "And now?", **thread)

    assert [found.text for found in ran.state["findings"]] == ["Another."]
    assert [str(message.text) for message in ran.state["messages"]] == [
        QUESTION, "First answer.", "And now?", "Second answer.",
    ]  # fmt: skip
    assert "Question: And now?" in model.asked[-1].text


async def test_what_was_found_is_kept_when_the_rest_is_tried_again(scripted: Callable[..., Any]) -> None:
    model = scripted({"Question: ": [says("Now whole.")], "sub-question 2?": [says("Two.")]})
    kept = [Finding("1", "Part 1", "done", "One."), Finding("2", "Part 2", "failed", "", "gone")]
    graph = research.build().compile(checkpointer=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "t"}}
    state = {"messages": [HumanMessage(QUESTION)], "plan": planned(("1", ""), ("2", "")), "findings": kept}
    await graph.aupdate_state(thread, state, as_node="plan")

    ran = await run(graph, crew(model), None, **thread)

    assert [(found.state, found.text) for found in ran.state["findings"]] == [("done", "One."), ("done", "Two.")]


async def test_what_was_kept_says_nothing_new_about_the_pace(scripted: Callable[..., Any]) -> None:
    model, store = scripted({"Question: ": [says("Now whole.")], "sub-question 2?": [says("Two.")]}), InMemoryStore()
    kept = [Finding("1", "Part 1", "done", "One.", seconds=900), Finding("2", "Part 2", "failed", "", "gone")]
    graph = research.build().compile(checkpointer=InMemorySaver(), store=store)
    thread: Any = {"configurable": {"thread_id": "t"}}
    state = {"messages": [HumanMessage(QUESTION)], "plan": planned(("1", ""), ("2", "")), "findings": kept}
    await graph.aupdate_state(thread, state, as_node="plan")

    await run(graph, crew(model), None, **thread)

    assert (await usual(store)).seconds["researcher"] < 100


def test_a_brief_names_what_is_partial_too() -> None:
    findings = [Finding("1", "One", "partial", "Half.", "cut short"), Finding("2", "Two", "timed_out")]

    assert brief("Q?", findings) == "Question: Q?\n\n## One\nHalf.\n\nMissing:\n- One: cut short\n- Two: timed_out"


# -- what the plan is worth ----------------------------------------------------------------------------------------


async def test_a_simple_question_starts_no_team_and_the_plan_says_so(scripted: Callable[..., Any]) -> None:
    model = scripted(
        {
            "Question: ": [says("Done.")],
            "sub-question 1?": [says("One.")],
            QUESTION: [fills(planned(("1", "")))],
        }
    )

    ran = await researched(model)

    assert ran.of("plan.proposed")[0]["decision"] == "One sub-task: no team starts."
    assert len(ran.of("agent.spawned")) == 1


async def test_a_team_that_would_not_pay_does_not_start(scripted: Callable[..., Any]) -> None:
    quick = Plan(
        tasks=[sub.model_copy(update={"estimate_s": 0.01}) for sub in planned(("1", ""), ("2", "")).tasks],
        note="Split.",
    )
    model = scripted({"Question: ": [says("Done.")], QUESTION: [fills(quick), says("All of it.")]})

    ran = await researched(model)

    (told,) = ran.of("plan.proposed")
    assert told["decision"].startswith("One after the other, 0.02 s: side by side would take about 0.03 s")
    assert (told["serial_s"], told["parallel_s"], told["overhead_s"]) == (0.02, 0.01, 0.02)
    assert [task["question"] for task in told["tasks"]] == [QUESTION]
    assert [found.text for found in ran.state["findings"]] == ["All of it."]


async def test_a_plan_is_estimated_with_the_places_that_the_run_has(scripted: Callable[..., Any]) -> None:
    model = scripted(
        {
            "Question: ": [says("Both.")],
            QUESTION: [fills(planned(("1", ""), ("2", "")))],
            "sub-question": [says("It."), says("It.")],
        }
    )
    narrow = replace(crew(model, [passage("A fact.")]), allowance=Allowance(Budget(width=1)))

    (told,) = (await run(research.build().compile(), narrow, QUESTION)).of("plan.proposed")

    assert told["parallel_s"] == told["serial_s"] == 16
    assert told["decision"] == "One after the other, about 16 s: no two of them could be at work at once."


async def test_estimates_come_from_what_earlier_runs_took(scripted: Callable[..., Any]) -> None:
    store = InMemoryStore()
    model = scripted(
        {
            "Question: ": [says("Done.")] * 2,
            "sub-question 1?": [says("One.")] * 2,
            QUESTION: [fills(planned(("1", "")))] * 2,
        }
    )
    graph = research.build().compile(store=store)

    first, second = [await run(graph, crew(model), QUESTION) for _ in range(2)]

    assert first.of("plan.proposed")[0]["serial_s"] == 8
    assert second.of("plan.proposed")[0]["serial_s"] < 5
    assert (await usual(store)).seconds.keys() == {"researcher"}


# -- another try, and a second round -------------------------------------------------------------------------------


async def test_a_failed_part_is_asked_in_the_words_that_the_planner_finds(scripted: Callable[..., Any]) -> None:
    otherwise = planned(("1", ""))
    otherwise.tasks[0].question = "in other words?"
    model = scripted(
        {
            "Result of sub-task 1": [fills(otherwise)],
            "Question: ": [says("Done.")],
            "sub-question 1?": [says("")],
            "in other words?": [says("Found after all.")],
            QUESTION: [fills(planned(("1", "")))],
        }
    )

    ran = await researched(model)

    assert ran.state["findings"] == [Finding("1", "Part 1", "done", "Found after all.")]
    assert [data["reason"] for data in ran.of("plan.revised")] == ["it answered nothing"]
    assert len(ran.of("agent.finished")) == 1


async def test_a_part_may_not_be_given_to_a_role_that_is_not_there(scripted: Callable[..., Any]) -> None:
    model = scripted(
        {
            "Result of sub-task 1": [fills(planned(("1", ""), role="plumber"))],
            "Question: ": [says("Nothing about part 1.")],
            "sub-question 1?": [says("")],
            QUESTION: [fills(planned(("1", "")))],
        }
    )

    ran = await researched(model)

    assert ran.state["findings"][0].reason == "it answered nothing"
    assert ran.of("plan.revised") == []


def looking_again(*parts: tuple[str, str]) -> Plan:
    return planned(*parts).model_copy(update={"look_again": True})


async def test_a_second_round_knows_the_first_and_there_is_no_third(scripted: Callable[..., Any]) -> None:
    model = scripted(
        {
            "Findings:": [fills(looking_again(("2", "1"), ("1", "")))],  # ids of its own, and one of the first round
            "Question: ": [says("Done.")],
            "sub-question 1?": [says("One."), says("One, later.")],
            "sub-question 2?": [says("Two.")],
            QUESTION: [fills(looking_again(("1", "")))],
        }
    )

    ran = await researched(model)

    assert [(found.task_id, found.text) for found in ran.state["findings"]] == [
        ("1", "One."),
        ("2", "Two."),
        ("1+", "One, later."),
    ]
    told = next(asked.opening for asked in model.asked if asked.opening.startswith("sub-question 2?"))
    assert told.endswith("Result of Part 1:\nOne, later.")  # a second plan's ids are its own
    assert [len(plan["tasks"]) for plan in ran.of("plan.proposed")] == [1, 3]
    assert sorted(data["task_id"] for data in ran.of("agent.spawned")) == ["1", "1+", "2"]
    assert ran.state["plan"].look_again is False


@pytest.mark.parametrize("answer", [fills(Plan(tasks=[], note="")), ValueError("the planner is out")])
async def test_when_nothing_more_is_needed_or_nobody_can_say_the_answer_is_written(
    scripted: Callable[..., Any], answer: Any
) -> None:
    model = scripted(
        {
            "Findings:": [answer],
            "Question: ": [says("Done.")],
            "sub-question 1?": [says("One.")],
            QUESTION: [fills(looking_again(("1", "")))],
        }
    )

    ran = await researched(model)

    assert ran.state["messages"][-1].text == "Done."
    assert len(ran.of("plan.proposed")) == 1


async def test_a_second_plan_that_cannot_be_run_goes_back_once(scripted: Callable[..., Any]) -> None:
    model = scripted(
        {
            "Findings:": [fills(planned(("2", "9"))), fills(planned(("2", "")))],
            "Question: ": [says("Done.")],
            "sub-question 1?": [says("One.")],
            "sub-question 2?": [says("Two.")],
            QUESTION: [fills(looking_again(("1", "")))],
        }
    )

    ran = await researched(model)

    assert [found.text for found in ran.state["findings"]] == ["One.", "Two."]
    complaint = next(str(asked.messages[-1].text) for asked in model.asked if "cannot be run" in asked.text)
    assert "sub-task 2: depends on 9, which the plan does not hold" in complaint


# -- twins ---------------------------------------------------------------------------------------------------------


async def test_only_what_can_be_repeated_safely_has_a_twin_or_a_second_try(scripted: Callable[..., Any]) -> None:
    """By what an agent was given, not by what its file says; and by what a person left to it."""
    context = crew(scripted({}))
    given = assemble({"researcher": Agent("Note it.", [save_note, calculator])}, context.models, context.limits)
    risky = remedies(replace(context, agents=given))
    safe, unsafe = remedies(context).twin, risky.twin
    assert safe
    assert unsafe

    (sub,) = planned(("1", "")).tasks

    assert safe(sub)
    assert not safe(sub.model_copy(update={"role": "assistant"}))
    assert not unsafe(sub)
    assert unsafe(sub.model_copy(update={"tools": ["calculator"]}))
    assert risky.again
    assert await risky.again(sub, Finding("1", "Part 1", "failed")) is None  # and the planner was not asked


async def test_tools_of_others_count_too_when_a_part_may_be_done_twice(scripted: Callable[..., Any]) -> None:
    """Whatever a server offers a role now may be called by both of a pair."""
    pins = MemoryPins()
    does = definition_of({"name": "do", "description": "Does it.", "inputSchema": {"type": "object"}})
    assert does
    await pins.approve("far", [does], "ann")
    remotes = Remotes([Server("far", command="-", roles=("researcher",))], pins, None)  # type: ignore[arg-type]
    (sub,) = planned(("1", "")).tasks
    twin = remedies(replace(crew(scripted({})), remotes=remotes)).twin
    assert twin
    assert twin(sub)

    remotes.remotes["far"].pinned = await pins.of("far")
    remotes.remotes["far"].defined = {"do": does}
    assert not twin(sub)
    assert twin(sub.model_copy(update={"tools": ["search_documents"]}))


async def test_the_demo_model_plans_without_figures_and_nothing_more_when_all_is_found() -> None:
    async with recorded_demo() as demo:
        context = crew(demo.model())
        plan = await ask_for(context, "planner", Plan, "Compare 5 latches, phasers, and 12 barriers")
        found = [Finding(sub.id, sub.title, "done", "Known.") for sub in plan.tasks]

        assert len(plan.tasks) > 1
        assert {(sub.estimate_s, sub.enabled) for sub in plan.tasks} == {(0, True)}
        assert (plan.quorum, plan.look_again) == (0, False)
        assert await second_plan(context, "Compare latches and phasers", plan, found) is None
