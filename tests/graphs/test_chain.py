"""The chain: each role reads the document before it and nothing else; a broken link is replaced, or ends the run."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from crew import Ran, crew, passage, run
from failing import FATAL_TEXT, FATAL_TYPED, PATIENCE_S, TEXT_FAILURES, TYPED_FAILURES
from langgraph.checkpoint.memory import InMemorySaver
from scripted import ScriptedModel, Step, calls, fills, says

from agents.agent import discover_agents
from agents.analyst import Brief
from agents.errors import RunLost
from agents.outliner import Outline, Section
from graphs import chain

TIME_JUMPS = True

REQUEST = "Write a note for beginners on barriers, I am in a hurry"
KEY = "3f9a1c77"
FACT = f"A barrier holds everybody. [{KEY}]"
BRIEF = Brief(title="Barriers", audience="beginners", questions=["What is a barrier?"], max_words=40)
OUTLINE = Outline(sections=[Section(heading="Barrier", statements=[FACT, "Nobody said this. [deadbeef]", "Bare."])])
SEARCH = calls(("search_documents", {"query": "barrier"}))
TEXT, EDITED = f"**A barrier holds everybody.** [{KEY}] It really does.", f"**A barrier holds everybody.** [{KEY}]"


def script(**roles: Sequence[Step]) -> Mapping[str, Sequence[Step]]:
    """Steps by role, told apart by what each is handed."""
    links = {
        "Edit this text": roles.get("editor", [says(EDITED)]),
        "For beginners, at most": roles.get("author", [says(TEXT)]),
        "hurry": roles.get("analyst", [fills(BRIEF)]),
        "What is a barrier?": roles.get("outliner", [SEARCH, fills(OUTLINE)]),
    }
    return links


async def chained(model: ScriptedModel, given: Any = REQUEST, graph: Any = None, **more: Any) -> Ran:
    thread = more.pop("thread", {})
    context = crew(model, [passage("A barrier holds everybody.")], **more)
    return await run(graph or chain.build().compile(), context, given, **thread)


def answer(ran: Ran) -> str:
    return str(ran.state["messages"][-1].text)


def told(model: ScriptedModel) -> list[str]:
    """What each role was handed, in order, each once."""
    return list(dict.fromkeys(asked.opening for asked in model.asked))


async def test_each_role_hands_a_document_to_the_next(scripted: Callable[..., Any]) -> None:
    ran = await chained(scripted(script()))

    assert [it["name"] for it in ran.of("node.started")] == ["analyse", "outline", "write", "edit"]
    documents = [it["value"] for it in ran.of("custom") if it.get("name") == "handed.over"]
    assert [it["document"] for it in documents] == ["brief", "outline"]
    assert documents[0]["questions"] == ["What is a barrier?"]
    assert isinstance(ran.state["brief"], Brief) and isinstance(ran.state["outline"], Outline)
    assert answer(ran) == EDITED


async def test_each_role_sees_what_it_needs_and_nothing_else(scripted: Callable[..., Any]) -> None:
    model = scripted(script())

    await chained(model)

    assert told(model) == [
        REQUEST,
        "What is a barrier?",
        f"Barriers\n\nFor beginners, at most 40 words.\n\n## Barrier\n- {FACT}",
        f"Edit this text for beginners: at most 40 words.\n\nDraft:\n{TEXT}",
    ]
    tools = [bool(asked.tools) for asked in model.asked]
    assert tools == [False, True, True, False, False]  # only the outliner, in its two turns, may look things up


async def test_a_statement_whose_passage_was_not_shown_is_not_handed_on(scripted: Callable[..., Any]) -> None:
    ran = await chained(scripted(script()))

    assert ran.state["outline"].sections == [Section(heading="Barrier", statements=[FACT])]


async def test_a_citation_that_the_author_invents_is_taken_out(scripted: Callable[..., Any]) -> None:
    ran = await chained(scripted(script(author=[says(f"{EDITED} More. [deadbeef]")], editor=[says("  ")])))

    assert answer(ran).startswith(f"{EDITED} More.\n\n*Not done: Edit")


@pytest.mark.parametrize("words", [-5, 9_999_999])
async def test_a_length_out_of_bounds_is_brought_into_them(scripted: Callable[..., Any], words: int) -> None:
    brief = BRIEF.model_copy(update={"max_words": words})

    ran = await chained(scripted(script(analyst=[fills(brief)])))

    assert ran.state["brief"].max_words == (20 if words < 0 else 2_000)


async def test_a_brief_of_too_many_questions_is_cut(scripted: Callable[..., Any]) -> None:
    brief = BRIEF.model_copy(update={"questions": ["What is a barrier?", *(f"And {n}?" for n in range(50))]})

    ran = await chained(scripted(script(analyst=[fills(brief)])))

    assert len(ran.state["brief"].questions) == 5


async def test_what_the_documents_do_not_hold_is_said_and_nobody_writes_from_nothing(
    scripted: Callable[..., Any],
) -> None:
    empty = Outline(sections=[Section(heading="Barrier", statements=[])])
    model = scripted(script(outliner=[SEARCH, fills(empty)], author=[], editor=[]))

    ran = await chained(model)

    assert answer(ran) == (
        "The documents hold nothing on Barriers.\n\n*Not done: Barrier (nothing was found in the documents).*"
    )
    assert len(model.asked) == 3


@pytest.mark.parametrize("failure", TYPED_FAILURES)
async def test_without_an_analyst_the_request_is_the_brief(scripted: Callable[..., Any], failure: str) -> None:
    author = [says(TEXT)]
    steps = {
        "Edit this text": [says(EDITED)],
        "For general readers": author,
        "hurry": [*TYPED_FAILURES[failure], SEARCH, fills(OUTLINE)],
    }

    ran = await chained(scripted(steps), subtask_timeout_s=PATIENCE_S)

    assert ran.state["brief"].questions == [REQUEST]
    assert answer(ran).startswith(f"{EDITED}\n\n*Not done: Brief (")
    assert [gap["title"] for gap in ran.state["missing"]] == ["Brief"]


@pytest.mark.parametrize("failure", TEXT_FAILURES)
async def test_without_an_editor_the_authors_text_goes_out(scripted: Callable[..., Any], failure: str) -> None:
    ran = await chained(scripted(script(editor=TEXT_FAILURES[failure])), subtask_timeout_s=PATIENCE_S)

    assert answer(ran).startswith(f"{TEXT}\n\n*Not done: Edit (")


async def test_an_editor_that_adds_a_source_is_not_followed(scripted: Callable[..., Any]) -> None:
    ran = await chained(scripted(script(editor=[says(f"{EDITED} And more. [deadbeef]")])))

    assert answer(ran).startswith(TEXT)
    assert ran.state["missing"] == [{"title": "Edit", "reason": "it cited what the text does not"}]


@pytest.mark.parametrize("role", ["outliner", "author"])
@pytest.mark.parametrize("failure", FATAL_TEXT)
async def test_a_link_that_must_hold_ends_the_run_and_is_all_that_a_resume_repeats(
    scripted: Callable[..., Any], role: str, failure: str
) -> None:
    failing = (FATAL_TYPED if role == "outliner" else FATAL_TEXT)[failure]
    again = failing if role == "author" and failure == "nonsense" else ()
    good = [SEARCH, fills(OUTLINE)] if role == "outliner" else [says(TEXT)]
    model = scripted(script(**{role: [*failing, *again, *good]}))
    graph, thread = chain.build().compile(checkpointer=InMemorySaver()), {"configurable": {"thread_id": "t"}}

    with pytest.raises(Exception, match=r"refused|no end|bang|no JSON|blank"):
        await chained(model, graph=graph, thread=thread)
    ran = await chained(model, None, graph=graph, thread=thread)

    assert answer(ran) == EDITED
    assert "analyse" not in [it["name"] for it in ran.of("node.started")]


async def test_after_a_crash_of_the_editor_no_other_role_works_again(scripted: Callable[..., Any]) -> None:
    model = scripted(script(editor=[RunLost("gone"), says(EDITED)]))
    graph, thread = chain.build().compile(checkpointer=InMemorySaver()), {"configurable": {"thread_id": "t"}}

    with pytest.raises(RunLost):
        await chained(model, graph=graph, thread=thread)
    ran = await chained(model, None, graph=graph, thread=thread)

    assert [it["name"] for it in ran.of("node.started")] == ["edit"]
    assert answer(ran) == EDITED


def test_routine_roles_ask_the_small_model() -> None:
    team = discover_agents()
    assert {team[name].model for name in ("analyst", "router", "librarian", "policy_critic")} == {"small"}


def test_hand_overs_have_schemas_that_small_models_can_follow() -> None:
    for shape in (Brief, Outline):
        schema = json.dumps(shape.model_json_schema())
        assert "anyOf" not in schema
        assert '"description"' in schema
