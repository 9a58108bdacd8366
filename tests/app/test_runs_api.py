"""The run routes of the page's own API: what a stream says after a cut, and when what it tells of is gone."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from house import House, house
from protocol_graphs import Gates, human, protocol_graphs

GATES = Gates()
ENDED = {"succeeded", "failed", "cancelled"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("house"), postgres, protocol_graphs(GATES)) as running:
        yield running


@pytest.fixture
def http(server: House) -> Iterator[httpx.Client]:
    with server.http() as client:
        yield client


def asked(http: httpx.Client, graph: str, text: str = "Why?") -> dict[str, Any]:
    thread_id = http.post("threads", json={"graph": graph}).json()["thread_id"]
    return dict(http.post(f"threads/{thread_id}/runs", json={"assistant_id": graph, "input": human(text)}).json())


def ids(log: str) -> list[int]:
    return [int(line.removeprefix("id: ")) for line in log.splitlines() if line.startswith("id: ")]


def test_a_log_goes_on_behind_the_last_event_that_was_heard(http: httpx.Client) -> None:
    """A browser that reconnects asks the same address, and says in a header what it has."""
    run = asked(http, "says")
    log = f"runs/{run['run_id']}/events"
    whole = ids(http.get(log).text)
    assert whole == list(range(1, len(whole) + 1))
    assert ids(http.get(log, headers={"Last-Event-ID": "2"}).text) == whole[2:]
    assert ids(http.get(f"{log}?after=1", headers={"Last-Event-ID": "3"}).text) == whole[3:]


@pytest.mark.parametrize("said", ["x", "-1", "٣", "1" * 40, ""])
def test_what_is_no_place_in_a_log_is_its_beginning_or_its_end(http: httpx.Client, said: str) -> None:
    run = asked(http, "says")
    reply = http.get(f"runs/{run['run_id']}/events", headers={"Last-Event-ID": said.encode()})
    assert reply.status_code == 200 and "event: end" in reply.text


async def test_the_log_of_a_conversation_that_was_deleted_ends(server: House) -> None:
    with server.http() as http:
        run = asked(http, "waits", "gone")
        await GATES.reached("gone")
        begun, over = threading.Event(), threading.Event()

        def read() -> None:
            with server.http() as reader, reader.stream("GET", f"runs/{run['run_id']}/events") as log:
                for line in log.iter_lines():
                    if line:
                        begun.set()
                over.set()

        reading = threading.Thread(target=read, daemon=True)
        reading.start()
        assert await asyncio.to_thread(begun.wait, 60)
        # as another process would do it, of which this one hears nothing
        with psycopg.connect(server.settings.database_url.get_secret_value()) as other:  # type: ignore[union-attr]
            other.execute("delete from threads where thread_id = %s", (run["thread_id"],))
        assert await asyncio.to_thread(over.wait, 60)
    GATES.open("gone")


def test_who_has_many_conversations_finds_them_all(server: House, http: httpx.Client) -> None:
    with psycopg.connect(server.settings.database_url.get_secret_value()) as other:  # type: ignore[union-attr]
        other.execute("insert into threads (thread_id, title, graph) select 'many' || n, '', 'says' "
                      "from generate_series(1, 150) n")  # fmt: skip
        other.execute("insert into runs (run_id, thread_id, graph, status, input, finished_at) select 'many' || n, "
                      "'many' || n, 'says', 'cancelled', '{}', now() from generate_series(1, 150) n")  # fmt: skip
    listed = {row["thread_id"] for row in http.get("threads").json()["threads"]}
    assert {f"many{n}" for n in range(1, 151)} <= listed


def test_a_database_that_goes_while_a_run_is_queued_is_said_to_be_away(tmp_path: Path, postgres: str) -> None:
    with house(tmp_path, postgres, protocol_graphs(GATES)) as running, running.http() as http:
        thread_id = http.post("threads", json={"graph": "says"}).json()["thread_id"]
        with psycopg.connect(running.settings.database_url.get_secret_value()) as other:  # type: ignore[union-attr]
            other.execute(
                "create function go_away() returns trigger language plpgsql as "
                "$$ begin perform pg_terminate_backend(pg_backend_pid()); return new; end $$"
            )
            other.execute(
                "create trigger go_away before insert on procrastinate_jobs for each row execute function go_away()"
            )
        reply = http.post(f"threads/{thread_id}/runs", json={"assistant_id": "says", "input": human("Why?")})
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "database_unavailable")
