"""Writing: checks by rule before any critic, bounded rounds, the best draft kept, lessons for the next attempt."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from crew import Ran, crew, passage, run
from failing import FATAL_TEXT, GONE, PATIENCE_S, TEXT_FAILURES, TYPED_FAILURES
from langgraph.checkpoint.memory import InMemorySaver
from scripted import ScriptedModel, Step, calls, fills, says

from agents.allowance import Allowance, Budget
from agents.critic import Critique
from agents.errors import ModelUnavailable, RunLost
from agents.memory import Item, key_for
from graphs import write

TIME_JUMPS = True

REQUEST = "Write about waits and barriers in at most 20 words"
KEY = "3f9a1c77"
GOOD = f"A barrier holds everybody until the last one comes, and waits cost time. [{KEY}]"
BARE = "A barrier holds everybody until the last one comes, and waits cost time."
LONG = f"{GOOD} It holds them for as long as it takes, and nobody can do anything about it at all. [{KEY}]"
SEARCH = calls(("search_documents", {"query": "barrier"}))
ACCEPT = fills(Critique(verdict="accept", issues=[]))
OBJECT = fills(Critique(verdict="revise", issues=["The end is dull."]))


def script(
    draft: Sequence[Step], revise: Sequence[Step] = (), critic: Sequence[Step] = ()
) -> dict[str, Sequence[Step]]:
    """Steps by role: the critic is asked a question, whoever revises is told of defects."""
    return {"Question: ": critic, "Defects:": revise, "": draft}


async def wrote(model: ScriptedModel, given: Any = REQUEST, graph: Any = None, **more: Any) -> Ran:
    thread = more.pop("thread", {})
    allowance = more.pop("allowance", None) or Allowance()
    context = crew(model, [passage("A barrier holds everybody until the last one comes.")], **more)
    return await run(graph or write.build().compile(), replace(context, allowance=allowance), given, **thread)


def answer(ran: Ran) -> str:
    return str(ran.state["messages"][-1].text)


def nodes(ran: Ran) -> list[str]:
    return [start["name"] for start in ran.of("node.started")]


async def test_a_draft_is_checked_and_revised_until_it_holds(scripted: Callable[..., Any]) -> None:
    model = scripted(script([SEARCH, says(LONG)], [says(GOOD)], [ACCEPT]))

    ran = await wrote(model)

    assert nodes(ran) == ["draft", "critique", "revise", "critique", "finish"]
    first, second = ran.state["rounds"]
    assert first["defects"] == ["The text has 31 words of at most 20."]
    assert (second["score"], second["defects"]) == (1.0, [])
    assert first["score"] < second["score"]
    assert [event["value"]["round"] for event in ran.of("custom") if event.get("name") == "round.scored"] == [1, 2]
    assert answer(ran) == f"{GOOD}\n\n*Checked by rule, round by round: 88% → 100%.*"
    assert ran.state["missing"] == []


async def test_what_a_rule_can_tell_costs_no_critic(scripted: Callable[..., Any]) -> None:
    model = scripted(script([says(BARE)], [SEARCH, says(GOOD)], [ACCEPT]))

    ran = await wrote(model)

    asked = [asked.opening for asked in model.asked]
    assert sum(opening.startswith("Question: ") for opening in asked) == 1  # the second draft, which no rule objects to
    assert "- This statement carries no citation: “A barrier holds" in asked[1]
    assert len(ran.state["rounds"]) == 2


async def test_a_key_that_no_search_returned_is_a_defect(scripted: Callable[..., Any]) -> None:
    model = scripted(script([SEARCH, says(GOOD.replace(KEY, "deadbeef"))], [says(GOOD)], [ACCEPT]))

    ran = await wrote(model)

    assert "No search returned [deadbeef]" in ran.state["rounds"][0]["defects"][0]
    assert "deadbeef" not in answer(ran)


async def test_the_critic_is_shown_the_draft_and_not_the_passages(scripted: Callable[..., Any]) -> None:
    model = scripted(script([SEARCH, says(GOOD)], [], [ACCEPT]))

    await wrote(model)

    assert model.asked[-1].opening == f"Question: {REQUEST}\n\nDraft:\n{GOOD}"
    assert "Guide > Waits" not in model.asked[-1].text


async def test_what_the_critic_minds_is_mended(scripted: Callable[..., Any]) -> None:
    better = GOOD.replace("everybody", "all")
    model = scripted(script([SEARCH, says(GOOD)], [says(better)], [OBJECT, ACCEPT]))

    ran = await wrote(model)

    assert answer(ran).startswith(better)
    assert [it["defects"] for it in ran.state["rounds"]] == [["The end is dull."], []]


async def test_a_critic_that_never_accepts_ends_in_three_rounds_with_what_is_open(scripted: Callable[..., Any]) -> None:
    objections = [fills(Critique(verdict="revise", issues=[f"Objection {n}."])) for n in range(3)]
    model = scripted(script([SEARCH, says(GOOD)], [says(GOOD), says(GOOD)], objections))

    ran = await wrote(model)

    assert len(ran.state["rounds"]) == 3
    assert answer(ran).endswith("*Not done: Still open (Objection 2).*")
    assert ran.state["missing"] == [{"title": "Still open", "reason": "Objection 2."}]


async def test_two_equal_verdicts_in_a_row_end_it(scripted: Callable[..., Any]) -> None:
    model = scripted(script([says(BARE)], [says(BARE)]))

    ran = await wrote(model)

    assert len(ran.state["rounds"]) == 2


async def test_the_best_draft_is_handed_over_and_not_the_last(scripted: Callable[..., Any]) -> None:
    model = scripted(script([SEARCH, says(GOOD)], [says(LONG), says(BARE)], [OBJECT]))

    ran = await wrote(model)

    assert answer(ran).startswith(GOOD + "\n\n*Checked")
    assert "Still open (The end is dull)" in answer(ran)


@pytest.mark.parametrize(
    ("steps", "revising"), [(1, []), (2, [SEARCH]), (3, [SEARCH, says(GOOD)])], ids=["draft", "revision", "critic"]
)
async def test_the_end_of_the_budget_gives_an_answer(
    scripted: Callable[..., Any], steps: int, revising: Sequence[Step]
) -> None:
    model = scripted(script([says(BARE)], revising))

    ran = await wrote(model, allowance=Allowance(Budget(steps=steps)))

    assert answer(ran).startswith(GOOD if steps == 3 else BARE)
    assert "*Not done: " in answer(ran)


@pytest.mark.parametrize("failure", TYPED_FAILURES)
async def test_without_a_critic_the_rules_decide_and_the_answer_says_so(
    scripted: Callable[..., Any], failure: str
) -> None:
    model = scripted(script([SEARCH, says(GOOD)], [], TYPED_FAILURES[failure]))

    ran = await wrote(model, subtask_timeout_s=PATIENCE_S)

    assert [gap["title"] for gap in ran.state["missing"]] == ["Critic"]
    assert answer(ran).startswith(GOOD)
    assert "*Not done: Critic (" in answer(ran)


@pytest.mark.parametrize("failure", TEXT_FAILURES)
async def test_without_a_revision_the_draft_stands_and_says_what_is_open(
    scripted: Callable[..., Any], failure: str
) -> None:
    model = scripted(script([SEARCH, says(LONG)], TEXT_FAILURES[failure]))

    ran = await wrote(model, subtask_timeout_s=PATIENCE_S)

    assert [gap["title"] for gap in ran.state["missing"]] == ["Revision", "Still open"]
    assert answer(ran).startswith(LONG)
    assert nodes(ran) == ["draft", "critique", "revise", "finish"]


@pytest.mark.parametrize("failure", FATAL_TEXT)
async def test_a_draft_that_fails_ends_the_run_and_is_all_that_a_resume_repeats(
    scripted: Callable[..., Any], failure: str
) -> None:
    again = FATAL_TEXT[failure] if failure == "nonsense" else ()
    model = scripted(script([*FATAL_TEXT[failure], *again, SEARCH, says(GOOD)], [], [ACCEPT]))
    graph, thread = write.build().compile(checkpointer=InMemorySaver()), {"configurable": {"thread_id": "t"}}

    with pytest.raises(Exception, match=r"refused|no end|bang|drafter: its answer was blank, 2 times"):
        await wrote(model, graph=graph, thread=thread)
    ran = await wrote(model, None, graph=graph, thread=thread)

    assert answer(ran).startswith(GOOD)


async def test_after_a_crash_in_the_revision_nothing_before_it_runs_again(scripted: Callable[..., Any]) -> None:
    model = scripted(script([SEARCH, says(LONG)], [RunLost("gone"), says(GOOD)], [ACCEPT]))
    graph, thread = write.build().compile(checkpointer=InMemorySaver()), {"configurable": {"thread_id": "t"}}

    with pytest.raises(RunLost):
        await wrote(model, graph=graph, thread=thread)
    ran = await wrote(model, None, graph=graph, thread=thread)

    assert nodes(ran) == ["revise", "critique", "finish"]
    assert len(ran.state["rounds"]) == 2


class Remembered:
    """A memory of lessons, as a graph sees it."""

    def __init__(self) -> None:
        self.items: list[tuple[str, Item]] = []

    async def recall(self, owner: str, query: str, k: int = 5, **_: Any) -> list[Item]:
        return [item for whose, item in self.items if whose == owner][:k]

    async def keep(self, owner: str, text: str, *, author: str, about: str = "", **_: Any) -> Item:
        item = Item(key_for(text), text, "lesson", 1, author, datetime(2026, 1, 1), about)
        self.items.append((owner, item))
        return item


async def test_what_was_mended_is_a_lesson_for_the_next_attempt_of_the_same_owner(scripted: Callable[..., Any]) -> None:
    memory: Any = Remembered()

    async def attempt(owner: str) -> str:
        model = scripted(script([SEARCH, says(LONG)], [says(GOOD)], [ACCEPT]))
        context = replace(crew(model, [passage("A barrier.")]), owner=owner, memory=memory)
        await run(write.build().compile(), context, REQUEST)
        return str(model.asked[0].opening)

    assert await attempt("ada") == REQUEST
    told = await attempt("ada")
    assert told.startswith(f"{REQUEST}\n\nContext:\nLessons from earlier attempts:\n<memory ")
    assert "- critique, 2026-01-01: The text has 31 words of at most 20." in told
    assert await attempt("bob") == REQUEST


async def test_without_a_memory_a_thread_keeps_its_own_lessons(scripted: Callable[..., Any]) -> None:
    model = scripted(script([SEARCH, says(LONG), SEARCH, says(GOOD)], [says(GOOD)], [ACCEPT, ACCEPT]))
    graph, thread = write.build().compile(checkpointer=InMemorySaver()), {"configurable": {"thread_id": "t"}}

    await wrote(model, graph=graph, thread=thread)
    await wrote(model, graph=graph, thread=thread)

    drafted = [asked.messages[-1] for asked in model.asked if asked.messages[-1].type == "human"]
    assert "attempts:\n- The text has 31 words of at most 20." in str(drafted[-2].text)


async def test_lessons_are_a_help_and_no_need(scripted: Callable[..., Any]) -> None:
    class Broken(Remembered):
        async def recall(self, *_: Any, **__: Any) -> list[Item]:
            raise ConnectionError("the store is gone")

    memory: Any = Broken()
    model = scripted(script([SEARCH, says(GOOD)], [], [ACCEPT]))

    ran = await run(write.build().compile(), replace(crew(model, [passage("A barrier.")]), memory=memory), REQUEST)

    assert answer(ran).startswith(GOOD)
    assert ran.state["missing"] == [
        {"title": "Lessons of earlier attempts", "reason": "ConnectionError: the store is gone"}
    ]


async def test_a_second_request_on_the_thread_starts_its_rounds_afresh(scripted: Callable[..., Any]) -> None:
    model = scripted(script([SEARCH, says(GOOD), SEARCH, says(GOOD)], [], [ACCEPT, ACCEPT]))
    graph, thread = write.build().compile(checkpointer=InMemorySaver()), {"configurable": {"thread_id": "t"}}

    await wrote(model, graph=graph, thread=thread)
    ran = await wrote(model, graph=graph, thread=thread)

    assert len(ran.state["rounds"]) == 1
    assert len(ran.state["messages"]) == 4


async def test_a_model_that_is_gone_keeps_its_kind(scripted: Callable[..., Any]) -> None:
    with pytest.raises(ModelUnavailable):
        await wrote(scripted(script([GONE] * 3)))
