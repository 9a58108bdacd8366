"""The debate: what it costs, that copies go back, when it ends, who decides, and what is left when somebody fails."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from by_role import ByRole, few
from crew import Ran, passage, run
from failing import FAILURES, PATIENCE_S, TEXT_FAILURES, TYPED_FAILURES
from langgraph.checkpoint.memory import InMemorySaver
from scripted import Asked, Step, fills, says

from agents.allowance import Allowance, Budget
from agents.errors import RunLost
from agents.judge import Verdict
from graphs import debate
from graphs.turns import AGAIN, TOO_LIKE, round_of, turn

TIME_JUMPS = True

QUESTION = "Is a team worth it?"
ROLES = [*debate.STANCES, "judge", "assistant"]
STANCES = list(debate.STANCES)
POSITIONS = {
    "advocate": "Yes, for hard questions.",
    "sceptic": "No, it multiplies the price.",
    "pragmatist": "Measure.",
}
REASONS = {
    "advocate": "Independent answers rarely share one mistake, and that is what is bought.",
    "sceptic": "Seven calls were paid where one would do, while errors were alike anyhow.",
    "pragmatist": "Vote first; only then let them talk, as most of the gain is there already.",
}
AGREED = "Only where a wrong answer is dear."


def opening(stance: str) -> Step:
    return says(f"**{POSITIONS[stance]}** {REASONS[stance]} [3f9a1c77]")


def script(second: Mapping[str, Step] | None = None, **more: Sequence[Step]) -> dict[str, Sequence[Step]]:
    """Everybody opens; in the second round all hold on to their position; the judge takes the first."""
    steps = {it: [opening(it), (second or {}).get(it, opening(it))] for it in STANCES}
    return {**steps, "judge": [fills(Verdict(best="A", reason="It cites the figure."))], **more}


async def debated(model: ByRole, given: Any = QUESTION, graph: Any = None, **more: Any) -> Ran:
    thread, allowance = more.pop("thread", {}), more.pop("allowance", None) or Allowance()
    context = replace(few(ROLES, model, [passage("A team costs seven calls.")], **more), allowance=allowance)
    ran = await run(graph or debate.build().compile(), context, given, **thread)
    model.check_used_up()
    return ran


def answer(ran: Ran) -> str:
    return str(ran.state["messages"][-1].text)


def nodes(ran: Ran) -> list[str]:
    return [start["name"] for start in ran.of("node.started")]


def states(ran: Ran) -> dict[str, str]:
    return {it.task_id: it.state for it in ran.state["findings"]}


async def test_a_agents_in_r_rounds_and_a_judge_cost_a_times_r_and_one_calls() -> None:
    model = ByRole(script())

    ran = await debated(model)

    assert len(model.asked) == 3 * 2 + 1
    assert [(it["round"], it["agents"], it["calls"]) for it in ran.state["rounds"]] == [("1", 3, 3), ("2", 3, 3)]
    assert answer(ran).endswith(" It cites the figure. 3 agents, 2 rounds, 7 model calls.*")
    assert nodes(ran) == ["seat", "argue", "weigh", "argue", "weigh", "judge"]


async def test_stances_have_prompts_and_evidence_of_their_own() -> None:
    model = ByRole(script())

    ran = await debated(model)

    assert len({str(model.asked_of(it)[0].messages[0].text) for it in STANCES}) == 3
    looked = [start["args"]["query"] for start in ran.of("tool.started")]
    assert {f"{QUESTION} {angle}" for angle in debate.STANCES.values()} <= set(looked)


async def test_the_opening_is_blind_and_then_each_sees_what_the_others_said_last() -> None:
    model = ByRole(script())

    await debated(model)

    first, second = model.asked_of("sceptic")
    assert "proposal:" not in first.opening
    assert f"Your proposal:\n\n**{POSITIONS['sceptic']}**" in second.opening
    assert second.opening.count("Another proposal:") == 2
    assert all(POSITIONS[it] in second.opening for it in STANCES)


async def test_the_turns_of_a_round_are_taken_side_by_side() -> None:
    together = asyncio.Barrier(3)

    def meets(stance: str) -> Step:
        async def speak(asked: Asked) -> Any:
            await together.wait()  # one after the other, this would never end
            return opening(stance)

        return speak

    model = ByRole({it: [meets(it)] * 2 for it in STANCES} | {"judge": script()["judge"]})

    assert len((await debated(model)).state["findings"]) == 6


async def test_the_judge_sees_letters_in_an_order_that_is_the_same_each_time() -> None:
    orders = []
    for _ in range(2):
        model = ByRole(script())
        ran = await debated(model)
        (judged,) = model.asked_of("judge")
        orders.append(re.findall(r"Proposal ([A-C]):\n\n\*\*(.+?)\*\*", judged.opening))
        assert not re.search("advocate|sceptic|pragmatist", judged.opening)

    assert orders[0] == orders[1]
    assert {position for _, position in orders[0]} == set(POSITIONS.values())
    assert answer(ran).startswith(f"**{orders[0][0][1]}**")  # A won


async def test_agreement_at_the_opening_ends_it_with_three_calls() -> None:
    model = ByRole({it: [says(f"**{AGREED}** {REASONS[it]}")] for it in STANCES})

    ran = await debated(model)

    assert len(model.asked) == 3
    assert answer(ran).endswith("*All 3 take this position. 3 agents, 1 round, 3 model calls.*")


async def test_agreement_in_the_second_round_saves_the_judge() -> None:
    model = ByRole(script({it: says(f"**{AGREED}** {REASONS[it]}") for it in STANCES}, judge=[]))

    ran = await debated(model)

    assert len(model.asked) == 6
    assert answer(ran).startswith(f"**{AGREED}**")


async def test_a_copy_is_sent_back_once_and_told_to_look_elsewhere() -> None:
    steps = script()
    steps["sceptic"] = [opening("advocate"), opening("advocate"), opening("sceptic")]
    model = ByRole(steps)

    ran = await debated(model)

    again = model.asked_of("sceptic")[1].opening
    assert TOO_LIKE in again
    assert "A team costs seven calls." not in again  # what was cited already is not shown once more
    assert [it["round"] for it in ran.state["rounds"]] == ["1", "1b", "2"]
    assert len(model.asked) == 3 * 2 + 1 + 1
    assert "8 model calls" in answer(ran)


async def test_all_turns_stay_in_the_plan_that_is_drawn() -> None:
    ran = await debated(ByRole(script()))

    *_, last = ran.of("plan.proposed")
    needs = {task["id"]: task["depends_on"] for task in last["tasks"]}
    assert needs["2.sceptic"] == ["1.advocate", "1.sceptic", "1.pragmatist"]
    assert [task["title"] for task in last["tasks"]][3:] == ["Advocate 2", "Sceptic 2", "Pragmatist 2"]


@pytest.mark.parametrize(
    ("stance", "failure"),
    [*(("sceptic", it) for it in TEXT_FAILURES), ("advocate", "gone"), ("pragmatist", "nonsense")],
)
async def test_one_proposer_that_fails_is_missing_and_has_another_chance(stance: str, failure: str) -> None:
    model = ByRole({**script(), stance: [*TEXT_FAILURES[failure], opening(stance)]})

    ran = await debated(model, subtask_timeout_s=PATIENCE_S)

    assert states(ran)[f"1.{stance}"] in ("failed", "timed_out")
    assert states(ran)[f"2.{stance}"] == "done"
    assert f"*Not done: {stance.capitalize()} (" in answer(ran)


@pytest.mark.parametrize("failure", TYPED_FAILURES)
async def test_without_a_judge_a_vote_decides_and_the_answer_says_so(failure: str) -> None:
    model = ByRole(script(judge=TYPED_FAILURES[failure]))

    ran = await debated(model, subtask_timeout_s=PATIENCE_S)

    assert "By vote the " in answer(ran)
    assert [gap["title"] for gap in ran.state["missing"]] == ["Judge"]


@pytest.mark.parametrize("best", ["A.", "a", "Proposal A", "**A**", "(A)"])
async def test_a_judge_may_name_a_proposal_as_people_do(best: str) -> None:
    ran = await debated(ByRole(script(judge=[fills(Verdict(best=best, reason="It cites the figure."))])))

    assert "The judge chose the " in answer(ran)


@pytest.mark.parametrize("best", ["the green one", "A or B", "D", ""])
async def test_a_judge_that_names_no_proposal_has_not_decided(best: str) -> None:
    model = ByRole(script(judge=[fills(Verdict(best=best, reason="."))]))

    ran = await debated(model)

    assert f"no proposal is called '{best}'" in answer(ran)
    assert "By vote" in answer(ran)


def test_rounds_are_counted_beyond_nine() -> None:
    turns = [turn(str(nth), "sceptic", QUESTION) for nth in (1, 9, 10)]

    assert round_of(turns) == ("10", 10)
    assert round_of([turn("1", "sceptic", QUESTION), turn(AGAIN, "sceptic", QUESTION)]) == (AGAIN, 1)


async def test_a_vote_costs_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debate, "DECIDED_BY", "vote")
    model = ByRole(script(judge=[]))

    ran = await debated(model)

    assert len(model.asked) == 6
    assert "By vote the " in answer(ran)


async def test_one_proposer_alone_needs_no_judge() -> None:
    steps = {it: [*FAILURES["at fault"]] * 2 for it in STANCES[1:]}
    model = ByRole({**steps, "advocate": [opening("advocate")] * 2})

    ran = await debated(model)

    assert answer(ran).startswith(f"**{POSITIONS['advocate']}**")
    assert "Only the advocate proposed anything." in answer(ran)


async def test_when_nobody_proposes_one_agent_answers_alone_and_a_resume_asks_that_one_again() -> None:
    nobody = {it: [*FAILURES["at fault"]] * 2 for it in STANCES}
    model = ByRole({**nobody, "assistant": [*FAILURES["gone"], says("Alone: it depends.")]})
    graph, thread = debate.build().compile(checkpointer=InMemorySaver()), {"configurable": {"thread_id": "t"}}

    with pytest.raises(Exception, match="connection refused"):
        await debated(model, graph=graph, thread=thread)
    ran = await debated(model, None, graph=graph, thread=thread)

    assert answer(ran).startswith("Alone: it depends.\n\n*Nobody proposed anything")
    assert nodes(ran) == ["judge"]


async def test_the_end_of_the_budget_ends_in_an_answer() -> None:
    model = ByRole({it: [opening(it)] for it in STANCES})

    ran = await debated(model, allowance=Allowance(Budget(steps=3)))

    assert answer(ran).startswith("**")
    assert set(states(ran).values()) == {"done", "skipped"}
    assert "Not done:" in answer(ran)


async def test_after_a_crash_in_the_second_round_finished_turns_do_not_run_again() -> None:
    others = asyncio.Barrier(3)

    def in_time(stance: str) -> Step:
        async def speak(asked: Asked) -> Any:
            await others.wait()
            return opening(stance)

        return speak

    async def crashes(asked: Asked) -> Any:
        await others.wait()
        for _ in range(50):  # the others' results are stored
            await asyncio.sleep(0)
        raise RunLost("gone")

    steps = {it: [opening(it), in_time(it)] for it in STANCES[1:]}
    model = ByRole(
        {**steps, "advocate": [opening("advocate"), crashes, opening("advocate")], "judge": script()["judge"]}
    )
    graph, thread = debate.build().compile(checkpointer=InMemorySaver()), {"configurable": {"thread_id": "t"}}

    with pytest.raises(RunLost):
        await debated(model, graph=graph, thread=thread)
    ran = await debated(model, None, graph=graph, thread=thread)

    assert nodes(ran) == ["argue", "weigh", "judge"]
    assert set(states(ran).values()) == {"done"}


async def test_what_failed_is_tried_again_when_the_team_is_asked_once_more() -> None:
    model = ByRole(script(sceptic=[*FAILURES["at fault"], opening("sceptic")]))
    graph, thread = debate.build().compile(checkpointer=InMemorySaver()), {"configurable": {"thread_id": "t"}}
    await debated(model, graph=graph, thread=thread)
    once_more = ByRole({"sceptic": [opening("sceptic")], "judge": script()["judge"]})

    await graph.aupdate_state(thread, {}, as_node="seat")
    ran = await debated(once_more, None, graph=graph, thread=thread)

    assert set(states(ran).values()) == {"done"}
    assert "Not done" not in answer(ran)


async def test_a_second_question_begins_a_debate_of_its_own() -> None:
    graph, thread = debate.build().compile(checkpointer=InMemorySaver()), {"configurable": {"thread_id": "t"}}
    await debated(ByRole(script()), graph=graph, thread=thread)
    model = ByRole(script())

    ran = await debated(model, "And two teams?", graph=graph, thread=thread)

    assert len(ran.state["findings"]) == 6
    assert [str(message.text) for message in model.asked_of("sceptic")[0].messages][1] == QUESTION
