"""Streams through langgraph-sdk's own client: every mode, subgraphs, reconnects that lose and double nothing."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import pytest
from house import House
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.schema import StreamPart
from protocol_graphs import SAID, Gates, human, texts

ALL = ["values", "updates", "messages-tuple", "custom", "checkpoints"]


async def streamed(client: LangGraphClient, graph: str, input: Any, **more: Any) -> list[StreamPart]:
    thread = await client.threads.create(graph_id=graph)
    return [part async for part in client.runs.stream(thread["thread_id"], graph, input=input, **more)]


def events(parts: Sequence[StreamPart]) -> list[str]:
    return [part.event for part in parts]


def of(parts: Sequence[StreamPart], event: str) -> list[Any]:
    return [part.data for part in parts if part.event == event]


async def test_values_come_after_each_step_between_metadata_and_end(client: LangGraphClient) -> None:
    parts = await streamed(client, "counts", {"n": 5})
    assert events(parts) == ["metadata", "values", "values", "values", "end"]
    assert of(parts, "values") == [{"n": 5}, {"n": 6}, {"n": 6, "words": ["n=6"]}]
    assert set(parts[0].data) == {"run_id", "attempt"}


async def test_updates_name_the_node_and_what_it_wrote(client: LangGraphClient) -> None:
    parts = await streamed(client, "counts", {"n": 5}, stream_mode="updates")
    assert of(parts, "updates") == [{"count": {"n": 1}}, {"name": {"words": ["n=6"]}}]


async def test_a_node_that_writes_nothing_is_named_too(client: LangGraphClient) -> None:
    parts = await streamed(client, "rests", human("x"), stream_mode="updates")
    assert of(parts, "updates") == [{"nothing": {}}]


async def test_custom_is_what_a_node_writes(client: LangGraphClient) -> None:
    parts = await streamed(client, "counts", {"n": 5}, stream_mode=["custom", "updates"])
    assert events(parts) == ["metadata", "custom", "updates", "updates", "end"]
    assert of(parts, "custom") == [{"counting": 5}]


async def test_message_tuples_add_up_to_the_message_of_the_state(client: LangGraphClient) -> None:
    parts = await streamed(client, "says", human("Say it."), stream_mode=["messages-tuple", "values"])
    chunks = [chunk for chunk, _ in of(parts, "messages")]
    said = of(parts, "values")[-1]["messages"][-1]
    assert "".join(chunk["content"] for chunk in chunks) == said["content"] == SAID
    assert {chunk["id"] for chunk in chunks} == {said["id"]}
    assert {chunk["type"] for chunk in chunks} == {"AIMessageChunk"}
    assert {about["langgraph_node"] for _, about in of(parts, "messages")} == {"say"}


async def test_messages_grow_and_end_complete(client: LangGraphClient) -> None:
    parts = await streamed(client, "says", human("Say it."), stream_mode="messages")
    [about] = of(parts, "messages/metadata")
    [complete] = of(parts, "messages/complete")
    partial = [messages[0] for messages in of(parts, "messages/partial")]
    assert [complete[0]["id"]] == list(about) == list({message["id"] for message in partial})
    assert complete[0]["content"] == partial[-1]["content"] == SAID
    assert all(later["content"].startswith(earlier["content"]) for earlier, later in pairwise(partial))


async def test_subgraphs_are_told_apart_by_name(client: LangGraphClient) -> None:
    parts = await streamed(client, "delegates", human("Go."), stream_mode=ALL, stream_subgraphs=True)
    [inner] = {part.event for part in parts if part.event.startswith("messages|")}
    assert inner.startswith("messages|delegate:")
    assert "".join(chunk["content"] for chunk, _ in of(parts, inner)) == SAID
    assert of(parts, "updates")[-1]["delegate"]["messages"][0]["content"] == SAID


async def test_the_second_version_of_the_client_reads_it_too(client: LangGraphClient) -> None:
    thread = await client.threads.create(graph_id="asks")
    stream = client.runs.stream(thread["thread_id"], "asks", input=human("it"), version="v2")
    parts: list[Any] = [part async for part in stream]
    assert [part["type"] for part in parts] == ["metadata", "values", "values"]
    assert [it["value"]["question"] for it in parts[-1]["interrupts"]] == ["Shall I?"]


async def test_a_question_ends_the_stream_and_its_answer_begins_the_next(client: LangGraphClient) -> None:
    thread = await client.threads.create(graph_id="asks")
    first = [
        part
        async for part in client.runs.stream(
            thread["thread_id"], "asks", input=human("it"), stream_mode=["values", "updates"]
        )
    ]
    assert events(first) == ["metadata", "values", "updates", "values", "end"]
    [asked] = of(first, "updates")[0]["__interrupt__"]
    assert of(first, "values")[-1]["__interrupt__"] == [asked]
    second = [
        part
        async for part in client.runs.stream(
            thread["thread_id"], "asks", command={"resume": "no"}, stream_mode=["values", "updates"]
        )
    ]
    assert second[0].data["run_id"] == first[0].data["run_id"]
    assert [texts(values) for values in of(second, "values")] == [["it"], ["it", "You said no."]]
    assert [texts(update["ask"]) for update in of(second, "updates")] == [["You said no."]]
    whole = [part async for part in client.runs.join_stream(thread["thread_id"], first[0].data["run_id"])]
    assert [("__interrupt__" in values) for values in of(whole, "values")] == [False, True, False, False]


async def test_a_failure_is_an_error_event(client: LangGraphClient) -> None:
    parts = await streamed(client, "fails", human("go"))
    assert events(parts) == ["metadata", "values", "error", "end"]
    assert "the flowers are gone" in of(parts, "error")[0]["message"]


# -- coming late, and coming back ------------------------------------------------------------------------------------


async def test_a_late_reader_gets_all_of_it(client: LangGraphClient) -> None:
    thread = await client.threads.create(graph_id="counts")
    stream = client.runs.stream(thread["thread_id"], "counts", input={"n": 5}, stream_mode=ALL)
    live = [part async for part in stream]
    run_id = live[0].data["run_id"]
    late = [part async for part in client.runs.join_stream(thread["thread_id"], run_id, stream_mode=ALL)]
    assert late == live


async def test_from_any_event_on_a_reader_gets_exactly_the_rest(client: LangGraphClient) -> None:
    thread = await client.threads.create(graph_id="counts")
    stream = client.runs.stream(thread["thread_id"], "counts", input={"n": 5}, stream_mode=ALL)
    whole = [part async for part in stream]
    run_id = whole[0].data["run_id"]
    assert len({part.id for part in whole[:-1]}) == len(whole) - 1  # the end has the id of the last
    for at, part in enumerate(whole[:-1]):
        rest = client.runs.join_stream(thread["thread_id"], run_id, stream_mode=ALL, last_event_id=part.id)
        assert [it async for it in rest] == whole[at + 1 :]


@pytest.mark.parametrize("last_event_id", ["-1", "x", "9" * 40, "1.x", "-5"])
async def test_an_id_that_names_nothing_is_the_beginning(client: LangGraphClient, last_event_id: str) -> None:
    thread = await client.threads.create(graph_id="counts")
    whole = [part async for part in client.runs.stream(thread["thread_id"], "counts", input={"n": 5})]
    again = client.runs.join_stream(thread["thread_id"], whole[0].data["run_id"], last_event_id=last_event_id)
    assert [it async for it in again] == whole


@asynccontextmanager
async def cut_after(server: House, size: int) -> AsyncIterator[str]:
    """An address of the server whose first event stream breaks after so many bytes."""
    target, cuts, serving = urlsplit(server.url), list[int](), list[Any]()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answer: bool) -> None:
        passed, streaming = 0, False
        while data := await reader.read(1024):
            streaming = streaming or b"text/event-stream" in data
            passed += len(data) if streaming else 0
            writer.write(data)
            await writer.drain()
            if answer and passed > size and not cuts:
                cuts.append(passed)
                writer.transport.abort()
                return
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        far_reader, far_writer = await asyncio.open_connection(target.hostname, target.port)
        await asyncio.gather(
            pump(reader, far_writer, answer=False), pump(far_reader, writer, answer=True), return_exceptions=True
        )

    proxy = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        assert cuts, "nothing was cut"
    finally:
        proxy.close()
        await asyncio.wait(serving, timeout=60)


@pytest.mark.filterwarnings("ignore:Reconnecting without a Last-Event-ID")  # cut before the first event was whole
@pytest.mark.parametrize("size", [50, 700, 1500])
async def test_a_cut_stream_goes_on_where_it_broke(server: House, client: LangGraphClient, size: int) -> None:
    """The client itself reconnects, by the `Location` of the answer, which is relative to where the API is mounted."""
    thread = await client.threads.create(graph_id="counts")
    async with cut_after(server, size) as url, get_client(url=f"{url}/api/agent", api_key=None) as shaky:
        stream = shaky.runs.stream(thread["thread_id"], "counts", input={"n": 5}, stream_mode=ALL)
        parts = [part async for part in stream]
    whole = client.runs.join_stream(thread["thread_id"], parts[0].data["run_id"], stream_mode=ALL)
    assert [part for part in parts if part.event] == [part async for part in whole]


async def test_a_cut_wait_joins_the_run(server: House, client: LangGraphClient, gates: Gates) -> None:
    thread = await client.threads.create(graph_id="waits")
    gates.open("cut wait")
    async with get_client(url=f"{server.url}/api/agent", api_key=None) as other:
        run = await other.runs.create(thread["thread_id"], "waits", input=human("cut wait"))
    answer = await client.http.client.get(f"/threads/{thread['thread_id']}/runs/{run['run_id']}/join")
    assert answer.headers["location"] == f"/threads/{thread['thread_id']}/runs/{run['run_id']}/join"
    assert texts(answer.json()) == ["cut wait", "done: cut wait"]


async def test_a_run_goes_on_without_its_reader_unless_told_otherwise(client: LangGraphClient, gates: Gates) -> None:
    for wanted, status in (("continue", "success"), ("cancel", "interrupted")):
        thread = await client.threads.create(graph_id="waits")
        question = f"left alone: {wanted}"
        stream = client.runs.stream(thread["thread_id"], "waits", input=human(question), on_disconnect=wanted)
        run_id = (await anext(stream)).data["run_id"]
        await gates.reached(question)
        await stream.aclose()
        if wanted == "continue":
            gates.open(question)
        await client.runs.join(thread["thread_id"], run_id)
        assert (await client.runs.get(thread["thread_id"], run_id))["status"] == status


async def test_streams_are_counted_and_one_too_many_is_told_so(
    server: House, client: LangGraphClient, gates: Gates
) -> None:
    thread = await client.threads.create(graph_id="waits")
    run = await client.runs.create(thread["thread_id"], "waits", input=human("many readers"))
    path = f"/threads/{thread['thread_id']}/runs/{run['run_id']}/stream"

    async def reader() -> int:
        async with client.http.client.stream("GET", path) as answer:
            await answer.aread()
            return answer.status_code

    reading = [asyncio.create_task(reader()) for _ in range(server.settings.max_streams + 25)]
    refused, _ = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
    assert {task.result() for task in refused} == {429}
    gates.open("many readers")
    codes = sorted(await asyncio.gather(*reading))
    assert (codes.count(200), codes.count(429)) == (server.settings.max_streams, 25)
    assert await reader() == 200
