"""`GET /api/tools`: promises, holders, breakers and the last hour, from a running house."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from house import House, house
from prometheus_client.parser import text_string_to_metric_families

from app.last_hour import LastHour
from app.postgres import Pool
from app.tools_api import CALLS

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
insert into breakers (service, why, opened_at, retry_at)
    values ('model large at gpu:8000', 'HTTP 503', '2026-11-21 08:00:00+00', now() + interval '1 hour');
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
    assert search["granted_to"] == []
    assert {name: search[name] for name in ("service", "effect", "approval", "timeout_s")} == {
        "service": "search_documents", "effect": "read", "approval": False, "timeout_s": 15,
    }  # fmt: skip
    assert [search[name] for name in ("calls", "errors", "p95_ms")] == [2, 1, 2_000]
    assert search["breaker"] == {"state": "closed", "since": None, "next_try_s": 0.0, "why": ""}
    quiet = next(it for it in told["tools"] if it["name"] == "calculator")
    assert [quiet[name] for name in ("calls", "errors", "p95_ms")] == [0, 0, None]
    (down,) = [it for it in told["services"] if it["breaker"]["state"] == "open"]
    assert down["service"] == "model large at gpu:8000"
    assert datetime.fromisoformat(down["breaker"]["since"]) == datetime(2026, 11, 21, 8, tzinfo=UTC)
    assert 0 < down["breaker"]["next_try_s"] <= 3_600


def test_what_a_prometheus_scrapes(running: House) -> None:
    with running.http() as client:
        scraped = client.get("metrics").raise_for_status()

    assert scraped.headers["content-type"].startswith("text/plain")
    told = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(scraped.text)
        for sample in family.samples
    }
    assert told["sextant_breaker_open", "model large at gpu:8000"] == 1
    assert told["sextant_breaker_open", "search_documents"] == 0
    assert told["sextant_tool_calls_last_hour", "search_documents"] == 2
    assert told["sextant_tool_errors_last_hour", "search_documents"] == 1
    assert told["sextant_tool_p95_seconds", "search_documents"] == 2
    assert ("sextant_tool_p95_seconds", "calculator") not in told
    assert told["sextant_runs", "running"] == 1
    assert ("sextant_runs", "succeeded") not in told  # it ended two hours ago


async def test_however_many_look_at_once_it_is_counted_once(pool: Pool) -> None:
    asked = []

    class Counting:
        def connection(self) -> Any:
            asked.append(1)
            return pool.connection()

    counting: Any = Counting()
    hour = LastHour(CALLS)
    await asyncio.gather(*(hour.figures(counting) for _ in range(10)))

    assert len(asked) == 1
