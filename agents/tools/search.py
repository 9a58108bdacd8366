"""Search the indexed documents.

Every passage is shown to the model under a short key made from its content-addressed chunk id. The same passage has the
same key in every sub-agent, run and restart, so parallel findings can be merged without renumbering, and a citation can
be checked: a key that no search returned was invented.
"""

from collections.abc import Sequence
from typing import Any

from langchain_core.tools import ToolException, tool
from langgraph.prebuilt import ToolRuntime

from agents.context import Context
from agents.tools.contract import Contract, with_contract
from retrieval.documents import Hit

KEY_CHARS = 8
"""Hex digits: with 6, two of 10,000 passages would share one; with 8 it takes 100,000 for a chance in two."""
PASSAGES = 8
MAX_QUERY_CHARS = 2_000


def citation_key(chunk_id: str) -> str:
    """Key under which a passage is cited, as in `[3f9a1c]`."""
    return chunk_id[:KEY_CHARS]


def _place(hit: Hit) -> str:
    heading = f" > {hit.chunk.heading}" if hit.chunk.heading else ""
    page = f" (page {hit.chunk.page})" if hit.chunk.page else ""
    return f"{hit.chunk.document}{heading}{page}"


def _as_source(hit: Hit) -> dict[str, Any]:
    chunk = hit.chunk
    return {
        "key": citation_key(chunk.id),
        "chunk_id": chunk.id,
        "document_id": chunk.document_id,
        "document": chunk.document,
        "title": chunk.title,
        "heading": chunk.heading,
        "page": chunk.page,
        "quote": chunk.text,
        "score": round(float(hit.score), 4),
    }


def as_passages(hits: Sequence[Hit]) -> str:
    """Passages as the model reads them: `[key] Document > Heading (page N)`, then the text."""
    return "\n\n".join(f"[{citation_key(hit.chunk.id)}] {_place(hit)}\n{hit.chunk.text}" for hit in hits)


@tool(response_format="content_and_artifact")
async def search_documents(query: str, runtime: ToolRuntime[Any, Any]) -> tuple[str, dict[str, Any]]:
    """Search the user's documents and return the best passages, each under a key in square brackets.

    Use it for every question of fact. Cite a passage by its key, like [3f9a1c]. Do not use it for arithmetic.

    Args:
        query: what to look for, in a few content words or one short question
    """
    if not query.strip():
        raise ToolException("query is empty; give a few content words")
    if len(query) > MAX_QUERY_CHARS:
        raise ToolException(f"query: {len(query)} characters of {MAX_QUERY_CHARS}; use the content words only")
    # not ToolRuntime[Context, ...]: pydantic would validate, and so copy, the whole context at every call
    context: Context = runtime.context
    hits = await context.corpus.search(query, PASSAGES)
    if not hits:
        return f"No passage matches {query!r}.", {"sources": []}
    return as_passages(hits), {"sources": [_as_source(hit) for hit in hits]}


_INSTEAD = "Answer from what you have, and say that the documents could not be searched."
with_contract(search_documents, Contract(timeout_s=15, retries=1, effect="read", stale_for_s=3_600, fallback=_INSTEAD))
