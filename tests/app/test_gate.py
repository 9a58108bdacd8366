"""Who may do what: keys, owners, cookies, other sites, and requests that are too much."""

import asyncio
import json
import re
import socket
import string
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from house import House, database, house
from protocol_graphs import Gates, human, protocol_graphs
from pydantic import SecretStr

from app.artefacts import RunArtefacts
from app.auth import Keys, is_loopback
from app.gate import MAX_BODY_BYTES, BodyLimits
from app.postgres import Pool, open_pool
from app.serving import PublicBindRefused, require_key, serve
from app.settings import Settings

GATES = Gates()
OPEN_ROUTES = {"/health", "/ready", "/login", "/logout"}
SHARED = {"document_id", "ingest_id", "chunk_id", "assistant_id", "server", "peer", "model", "graph"}
"""What belongs to everybody who may come in."""

RUN = {"assistant_id": "says", "input": human("x")}
BODIES: dict[str, Any] = {
    "POST /threads/{thread_id}/runs": RUN,
    "PATCH /threads/{thread_id}": {"title": "mine now"},
    "POST /runs/{run_id}/questions/{interrupt_id}": {"answer": "mine"},
    "POST /runs/{run_id}/fork": {"checkpoint_id": "{checkpoint_id}"},
    "PUT /memories/{memory_key}": {"text": "mine now", "version": 1},
    "PATCH /agent/threads/{thread_id}": {"metadata": {"mine": True}},
    "POST /agent/threads/{thread_id}/state": {"values": human("x")},
    "POST /agent/threads/{thread_id}/state/checkpoint": {"checkpoint": {"checkpoint_id": "{checkpoint_id}"}},
    "POST /agent/threads/{thread_id}/history": {},
    "POST /agent/threads/{thread_id}/runs": RUN,
    "POST /agent/threads/{thread_id}/runs/wait": {"assistant_id": "asks", "command": {"resume": "mine"}},
    "POST /agent/threads/{thread_id}/runs/stream": {**RUN, "checkpoint_id": "{checkpoint_id}"},
}
"""What a route needs to get as far as asking whose it is. A new route that needs a body fails here until it has one."""


@dataclass
class Users:
    """Two of them, and what the first one has."""

    house: House
    ann: str
    bob: str
    revoked: str
    ids: dict[str, str]

    def client(self, key: str | None = None) -> httpx.Client:
        return self.house.http(key)


async def with_keys(url: str, *owners: str) -> list[str]:
    async with await open_pool(url, max_size=2) as pool:
        return [(await Keys(pool).add(owner))[0] for owner in owners]


async def with_artefact(url: str, run_id: str) -> str:
    async with await open_pool(url, max_size=2) as pool:
        async with pool.connection() as connection:
            row = await (await connection.execute("select epoch from runs where run_id = %s", (run_id,))).fetchone()
        kept = RunArtefacts(pool, run_id, "ann", epoch=row["epoch"] if row else 0)
        return (await kept.keep("secret.txt", "text/plain", b"ann's secret")).id


async def revoke(url: str, key: str) -> None:
    async with await open_pool(url, max_size=2) as pool:
        await Keys(pool).revoke(key.split("_")[1])


def url_of(house: House) -> str:
    assert house.settings.database_url
    return house.settings.database_url.get_secret_value()


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[Users]:
    """A server that asks for keys."""
    with house(tmp_path_factory.mktemp("users"), postgres, protocol_graphs(GATES), max_streams=5) as running:
        ann, bob, revoked = asyncio.run(with_keys(url_of(running), "ann", "bob", "bob"))
        asyncio.run(revoke(url_of(running), revoked))
        with running.http(ann) as http:
            thread_id = http.post("agent/threads", json={"metadata": {"graph_id": "asks"}}).json()["thread_id"]
            body = {"assistant_id": "asks", "input": human("ann's secret")}
            asked = http.post(f"agent/threads/{thread_id}/runs/wait", json=body).json()["__interrupt__"][0]
            [run] = http.get(f"agent/threads/{thread_id}/runs").json()
            state = http.get(f"agent/threads/{thread_id}/state").json()
            http.put("agent/store/items", json={"namespace": ["a"], "key": "secret", "value": {"secret": 1}})
            kept = http.post("memories", json={"text": "ann's secret"}).json()["key"]
        made = asyncio.run(with_artefact(url_of(running), run["run_id"]))
        ids = {"memory_key": kept, "artefact_id": made, "thread_id": thread_id, "run_id": run["run_id"],
               "interrupt_id": asked["id"], "checkpoint_id": state["checkpoint_id"]}  # fmt: skip
        yield Users(running, ann, bob, revoked, ids)


def routes(users: Users) -> list[tuple[str, str]]:
    """Everything that the API says it offers."""
    with users.client(users.ann) as http:
        paths = http.get("openapi.json").json()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def filled(template: Any, ids: dict[str, str]) -> Any:
    if isinstance(template, dict):
        return {name: filled(value, ids) for name, value in template.items()}
    return re.sub(r"\{(\w+)\}", lambda found: ids[found[1]], template) if isinstance(template, str) else template


def call(http: httpx.Client, method: str, path: str, ids: dict[str, str], **more: Any) -> httpx.Response:
    body = BODIES.get(f"{method} {path}")
    return http.request(method, filled(path, ids).lstrip("/"), json=filled(body, ids), **more)


# -- keys ------------------------------------------------------------------------------------------------------------


def test_no_route_answers_without_a_key_but_those_that_tell_nothing(users: Users) -> None:
    wrong = users.ann[:-4] + "aaaa"
    unknown = "sx_" + "a" * 8 + "_" + "b" * 43
    for key in (None, "", "x", wrong, unknown, users.revoked, users.ann[:-1], users.ann.upper()):
        with users.client(key) as http:
            for method, path in routes(users):
                anything = dict.fromkeys(users.ids | dict.fromkeys(SHARED), "x")
                code = call(http, method, path, {name: "x" for name in anything}).status_code
                assert code == 401 or path in OPEN_ROUTES, (key, method, path, code)
            assert http.get("no-such-route").status_code == 401
            assert http.get("docs").status_code == 401


def test_another_ones_ids_are_not_found_on_any_route(users: Users) -> None:
    tried = []
    with users.client(users.bob) as http:
        for method, path in routes(users):
            names = {name for _, name, _, _ in string.Formatter().parse(path) if name}
            if not names or names & SHARED:
                continue
            answer = call(http, method, path, users.ids)
            assert answer.status_code == 404, (method, path, answer.status_code, answer.text)
            assert "secret" not in answer.text
            tried.append(path)
    assert len(tried) >= 35
    with users.client(users.ann) as http:  # and nothing of it has changed
        state = http.get(f"agent/threads/{users.ids['thread_id']}/state").json()
        assert (state["next"], len(state["values"]["messages"])) == (["ask"], 1)


ADMIN = (
    ("POST", "remotes/any/approve", {"tools": {"echo": "0" * 64}}), ("DELETE", "remotes/any/approve?tool=echo", None),
    ("POST", "peers/any/approve", {"sha256": "0" * 64}), ("DELETE", "peers/any/approve", None),
)  # fmt: skip


def test_what_everybodys_agents_may_use_is_decided_by_those_who_are_named(users: Users) -> None:
    [operator] = asyncio.run(with_keys(url_of(users.house), "local"))
    for method, path, body in ADMIN:
        codes = []
        for key in (None, users.ann, operator):
            with users.client(key) as http:
                codes.append(http.request(method, path, json=body).status_code)
        assert codes == [401, 403, 404], path
    assert Settings(admins=" ann, bob ,").admin_owners == {"ann", "bob"}


def test_lists_show_only_ones_own(users: Users) -> None:
    with users.client(users.bob) as bob, users.client(users.ann) as ann:
        for method, path, body in (
            ("GET", "threads", None),
            ("GET", "questions", None),
            ("GET", "memories", None),
            ("GET", "memories/search?query=secret", None),
            ("POST", "agent/threads/search", {}),
            ("POST", "agent/threads/search", {"ids": [users.ids["thread_id"]]}),
            ("POST", "agent/store/items/search", {"namespace_prefix": []}),
            ("POST", "agent/store/namespaces", {}),
        ):
            hers, his = (http.request(method, path, json=body).text for http in (ann, bob))
            assert len(hers) > len(his), (path, hers)
            assert his in (
                "[]",
                '{"threads":[]}',
                '{"questions":[]}',
                '{"memories":[]}',
                '{"items":[]}',
                '{"namespaces":[]}',
            ), (path, his)
        assert bob.post("agent/threads/count", json={}).json() == 0
        assert bob.get("agent/store/items", params={"namespace": "a", "key": "secret"}).status_code == 404


def test_ones_own_thread_does_not_reach_into_anothers(users: Users) -> None:
    with users.client(users.bob) as http:
        own = http.post("threads", json={"graph": "says"}).json()["thread_id"]
        for method, path, body in (
            ("POST", f"threads/{own}/runs", {**RUN, "after": users.ids["run_id"]}),
            ("PATCH", f"threads/{own}", {"head_run_id": users.ids["run_id"]}),
            ("POST", f"agent/threads/{own}/runs", {**RUN, "checkpoint_id": users.ids["checkpoint_id"]}),
            ("GET", f"agent/threads/{own}/state/{users.ids['checkpoint_id']}", None),
            ("GET", f"agent/threads/{own}/runs/{users.ids['run_id']}", None),
            ("POST", "agent/runs/cancel", {"run_ids": [users.ids["run_id"]]}),
            ("POST", "threads", {"graph": "says", "thread_id": users.ids["thread_id"]}),
            ("POST", "agent/threads", {"thread_id": users.ids["thread_id"], "if_exists": "do_nothing"}),
        ):
            answer = http.request(method, path, json=body)
            assert answer.status_code == 404, (path, answer.status_code, answer.text)
        assert http.post("agent/runs/cancel", json={"status": "all"}).status_code == 204
        http.delete(f"threads/{own}")
    with users.client(users.ann) as http:
        assert http.get(f"runs/{users.ids['run_id']}").json()["status"] == "waiting"


def test_an_idempotency_key_is_each_owners_own(users: Users) -> None:
    runs = []
    for key in (users.ann, users.bob):
        with users.client(key) as http:
            thread_id = http.post("threads", json={"graph": "says"}).json()["thread_id"]
            answer = http.post(f"threads/{thread_id}/runs", json=RUN, headers={"Idempotency-Key": "same"})
            runs.append(answer.json()["run_id"])
            http.delete(f"threads/{thread_id}")
    assert runs[0] != runs[1]


def test_namespaces_of_owners_do_not_run_into_one_another(users: Users) -> None:
    keys = asyncio.run(with_keys(url_of(users.house), "1", "12", "a_b", "a-b"))
    for key in keys:
        with users.client(key) as http:
            assert http.post("agent/store/items/search", json={}).json() == {"items": []}
            http.put("agent/store/items", json={"namespace": ["n"], "key": "k", "value": {"of": key[:11]}})
    for key in keys:
        with users.client(key) as http:
            [item] = http.post("agent/store/items/search", json={}).json()["items"]
            assert item["value"] == {"of": key[:11]}


def test_a_key_travels_in_either_header(users: Users) -> None:
    with users.client() as http:
        for headers in ({"X-Api-Key": users.ann}, {"Authorization": f"bearer {users.ann}"}):
            assert len(http.get("threads", headers=headers).json()["threads"]) >= 1
        assert http.get("threads", headers={"Authorization": f"Basic {users.ann}"}).status_code == 401


def test_streams_are_counted_for_each_owner(users: Users) -> None:
    with users.client(users.ann) as ann, users.client(users.bob) as bob:
        paths = {}
        for http in (ann, bob):
            thread_id = http.post("threads", json={"graph": "waits"}).json()["thread_id"]
            body = {"assistant_id": "waits", "input": human("count streams")}
            paths[http] = f"runs/{http.post(f'threads/{thread_id}/runs', json=body).json()['run_id']}/live"
        with ExitStack() as stack:
            for _ in range(5):
                assert stack.enter_context(ann.stream("GET", paths[ann])).status_code == 200
            refused = stack.enter_context(ann.stream("GET", paths[ann]))
            assert refused.status_code == 429
            assert stack.enter_context(bob.stream("GET", paths[bob])).status_code == 200
    GATES.open("count streams")


def test_streams_that_nobody_reads_hold_up_nobody(users: Users) -> None:
    with users.client(users.ann) as http:
        thread_id = http.post("threads", json={"graph": "floods"}).json()["thread_id"]
        at = f"agent/threads/{thread_id}/runs"
        run_id = http.post(at, json={"assistant_id": "floods", "input": human("x")}).json()["run_id"]
        address = urlsplit(users.house.url)
        head = f"GET /api/{at}/{run_id}/stream?stream_mode=custom HTTP/1.1\r\nHost: x\r\nX-Api-Key: {users.ann}\r\n\r\n"
        with ExitStack() as stack:
            for _ in range(5):
                deaf = stack.enter_context(socket.create_connection((address.hostname, address.port)))
                deaf.sendall(head.encode())
                assert deaf.recv(12) == b"HTTP/1.1 200"  # and not a byte more
            assert http.get(f"{at}/{run_id}/stream").status_code == 429
            with users.client(users.bob) as bob:
                body = {"assistant_id": "floods", "input": human("x")}
                assert bob.post("agent/runs/wait", json=body, timeout=60).json()["messages"][-1]["content"] == "done"
        # once they are gone, so are their places
        assert any(http.get(f"{at}/{run_id}/join").status_code == 200 for _ in range(500))


# -- the page --------------------------------------------------------------------------------------------------------


def test_signing_in_sets_a_cookie_that_only_our_own_page_can_use(users: Users) -> None:
    own = {"Origin": users.house.url}
    with users.client() as http:
        assert http.post("login", json={"key": "wrong"}).status_code == 401
        answer = http.post("login", json={"key": users.ann})
        assert answer.json() == {"owner": "ann"}
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie and "path=/" in cookie
        assert http.get("threads").status_code == 200
        thread = {"graph": "says"}
        assert http.post("threads", json=thread).status_code == 403
        for other in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site", **own},
                      {"Sec-Fetch-Site": "same-site"}):  # fmt: skip
            assert http.post("threads", json=thread, headers=other).status_code == 403
            assert http.delete(f"threads/{users.ids['thread_id']}", headers=other).status_code == 403
        for same in (own, {"Sec-Fetch-Site": "same-origin"}):
            made = http.post("threads", json=thread, headers=same)
            assert made.status_code == 200
            assert http.delete(f"threads/{made.json()['thread_id']}", headers=same).status_code == 204
        assert http.post("logout").status_code == 204
        assert http.get("threads").status_code == 401


def test_the_pages_form_signs_in_too(users: Users) -> None:
    with users.client() as http:
        answer = http.post("login", data={"key": users.bob})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert http.get("threads").status_code == 200
    with users.client() as http:
        answer = http.post("login", data={"key": "wrong"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/?sign_in=failed")
        assert not http.cookies
        told = http.post("login", data={"key": users.bob}, headers={"Sec-Fetch-Site": "cross-site"})
        assert told.status_code == 403


def test_a_revoked_key_ends_at_once_also_in_a_cookie(users: Users) -> None:
    [key] = asyncio.run(with_keys(url_of(users.house), "cat"))
    with users.client() as http:
        http.post("login", json={"key": key})
        assert http.get("threads").status_code == 200
        asyncio.run(revoke(url_of(users.house), key))
        assert http.get("threads").status_code == 401


async def test_keys_are_stored_as_hashes_and_counted_as_used(pool: Pool) -> None:
    keys = Keys(pool)
    key, row = await keys.add("ann", "laptop")
    async with pool.connection() as connection:
        stored = str(await (await connection.execute("select * from api_keys")).fetchall())
    assert key not in stored and key.split("_", 2)[2] not in stored  # a secret may hold further underscores
    assert row["last_used_at"] is None
    assert await keys.owner_of(key) == "ann"
    [shown] = await keys.all()
    assert shown["last_used_at"] is not None and "sha256" not in shown
    await keys.revoke(row["key_id"])
    assert await keys.owner_of(key) is None
    assert (await keys.ever_made(), await keys.usable()) == (True, False)


# -- while nobody needs a key ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def open_house(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[House]:
    """A server on loopback without keys."""
    home = tmp_path_factory.mktemp("open")
    with house(home, postgres, protocol_graphs(GATES), cors_origins="http://localhost:3000") as running:
        yield running


def test_without_keys_everybody_on_this_machine_is_local(open_house: House) -> None:
    for headers in ({}, {"X-Api-Key": "left over from somewhere"}, {"Authorization": "Bearer sx_aaaaaaaa_" + "b" * 43}):
        with open_house.http() as http:
            assert http.post("threads", json={"graph": "says"}, headers=headers).json()["owner"] == "local"


def test_other_sites_get_nothing_done(open_house: House) -> None:
    with open_house.http() as http:
        for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            assert http.post("threads", json={"graph": "says"}, headers=headers).status_code == 403
        # a name of theirs that points to this machine
        assert http.get("threads", headers={"Host": "evil.example:80"}).status_code == 403
        assert http.get("threads", headers={"Host": "localhost:1"}).status_code == 200
        assert (
            "access-control-allow-origin" not in http.get("threads", headers={"Origin": "http://evil.example"}).headers
        )


@pytest.mark.parametrize("name", ["[::1", "[", "a]b", "[x]:80:80", "http://[", "\xff"])
def test_a_host_or_an_origin_that_is_none_is_another_ones(open_house: House, name: str) -> None:
    told = name.encode("latin-1")
    with open_house.http() as http:
        if name != "http://[":
            assert http.get("threads", headers={b"Host": told}).status_code == 403
        origin = {b"Origin": told if name.startswith("http") else b"http://" + told}
        for path, body in (("threads", {"graph": "says"}), ("mcp", {}), ("login", {"key": "x"}), ("a2a/says", {})):
            assert http.post(path, json=body, headers=origin).status_code == 403, path


def test_a_site_that_is_allowed_by_name_works(open_house: House) -> None:
    site = {"Origin": "http://localhost:3000"}
    with open_house.http() as http:
        asked = {**site, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
        assert http.options("agent/threads", headers=asked).status_code == 200
        answer = http.post("agent/threads", json={}, headers={**site, "Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == site["Origin"]
        assert "content-location" in answer.headers["access-control-expose-headers"].lower()


def test_the_first_key_closes_the_door_for_good(tmp_path: Path, postgres: str) -> None:
    with house(tmp_path, postgres) as running, running.http() as http:
        assert http.get("threads").status_code == 200
        [key] = asyncio.run(with_keys(url_of(running), "local"))
        assert http.get("threads").status_code == 401
        assert http.get("threads", headers={"X-Api-Key": key}).status_code == 200
        asyncio.run(revoke(url_of(running), key))
        assert http.get("threads").status_code == 401


def test_a_public_address_needs_a_key_before_anything_listens(tmp_path: Path, postgres: str) -> None:
    with database(postgres) as url:
        settings = Settings(home=tmp_path, database_url=SecretStr(url), host="0.0.0.0", port=0)
        with pytest.raises(PublicBindRefused, match="sextant key add"):
            serve(settings)
        asyncio.run(with_keys(url, "ann"))
        asyncio.run(require_key(settings))


@pytest.mark.parametrize(
    ("host", "here"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("localhost", True), ("::1", True), ("[::1]", True), ("0.0.0.0", False),
     ("::", False), ("10.0.0.1", False), ("localhost.evil.example", False), ("", False), ("2130706433", False)],
)  # fmt: skip
def test_what_is_loopback(host: str, here: bool) -> None:
    assert is_loopback(host) is here


# -- too much --------------------------------------------------------------------------------------------------------


def pieces(size: int) -> Iterator[bytes]:
    yield b'{"graph": "'
    for _ in range(size // 100_000):
        yield b"x" * 100_000
    yield b'"}'


def test_a_body_is_counted_whether_or_not_it_announces_itself(users: Users) -> None:
    as_json = {"Content-Type": "application/json"}
    with users.client(users.ann) as http:
        assert http.post("threads", content=b"x" * (MAX_BODY_BYTES + 1), headers=as_json).status_code == 413
        assert http.post("threads", content=pieces(MAX_BODY_BYTES + 1), headers=as_json).status_code == 413
        # nor does another type open a way around it
        many = {"Content-Type": "multipart/form-data; boundary=x"}
        assert http.post("threads", content=pieces(MAX_BODY_BYTES + 1), headers=many).status_code == 413
        assert http.post("threads", content=pieces(100_000), headers=as_json).status_code == 422
    with users.client() as http:  # whoever is nobody is not listened to at all
        assert http.post("threads", content=pieces(10**9), headers=as_json).status_code == 401
        assert http.post("login", content=pieces(100_000), headers=as_json).status_code == 413


@pytest.mark.parametrize("depth", [200, 900, 10_000])
def test_no_depth_of_json_breaks_a_route(users: Users, depth: int) -> None:
    deep = b"[" * depth + b"]" * depth
    with users.client(users.bob) as http:
        thread_id = http.post("threads", json={"graph": "says"}).json()["thread_id"]
        ids = {**dict.fromkeys(SHARED, "x"), **users.ids, "thread_id": thread_id}
        for method, path in routes(users):
            if method in ("GET", "DELETE") or path in ("/documents", "/logout"):
                continue
            fields = ("input", "values", "metadata", "value", "command", "answer", "budget", "config", "context",
                      "checkpoint", "filter", "namespace", "messages", "key")  # fmt: skip
            named = b",".join(b'"%s": %s' % (field.encode(), deep) for field in fields)
            for body in (deep, b'{"assistant_id": "says", "graph": "says", %s}' % named):
                code = http.request(
                    method, filled(path, ids).lstrip("/"), content=body, headers={"Content-Type": "application/json"}
                ).status_code
                # a fresh empty body is no mistake where all fields are optional
                assert code < 500, (method, path, code)
        http.delete(f"threads/{thread_id}")


@pytest.mark.parametrize("text", ["nul \x00", "half \ud800", "\U0001f41d bee"])
def test_no_text_breaks_a_route(users: Users, text: str) -> None:
    with users.client(users.bob) as http:
        thread_id = http.post("threads", json={"graph": "says"}).json()["thread_id"]
        ids = {**dict.fromkeys(SHARED, "x"), **users.ids, "thread_id": thread_id}
        everywhere = {"assistant_id": text, "graph": text, "thread_id": text, "title": text, "question": text,
                      "input": {"messages": [{"role": "user", "content": text}]}, "metadata": {text: text}, "key": text,
                      "namespace": [text], "value": {text: text}, "answer": text, "checkpoint_id": text, "ids": [text],
                      "name": text, "filter": {text: text}, "multitask_strategy": text, "status": text}  # fmt: skip
        for method, path in routes(users):
            for body in (everywhere, {**everywhere, "assistant_id": "says", "graph": "says"}):
                sent = json.dumps(body).encode() if method not in ("GET", "DELETE") else b""
                answer = http.request(
                    method, filled(path, ids).lstrip("/"), content=sent, headers={"Content-Type": "application/json"}
                )
                assert answer.status_code < 500, (method, path, answer.status_code, answer.text)


@pytest.mark.parametrize("name", ["%00", "%ED%A0%80", "%F0%9F%90%9D", "a" * 5000], ids=lambda name: name[:12])
def test_no_name_in_a_path_breaks_a_route(users: Users, name: str) -> None:
    with users.client(users.bob) as http:
        for method, path in routes(users):
            names = re.findall(r"\{(\w+)\}", path)
            if names:
                answer = http.request(method, filled(path, dict.fromkeys(names, name)).lstrip("/"))
                assert 400 <= answer.status_code < 500 or names == ["assistant_id"], (method, path, answer.status_code)


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    sent: list[Any] = []

    async def never() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    scope = {"type": "http", "method": "POST", "path": "/threads", "headers": [], "state": {"owner": "ann"}}
    await BodyLimits(app, timeout_s=0.01)(scope, never, send)
    assert sent[0]["status"] == 408


def test_the_documentation_names_every_route_and_how_to_sign(users: Users) -> None:
    with users.client(users.ann) as http:
        assert http.get("docs").status_code == 200
        told = http.get("openapi.json").json()
    assert set(told["components"]["securitySchemes"]) == {"HTTPBearer", "APIKeyHeader", "APIKeyCookie"}
    undescribed = [
        (method, path)
        for path, methods in told["paths"].items()
        for method, it in methods.items()
        if not it.get("description")
    ]
    assert undescribed == []
