"""How the demo model chooses: among proposals, whether to hand over, and what is to be done beside what is asked."""

import json
from typing import Any

import pytest

from agents.judge import Verdict
from agents.planner import Plan
from agents.specialists import FIELDS, specialist
from app.demo_model.choices import better_placed, labelled
from app.demo_model.demands import with_deed
from app.demo_model.reader import think
from app.demo_model.readings import dictated, titled

Json = dict[str, Any]
PROPOSALS = """\
Question: What does a debate cost?

Proposal A:

Agents should be polite. [a1b2c3d4]

Proposal B:

A debate costs the number of agents times the number of rounds. [b1b2c3d4]

Passages:

[c1b2c3d4] debate.md > Costs
A debate costs a lot."""


def filled(text: str, shape: Any, system: str = "You decide.") -> Json:
    """What the demo model puts into `shape`."""
    schema = {"name": shape.__name__, "schema": shape.model_json_schema()}
    body = {
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": text}],
        "response_format": {"type": "json_schema", "json_schema": schema},
    }
    return dict(json.loads(think(body).text))


def test_the_most_direct_proposal_is_chosen_and_quoted() -> None:
    verdict = Verdict.model_validate(filled(PROPOSALS, Verdict))

    assert verdict.best == "B"
    assert "A debate costs the number of agents times the number of rounds" in verdict.reason


def test_labels_are_read_up_to_the_passages() -> None:
    assert list(labelled(PROPOSALS)) == ["A", "B"]
    assert "a lot" not in labelled(PROPOSALS)["B"]
    assert labelled("no labels here") == {}


@pytest.mark.parametrize(
    ("name", "question", "peer"),
    [
        ("architect", "What happens after a crash?", "engineer"),
        ("architect", "Which actions need approval?", "guardian"),
        ("engineer", "When does a debate pay?", "architect"),
        ("guardian", "Which actions need approval?", ""),
        ("engineer", "How are you?", ""),
    ],
)
def test_the_floor_goes_to_whose_field_it_is_and_stays_when_it_is_ones_own(name: str, question: str, peer: str) -> None:
    agent = specialist(name, [])
    (tool,) = agent.tools
    offered = {"name": tool.name, "description": tool.description, "parameters": tool.args_schema.model_json_schema()}  # type: ignore[union-attr]
    body = {
        "messages": [{"role": "system", "content": agent.prompt}, {"role": "user", "content": question}],
        "tools": [{"type": "function", "function": offered}],
    }

    called = [call.arguments["to"] for call in think(body).calls]

    assert called == ([peer] if peer else [])


def test_of_two_equal_fields_nobody_is_better_placed() -> None:
    assert better_placed("What does a crash cost?", "crashes and costs", {"other": "costs and crashes"}) == ""
    assert better_placed("What does a crash cost?", "", {}) == ""


@pytest.mark.parametrize(
    ("text", "asked", "deed"),
    [
        ("How does X work? Save a note: Y.", "How does X work?", "Save a note: Y."),
        ("Please save a note: Y.", "", "Please save a note: Y."),
        ("How do I save a note?", "How do I save a note?", ""),
        ("What is X?", "What is X?", ""),
        ("What is X, and plot sin(x) from 0 to 6", "What is X", "plot sin(x) from 0 to 6"),
        ("Compare A and B. Simulate 60 throws of two dice", "Compare A and B", "Simulate 60 throws of two dice"),
        ("simulate 60 throws of a die and plot how often each comes", "",
         "simulate 60 throws of a die and plot how often each comes"),
        ("Who plots the downfall of Rome, and plot twists?", "Who plots the downfall of Rome, and plot twists?", ""),
    ],
)  # fmt: skip
def test_what_is_to_be_done_is_told_from_what_is_asked(text: str, asked: str, deed: str) -> None:
    assert with_deed(text) == (asked, deed)


@pytest.mark.parametrize(
    ("text", "title", "words"),
    [
        ("Save a note titled Budget that says we spend 500.", "Budget", "we spend 500."),
        ('Save a note called "Rent day": the rent is due', "Rent day", "the rent is due"),
        ("Save a note that the rent is due", "", "the rent is due"),
        ("Who is called Ishmael?", "", ""),
    ],
)
def test_a_note_has_the_title_that_was_asked_for(text: str, title: str, words: str) -> None:
    assert (titled(text), dictated(text)) == (title, words)


def test_a_plan_gives_a_deed_to_the_role_that_does_it() -> None:
    roles = "Plan. Roles: researcher (finds and cites facts in the documents); scribe (saves a note for the person)"

    plan = Plan.model_validate(filled("When does ReAct fail? Save a note: ReAct first.", Plan, roles))

    assert [(it.role, it.question) for it in plan.tasks] == [
        ("researcher", "When does ReAct fail?"),
        ("scribe", "Save a note: ReAct first."),
    ]


def test_the_fields_of_specialists_differ() -> None:
    assert len(set(FIELDS.values())) == len(FIELDS) == 3
