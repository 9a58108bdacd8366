"""The store and the assistants through langgraph-sdk's own client."""

import pytest
from house import House
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import NotFoundError


async def test_items_are_kept_found_and_removed(client: LangGraphClient) -> None:
    for key, value in (("a", {"kind": "bee", "n": 1}), ("b", {"kind": "bee", "n": 2}), ("c", {"kind": "wasp", "n": 3})):
        await client.store.put_item(["garden", "insects"], key=key, value=value)
    item = await client.store.get_item(["garden", "insects"], key="a")
    assert (item["namespace"], item["key"], item["value"]) == (["garden", "insects"], "a", {"kind": "bee", "n": 1})
    assert item["created_at"] and item["updated_at"]

    async def keys(*namespace: str, **more: object) -> list[str]:
        found = await client.store.search_items(namespace, **more)  # type: ignore[arg-type]
        return sorted(it["key"] for it in found["items"])

    assert await keys("garden") == ["a", "b", "c"]
    assert await keys("garden", filter={"kind": "bee"}) == ["a", "b"]
    assert await keys("garden", filter={"n": {"$gte": 2}}) == ["b", "c"]
    assert len(await keys("garden", limit=2)) == 2
    assert await keys("gard") == []
    await client.store.put_item(["garden", "insects"], key="a", value={"kind": "ant"})
    assert await keys("garden", filter={"kind": "ant"}) == ["a"]
    await client.store.delete_item(["garden", "insects"], key="a")
    with pytest.raises(NotFoundError):
        await client.store.get_item(["garden", "insects"], key="a")


async def test_namespaces_are_the_owners_own(client: LangGraphClient) -> None:
    for namespace in (["spaces", "one"], ["spaces", "two"], ["spaces", "two", "deep"]):
        await client.store.put_item(namespace, key="k", value={"x": 1})
    found = (await client.store.list_namespaces(prefix=["spaces"]))["namespaces"]
    assert sorted(found) == [["spaces", "one"], ["spaces", "two"], ["spaces", "two", "deep"]]
    found = (await client.store.list_namespaces(prefix=["spaces"], max_depth=2))["namespaces"]
    assert sorted(found) == [["spaces", "one"], ["spaces", "two"]]
    assert (await client.store.list_namespaces(suffix=["deep"]))["namespaces"] == [["spaces", "two", "deep"]]


@pytest.mark.parametrize(
    "body",
    [
        {"namespace": ["a.b"], "key": "k", "value": {}},
        {"namespace": ["*"], "key": "k", "value": {}},
        {"namespace": [""], "key": "k", "value": {}},
        {"namespace": ["a"] * 17, "key": "k", "value": {}},
        {"namespace": ["nul\x00"], "key": "k", "value": {}},
        {"namespace": ["a"], "key": "", "value": {}},
        {"namespace": ["a"], "key": "nul\x00", "value": {}},
        {"namespace": ["a"], "key": "k", "value": {"text": "nul\x00"}},
        {"namespace": ["a"], "key": "k", "value": [1]},
        {"namespace": ["a"], "key": "k", "value": {"n": 2**70}},
        {"namespace": ["a"], "key": "k", "value": {}, "ttl": 5},
    ],
)
def test_what_cannot_be_kept_as_it_is_is_refused(server: House, body: dict[str, object]) -> None:
    with server.http() as http:
        assert http.put("agent/store/items", json=body).status_code == 422
        assert http.post("agent/store/items/search", json={"filter": {"a": {"$where": 1}}}).status_code == 422
        assert http.post("agent/store/items/search", json={"query": "like this"}).status_code == 422


async def test_every_graph_is_an_assistant(client: LangGraphClient) -> None:
    found = await client.assistants.search(limit=100)
    assert {"chat", "research", "says"} <= {it["graph_id"] for it in found}
    assert await client.assistants.count() == len(found)
    page = await client.assistants.search(limit=2, response_format="object")
    assert (len(page["assistants"]), page["next"]) == (2, "2")
    [chat] = await client.assistants.search(graph_id="chat")
    assert chat == await client.assistants.get("chat") == await client.assistants.get(chat["assistant_id"])
    # the id that every server of the ecosystem gives to a graph of this name
    assert chat["assistant_id"] == "eb6db400-e3c8-5d06-a834-015cb89efe69"
    drawn = await client.assistants.get_graph("chat", xray=True)
    assert [node["id"] for node in drawn["nodes"]] == ["__start__", "answer", "__end__"]
    for graph in ("chat", "research"):
        schemas = await client.assistants.get_schemas(graph)
        assert "messages" in str(schemas["input_schema"])
    assert await client.assistants.get_subgraphs("chat") == {}
    with pytest.raises(NotFoundError):
        await client.assistants.get("no-such-graph")
