"""Research, each of whose roles fails in every way: what ends the run, what is named as missing."""

from collections.abc import Callable
from typing import Any

import pytest
from crew import Ran, crew, passage, run
from failing import FATAL_TEXT, FATAL_TYPED, PATIENCE_S, TEXT_FAILURES
from scripted import ScriptedModel, fills, says

from agents.planner import Plan, SubTask
from graphs import research

TIME_JUMPS = True
QUESTION = "Compare one and two"


def planned(*ids: str) -> Plan:
    """Parts that need nothing of each other."""
    parts = [
        SubTask(id=id_, title=f"Part {id_}", question=f"sub-question {id_}?", role="researcher", depends_on=[])
        for id_ in ids
    ]
    return Plan(tasks=parts, note="Split.")


async def researched(model: ScriptedModel, **limits: Any) -> Ran:
    return await run(research.build().compile(), crew(model, [passage("A fact.")], **limits), QUESTION)


@pytest.mark.parametrize("failure", [name for name in FATAL_TYPED if name != "nonsense"])
async def test_a_planner_that_fails_ends_the_run(scripted: Callable[..., Any], failure: str) -> None:
    """One that talks nonsense does not: see `test_research.py`."""
    with pytest.raises(Exception, match=r"refused|no end|bang"):
        await researched(scripted(FATAL_TYPED[failure]))


@pytest.mark.parametrize("failure", TEXT_FAILURES)
async def test_a_researcher_that_fails_is_named_as_missing(scripted: Callable[..., Any], failure: str) -> None:
    model = scripted(
        {
            "Result of sub-task 2 of the role researcher:": [fills(Plan(tasks=[], note=""))] * (failure != "gone"),
            "Question: ": [says("Half of it.")],
            "sub-question 1?": [says("One.")],
            "sub-question 2?": [*TEXT_FAILURES[failure]] * (2 if failure == "hanging" else 1),  # it and its twin
            QUESTION: [fills(planned("1", "2"))],
        }
    )

    ran = await researched(model, subtask_timeout_s=PATIENCE_S)

    one, two = ran.state["findings"][:2]
    assert (one.state, one.text) == ("done", "One.")
    assert two.state in ("failed", "timed_out") and two.reason
    brief = next(asked.opening for asked in model.asked if asked.opening.startswith("Question: "))
    assert "Missing:\n- Part 2: " in brief


@pytest.mark.parametrize("failure", FATAL_TEXT)
async def test_a_writer_that_fails_ends_the_run(scripted: Callable[..., Any], failure: str) -> None:
    again = FATAL_TEXT[failure] if failure == "nonsense" else ()
    script = {"Question: ": [*FATAL_TEXT[failure], *again], "sub-question 1?": [says("One.")]}
    with pytest.raises(Exception, match=r"refused|no end|bang|writer: its answer was blank, 2 times"):
        await researched(scripted({**script, QUESTION: [fills(planned("1"))]}))
