"""Threads and their states through langgraph-sdk's own client."""

from itertools import pairwise
from typing import Any

import pytest
from house import House
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import ConflictError, NotFoundError, UnprocessableEntityError
from protocol_graphs import SAID, Gates, human, texts


async def spoken(client: LangGraphClient, *questions: str) -> str:
    thread_id = str((await client.threads.create(graph_id="says"))["thread_id"])
    for question in questions:
        await client.runs.wait(thread_id, "says", input=human(question))
    return thread_id


async def test_a_new_thread_is_idle_and_empty(client: LangGraphClient) -> None:
    thread = await client.threads.create(metadata={"who": "me"}, graph_id="says", thread_id="mine")
    assert thread["thread_id"] == "mine"
    assert (thread["status"], thread["values"], thread["interrupts"]) == ("idle", {}, {})
    assert (thread["metadata"]["who"], thread["metadata"]["graph_id"]) == ("me", "says")
    assert await client.threads.get("mine") == thread
    assert await client.threads.create(thread_id="mine", if_exists="do_nothing") == thread
    with pytest.raises(ConflictError):
        await client.threads.create(thread_id="mine")
    state = await client.threads.get_state("mine")
    assert (state["values"], state["next"], state["checkpoint"]["checkpoint_id"]) == ({}, [], None)
    assert await client.threads.get_history("mine") == []


async def test_metadata_is_merged(client: LangGraphClient) -> None:
    thread = await client.threads.create(metadata={"a": 1, "b": 1}, graph_id="says")
    changed = await client.threads.update(thread["thread_id"], metadata={"b": 2})
    assert {name: changed["metadata"][name] for name in "ab"} == {"a": 1, "b": 2}
    assert await client.threads.update(thread["thread_id"], metadata={"c": 3}, return_minimal=True) is None
    assert (await client.threads.get(thread["thread_id"]))["metadata"]["c"] == 3


async def test_search_and_count_by_everything_that_is_offered(client: LangGraphClient, gates: Gates) -> None:
    mark = {"batch": "search"}
    said = [str((await client.threads.create(metadata=mark, graph_id="says"))["thread_id"]) for _ in range(3)]
    asking = str((await client.threads.create(metadata=mark, graph_id="asks"))["thread_id"])
    busy = str((await client.threads.create(metadata=mark, graph_id="waits"))["thread_id"])
    failed = str((await client.threads.create(metadata=mark, graph_id="fails"))["thread_id"])
    await client.runs.wait(said[0], "says", input=human("x"))
    await client.runs.wait(asking, "asks", input=human("x"))
    await client.runs.create(busy, "waits", input=human("searched"))
    await client.runs.wait(failed, "fails", input=human("x"), raise_error=False)
    await gates.reached("searched")

    async def ids(**where: Any) -> list[str]:
        found = await client.threads.search(limit=100, **where)
        plain = {name: value for name, value in where.items() if name in ("metadata", "status")}
        if where.keys() <= {"metadata", "status"}:
            assert await client.threads.count(**plain) == len(found)
        return [it["thread_id"] for it in found]

    assert set(await ids(metadata=mark)) == {*said, asking, busy, failed}
    assert set(await ids(metadata={**mark, "graph_id": "says"})) == set(said)
    assistant = await client.assistants.get("asks")
    assert await ids(metadata={**mark, "assistant_id": assistant["assistant_id"]}) == [asking]
    assert await ids(metadata=mark, status="interrupted") == [asking]
    assert await ids(metadata=mark, status="busy") == [busy]
    assert await ids(metadata=mark, status="error") == [failed]
    assert set(await ids(metadata=mark, status="idle")) == set(said)
    assert set(await ids(ids=[said[1], "no-such"])) == {said[1]}
    assert await ids(metadata={**mark, "graph_id": "no-such"}) == []
    by_id = {"metadata": mark, "sort_by": "thread_id", "sort_order": "asc"}
    assert await ids(**by_id) == sorted([*said, asking, busy, failed])
    pages = [await client.threads.search(limit=4, offset=offset, **by_id) for offset in (0, 4)]
    assert [len(page) for page in pages] == [4, 2]
    [small] = await client.threads.search(ids=[said[0]], select=["thread_id", "status"])
    assert small == {"thread_id": said[0], "status": "idle"}
    [whole] = await client.threads.search(ids=[said[0]])
    assert texts(whole["values"]) == ["x", SAID]
    gates.open("searched")
    for wrong in ({"values": {"a": 1}}, {"sort_by": "owner; drop table threads"}):
        with pytest.raises(UnprocessableEntityError):
            await client.threads.search(**wrong)


async def test_a_copy_is_equal_and_goes_its_own_way(client: LangGraphClient) -> None:
    thread_id = await spoken(client, "one")
    await client.runs.wait(thread_id, "asks", input=human("two"))
    copy: Any = await client.threads.copy(thread_id)
    assert copy["thread_id"] != thread_id
    assert copy["status"] == "interrupted"
    whole = await client.threads.get_history(thread_id)
    assert [it["values"] for it in await client.threads.get_history(copy["thread_id"])] == [
        it["values"] for it in whole
    ]
    values = await client.runs.wait(copy["thread_id"], "asks", command={"resume": "copied"})
    assert texts(values) == ["one", SAID, "two", "You said copied."]
    assert (await client.threads.get(thread_id))["status"] == "interrupted"
    await client.threads.delete(thread_id)
    assert texts((await client.threads.get_state(copy["thread_id"]))["values"]) == texts(values)


async def test_a_deleted_thread_is_gone(client: LangGraphClient) -> None:
    thread_id = await spoken(client, "one")
    await client.threads.delete(thread_id)
    for call in (client.threads.get(thread_id), client.threads.get_state(thread_id), client.threads.delete(thread_id)):
        with pytest.raises(NotFoundError):
            await call


# -- states ----------------------------------------------------------------------------------------------------------


async def test_the_history_of_several_runs_is_one_line(client: LangGraphClient) -> None:
    thread_id = await spoken(client, "one", "two", "three")
    history = await client.threads.get_history(thread_id, limit=100)
    assert [len(it["values"]["messages"]) for it in history] == [6, 5, 4, 3, 2, 1, 0]
    for later, earlier in pairwise(history):
        assert later["parent_checkpoint"] is not None
        assert later["parent_checkpoint"]["checkpoint_id"] == earlier["checkpoint"]["checkpoint_id"]
    assert history[-1]["parent_checkpoint"] is None
    assert history[0] == await client.threads.get_state(thread_id)
    assert await client.threads.get_history(thread_id, limit=2) == history[:2]
    assert await client.threads.get_history(thread_id, before=history[2]["checkpoint"]) == history[3:]
    assert await client.threads.get_history(thread_id, before=history[2]["checkpoint"]["checkpoint_id"]) == history[3:]
    assert await client.threads.get_history(thread_id, checkpoint=history[4]["checkpoint"]) == [history[4]]
    assert await client.threads.get_history(thread_id, metadata={"source": "input"}) == history[-1:]


async def test_a_state_is_found_by_its_checkpoint(client: LangGraphClient) -> None:
    thread_id = await spoken(client, "one", "two")
    for state in await client.threads.get_history(thread_id):
        found = await client.threads.get_state(thread_id, checkpoint_id=state["checkpoint"]["checkpoint_id"])
        assert found["values"] == state["values"]
        assert await client.threads.get_state(thread_id, checkpoint=state["checkpoint"], subgraphs=True) == found
    some = await client.threads.get_state(thread_id, select=["next", "values.messages"])
    assert set(some) == {"next", "values"}


async def test_a_checkpoint_of_another_thread_is_not_found(client: LangGraphClient) -> None:
    thread_id, other = await spoken(client, "mine"), await spoken(client, "theirs")
    theirs: Any = (await client.threads.get_state(other))["checkpoint"]
    for call in (
        client.threads.get_state(thread_id, checkpoint=theirs),
        client.threads.get_state(thread_id, checkpoint_id=theirs["checkpoint_id"]),
        client.threads.update_state(thread_id, human("x"), checkpoint=theirs),
        client.threads.get_state(thread_id, checkpoint={**theirs, "checkpoint_ns": "say:1"}),
    ):
        with pytest.raises(NotFoundError):
            await call


async def test_an_edit_is_where_the_thread_goes_on(client: LangGraphClient) -> None:
    thread_id = await spoken(client, "one")
    state = await client.threads.get_state(thread_id)
    said: Any = state["values"]["messages"][1]  # type: ignore[call-overload]
    edit = {"messages": [{"type": "ai", "content": "Bees hum.", "id": said["id"]}]}
    place = await client.threads.update_state(thread_id, edit)
    edited = await client.threads.get_state(thread_id)
    assert edited["checkpoint"]["checkpoint_id"] == place["checkpoint"]["checkpoint_id"]
    assert edited["parent_checkpoint"] == state["checkpoint"]
    assert texts(edited["values"]) == ["one", "Bees hum."]
    assert texts(await client.runs.wait(thread_id, "says", input=human("two"))) == ["one", "Bees hum.", "two", SAID]


async def test_an_edit_of_an_older_state_is_a_branch(client: LangGraphClient) -> None:
    thread_id = await spoken(client, "one", "two")
    history = await client.threads.get_history(thread_id)
    old = next(it for it in history if texts(it["values"]) == ["one", SAID])
    await client.threads.update_state(thread_id, human("between"), checkpoint=old["checkpoint"])
    assert texts((await client.threads.get_state(thread_id))["values"]) == ["one", SAID, "between"]
    values = await client.runs.wait(thread_id, "says", input=human("three"))
    assert texts(values) == ["one", SAID, "between", "three", SAID]
    kept = {it["checkpoint"]["checkpoint_id"] for it in await client.threads.get_history(thread_id, limit=100)}
    assert {it["checkpoint"]["checkpoint_id"] for it in history} <= kept


async def test_an_edit_as_a_node_is_followed_by_the_next_one(client: LangGraphClient) -> None:
    thread_id = str((await client.threads.create(graph_id="counts"))["thread_id"])
    await client.runs.wait(thread_id, "counts", input={"n": 5})
    await client.threads.update_state(thread_id, {"n": 100}, as_node="count")
    state = await client.threads.get_state(thread_id)
    assert (state["values"], state["next"]) == ({"n": 106, "words": ["n=6"]}, ["name"])
    assert await client.runs.wait(thread_id, "counts") == {"n": 106, "words": ["n=6", "n=106"]}


async def test_an_edit_while_a_person_is_asked_is_what_the_node_sees(client: LangGraphClient) -> None:
    thread_id = str((await client.threads.create(graph_id="asks"))["thread_id"])
    await client.runs.wait(thread_id, "asks", input=human("the bees"))
    await client.threads.update_state(thread_id, human("and the birds"))
    assert (await client.threads.get(thread_id))["status"] == "interrupted"


async def test_edits_that_cannot_be_are_refused(client: LangGraphClient, gates: Gates) -> None:
    empty = str((await client.threads.create(graph_id="says"))["thread_id"])
    with pytest.raises(ConflictError):
        await client.threads.update_state(empty, human("too early"))
    thread_id = await spoken(client, "one")
    for values, more in (
        ({"nothing": 1}, {}),
        (human("x"), {"as_node": "no-such-node"}),
        ({"messages": [{"role": "robot", "content": "x"}]}, {}),
        (human("nul \x00"), {}),
    ):
        with pytest.raises(UnprocessableEntityError):
            await client.threads.update_state(thread_id, values, **more)
    await client.runs.create(thread_id, "waits", input=human("no edits"))
    await gates.reached("no edits")
    with pytest.raises(ConflictError):
        await client.threads.update_state(thread_id, human("under way"))
    gates.open("no edits")


async def test_what_is_not_offered_is_refused(server: House) -> None:
    with server.http() as http:
        for body in ({"supersteps": [{"updates": []}]}, {"ttl": {"ttl": 1}}, {"metadata": {"a": "\x00"}},
                     {"thread_id": "a/b"}, {"thread_id": "x" * 101}, {"metadata": [1]}):  # fmt: skip
            assert http.post("agent/threads", json=body).status_code == 422
        assert http.post("agent/threads", json={"metadata": {"graph_id": "no-such"}}).status_code == 404
        assert http.get("agent/threads/%00").status_code in (404, 422)
        assert http.post("agent/threads/search", json={"limit": 10**9}).status_code == 422
