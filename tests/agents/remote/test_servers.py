"""The file of servers: what is taken, and which field is named when it is not."""

import json
from pathlib import Path
from typing import Any

import pytest

from agents.remote.servers import DEFAULT_ROLES, Server, ServersInvalid, read_servers

ENVIRONMENT = {"PATH": "/bin", "TOKEN": "secret", "OTHER": "stays here"}


def read(tmp_path: Path, **servers: Any) -> tuple[Server, ...]:
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": servers}))
    return read_servers(path, ENVIRONMENT.get, {"assistant", "soloist", "clerk"})


def test_a_file_of_another_client_is_taken_as_it_is(tmp_path: Path) -> None:
    time, web = read(
        tmp_path,
        time={"command": "uvx", "args": ["mcp-server-time"], "env": {"TZ": "UTC"}},
        web={"type": "http", "url": "https://mcp.example/v1?key=${TOKEN}", "headers": {"X-Key": "${TOKEN}"}},
    )

    assert (time.command, time.args, time.transport, time.roles) == (
        "uvx",
        ("mcp-server-time",),
        "stdio",
        DEFAULT_ROLES,
    )
    assert web.transport == "http" and web.headers == {"X-Key": "secret"}
    assert not (time.trust_on_first_use or web.trust_on_first_use)


def test_a_process_gets_what_its_entry_lists_and_a_path(tmp_path: Path) -> None:
    (it,) = read(tmp_path, it={"command": "run", "env": {"A": "${TOKEN}", "B": "${NOBODY:-default}"}})

    assert it.env == {"PATH": "/bin", "A": "secret", "B": "default"}


def test_secrets_are_neither_shown_nor_logged(tmp_path: Path) -> None:
    process, web = read(
        tmp_path,
        process={"command": "run", "args": ["--key", "${TOKEN}"], "env": {"KEY": "${TOKEN}"}},
        web={"url": "https://mcp.example/v1?key=${TOKEN}", "headers": {"X-Key": "${TOKEN}"}},
    )

    assert "secret" not in f"{process} {web} {process.target} {web.target}"
    assert process.target == "run --key ${TOKEN}" and web.target == "https://mcp.example/v1"


def test_what_is_disabled_is_left_out(tmp_path: Path) -> None:
    assert read(tmp_path, off={"command": "run", "disabled": True}) == ()


def test_two_servers_whose_tools_would_have_the_same_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ServersInvalid, match=r"mcpServers.My-Time: its tools would be named as those of 'my_time'"):
        read(tmp_path, my_time={"command": "a"}, **{"My-Time": {"command": "b"}})


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({}, "command: give either command or url"),
        ({"command": "a", "url": "http://x"}, "command: give either"),
        ({"command": ""}, "command: not a text"),
        ({"command": "a", "args": "b"}, "args: not a list"),
        ({"command": "a", "args": ["b", 1]}, "args.1: not a text"),
        ({"command": "a", "env": {"A": 1}}, "env.A: not a text"),
        ({"command": "a", "env": {"A": "${NOBODY}"}}, "env.A: the variable NOBODY is not set"),
        ({"command": "a", "headers": {}}, "headers: it belongs to a server with url"),
        ({"url": "ftp://x"}, "url: not an http"),
        ({"url": "http://me:secret@x/"}, "url: not an http"),
        ({"url": "http://x", "env": {}}, "env: it belongs to a server with command"),
        ({"url": "http://x", "type": "sse"}, "type: 'sse' with url"),
        ({"command": "a", "roles": ["boss"]}, "roles.0: there is no agent 'boss'; known are assistant, clerk"),
        ({"command": "a", "effects": {"t": "twice"}}, "effects.t: 'twice'; choose one of read"),
        ({"command": "a", "call_timeout_s": 0}, "call_timeout_s: 0; give seconds"),
        ({"command": "a", "trust_on_first_use": "yes"}, "trust_on_first_use: 'yes'; give true or false"),
        ({"command": "a", "autoApprove": ["*"]}, "autoApprove: unknown field"),
        ("a", "not an object"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, entry: Any, named: str) -> None:
    with pytest.raises(ServersInvalid) as refused:
        read(tmp_path, it=entry)

    assert named in str(refused.value) and str(refused.value).startswith(f"{tmp_path / 'mcp.json'}: mcpServers.it")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"mcpServers": []}', "nonsense"])
def test_a_file_that_names_no_servers_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(text)

    with pytest.raises(ServersInvalid, match=r"mcpServers|no JSON"):
        read_servers(path, ENVIRONMENT.get)


def test_a_name_is_one_that_tools_can_begin_with(tmp_path: Path) -> None:
    for name in ("", "…", "x" * 25):
        with pytest.raises(ServersInvalid, match="use 1 to 24"):
            read(tmp_path, **{name: {"command": "a"}})
