"""The help desk: one branch and no other, look-ups side by side, rules before a critic, a bounded loop."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import pytest
from crew import Ran, crew, passage, run
from failing import FAILURES, FATAL_TEXT, NONSENSE, PATIENCE_S, TEXT_FAILURES, TYPED_FAILURES
from langgraph.checkpoint.memory import InMemorySaver
from scripted import Asked, ScriptedModel, Step, calls, fills, says

from agents.allowance import Allowance, Budget
from agents.errors import RunLost
from agents.policy_critic import PolicyVerdict
from agents.router import Kind, Route
from graphs import support

TIME_JUMPS = True

REQUEST = "What does a barrier cost me?"
STEM = "What does a barrier cost me"
KEY = "3f9a1c77"
FOUND = f"A barrier costs the time of the slowest. [{KEY}]"
REPLY = f"It costs you the time of the slowest. [{KEY}]"
PROMISE = f"We guarantee that it costs you nothing. [{KEY}]"
Desk = Callable[..., ScriptedModel]
SEARCH = calls(("search_documents", {"query": "barrier"}))
LOOK = [SEARCH, says(FOUND)]
PASSES, OBJECTS = fills(PolicyVerdict(passed=True, issues=[])), fills(PolicyVerdict(passed=False, issues=["Too curt."]))
GENERAL = fills(Route(kind="general", reason="cost"))
BILLING = fills(Route(kind="billing", reason="cost"))


def script(**roles: Sequence[Step]) -> Mapping[str, Sequence[Step]]:
    """Steps by role, told apart by what each is handed; the router and the first look-up are handed the request."""
    return {
        "Draft:\n": roles.get("policy", [PASSES]),
        "## ": roles.get("clerk", [says(REPLY)]),
        "costs and figures?": roles.get("costs", []),
        "budgets and limits?": roles.get("limits", []),
        "": [*roles.get("router", [GENERAL]), *roles.get("question", LOOK)],
    }


@pytest.fixture
def desk(scripted: Callable[..., ScriptedModel]) -> Callable[..., ScriptedModel]:
    """Makes a model of all roles; `revise` is the clerk's, who is told of defects."""

    def make(script: Mapping[str, Sequence[Step]], revise: Sequence[Step] = ()) -> ScriptedModel:
        return scripted({"Defects:\n": revise, **script})

    return make


async def asked_desk(model: ScriptedModel, given: Any = REQUEST, graph: Any = None, **more: Any) -> Ran:
    thread, allowance = more.pop("thread", {}), more.pop("allowance", None) or Allowance()
    context = replace(crew(model, [passage("A barrier costs time.")], **more), allowance=allowance)
    return await run(graph or support.build().compile(), context, given, **thread)


def answer(ran: Ran) -> str:
    return str(ran.state["messages"][-1].text)


def nodes(ran: Ran) -> list[str]:
    return [start["name"] for start in ran.of("node.started")]


async def test_a_request_takes_one_branch_and_pays_for_no_other(desk: Desk) -> None:
    model = desk(script())

    ran = await asked_desk(model)

    assert nodes(ran) == ["route", "general", "draft", "policy", "send"]
    assert answer(ran) == REPLY
    assert len(model.asked) == 1 + 2 + 1 + 1  # router, one look-up of two turns, clerk, critic


@pytest.mark.parametrize("kind", get_args(Kind))
async def test_each_branch_costs_its_own_look_ups_and_nothing_else(desk: Desk, kind: Kind) -> None:
    parts = support.LOOK_UPS[kind]
    route = fills(Route(kind=kind, reason=""))
    more = {f"{regard}?": LOOK for regard in parts.values() if regard}
    model = desk({**more, **{it: steps for it, steps in script(router=[route]).items() if it not in more}})

    ran = await asked_desk(model)

    assert [it["title"] for it in ran.of("agent.spawned")] == list(parts)
    assert len(model.asked) == 3 + 2 * len(parts)


async def test_look_ups_of_a_branch_go_side_by_side(desk: Desk) -> None:
    all_there = asyncio.Barrier(3)

    async def meets(asked: Asked) -> Any:
        await all_there.wait()  # one after the other, this would never end
        return SEARCH

    each = [meets, says(FOUND)]
    model = desk(script(router=[BILLING], question=each, costs=each, limits=each))

    ran = await asked_desk(model)

    assert [it.title for it in ran.state["findings"]] == ["Your question", "Costs", "Limits"]
    opened = {asked.opening for asked in model.asked}
    assert f"{STEM}, with regard to costs and figures?" in opened


async def test_a_look_up_is_not_told_of_the_others_nor_the_critic_of_the_passages(desk: Desk) -> None:
    model = desk(script())

    await asked_desk(model)

    assert model.asked[1].opening == REQUEST
    assert model.asked[3].opening == f"Question: {REQUEST}\n\n## Your question\n{FOUND}"
    assert model.asked[4].opening == f"Question: {REQUEST}\n\nDraft:\n{REPLY}"


async def test_a_reply_that_breaks_a_rule_is_mended_before_any_critic_reads_it(desk: Desk) -> None:
    model = desk(script(clerk=[says(PROMISE)]), revise=[says(REPLY)])

    ran = await asked_desk(model)

    assert nodes(ran)[-4:] == ["policy", "revise", "policy", "send"]
    assert "The reply promises something (“We guarantee”)" in ran.state["rounds"][0]["defects"][0]
    assert answer(ran) == REPLY
    assert ran.state["rounds"][0]["score"] < ran.state["rounds"][1]["score"] == 1.0


async def test_a_critic_that_never_passes_ends_in_three_rounds_and_a_person_is_named(desk: Desk) -> None:
    objections = [fills(PolicyVerdict(passed=False, issues=[f"Breach {n}."])) for n in range(3)]
    model = desk(script(policy=objections), revise=[says(REPLY), says(REPLY)])

    ran = await asked_desk(model)

    assert len(ran.state["rounds"]) == 3
    assert answer(ran).endswith("*Not done: A person should look at it first (Breach 2).*")


async def test_two_equal_verdicts_in_a_row_end_it(desk: Desk) -> None:
    model = desk(script(policy=[OBJECTS, OBJECTS]), revise=[says(REPLY)])

    assert len((await asked_desk(model)).state["rounds"]) == 2


@pytest.mark.parametrize("failure", TYPED_FAILURES)
async def test_without_a_router_the_general_desk_takes_it(desk: Desk, failure: str) -> None:
    model = desk(script(router=TYPED_FAILURES[failure]))

    ran = await asked_desk(model, subtask_timeout_s=PATIENCE_S)

    assert nodes(ran)[1] == "general"
    assert answer(ran).startswith(f"{REPLY}\n\n*Not done: Routing (")


@pytest.mark.parametrize("failure", TEXT_FAILURES)
async def test_one_look_up_that_fails_is_missing_and_the_rest_is_used(desk: Desk, failure: str) -> None:
    model = desk(script(router=[BILLING], question=LOOK, costs=TEXT_FAILURES[failure], limits=LOOK))

    ran = await asked_desk(model, subtask_timeout_s=PATIENCE_S)

    states = {it.title: it.state for it in ran.state["findings"]}
    assert states["Costs"] in ("failed", "timed_out")
    assert states["Your question"] == states["Limits"] == "done"
    brief = next(asked.opening for asked in model.asked if "## " in asked.opening)
    assert "Missing:\n- Costs: " in brief
    assert answer(ran).startswith(f"{REPLY}\n\n*Not done: Costs (")


async def test_when_nothing_was_found_the_clerk_is_told_so(desk: Desk) -> None:
    reply = "Nothing was found about this in the documents."
    model = desk({"Missing:": [says(reply)], **script(question=FAILURES["at fault"], clerk=[])})

    ran = await asked_desk(model)

    assert answer(ran).startswith(f"{reply}\n\n*Not done: Your question (")


@pytest.mark.parametrize("failure", TYPED_FAILURES)
async def test_without_a_critic_the_rules_decide_and_the_answer_says_so(desk: Desk, failure: str) -> None:
    model = desk(script(policy=TYPED_FAILURES[failure]))

    ran = await asked_desk(model, subtask_timeout_s=PATIENCE_S)

    assert answer(ran).startswith(f"{REPLY}\n\n*Not done: Policy critic (")


@pytest.mark.parametrize("failure", TEXT_FAILURES)
async def test_without_a_revision_the_reply_stays_and_a_person_is_named(desk: Desk, failure: str) -> None:
    model = desk(script(clerk=[says(PROMISE)], policy=[]), revise=TEXT_FAILURES[failure])

    ran = await asked_desk(model, subtask_timeout_s=PATIENCE_S)

    assert [gap["title"] for gap in ran.state["missing"]] == ["Revision", "A person should look at it first"]
    assert answer(ran).startswith(PROMISE)


async def test_a_key_that_a_look_up_invents_goes_no_further(desk: Desk) -> None:
    model = desk(script(question=[SEARCH, says(f"{FOUND} It also costs nerves. [deadbeef]")]))

    ran = await asked_desk(model)

    assert ran.state["findings"][0].text == f"{FOUND} It also costs nerves."


@pytest.mark.parametrize(("steps", "policy"), [(4, []), (6, [PASSES])])
async def test_the_end_of_the_budget_gives_an_answer(desk: Desk, steps: int, policy: list[Step]) -> None:
    model = desk(script(policy=policy))

    ran = await asked_desk(model, allowance=Allowance(Budget(steps=steps)))

    assert answer(ran).startswith(REPLY)
    assert [gap["title"] for gap in ran.state["missing"]] == ([] if policy else ["Policy critic"])


@pytest.mark.parametrize("failure", FATAL_TEXT)
async def test_a_draft_that_fails_ends_the_run_and_is_all_that_a_resume_repeats(desk: Desk, failure: str) -> None:
    again = FATAL_TEXT[failure] if failure == "nonsense" else ()
    model = desk(script(clerk=[*FATAL_TEXT[failure], *again, says(REPLY)]))
    graph, thread = support.build().compile(checkpointer=InMemorySaver()), {"configurable": {"thread_id": "t"}}

    with pytest.raises(Exception, match=r"refused|no end|bang|clerk: its answer was blank, 2 times"):
        await asked_desk(model, graph=graph, thread=thread)
    ran = await asked_desk(model, None, graph=graph, thread=thread)

    assert nodes(ran) == ["draft", "policy", "send"]


async def test_after_a_crash_in_a_look_up_the_finished_ones_do_not_run_again(desk: Desk) -> None:
    first_is_in = asyncio.Event()

    async def answers(asked: Asked) -> Any:
        first_is_in.set()
        return says(FOUND)

    async def crashes(asked: Asked) -> Any:
        await first_is_in.wait()
        await asyncio.sleep(0)
        raise RunLost("gone")

    model = desk(script(router=[BILLING], question=[SEARCH, answers], costs=LOOK, limits=[crashes, *LOOK]))
    graph, thread = support.build().compile(checkpointer=InMemorySaver()), {"configurable": {"thread_id": "t"}}

    with pytest.raises(RunLost):
        await asked_desk(model, graph=graph, thread=thread)
    ran = await asked_desk(model, None, graph=graph, thread=thread)

    assert nodes(ran) == ["billing", "draft", "policy", "send"]
    assert [it.state for it in ran.state["findings"]] == ["done"] * 3


def test_nonsense_is_what_every_rung_of_the_ladder_gets() -> None:
    assert len(NONSENSE) == 4
