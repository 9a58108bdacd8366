"""The team: three levels, what each of them reads, what is lost with one of them, and a question from the lowest."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from by_role import ByRole, few
from crew import Ran, passage, run
from failing import FAILURES, NONSENSE, PATIENCE_S, TEXT_FAILURES, TYPED_FAILURES
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command
from scripted import Asked, Step, calls, fills, says

from agents.allowance import Allowance, Budget
from agents.errors import RunLost
from agents.planner import Plan, SubTask
from app.projection import RunView
from app.shapes import draw, read_shape
from graphs import leading, team
from graphs.leading import REPORT_CHARS

TIME_JUMPS = True

JOB = "What do debates and swarms cost?"
ROLES = ["manager", "lead", "researcher", "scribe", "summariser", "writer"]


def planned(*tasks: tuple[str, str], role: str = "lead") -> AIMessage:
    """`("1", "2 3")`: id, and what it needs."""
    made = [
        SubTask(id=id_, title=f"Part {id_}", question=f"part {id_}?", role=role, depends_on=needs.split())
        for id_, needs in tasks
    ]
    return fills(Plan(tasks=made, note="Split."))


TWO_LEADS = planned(("1", ""), ("2", ""))
TWO_WORKERS = planned(("1", ""), ("2", ""), role="researcher")
ONE_WORKER = planned(("1", ""), role="researcher")
FOUND, SUMMARY, REPORT = "It costs calls. [3f9a1c77]", "Calls, in short. [3f9a1c77]", "**Both cost calls.** [3f9a1c77]"


def script(**more: Sequence[Step]) -> dict[str, Sequence[Step]]:
    """Two leads with two workers each, all of whom do their part."""
    usual: dict[str, Sequence[Step]] = {
        "manager": [TWO_LEADS],
        "lead": [TWO_WORKERS] * 2,
        "researcher": [says(FOUND)] * 4,
        "summariser": [says(SUMMARY)] * 2,
        "writer": [says(REPORT)],
    }
    return {**usual, **more}


async def teamed(model: ByRole, given: Any = JOB, graph: Any = None, **more: Any) -> Ran:
    thread = more.pop("thread", {})
    ran = await run(
        graph or team.build().compile(), few(ROLES, model, [passage("It costs calls.")], **more), given, **thread
    )
    model.check_used_up()
    return ran


def kept(**more: Any) -> tuple[Any, dict[str, Any]]:
    """A graph that remembers, and its run."""
    return team.build().compile(checkpointer=InMemorySaver(), **more), {"configurable": {"thread_id": "t"}}


def answer(ran: Ran) -> str:
    return str(ran.state["messages"][-1].text)


def ends(ran: Ran) -> dict[str, str]:
    """Sub-task, of either level -> how it ended."""
    return {end["task_id"]: end["state"] for end in ran.of("agent.finished")}


def view(ran: Ran) -> RunView:
    seen = RunView(read_shape(team.build().compile()))
    for event in ran.events:
        seen.apply(event)
    return seen


async def test_a_manager_two_leads_four_workers_and_an_answer() -> None:
    model = ByRole(script())

    ran = await teamed(model)

    assert answer(ran) == REPORT
    assert ends(ran) == dict.fromkeys(["1", "1.1", "1.2", "2", "2.1", "2.2"], "done")
    assert len(model.asked) == 1 + 2 + 4 + 2 + 1


async def test_each_level_reads_its_brief_and_the_reports_of_the_level_below_and_nothing_else() -> None:
    model = ByRole(script(researcher=[says(f"Detail {n}. {FOUND}") for n in range(4)]))

    await teamed(model)

    assert [asked.opening for asked in model.asked_of("lead")] == ["part 1?", "part 2?"]
    assert {asked.opening for asked in model.asked_of("researcher")} == {"part 1?", "part 2?"}
    assert all("Detail" in asked.opening for asked in model.asked_of("summariser"))
    (last,) = model.asked_of("writer")
    assert last.opening == f"Question: {JOB}\n\n## Part 1\n{SUMMARY}\n\n## Part 2\n{SUMMARY}"


async def test_the_managers_context_is_bounded_however_much_is_found() -> None:
    long = " ".join(f"Sentence {n} of very many. [3f9a1c77]" for n in range(150))
    model = ByRole(script(researcher=[says(long)] * 4, summariser=[says(long)] * 2))

    await teamed(model)

    (last,) = model.asked_of("writer")
    headings = len(f"Question: {JOB}") + 2 * len("\n\n## Part 1\n")
    assert len(last.opening) <= 2 * REPORT_CHARS + headings
    assert last.opening.endswith("…")


async def test_a_report_is_a_section_of_another_text_and_has_no_headings() -> None:
    model = ByRole(script(summariser=[says(f"# Costs\n\n{SUMMARY}\n\n## Why:\nBecause.")] * 2))

    ran = await teamed(model)

    assert "\n**Why:**\n" in ran.state["findings"][0].text
    assert not re.search("^#", ran.state["findings"][0].text, re.M)


async def test_leads_and_workers_work_side_by_side() -> None:
    together = asyncio.Barrier(4)

    async def meets(asked: Asked) -> Any:
        await together.wait()  # one after the other, this would never end
        return says(FOUND)

    assert answer(await teamed(ByRole(script(researcher=[meets] * 4)))) == REPORT


@pytest.mark.parametrize(("width", "parallel"), [(2, 8), (1, 8), (None, 2), (3, 2)])
async def test_no_more_workers_are_at_work_than_a_run_may_have(width: int | None, parallel: int) -> None:
    at_work, most = 0, 0

    async def counted(asked: Asked) -> Any:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(1)
        at_work -= 1
        return says(FOUND)

    model = ByRole(script(researcher=[counted] * 4))
    context = few(ROLES, model, [passage("It costs calls.")], max_parallel=parallel)
    ran = await run(team.build().compile(), replace(context, allowance=Allowance(Budget(width=width))), JOB)

    assert answer(ran) == REPORT
    assert most == min(width or parallel, parallel)


async def test_what_a_worker_needs_of_another_one_of_the_same_lead_is_handed_on() -> None:
    after = planned(("1", ""), ("2", "1"), role="researcher")
    model = ByRole(
        script(manager=[planned(("1", ""))], lead=[after], researcher=[says(FOUND)] * 2, summariser=[says(SUMMARY)])
    )

    await teamed(model)

    assert model.asked_of("researcher")[1].opening == f"part 2?\n\nResult of Part 1:\n{FOUND}"


async def test_a_job_of_one_part_for_one_worker_needs_no_summary() -> None:
    model = ByRole(script(manager=[planned(("1", ""))], lead=[ONE_WORKER], researcher=[says(FOUND)], summariser=[]))

    ran = await teamed(model)

    assert len(model.asked) == 4
    assert ran.state["findings"][0].text == FOUND


@pytest.mark.parametrize("failure", TEXT_FAILURES)
async def test_one_worker_that_fails_is_missing_in_the_report_and_its_lead_goes_on(failure: str) -> None:
    single = {"manager": [planned(("1", ""))], "lead": [TWO_WORKERS], "summariser": []}
    model = ByRole(script(**single, researcher=[says(FOUND), *TEXT_FAILURES[failure]]))

    ran = await teamed(model, subtask_timeout_s=PATIENCE_S)

    (lead,) = ran.state["findings"]
    assert (lead.state, lead.text) == ("partial", FOUND)
    assert lead.reason.startswith("Part ")
    assert sorted(ends(ran).values())[0] == "done"
    (last,) = model.asked_of("writer")
    assert "Missing:\n- Part 1: Part " in last.opening
    assert answer(ran).startswith(f"{REPORT}\n\n*Not done: Part 1 (Part ")  # the writer did not say so


@pytest.mark.parametrize("failure", TYPED_FAILURES)
async def test_a_lead_that_cannot_plan_gives_its_brief_to_one_worker(failure: str) -> None:
    # an answer that fits no shape goes back once more as a plan that cannot be run
    failing = NONSENSE * 2 if failure == "nonsense" else TYPED_FAILURES[failure]
    model = ByRole(script(manager=[planned(("1", ""))], lead=failing, researcher=[says(FOUND)], summariser=[]))

    ran = await teamed(model, subtask_timeout_s=PATIENCE_S)

    assert answer(ran) == REPORT
    assert model.asked_of("researcher")[0].opening == "part 1?"


@pytest.mark.parametrize("failure", TEXT_FAILURES)
async def test_without_a_summary_a_report_is_the_beginning_of_each_finding(failure: str) -> None:
    single = {"manager": [planned(("1", ""))], "lead": [TWO_WORKERS], "researcher": [says(FOUND), says("Else. " * 400)]}
    model = ByRole(script(**single, summariser=TEXT_FAILURES[failure]))

    ran = await teamed(model, subtask_timeout_s=PATIENCE_S)

    report = ran.state["findings"][0].text
    assert FOUND in report
    assert "Else." in report
    assert len(report) <= REPORT_CHARS


async def test_a_lead_whose_workers_all_fail_is_missing_and_the_others_are_used() -> None:
    async def by_part(asked: Asked) -> AIMessage:
        return says(FOUND if "part 1" in asked.opening else "  ")

    leads = [ONE_WORKER, planned(("7", ""), role="researcher")]
    model = ByRole(script(lead=leads, researcher=[by_part] * 2, summariser=[]))

    ran = await teamed(model)

    assert sorted(it.state for it in ran.state["findings"]) == ["done", "failed"]
    (last,) = model.asked_of("writer")
    assert "Missing:\n- Part 2: Part 7: it answered nothing" in last.opening


async def test_a_role_that_leads_may_not_give_work_to_is_refused() -> None:
    model = ByRole(
        script(
            manager=[planned(("1", ""))],
            lead=[planned(("1", ""), role="assistant"), ONE_WORKER],
            researcher=[says(FOUND)],
            summariser=[],
        )
    )

    await teamed(model)

    assert "unknown role 'assistant'; there are researcher, scribe" in model.asked_of("lead")[1].text


async def test_too_many_leads_go_back_and_then_one_takes_the_whole_job() -> None:
    five = planned(*((str(n), "") for n in range(team.MAX_LEADS + 1)))
    model = ByRole(script(manager=[five, five], lead=[ONE_WORKER], researcher=[says(FOUND)], summariser=[]))

    ran = await teamed(model)

    assert "tasks: 5 of 1 to 4" in model.asked_of("manager")[1].text
    assert model.asked_of("lead")[0].opening == JOB
    assert ran.of("plan.proposed")[0]["note"] == "No plan could be run, so one lead takes the whole job."


@pytest.mark.parametrize("role", ["manager", "writer"])
@pytest.mark.parametrize("failure", ["gone", "at fault"])
async def test_what_nobody_can_do_without_ends_the_run_and_is_all_that_a_resume_repeats(
    role: str, failure: str
) -> None:
    usual = script()
    model = ByRole({**usual, role: [*FAILURES[failure], *usual[role]]})
    graph, thread = kept()

    with pytest.raises(Exception, match=r"refused|bang"):
        await teamed(model, graph=graph, thread=thread)
    ran = await teamed(model, None, graph=graph, thread=thread)

    assert answer(ran) == REPORT
    assert next(it["name"] for it in ran.of("node.started")) == ("delegate" if role == "manager" else "report")


async def test_a_blank_report_is_asked_for_again_and_then_fails() -> None:
    model = ByRole(script(writer=[says(" "), says("\n"), says(REPORT)]))
    graph, thread = kept()

    with pytest.raises(Exception, match="writer: its answer was blank, 2 times"):
        await teamed(model, graph=graph, thread=thread)

    assert answer(await teamed(model, None, graph=graph, thread=thread)) == REPORT


# -- visible, interruptible, resumed -----------------------------------------------------------------------------------


async def test_the_nesting_is_visible_in_events_and_lanes() -> None:
    ran = await teamed(ByRole(script()))

    plans = ran.of("plan.proposed")
    assert [plan.get("within") for plan in plans] == [None, "1", "2"]
    seen = view(ran)
    around = {lane.id: seen.lanes[seen.lanes[lane.id].parent_id].parent_id for lane in seen.team() if "." in lane.id}
    assert around == {"task:1.1": "task:1", "task:1.2": "task:1", "task:2.1": "task:2", "task:2.2": "task:2"}
    assert {lane.depth for lane in seen.team() if "." in lane.id} == {1}
    assert [lane.id for lane in seen.lanes.top()] == ["delegate", "task:1", "task:2", "report"]
    assert "task:1" in [lane.id for lane in seen.drawn_lanes()]


async def test_the_drawing_goes_from_the_manager_to_the_leads_to_the_workers() -> None:
    seen = view(await teamed(ByRole(script())))

    arrows = {(edge.source, edge.target) for edge in draw(seen.shape, seen.plan).edges}

    assert arrows == {
        *(("delegate", f"task:{lead}") for lead in "12"),
        *((f"task:{lead}", f"task:{lead}.{worker}") for lead in "12" for worker in "12"),
        *((f"task:{lead}.{worker}", "report") for lead in "12" for worker in "12"),
    }


NOTE = calls(("save_note", {"title": "Rule", "text": "Vote first."}))
ASKING = {"lead": [planned(("1", ""), role="scribe"), ONE_WORKER], "researcher": [says(FOUND)], "summariser": []}


async def test_a_worker_of_a_lead_asks_a_person_and_goes_on_when_answered(
    claimed: Callable[[], Awaitable[Any]],
) -> None:
    store, model = InMemoryStore(), ByRole(script(**ASKING, scribe=[NOTE, says("Saved.")]))
    thread = {"configurable": {"thread_id": "r"}}
    graph = team.build().compile(checkpointer=await claimed(), store=store)

    await run(graph, few(ROLES, model), JOB, **thread)
    state = await graph.aget_state(thread)
    (asked,) = state.interrupts
    graph = team.build().compile(checkpointer=await claimed(), store=store)  # another worker has it now
    ran = await run(
        graph, few(ROLES, model), Command(resume={asked.id: {"decision": "approve", "ref": "approval"}}), **thread
    )
    model.check_used_up()

    assert asked.value["tool"] == "save_note"
    assert asked.value["ns"].count("sub_agent:") == 2  # inside a worker, inside a lead
    assert [item.value["text"] for item in await store.asearch(("notes", "local"))] == ["Vote first."]
    assert answer(ran) == REPORT
    assert {it.state for it in ran.state["findings"]} == {"done"}
    assert len(model.asked_of("lead")) == 2  # nothing that was done is done again


async def test_two_workers_of_two_leads_ask_at_once_and_are_answered_by_id() -> None:
    both = {"lead": [planned(("1", ""), role="scribe")] * 2, "researcher": [], "summariser": []}
    model = ByRole(script(**both, scribe=[NOTE, NOTE, says("Done."), says("Done.")]))
    store = InMemoryStore()
    graph, thread = kept(store=store)

    await run(graph, few(ROLES, model), JOB, **thread)
    asked = (await graph.aget_state(thread)).interrupts
    said = {it.id: {"decision": word, "ref": "approval"} for it, word in zip(asked, ("approve", "reject"), strict=True)}
    ran = await run(graph, few(ROLES, model), Command(resume=said), **thread)
    model.check_used_up()

    assert len(asked) == 2
    assert len(await store.asearch(("notes", "local"))) == 1
    told = sorted(str(asked.messages[-1].text) for asked in model.asked_of("scribe")[2:])
    assert [it.partition(":")[0] for it in told] == ["A person said no", "Saved the note 'Rule'."]
    assert answer(ran) == REPORT


async def test_after_a_crash_inside_a_lead_its_finished_worker_and_the_other_lead_do_not_run_again() -> None:
    async def crashes(asked: Asked) -> Any:
        for _ in range(200):  # the others' results are stored
            await asyncio.sleep(0)
        raise RunLost("gone")

    model = ByRole(script(researcher=[*[says(FOUND)] * 3, crashes, says(FOUND)]))
    graph, thread = kept()

    with pytest.raises(RunLost):
        await teamed(model, graph=graph, thread=thread)
    ran = await teamed(model, None, graph=graph, thread=thread)

    assert answer(ran) == REPORT
    assert len(model.asked_of("researcher")) == 5
    assert len(model.asked_of("lead")) == 2


def test_a_lead_is_a_graph_of_its_own() -> None:
    shape = read_shape(leading.lead_graph().compile())

    assert [node.id for node in shape.nodes] == ["split", "work", "sum_up"]
