"""Search: what a model reads, what the run remembers, and keys that stay the same everywhere."""

from collections.abc import Callable
from typing import Any

import pytest
from crew import FixedCorpus, Ran, crew, passage, run
from scripted import calls, says

from agents.tools.search import MAX_QUERY_CHARS, PASSAGES, as_passages, citation_key, search_documents
from app.citations import cited_keys
from graphs import chat
from retrieval.documents import Chunk, Hit

ONE = passage("A barrier holds everybody.", "3f9a1c77ab01")
TWO = Chunk("77ab013f9a1c", "doc-2", "wal.pdf", "WAL", "", 4, 0, "Every change reaches the log first.")


async def searched(scripted: Callable[..., Any], *passages: Chunk, query: str = "barrier") -> tuple[Ran, FixedCorpus]:
    context = crew(scripted([calls(("search_documents", {"query": query})), says("Done.")]), passages)
    ran = await run(chat.build().compile(), context)
    assert isinstance(context.corpus, FixedCorpus)
    return ran, context.corpus


def told(ran: Ran) -> str:
    return str(ran.of("tool.finished")[0]["text"])


async def test_what_the_model_reads(scripted: Callable[..., Any]) -> None:
    ran, corpus = await searched(scripted, ONE, TWO)

    assert told(ran) == (
        "[3f9a1c77] guide.md > Waits > Barriers\nA barrier holds everybody.\n\n"
        "[77ab013f] wal.pdf (page 4)\nEvery change reaches the log first."
    )
    assert corpus.asked == ["barrier"]


async def test_what_the_run_remembers(scripted: Callable[..., Any]) -> None:
    ran, _ = await searched(scripted, ONE, TWO)

    first, second = ran.of("tool.finished")[0]["sources"]
    assert first == {
        "key": "3f9a1c77",
        "chunk_id": "3f9a1c77ab01",
        "document_id": "doc-guide.md",
        "document": "guide.md",
        "title": "Guide",
        "heading": "Waits > Barriers",
        "page": None,
        "quote": "A barrier holds everybody.",
        "score": 1.0,
    }
    assert (second["page"], second["score"]) == (4, 0.5)


async def test_as_many_passages_as_a_model_should_read(scripted: Callable[..., Any]) -> None:
    many = [passage(f"text {n}", f"{n:012x}") for n in range(20)]

    ran, _ = await searched(scripted, *many)

    assert len(ran.of("tool.finished")[0]["sources"]) == PASSAGES


async def test_nothing_found_is_said_and_not_an_error(scripted: Callable[..., Any]) -> None:
    ran, _ = await searched(scripted, query="  quantum  ")

    assert ran.of("tool.finished")[0] == {"ok": True, "text": "No passage matches '  quantum  '.", "sources": []}


@pytest.mark.parametrize(
    ("query", "says_"),
    [
        (" \n", "query is empty; give a few content words"),
        ("x" * (MAX_QUERY_CHARS + 1), "query: 2001 characters of 2000; use the content words only"),
    ],
)
async def test_a_query_that_cannot_be_searched_is_refused(scripted: Callable[..., Any], query: str, says_: str) -> None:
    ran, corpus = await searched(scripted, ONE, query=query)

    assert ran.of("tool.finished")[0] == {"ok": False, "text": says_, "sources": []}
    assert corpus.asked == []


def test_a_key_is_the_head_of_the_passages_id_and_can_be_cited() -> None:
    key = citation_key(ONE.id)

    assert key == "3f9a1c77"
    assert cited_keys(f"So it is [{key}].") == [key]
    assert cited_keys(as_passages([Hit(ONE, 1, 1, None), Hit(TWO, 1, 2, None)])) == ["3f9a1c77", "77ab013f"]


def test_the_model_is_asked_for_the_query_and_nothing_else() -> None:
    assert set(search_documents.tool_call_schema.model_json_schema()["properties"]) == {"query"}
