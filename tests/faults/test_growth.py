"""A conversation of a thousand turns: its last ones store what its first ones did."""

from collections.abc import Callable

import pytest
from growth import conversation
from scripted import calls, says

from app.postgres import Pool

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TURNS = 1000
MOST = 1.2


async def test_the_thousandth_turn_stores_what_the_tenth_did(
    pool: Pool, database_url: str, record_property: Callable[[str, object], None]
) -> None:
    answer = says("There are as many steps as the plan has, and each one ends at a barrier [3f9a1c]. " * 6)
    turn = [calls(("search_documents", {"query": "steps"})), answer]
    async with conversation(pool, database_url, "chat", turn) as talk:
        sizes = {turn: await talk.mean_around(turn) for turn in (10, 100, TURNS)}
    for turn, mean_bytes in sizes.items():
        record_property(f"bytes_per_turn_at_{turn}", round(mean_bytes))
        print(f"turn {turn:,}: {mean_bytes:,.0f} bytes")
    assert sizes[TURNS] <= MOST * sizes[10]
