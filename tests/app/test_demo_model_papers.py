"""The demo model's hand-overs and edits: a brief, an outline, a draft mended by rule; nothing is invented."""

import json
from typing import Any

import pytest

from agents.analyst import Brief
from agents.outliner import Outline
from app.demo_model.demands import audience, most_words, without_demands
from app.demo_model.editing import to_mend
from app.demo_model.reader import think

PASSAGES = """\
[aaaa1111] guide.md > Barriers
A barrier is a place where everybody waits for the last one. A barrier costs the time of the slowest.

[bbbb2222] guide.md > Retries
A retry is a second attempt at the same call. A retry is safe when the call can be repeated."""


def ask(text: str, shape: Any = None, found: str = "") -> Any:
    """What it answers to a person's text; `found`: what a search had returned for it."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": text}]
    body: dict[str, Any] = {"messages": messages}
    if found:
        call = {"id": "1", "type": "function", "function": {"name": "search_documents", "arguments": '{"query": "x"}'}}
        messages += [
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": found},
        ]
    if shape:
        named = {"name": shape.__name__, "schema": shape.model_json_schema()}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
        return shape.model_validate(json.loads(think(body).text))
    return think(body).text


def test_a_brief_is_read_from_the_request() -> None:
    made = ask("Write a briefing for new engineers on barriers, retries and queues in at most 80 words", Brief)

    assert made.questions == ["What are barriers?", "What are retries?", "What are queues?"]
    assert (made.audience, made.max_words) == ("new engineers", 80)
    assert made.title == "Barriers, retries and queues"


def test_what_a_request_does_not_say_is_the_usual() -> None:
    made = ask("What is a barrier?", Brief)

    assert (made.questions, made.audience, made.max_words) == (["What is a barrier?"], "general readers", 250)


def test_an_outline_has_a_section_for_each_question_with_cited_sentences() -> None:
    made = ask("What is a barrier?\nWhat is a retry?", Outline, PASSAGES)

    assert [section.heading for section in made.sections] == ["Barrier", "Retry"]
    assert "A barrier is a place where everybody waits for the last one. [aaaa1111]" in made.sections[0].statements
    assert all("[bbbb2222]" in statement for statement in made.sections[1].statements)


def test_an_outline_of_what_nobody_wrote_about_is_empty() -> None:
    made = ask("What is a zeppelin?", Outline, PASSAGES)

    assert [section.statements for section in made.sections] == [[]]


HEAD = "**A barrier waits.** [aaaa1111]\n\n## More\n\nIt waits for all. [aaaa1111]"
DRAFT = f"{HEAD} Nobody knows why it does so.\n\n- Late. [ffff0000]"


@pytest.mark.parametrize(
    ("defect", "text"),
    [
        ("This statement carries no citation: “Nobody knows.”", f"{HEAD}\n\n- Late. [ffff0000]"),
        ("No search returned [ffff0000]: take the citation out.", f"{HEAD} Nobody knows why it does so."),
        ("The text has 15 words of at most 9.", f"{HEAD}\n\n- Late. [ffff0000]"),
        ("The text has 15 words of at most 5.", "**A barrier waits.** [aaaa1111]\n\n## More\n\n- Late. [ffff0000]"),
        ("The end is dull.", DRAFT),
    ],
)
def test_a_defect_is_mended_by_rule_and_the_rest_stays(defect: str, text: str) -> None:
    assert ask(f"Write on barriers\n\nDraft:\n{DRAFT}\n\nDefects:\n- {defect}") == text


def test_the_very_first_statement_is_never_cut() -> None:
    assert ask("Edit this text for all: at most 1 words.\n\nDraft:\nA barrier waits for everybody. [aaaa1111]") == (
        "A barrier waits for everybody. [aaaa1111]"
    )


def test_a_missing_point_is_looked_up_and_added() -> None:
    request = "Write on it\n\nDraft:\nA barrier waits. [aaaa1111]\n\nDefects:\n- The text does not address “retry”."
    search = {
        "type": "function",
        "function": {
            "name": "search_documents",
            "description": "Search the documents.",
            "parameters": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
        },
    }

    (call,) = think({"messages": [{"role": "user", "content": request}], "tools": [search]}).calls

    assert call.arguments == {"query": "retry"}
    assert ask(request, found=PASSAGES) == (
        "A barrier waits. [aaaa1111]\n\nA retry is a second attempt at the same call. [bbbb2222]"
    )


@pytest.mark.parametrize("text", ["Draft: nothing", "What is a draft:\n of beer?", "Judge this.\n\nDraft:\nIt is.", ""])
def test_who_wants_something_else_gets_something_else(text: str) -> None:
    assert to_mend(text) is None


@pytest.mark.parametrize(
    ("request_", "words", "whom", "rest"),
    [
        ("Write a guide for beginners on queues, up to 1,200 words", 1200, "beginners", "Write a guide on queues"),
        ("Explain queues in 50 words", 50, "", "Explain queues"),
        ("What are words?", None, "", "What are words?"),
        ("Is there a limit of 500 requests?", None, "", "Is there a limit of 500 requests?"),
    ],
)
def test_the_form_is_no_part_of_the_matter(request_: str, words: int | None, whom: str, rest: str) -> None:
    assert (most_words(request_), audience(request_), without_demands(request_)) == (words, whom, rest)


@pytest.mark.parametrize("nasty", ["draft:\n" * 2_500, "Draft:\n" + "." * 18_000, "Draft:\n" + "[a" * 9_000])
def test_a_nasty_draft_is_cut_to_its_words(nasty: str) -> None:
    """A pattern that backtracks over it would not come to an end."""
    mended = ask(f"Edit this: at most 5 words.\n\n{nasty}\n\nDefects:\n- does not address {nasty[:50]}")
    assert 0 < len(mended.split()) <= 5
