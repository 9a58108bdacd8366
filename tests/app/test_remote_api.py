"""MCP servers of a running installation: shown with their health, approved by hash, one bad one in nobody's way."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import mcp_peer
import pytest
from house import House, house

from agents.remote.servers import ServersInvalid

WRONG = "0" * 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the server is told, and tells."""
    return tmp_path_factory.mktemp("peer")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, folder: Path, postgres: str) -> Iterator[House]:
    """One with a file of servers where it is looked for."""
    home = tmp_path_factory.mktemp("house")
    named = {
        "peer": {"command": sys.executable, "args": [mcp_peer.__file__, "stdio", str(folder)]},
        "broken": {"command": sys.executable, "args": ["-c", "raise SystemExit(7)"]},
    }
    (home / "mcp.json").write_text(json.dumps({"mcpServers": named}))
    with house(home, postgres) as running:
        yield running


@pytest.fixture
def http(server: House) -> Iterator[httpx.Client]:
    """The person at this machine."""
    with server.http() as client:
        yield client


def shown(http: httpx.Client, name: str, state: str) -> dict[str, Any]:
    """A server, once it is in this state."""
    for _ in range(5_000):
        found = next(it for it in http.get("remotes").json()["remotes"] if it["name"] == name)
        if found["state"] == state:
            return dict(found)
    raise AssertionError(f"{name} is not {state} but {found['state']}: {found['last_error']}")


def tools(remote: dict[str, Any]) -> dict[str, Any]:
    return {it["tool"]: it for it in remote["tools"]}


def test_a_server_is_shown_with_what_it_defines(http: httpx.Client) -> None:
    peer = shown(http, "peer", "connected")
    echo = tools(peer)["echo"]

    assert (peer["transport"], peer["about"], peer["roles"]) == ("stdio", "peer 3", ["assistant", "soloist"])
    assert mcp_peer.__file__ in peer["target"]
    assert (echo["name"], echo["state"], echo["callable"], echo["approved"]) == ("peer__echo", "new", False, None)
    assert echo["offered"]["description"] == "Says it again."
    assert echo["offered"]["schema"]["required"] == ["text"]
    assert (echo["effect"], echo["asks"]) == ("read", "after_reading")
    assert (tools(peer)["poke"]["effect"], tools(peer)["poke"]["asks"]) == ("at_most_once", "always")


def test_one_that_cannot_start_is_shown_and_in_nobodys_way(http: httpx.Client) -> None:
    broken = shown(http, "broken", "away")

    assert broken["last_error"] == "it ended with exit code 7" and broken["tools"] == []
    assert http.get("ready").json()["database"] is True


def test_what_was_read_is_approved_and_what_has_changed_is_not(http: httpx.Client, folder: Path) -> None:
    peer = tools(shown(http, "peer", "connected"))
    read = {tool: peer[tool]["offered"]["sha256"] for tool in ("echo", "poke")}

    wrong = http.post("remotes/peer/approve", json={"tools": {"poke": read["poke"], "echo": WRONG}})
    assert wrong.status_code == 409
    assert wrong.json()["error"]["code"] == "definition_changed" and wrong.json()["error"]["field"] == "tools.echo"
    assert wrong.json()["error"]["actual"] == read["echo"]
    assert not any(it["callable"] for it in tools(shown(http, "peer", "connected")).values()), "all of them or none"

    approved = tools(http.post("remotes/peer/approve", json={"tools": read}).json())
    assert approved["echo"]["state"] == "approved" and approved["echo"]["callable"]
    assert approved["echo"]["approved"]["by"] == "local" and approved["hang"]["state"] == "new"

    (folder / "definition").write_text("Says it to everybody.")
    late = http.post("remotes/peer/approve", json={"tools": {"echo": read["echo"]}})
    assert late.status_code == 409
    changed = tools(shown(http, "peer", "connected"))["echo"]
    assert (changed["state"], changed["callable"]) == ("changed", False)
    assert changed["approved"]["description"] == "Says it again."
    assert changed["offered"]["description"] == "Says it to everybody."


def test_a_yes_can_be_taken_back(http: httpx.Client) -> None:
    peer = tools(shown(http, "peer", "connected"))
    http.post("remotes/peer/approve", json={"tools": {"fail": peer["fail"]["offered"]["sha256"]}})
    for names, status in ((["fail", "hang"], 404), ([], 422), (["fail"], 200), (["fail"], 404)):
        answer = http.delete("remotes/peer/approve", params={"tool": names})
        assert answer.status_code == status, (names, answer.text)
    gone = tools(shown(http, "peer", "connected"))["fail"]
    assert (gone["state"], gone["callable"], gone["approved"]) == ("new", False, None)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("nobody", {"tools": {"echo": WRONG}}, 404),
        ("broken", {"tools": {"echo": WRONG}}, 409),
        ("peer", {"tools": {"unknown": WRONG}}, 409),
        ("peer", {"tools": {"echo": "short"}}, 422),
        ("peer", {"tools": {}}, 422),
        ("peer", {}, 422),
    ],
)
def test_what_cannot_be_approved_is_refused(http: httpx.Client, path: str, body: Any, status: int) -> None:
    answer = http.post(f"remotes/{path}/approve", json=body)

    assert answer.status_code == status and answer.json()["error"]["fix"]


async def test_a_file_that_is_wrong_stops_the_start_with_the_field(tmp_path: Path, database_url: str) -> None:
    from pydantic import SecretStr

    from app.compose import compose
    from app.settings import Settings

    path = tmp_path / "servers.json"
    path.write_text(json.dumps({"mcpServers": {"peer": {"command": "x", "roles": ["nobody"]}}}))
    settings = Settings(home=tmp_path, database_url=SecretStr(database_url), mcp_servers=path,
                        model_url="http://127.0.0.1:9/v1")  # fmt: skip
    with pytest.raises(ServersInvalid, match=r"mcpServers.peer.roles.0: there is no agent 'nobody'"):
        async with compose(settings, embed=False, work=False):
            pass
