"""The swarm: who has the floor, how it changes hands, that it ends, and what a crash and a failure leave of it."""

from collections.abc import Sequence
from typing import Any

import pytest
from by_role import ByRole, few
from crew import Ran, passage, run
from failing import FATAL_TEXT
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from scripted import Step, calls, says

from agents.errors import RunLost
from agents.specialists import FIELDS
from app.shapes import read_shape
from graphs import swarm

TIME_JUMPS = True

QUESTION = "What if a worker dies?"
ROLES = [*FIELDS]
ANSWER = "Another one goes on from the checkpoint. [3f9a1c77]"


def hands(to: str, reason: str = "It is about crashes.", brief: str = "Nothing was promised.") -> AIMessage:
    return calls(("hand_over", {"to": to, "reason": reason, "brief": brief}))


async def spoke(model: ByRole, given: Any = QUESTION, graph: Any = None, **thread: Any) -> Ran:
    ran = await run(graph or swarm.build().compile(), few(ROLES, model, [passage("Leases end.")]), given, **thread)
    model.check_used_up()
    return ran


def kept() -> tuple[Any, dict[str, Any]]:
    """A graph that remembers, and its conversation."""
    return swarm.build().compile(checkpointer=InMemorySaver()), {"configurable": {"thread_id": "t"}}


def answer(ran: Ran) -> str:
    return str(ran.state["messages"][-1].text)


def nodes(ran: Ran) -> list[str]:
    return [start["name"] for start in ran.of("node.started")]


async def test_the_first_specialist_answers_what_is_theirs() -> None:
    ran = await spoke(ByRole({"architect": [says(ANSWER)]}))

    assert nodes(ran) == ["floor", "architect"]
    assert answer(ran) == ANSWER
    assert ran.state["messages"][-1].name == "architect"


async def test_the_floor_of_a_specialist_who_is_no_more_is_the_first_ones() -> None:
    graph, thread = kept()
    await graph.aupdate_state(thread, {"messages": [], "active": "astrologer", "handovers": []}, as_node="architect")

    ran = await spoke(ByRole({"architect": [says(ANSWER)]}), QUESTION, graph, **thread)

    assert (answer(ran), ran.state["active"]) == (ANSWER, "architect")


async def test_a_hand_over_costs_one_call_and_carries_what_the_receiver_needs() -> None:
    model = ByRole({"architect": [hands("engineer")], "engineer": [says(ANSWER)]})

    ran = await spoke(model)

    assert nodes(ran) == ["floor", "architect", "engineer"]
    assert len(model.asked) == 2
    (asked,) = model.asked_of("engineer")
    assert asked.opening == (
        f"{QUESTION}\n\nHand-over from architect to engineer: It is about crashes. Nothing was promised."
    )
    assert ran.state["active"] == "engineer"
    assert [str(message.text) for message in ran.state["messages"]] == [QUESTION, ANSWER]


async def test_the_next_message_starts_with_whoever_had_the_floor() -> None:
    graph, thread = kept()
    await spoke(ByRole({"architect": [hands("engineer")], "engineer": [says(ANSWER)]}), graph=graph, **thread)
    model = ByRole({"engineer": [says("It costs nothing.")]})

    ran = await spoke(model, "And what does that cost?", graph, **thread)

    assert nodes(ran) == ["floor", "engineer"]
    assert ran.state["handovers"] == []
    assert [str(message.text) for message in model.asked[0].messages][1:] == [
        QUESTION,
        ANSWER,
        "And what does that cost?",
    ]


async def test_a_specialist_is_told_of_the_others_and_sees_a_bounded_conversation() -> None:
    graph, thread = kept()
    for n in range(swarm.MOST_MESSAGES // 2):
        await spoke(ByRole({"architect": [says(f"Answer {n}.")]}), f"Question {n}?", graph, **thread)
    model = ByRole({"architect": [says(ANSWER)]})

    await spoke(model, QUESTION, graph, **thread)

    (asked,) = model.asked
    assert len(asked.messages) == 2 + swarm.KEPT_MESSAGES  # and the prompt, and the question
    (tool,) = (tool for tool in asked.tools if tool.name == "hand_over")
    assert all(name in tool.description for name in FIELDS if name != "architect")
    assert tool.args["to"]["enum"] == [name for name in FIELDS if name != "architect"]


def around(times: int) -> dict[str, list[Step]]:
    """Architect and engineer, each sure that it is the other's."""
    return {"architect": [hands("engineer")] * (times - times // 2), "engineer": [hands("architect")] * (times // 2)}


async def test_a_loop_ends_in_the_budget_with_an_answer_that_says_so() -> None:
    steps = around(swarm.MAX_HANDOVERS)
    model = ByRole({**steps, "architect": [*steps["architect"], says(ANSWER)]})

    ran = await spoke(model)

    assert len(model.asked) == swarm.MAX_HANDOVERS + 1
    way = "architect → engineer → architect → engineer → architect"
    assert answer(ran) == (
        f"{ANSWER}\n\n*The floor changed hands 4 times ({way}), as often as it may for one message, "
        "so the architect answered.*"
    )
    last = model.asked[-1]
    assert "hand_over" not in [tool.name for tool in last.tools]
    assert "cannot be handed over any more" in last.opening


async def test_who_still_wants_to_hand_over_is_told_that_it_cannot() -> None:
    steps = around(swarm.MAX_HANDOVERS)
    model = ByRole({**steps, "architect": [*steps["architect"], hands("guardian"), says(ANSWER)]})

    ran = await spoke(model)

    assert "guardian" not in nodes(ran)
    assert answer(ran).startswith(ANSWER)


async def test_a_specialist_who_does_not_exist_is_an_observation() -> None:
    model = ByRole({"architect": [hands("plumber"), hands("engineer")], "engineer": [says(ANSWER)]})

    ran = await spoke(model)

    told = str(model.asked[1].messages[-1].text)
    assert "engineer" in told
    assert "guardian" in told
    assert nodes(ran) == ["floor", "architect", "engineer"]


async def test_what_is_looked_up_in_the_turn_of_a_hand_over_is_not_cut_off() -> None:
    both = calls(
        ("search_documents", {"query": "lease"}), ("hand_over", {"to": "engineer", "reason": "Theirs.", "brief": ""})
    )

    ran = await spoke(ByRole({"architect": [both], "engineer": [says(ANSWER)]}))

    assert sorted((end["ok"], bool(end["sources"])) for end in ran.of("tool.finished")) == [(True, False), (True, True)]


async def test_the_transcript_of_a_turn_that_failed_to_hand_over_has_a_result_for_every_call() -> None:
    model = ByRole({"architect": [hands("plumber"), says(ANSWER)]})

    await spoke(model)

    called = [call["id"] for message in model.asked[-1].messages for call in getattr(message, "tool_calls", ())]
    told = [message.tool_call_id for message in model.asked[-1].messages if isinstance(message, ToolMessage)]
    assert called == told


@pytest.mark.parametrize("failure", FATAL_TEXT)
async def test_whoever_has_the_floor_and_fails_ends_the_run_and_is_all_that_a_resume_repeats(failure: str) -> None:
    failing = FATAL_TEXT[failure] * (2 if failure == "nonsense" else 1)
    model = ByRole({"architect": [hands("engineer")], "engineer": [*failing, says(ANSWER)]})
    graph, thread = kept()

    with pytest.raises(Exception, match=r"refused|no end|bang|engineer: its answer was blank, 2 times"):
        await spoke(model, graph=graph, **thread)
    ran = await spoke(model, None, graph, **thread)

    assert nodes(ran) == ["engineer"]
    assert answer(ran) == ANSWER


class Dies(InMemorySaver):
    """Once, when the step of a hand-over is to be stored: the agent has spoken, and the graph does not know it."""

    died = False

    async def aput_writes(self, config: Any, writes: Sequence[tuple[str, Any]], task_id: str, path: str = "") -> None:
        if not self.died and ("active", "engineer") in writes:
            self.died = True
            raise RunLost("gone")
        await super().aput_writes(config, writes, task_id, path)


async def test_after_a_crash_between_a_hand_over_and_its_step_nobody_is_asked_again() -> None:
    graph, thread = swarm.build().compile(checkpointer=Dies()), {"configurable": {"thread_id": "t"}}
    model = ByRole({"architect": [hands("engineer")], "engineer": [says(ANSWER)]})

    with pytest.raises(RunLost):
        await run(graph, few(ROLES, model), QUESTION, **thread)
    ran = await run(graph, few(ROLES, model), None, **thread)

    assert answer(ran) == ANSWER
    assert len(model.asked_of("architect")) == 1


def test_everybody_may_hand_over_to_everybody_else_and_the_drawing_shows_it() -> None:
    shape = read_shape(swarm.build().compile())

    between = {(one, other) for one in FIELDS for other in FIELDS if one != other}
    assert set(shape.edges) == between | {("floor", name) for name in FIELDS}
    assert shape.entries == ("floor",)
