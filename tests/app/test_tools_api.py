"""`GET /api/tools`: promises, holders, breakers and the last hour, from a running house."""

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from house import House, house

pytestmark = pytest.mark.timeout(120)

RUN = """
insert into threads (thread_id, title, graph) values ('t', '', 'chat');
insert into runs (run_id, thread_id, graph, status, input) values ('r', 't', 'chat', 'running', '{}');
insert into runs (run_id, thread_id, graph, status, input, finished_at)
    values ('old', 't', 'chat', 'succeeded', '{}', now() - interval '2 hours');
insert into run_events (run_id, seq, at, type, span_id, data) values
    ('r', 1, now() - interval '9 s', 'tool.started', 'a', '{"name": "search_documents", "call_id": "1"}'),
    ('r', 2, now() - interval '8 s', 'tool.finished', 'a', '{"ok": true}'),
    ('r', 3, now() - interval '7 s', 'tool.started', 'b', '{"name": "search_documents", "call_id": "2"}'),
    ('r', 4, now() - interval '5 s', 'tool.timeout', 'n', '{"tool": "search_documents", "call_id": "2"}'),
    ('r', 5, now() - interval '4 s', 'tool.started', 'c', '{"name": "search_documents", "call_id": "3"}'),
    ('old', 1, now() - interval '2 hours', 'tool.started', 'd', '{"name": "calculator", "call_id": "1"}');
insert into breakers (service, why, retry_at) values ('model large at gpu:8000', 'HTTP 503', now() + interval '1 hour');
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[House]:
    with house(Path(tmp_path_factory.mktemp("tools")), postgres) as it:
        yield it


def test_what_the_page_is_told(running: House) -> None:
    url = running.settings.database_url
    assert url
    with psycopg.connect(url.get_secret_value(), autocommit=True) as connection:
        connection.execute(RUN)

    with running.http() as client:
        told = client.get("tools").raise_for_status().json()
        until = time.monotonic() + 60
        while not any(it["breaker"]["why"] for it in told["services"]) and time.monotonic() < until:
            told = client.get("tools").raise_for_status().json()  # the house looks every second

    search = next(it for it in told["tools"] if it["name"] == "search_documents")
    assert search["description"].startswith("Search the user's documents")
    assert "researcher" in search["roles"]
    assert search["granted"] == []
    assert search["contract"]["effect"] == "read"
    assert search["contract"]["service"] == "search_documents"
    assert search["last_hour"] == {"calls": 2, "errors": 1, "error_rate": 0.5, "p95_s": 2.0}
    assert search["breaker"] == {"state": "closed", "retry_in_s": 0.0, "why": ""}
    quiet = next(it for it in told["tools"] if it["name"] == "calculator")
    assert quiet["last_hour"] == {"calls": 0, "errors": 0, "error_rate": None, "p95_s": None}
    assert [it["service"] for it in told["services"] if it["breaker"]["why"]] == ["model large at gpu:8000"]
