"""`GET /api/models`: where each role is served, whether it answers, and its last hour in runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from house import House, house

from app.demo_process import demo_model

RUN = """
insert into threads (thread_id, title, graph) values ('t', '', 'chat');
insert into runs (run_id, thread_id, graph, status, input) values ('r', 't', 'chat', 'running', '{}');
insert into run_events (run_id, seq, at, type, span_id, data) values
    ('r', 1, now(), 'llm.started', 'a', '{"model": "demo-large"}'),
    ('r', 2, now(), 'llm.finished', 'a', '{"latency_s": 0.5}'),
    ('r', 3, now(), 'llm.started', 'b', '{"model": "demo-large"}'),
    ('r', 4, now(), 'llm.finished', 'b', '{"latency_s": 1.5}'),
    ('r', 5, now(), 'llm.started', 'c', '{"model": "demo-large"}'),
    ('r', 6, now(), 'llm.finished', 'c', '{"error": "HTTP 503"}'),
    ('r', 7, now(), 'llm.started', 'd', '{"model": "demo-large"}'),
    ('r', 8, now(), 'llm.finished', 'd', '{"error": "stopped"}'),
    ('r', 9, now(), 'llm.started', 'e', '{"model": "demo-large"}');
"""


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[House]:
    """Its large model is at a port where nobody listens."""
    secret = "http://somebody:secret@127.0.0.1:9/v1?key=secret"
    with house(tmp_path_factory.mktemp("models"), postgres, rerank_url=secret, model="demo-large") as it:
        yield it


def by_role(house: House) -> dict[str, dict[str, Any]]:
    with house.http() as client:
        reply = client.get("models").raise_for_status()
    assert "secret" not in reply.text
    return {row["role"]: row for row in reply.json()["models"]}


def test_one_that_is_away_says_so_and_shows_no_secret(away: House) -> None:
    url = away.settings.database_url
    assert url
    with psycopg.connect(url.get_secret_value(), autocommit=True) as connection:
        connection.execute(RUN)
    rows = by_role(away)
    assert list(rows) == ["large", "small", "embed", "rerank"]
    large = rows["large"]
    assert (large["url"], large["model"], large["demo"]) == ("http://127.0.0.1:9/v1", "demo-large", False)
    assert not large["answers"] and large["error"].startswith("no connection")
    assert [large[name] for name in ("calls", "errors", "p95_ms")] == [3, 1, 1_500]
    assert rows["rerank"]["url"] == "http://127.0.0.1:9/v1" and not rows["rerank"]["answers"]
    assert rows["embed"]["answers"] and rows["embed"]["found"] == "built in"


async def test_one_that_answers_says_so(tmp_path: Path, postgres: str) -> None:
    async with demo_model(("--tokens-per-s", "0")) as url:
        with house(tmp_path, postgres, embed_url=url, embed_model="strange") as it:
            rows = by_role(it)
    assert rows["embed"]["answers"] and rows["embed"]["found"] == "it does not list strange"
    assert not rows["large"]["answers"]
