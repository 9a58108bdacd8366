"""What MCP clients are told of a run while it goes on, and when it has no answer."""

from typing import Any

import pytest

from app.protocols.mcp_words import doing, why


@pytest.mark.parametrize(
    ("kind", "data", "said"),
    [
        ("node.started", {"name": "plan"}, "plan"),
        ("plan.proposed", {"tasks": [{}, {}]}, "planned 2 sub-tasks"),
        ("agent.spawned", {"title": "Bees"}, "began: Bees"),
        ("agent.finished", {"title": "Bees", "state": "timed_out"}, "timed_out: Bees"),
        ("tool.started", {"name": "search_documents", "args": {"query": "bees"}}, "search documents “bees”"),
        ("tool.started", {"name": "odd", "args": None}, "odd"),
        ("llm.token", {"text": "secret thoughts"}, ""),
        ("tool.finished", {"text": "a long result"}, ""),
    ],
)
def test_an_event_says_what_is_done_and_nothing_of_what_is_found(kind: str, data: Any, said: str) -> None:
    assert doing(kind, data) == said


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ({"status": "failed", "error": {"message": "It broke.", "fix": "Mend it."}}, "It broke. Mend it."),
        ({"status": "cancelled", "error": None}, "The run is cancelled."),
        ({"status": "running", "error": None}, "The server is going down; the run goes on."),
    ],
)
def test_a_run_without_an_answer_says_why(run: Any, said: str) -> None:
    assert why(run) == said
