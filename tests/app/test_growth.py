"""What a turn of a conversation stores does not grow with the number of turns; `make soak` goes on to the 1,000th."""

import json

import pytest
from growth import conversation
from scripted import Step, calls, says

from app.postgres import Pool

MOST = 1.2
ANSWER = "There are as many steps as the plan has, and each one ends at a barrier [3f9a1c]. " * 6
SUB_TASK = {"id": "1", "title": "Steps", "question": "Count", "role": "researcher", "depends_on": []}

CHAT: list[Step] = [calls(("search_documents", {"query": "steps"})), says(ANSWER)]
RESEARCH: list[Step] = [says(json.dumps({"tasks": [SUB_TASK], "note": ""})), says(ANSWER), says(ANSWER)]


@pytest.mark.parametrize(("graph", "turn", "late"), [("chat", CHAT, 60), ("research", RESEARCH, 30)])
async def test_a_late_turn_stores_no_more_than_an_early_one(
    pool: Pool, database_url: str, graph: str, turn: list[Step], late: int
) -> None:
    async with conversation(pool, database_url, graph, turn) as talk:
        early_bytes, late_bytes = await talk.mean_around(10), await talk.mean_around(late)
        sizes = await talk.until(talk.turns)
    used = ("runs", "run_events", "checkpoint_blobs", "checkpoint_writes", "memories", "procrastinate_jobs")
    assert min(sizes[table] for table in used) > 0
    assert late_bytes <= MOST * early_bytes, sizes
