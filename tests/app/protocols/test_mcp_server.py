"""Sextant as an MCP server, asked by the official SDK's client over real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from house import House
from mcp import ClientSession, types
from mcp.client.streamable_http import streamable_http_client
from protocol_graphs import SAID, Gates
from pydantic import AnyUrl

from agents.guard import UNKNOWN
from app.auth import Keys
from app.postgres import open_pool
from app.protocols.mcp_server import MAX_OF_OWNER
from app.protocols.unfetched import unfetched

INITIALIZE = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}  # fmt: skip
PING = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
FOREIGN = {"authorization": "Bearer eyJhbGciOiJub25lIn0.eyJhdWQiOiJlbHNld2hlcmUifQ."}
"""A token that somebody issued for somebody else."""
HEADERS = {"accept": "application/json, text/event-stream", "content-type": "application/json"}


@asynccontextmanager
async def client(server: House, key: str | None = None) -> AsyncIterator[ClientSession]:
    """A session as the SDK's users have it."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with (
        httpx.AsyncClient(headers=headers, timeout=60) as http,
        streamable_http_client(f"{server.url}/api/mcp", http_client=http) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        yield session


def text(result: types.CallToolResult) -> str:
    return "".join(it.text for it in result.content if isinstance(it, types.TextContent))


async def test_every_graph_that_takes_a_question_is_a_tool(server: House) -> None:
    async with client(server) as session:
        tools = {it.name: it for it in (await session.list_tools()).tools}

    assert {"says", "chat", "research", "search_documents"} <= tools.keys()
    assert "counts" not in tools  # its state has no messages
    assert tools["says"].inputSchema["required"] == ["question"]
    assert tools["search_documents"].annotations and tools["search_documents"].annotations.readOnlyHint


async def test_a_call_is_a_run_with_its_answer_and_sources(server: House) -> None:
    told: list[str | None] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append(message)

    async with client(server) as session:
        result = await session.call_tool("cites", {"question": "What do bees do?"}, progress_callback=hear)

    assert not result.isError and result.structuredContent
    answer = result.structuredContent
    assert answer["status"] == "succeeded"
    assert "[1]" in answer["text"] and answer["sources"][0]["n"] == 1
    assert "Sources:" in text(result)
    assert told
    with server.http() as http:
        run = http.get(f"runs/{answer['run_id']}").json()
    assert run["output"]["text"] == answer["text"]


async def test_a_picture_in_an_answer_is_written_out(server: House) -> None:
    async with client(server) as session:
        drawn = await session.call_tool("draws", {"question": "go"})
    for told in (text(drawn), (drawn.structuredContent or {})["text"]):
        assert unfetched(told) == told and "evil.example" in told


async def test_what_a_run_has_made_can_be_fetched_by_its_owner(server: House) -> None:
    async with client(server) as session:
        made = (await session.call_tool("makes", {"question": "go"})).structuredContent or {}
    (file,) = made["artefacts"]
    assert (file["name"], file["media_type"], file["size"]) == ("bees.txt", "text/plain", 5)
    with server.http() as http:
        assert http.get(server.url + file["path"]).text == "Bees!"


async def test_a_conversation_goes_on(server: House) -> None:
    async with client(server) as session:
        first = await session.call_tool("says", {"question": "One?"})
        thread_id = (first.structuredContent or {})["thread_id"]
        second = await session.call_tool("says", {"question": "Two?", "thread_id": thread_id})

    assert text(second) == SAID and (second.structuredContent or {})["thread_id"] == thread_id
    with server.http() as http:
        assert [it["question"] for it in http.get(f"threads/{thread_id}/runs").json()["runs"]] == ["One?", "Two?"]


async def keyed(session: ClientSession, key: Any, question: str) -> types.CallToolResult:
    meta = types.RequestParams.Meta.model_validate({"sextant.idempotencyKey": key})
    params = types.CallToolRequestParams(name="says", arguments={"question": question}, _meta=meta)
    request = types.ClientRequest(types.CallToolRequest(params=params))
    return await session.send_request(request, types.CallToolResult)


async def test_the_same_key_is_the_same_run(server: House) -> None:
    async with client(server) as session:
        runs = [(await keyed(session, "wish-1", "One?")).structuredContent or {} for _ in range(2)]
        other = await keyed(session, "wish-1", "Two?")
        odd = await keyed(session, {"a": 1}, "Two?")
    assert runs[0]["run_id"] == runs[1]["run_id"]
    assert other.isError and "another request" in text(other)
    assert odd.isError and "sextant.idempotencyKey" in text(odd)


async def test_what_goes_wrong_is_an_error_of_the_tool(server: House) -> None:
    async with client(server) as session:
        failed = await session.call_tool("fails", {"question": "?"})
        empty = await session.call_tool("says", {"question": " "})
        wrong = await session.call_tool("says", {"query": "?"})
        unknown = await session.call_tool("nothing", {})
        strange = await session.call_tool("says", {"question": "?", "thread_id": "../../etc"})

    assert failed.isError and (failed.structuredContent or {})["status"] == "failed"
    assert all(it.isError for it in (empty, wrong, unknown, strange))
    assert "question: it is empty" in text(empty)


async def test_a_run_that_asks_a_person_says_so(server: House) -> None:
    async with client(server) as session:
        result = await session.call_tool("asks", {"question": "Shall we?"})

    assert not result.isError and result.structuredContent
    assert result.structuredContent["status"] == "waiting"
    assert result.structuredContent["asks"][0]["question"] == "Shall I?"


async def test_a_cancelled_request_stops_its_run(server: House, gates: Gates) -> None:
    question = "cancelled over MCP"
    async with client(server) as session:
        params = types.CallToolRequestParams(name="waits", arguments={"question": question})
        request = types.ClientRequest(types.CallToolRequest(params=params))
        call = asyncio.create_task(session.send_request(request, types.CallToolResult))
        await gates.reached(question)
        with server.http() as http:
            run_id = next(it["run_id"] for it in http.get("threads").json()["threads"] if it["title"] == question)
        note = types.CancelledNotificationParams(requestId=session._request_id - 1)
        await session.send_notification(types.ClientNotification(types.CancelledNotification(params=note)))
        with pytest.raises(Exception, match="cancelled"):
            await call
        assert await ended(server, run_id) == "cancelled"


async def ended(server: House, run_id: str) -> str:
    """The status of a run once it has ended."""
    async with asyncio.timeout(60):
        async for _ in server_events(server, run_id):
            pass
    with server.http() as http:
        return str(http.get(f"runs/{run_id}").json()["status"])


async def server_events(server: House, run_id: str) -> AsyncIterator[str]:
    async with (
        httpx.AsyncClient(timeout=60) as http,
        http.stream("GET", f"{server.url}/api/runs/{run_id}/events") as it,
    ):
        async for line in it.aiter_lines():
            yield line


def added(server: House, name: str, content: bytes) -> None:
    """A document, once it can be searched."""
    with server.http() as http:
        ingest = http.post("documents", files={"files": (name, content)}).json()
        while http.get(f"ingests/{ingest['ingest_id']}").json()["state"] == "running":
            pass


async def test_documents_are_resources_and_can_be_searched(server: House) -> None:
    added(server, "bees.md", b"# Bees\n\nBees dance to tell of flowers.")
    async with client(server) as session:
        listed = (await session.list_resources()).resources
        found = next(it for it in listed if it.name == "bees.md")
        read = (await session.read_resource(found.uri)).contents[0]
        hits = await session.call_tool("search_documents", {"query": "bees dance", "k": 3})
        with pytest.raises(Exception, match="there is no document"):
            await session.read_resource(AnyUrl("sextant://documents/../../etc/passwd"))

    assert isinstance(read, types.TextResourceContents) and read.text.startswith("# Bees")
    assert (hits.structuredContent or {})["passages"][0]["document"] == "bees.md"


async def test_a_whole_number_is_one_however_it_is_written(server: House) -> None:
    async with client(server) as session:
        hits = await session.call_tool("search_documents", {"query": "bees", "k": 1.0})
    assert not hits.isError, text(hits)


def test_a_page_of_another_site_is_refused(server: House) -> None:
    with httpx.Client(base_url=server.url, headers=HEADERS, timeout=60) as http:
        rebound = http.post("/api/mcp", json=INITIALIZE, headers={"host": "evil.example"})
        foreign = http.post("/api/mcp", json=INITIALIZE, headers={"origin": "http://evil.example"})
        ours = http.post("/api/mcp", json=INITIALIZE, headers={"origin": server.url})
        standing = http.get("/api/mcp")

    assert (rebound.status_code, foreign.status_code, ours.status_code) == (403, 403, 200)
    assert standing.status_code == 405


def test_what_is_too_large_or_no_message_is_refused(server: House) -> None:
    with httpx.Client(base_url=server.url, headers=HEADERS, timeout=60) as http:
        large = http.post("/api/mcp", content=b"x" * 4_000_001)
        garbage = http.post("/api/mcp", content=b"{]")
        stranger = http.post("/api/mcp", json=PING, headers={"mcp-session-id": "guess"})

    assert (large.status_code, garbage.status_code, stranger.status_code) == (413, 400, 404)


@pytest.fixture
async def keys(keyed_server: House) -> dict[str, str]:
    """Two owners."""
    url = keyed_server.settings.database_url
    assert url
    async with await open_pool(url.get_secret_value(), max_size=2) as pool:
        return {owner: (await Keys(pool).add(owner))[0] for owner in ("ann", "bob")}


async def test_each_owner_sees_their_own(keyed_server: House, keys: dict[str, str]) -> None:
    async with httpx.AsyncClient(headers=HEADERS, timeout=60) as http:
        anonymous = await http.post(f"{keyed_server.url}/api/mcp", json=INITIALIZE)
        foreign = await http.post(f"{keyed_server.url}/api/mcp", json=INITIALIZE, headers=FOREIGN)
    async with client(keyed_server, keys["ann"]) as ann, client(keyed_server, keys["bob"]) as bob:
        said = await ann.call_tool("says", {"question": "Ann's?"})
        thread_id = (said.structuredContent or {})["thread_id"]
        theft = await bob.call_tool("says", {"question": "Bob's?", "thread_id": thread_id})

    assert (anonymous.status_code, foreign.status_code) == (401, 401)
    assert not said.isError
    assert theft.isError and "there is no thread" in text(theft)


def test_one_owner_does_not_take_all_sessions(keyed_server: House, keys: dict[str, str]) -> None:
    url = f"{keyed_server.url}/api/mcp"
    with httpx.Client(headers=HEADERS, timeout=60) as http:
        codes: dict[str, list[int]] = {}
        opened = []
        for owner, times in (("ann", MAX_OF_OWNER + 1), ("bob", 1)):
            for _ in range(times):
                signed = {"authorization": f"Bearer {keys[owner]}"}
                answer = http.post(url, json=INITIALIZE, headers=signed)
                codes.setdefault(owner, []).append(answer.status_code)
                opened.append({**signed, "mcp-session-id": answer.headers.get("mcp-session-id", "none")})
        assert codes == {"ann": [200] * MAX_OF_OWNER + [429], "bob": [200]}
        assert http.delete(url, headers=opened[0]).status_code == 200  # and then there is room again
        again = http.post(url, json=INITIALIZE, headers={"authorization": f"Bearer {keys['ann']}"})
        assert again.status_code == 200
        for headers in opened[1:]:
            http.delete(url, headers=headers)


def test_a_batch_is_no_message(server: House) -> None:
    with httpx.Client(headers=HEADERS, timeout=60) as http:
        answer = http.post(f"{server.url}/api/mcp", json=[INITIALIZE, *[PING] * 1_000])
    assert answer.status_code == 400


def test_a_session_is_its_owners(keyed_server: House, keys: dict[str, str]) -> None:
    def asking(key: str, **more: Any) -> dict[str, str]:
        return {**HEADERS, "authorization": f"Bearer {keys[key]}", **more}

    url = f"{keyed_server.url}/api/mcp"
    opened = httpx.post(url, json=INITIALIZE, headers=asking("ann"), timeout=60)
    session = {"mcp-session-id": opened.headers["mcp-session-id"]}
    assert httpx.post(url, json=PING, headers=asking("bob", **session), timeout=60).status_code == 404
    assert httpx.delete(url, headers=asking("bob", **session), timeout=60).status_code == 404
    assert httpx.post(url, json=PING, headers=asking("ann", **session), timeout=60).status_code == 200


async def test_a_connection_that_breaks_stops_nothing_and_gives_its_place_back(
    narrow_server: House, narrow_key: str, gates: Gates
) -> None:
    url, signed = f"{narrow_server.url}/api/mcp", {**HEADERS, "authorization": f"Bearer {narrow_key}"}
    params = {"name": "waits", "arguments": {"question": "broken off"}}
    body = {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": params}
    async with httpx.AsyncClient(headers=signed, timeout=60) as http:
        opened = await http.post(url, json=INITIALIZE)
        session = {"mcp-session-id": opened.headers["mcp-session-id"]}
        await http.post(url, json={"jsonrpc": "2.0", "method": "notifications/initialized"}, headers=session)
        async with http.stream("POST", url, json=body, headers=session):
            await gates.reached("broken off")
            assert (await http.post(url, json=PING, headers=session)).status_code == 429
        for _ in range(500):  # once the server has noticed
            if (await http.post(url, json=PING, headers=session)).status_code == 200:
                break
        else:
            raise AssertionError("the place was never given back")
        gates.open("broken off")
    with narrow_server.http(narrow_key) as http_:
        (thread,) = http_.get("threads").json()["threads"]
        assert answer_of(http_, thread["run_id"]) == "done: broken off"


# -- whose words they are --------------------------------------------------------------------------------------------


async def test_what_a_model_at_the_other_end_asks_are_no_persons_words(server: House) -> None:
    async with client(server) as session:
        first = await session.call_tool("weighs", {"question": "Pay?"})
        thread_id = (first.structuredContent or {})["thread_id"]
        again = await session.call_tool("weighs", {"question": "Pay?", "thread_id": thread_id})
    assert (text(first), text(again)) == (UNKNOWN, UNKNOWN)
    with server.http() as http:  # nor do they become a person's who goes on with the conversation, or forks it
        body = {"assistant_id": "weighs", "input": {"messages": [{"role": "user", "content": "Go on."}]}}
        run = http.post(f"threads/{thread_id}/runs", json=body).json()["run_id"]
        assert answer_of(http, run) == UNKNOWN
        first_id = (first.structuredContent or {})["run_id"]
        begin = http.get(f"runs/{first_id}/history").json()["checkpoints"][-1]["checkpoint_id"]
        forked = http.post(f"runs/{first_id}/fork", json={"checkpoint_id": begin}).json()["run_id"]
        assert answer_of(http, forked) == UNKNOWN
        alone = http.post("threads", json={"graph": "weighs"}).json()["thread_id"]
        run = http.post(f"threads/{alone}/runs", json=body).json()["run_id"]
        assert answer_of(http, run) == "the person's own words"


def answer_of(http: httpx.Client, run_id: str) -> str:
    """Once the run is over: its log's stream ends then."""
    http.get(f"runs/{run_id}/events")
    return str(http.get(f"runs/{run_id}").json()["output"]["answer"])
