"""Memory over HTTP, on a server of the product's own: list, correct, delete. That owners are apart: `test_gate.py`."""

from collections.abc import Iterator

import httpx
import pytest
from house import House, house


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[House]:
    """The server."""
    with house(tmp_path_factory.mktemp("house"), postgres) as running:
        yield running


@pytest.fixture
def http(server: House) -> Iterator[httpx.Client]:
    """The person at this machine."""
    with server.http() as client:
        yield client


def test_a_person_keeps_corrects_and_deletes_what_is_known(http: httpx.Client) -> None:
    first = http.post("memories", json={"text": "The budget is 500 euros."})
    assert (first.status_code, first.json()["version"], first.json()["author"]) == (201, 1, "You")
    key = first.json()["key"]

    second = http.put(f"memories/{key}", json={"text": "The budget is 700 euros.", "version": 1})
    late = http.put(f"memories/{key}", json={"text": "The budget is 600 euros.", "version": 1})

    assert (second.status_code, second.json()["version"]) == (200, 2)
    assert (late.status_code, late.json()["error"]["code"], late.json()["error"]["actual"]) == (
        409, "memory_conflict", 2,
    )  # fmt: skip
    assert [it["text"][-10:] for it in http.get(f"memories/{key}").json()["versions"]] == ["700 euros.", "500 euros."]
    assert key in [it["key"] for it in http.get("memories").json()["memories"]]
    found = http.get("memories/search", params={"query": "How much money may I spend?"}).json()["memories"]
    assert [it["text"] for it in found] == ["The budget is 700 euros."]

    assert http.delete(f"memories/{key}").status_code == 204
    assert http.delete(f"memories/{key}").status_code == 404
    assert http.get(f"memories/{key}").status_code == 404
    assert key not in [it["key"] for it in http.get("memories").json()["memories"]]


@pytest.mark.parametrize(
    ("body", "field"),
    [({"text": ""}, "text"), ({"text": "x" * 4_001}, "text"), ({"text": " \n"}, "text"), ({"text": "a\x00"}, "text"),
     ({}, "text"), ({"text": 5}, "text")],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused_with_the_field(http: httpx.Client, body: object, field: str) -> None:
    answer = http.post("memories", json=body)

    assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)
    assert answer.json()["error"]["fix"]


@pytest.mark.parametrize(
    "path", ["memories?limit=0", "memories?kind=secret", "memories/search", "memories/a%20b", "memories/a%00b"]
)
def test_what_cannot_be_asked_is_refused(http: httpx.Client, path: str) -> None:
    assert http.get(path).status_code == 422
