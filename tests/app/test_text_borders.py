"""Text through every door of the composed app, over real HTTP: it is stored as it came, or refused with a sentence.

What nobody can store, NUL and lone surrogates, is refused wherever a person or a program hands it in. The one change
that is made to any text is documented: in what models, tools and documents say, those become U+FFFD, and a document's
name is made fit to show.
"""

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from house import House, house
from protocol_graphs import Gates, protocol_graphs

from retrieval.documents import display_name

WELCOME = {
    "odd": "🧭 𝔘 \u202egnp.exe\u202c \u2066this\u2069 e\u0301 \u00e9 a\r\nb\u2028c\u0085d\te "
    "\x1b[31m\x07\x7f \uffff\U0010ffff\ufffd",
    "code": " \ufeff'; drop table runs; -- %s {0} <script>alert(1)</script> ${x} \\x00 ",
}
"""Four bytes, bidi controls, marks that combine and letters that hold them, ends of lines, escapes, the last code
points; a mark and spaces at the edges, and what means something to somebody."""
UNSTORABLE = {"nul": "a\x00b", "high": "a\ud83eb", "swapped": "\udded\ud83e"}
LONG = {"line": "x" * 1_000_000, "marks": "a" + "\u0301" * 999_999}
TEXTS = WELCOME | UNSTORABLE | LONG
NAMES = WELCOME | UNSTORABLE | {"long": "x" * 20_000}
REFUSED = (400, 401, 403, 404, 405, 409, 413, 422)

Reading = Callable[[], Any]
Door = Callable[["Visitor", str], tuple[httpx.Response, Reading | None]]


class Visitor:
    """Somebody at the API."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def send(self, method: str, path: str, body: Any) -> httpx.Response:
        """JSON as any program writes it: what is not ASCII escaped, lone surrogates too."""
        headers = {"Content-Type": "application/json"}
        return self.http.request(method, path, content=json.dumps(body), headers=headers)

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.send("POST", path, body)

    def made(self, path: str, **body: Any) -> Any:
        reply = self.post(path, **body)
        assert reply.is_success, reply.text
        return reply.json()

    def get(self, path: str, **query: Any) -> Any:
        reply = self.http.get(path, params=query)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def thread(self, graph: str = "rests") -> str:
        return str(self.made("threads", graph=graph)["thread_id"])

    def ask(self, text: str, graph: str = "rests", **more: Any) -> httpx.Response:
        message = {"role": "user", "content": text}
        return self.post(
            f"threads/{self.thread(graph)}/runs", assistant_id=graph, input={"messages": [message]}, **more
        )

    def ended(self, graph: str = "rests", text: str = "Why?") -> Any:
        """A run that has ended, or waits."""
        run = self.ask(text, graph).json()
        self.http.get(f"agent/threads/{run['thread_id']}/runs/{run['run_id']}/join")
        return self.get(f"runs/{run['run_id']}")

    def state(self, thread: str) -> Any:
        return self.get(f"agent/threads/{thread}/state")["values"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("house"), postgres, protocol_graphs(Gates())) as running:
        yield running


@pytest.fixture(scope="module")
def visitor(server: House) -> Iterator[Visitor]:
    with server.http() as http:
        yield Visitor(http)


# -- doors whose text is anybody's -----------------------------------------------------------------------------------


def title(v: Visitor, text: str) -> tuple[httpx.Response, Reading | None]:
    thread = v.thread()
    return v.send("PATCH", f"threads/{thread}", {"title": text}), lambda: v.get(f"threads/{thread}")["title"]


def question(v: Visitor, text: str) -> tuple[httpx.Response, Reading | None]:
    reply = v.ask(text)
    return reply, lambda: v.get(f"runs/{reply.json()['run_id']}")["question"]


def answer(v: Visitor, text: str) -> tuple[httpx.Response, Reading | None]:
    run = v.ended("asks")
    (asked,) = [it for it in v.get("questions")["questions"] if it["run_id"] == run["run_id"]]
    reply = v.post(f"runs/{run['run_id']}/questions/{asked['interrupt_id']}", answer=text)

    def read() -> str:
        v.http.get(f"agent/threads/{run['thread_id']}/runs/{run['run_id']}/join")
        return str(v.get(f"runs/{run['run_id']}")["output"]["answer"]).removeprefix("You said ").removesuffix(".")

    return reply, read


def fork_values(v: Visitor, text: str) -> tuple[httpx.Response, Reading | None]:
    thread = v.made("agent/threads", metadata={"graph_id": "counts"})["thread_id"]
    v.made(f"agent/threads/{thread}/runs/wait", assistant_id="counts", input={"n": 1, "words": ["a"]})
    run = v.get(f"threads/{thread}/runs")["runs"][0]["run_id"]
    at = v.get(f"runs/{run}/history")["checkpoints"][1]["checkpoint_id"]
    reply = v.post(f"runs/{run}/fork", checkpoint_id=at, values={"words": [text]})

    def read() -> str:
        v.http.get(f"agent/threads/{thread}/runs/{reply.json()['run_id']}/join")
        return str(v.state(thread)["words"][0])

    return reply, read


def fork_question(v: Visitor, text: str) -> tuple[httpx.Response, Reading | None]:
    run = v.ended()
    at = v.get(f"runs/{run['run_id']}/history")["checkpoints"][0]["checkpoint_id"]
    reply = v.post(f"runs/{run['run_id']}/fork", checkpoint_id=at, question=text)
    return reply, lambda: v.get(f"runs/{reply.json()['run_id']}")["question"]


def message(v: Visitor, text: str) -> tuple[httpx.Response, Reading | None]:
    given = {"messages": [{"role": "user", "content": text}]}
    reply = v.post("agent/runs/wait", assistant_id="rests", input=given)
    return reply, lambda: reply.json()["messages"][0]["content"]


def blocks(v: Visitor, text: str) -> tuple[httpx.Response, Reading | None]:
    given = {"messages": [{"role": "user", "content": [{"type": "text", "text": text}], "name": text, "id": "m"}]}
    reply = v.post("agent/runs/wait", assistant_id="rests", input=given)
    return reply, lambda: reply.json()["messages"][0]["name"]


def field(v: Visitor, text: str) -> tuple[httpx.Response, Reading | None]:
    reply = v.post("agent/runs/wait", assistant_id="counts", input={"n": 1, "words": [text]})
    return reply, lambda: reply.json()["words"][0]


def request_parts(v: Visitor, text: str) -> tuple[httpx.Response, Reading | None]:
    parts = {"metadata": {text[:50]: text}, "config": {"tags": [text]}, "context": {"a": text}}
    reply = v.post("agent/runs", assistant_id="counts", input={"n": 1}, **parts)
    return reply, lambda: reply.json()["kwargs"]["metadata"][text[:50]]


def metadata(v: Visitor, text: str) -> tuple[httpx.Response, Reading | None]:
    reply = v.post("agent/threads", metadata={"graph_id": "says", text[:50]: text})
    return reply, lambda: v.get(f"agent/threads/{reply.json()['thread_id']}")["metadata"][text[:50]]


def metadata_change(v: Visitor, text: str) -> tuple[httpx.Response, Reading | None]:
    at = f"agent/threads/{v.thread()}"
    return v.send("PATCH", at, {"metadata": {"a": text}}), lambda: v.get(at)["metadata"]["a"]


def resume(v: Visitor, text: str) -> tuple[httpx.Response, Reading | None]:
    run = v.ended("asks")
    at = f"agent/threads/{run['thread_id']}/runs/wait"
    reply = v.post(at, assistant_id="asks", command={"resume": text})
    return reply, lambda: reply.json()["messages"][-1]["content"].removeprefix("You said ").removesuffix(".")


def update_state(v: Visitor, text: str) -> tuple[httpx.Response, Reading | None]:
    run = v.ended()
    values = {"messages": [{"role": "user", "content": text}]}
    reply = v.post(f"agent/threads/{run['thread_id']}/state", values=values, as_node="nothing")
    return reply, lambda: v.state(run["thread_id"])["messages"][-1]["content"]


def item(v: Visitor, text: str) -> tuple[httpx.Response, Reading | None]:
    body = {"namespace": ["a"], "key": "k", "value": {text[:50]: text}}
    reply = v.send("PUT", "agent/store/items", body)
    return reply, lambda: v.get("agent/store/items", key="k", namespace="a")["value"][text[:50]]


def item_place(v: Visitor, text: str) -> tuple[httpx.Response, Reading | None]:
    short = text[:100].replace(".", "").replace("*", "")
    reply = v.send("PUT", "agent/store/items", {"namespace": ["b", short], "key": short, "value": {"a": 1}})

    def read() -> str:
        (found,) = v.made("agent/store/items/search", namespace_prefix=["b", short])["items"]
        return text if found["key"] == found["namespace"][1] == short else str(found)

    return reply, read


FREE: tuple[Door, ...] = (
    title, question, answer, fork_values, fork_question, message, blocks, field, request_parts, metadata,
    metadata_change, resume, update_state, item, item_place,
)  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("door", FREE, ids=lambda door: door.__name__)
def test_text_is_stored_as_it_came_or_refused(visitor: Visitor, door: Door, text: str) -> None:
    reply, read = door(visitor, TEXTS[text])
    if reply.is_success:
        assert text not in UNSTORABLE, "taken, and nobody can store it"
        assert read is not None
        assert read() == TEXTS[text]
    else:
        assert text not in WELCOME, reply.text
        sentence(reply)


def sentence(reply: httpx.Response) -> None:
    """A refusal says why, in text that is text. A path with a line break is nobody's: it leads to no door at all."""
    if reply.status_code == 404 and reply.text == "Not Found":
        return
    assert reply.status_code in REFUSED, (reply.status_code, reply.text[:300])
    error = reply.json()["error"]
    assert error["message"] and error["code"]
    assert len(error["message"]) < 1000
    assert json.dumps(error, ensure_ascii=False).encode()


# -- doors that take names of a few kinds ----------------------------------------------------------------------------


def escaped(text: str) -> str:
    return quote(text[:4000].encode("utf-8", "surrogatepass"), safe="")


PATHS = (
    "threads/{}", "threads/{}/runs", "runs/{}", "runs/{}/view", "runs/{}/live", "runs/{}/events", "runs/{}/history",
    "runs/{}/effects", "documents/{}/file", "passages/{}", "ingests/{}", "agent/threads/{}", "agent/threads/{}/state",
    "agent/threads/{}/runs", "agent/assistants/{}", "agent/assistants/{}/graph", "agent/assistants/{}/schemas",
    "agent/threads/THREAD/state/{}", "agent/threads/THREAD/runs/{}", "agent/threads/THREAD/runs/{}/stream",
    "runs/RUN/events?after={}", "agent/store/items?key={}&namespace=a", "agent/store/items?key=a&namespace={}",
    "agent/threads/THREAD/runs?status={}", "agent/threads/THREAD/runs?select={}",
    "agent/threads/THREAD/state?select={}",
    "agent/threads/THREAD/runs/RUN/stream?stream_mode={}", "agent/assistants/says/graph?xray={}",
    "agent/threads/THREAD/runs?limit={}",
)  # fmt: skip
A, B = {"messages": [{"content": "a"}]}, {"messages": "a"}
SENT = (
    ("POST", "threads", {"thread_id": "TEXT"}), ("POST", "threads", {"graph": "TEXT"}),
    ("PATCH", "threads/THREAD", {"head_run_id": "TEXT"}),
    ("POST", "threads/THREAD/runs", {"assistant_id": "TEXT", "input": A}),
    ("POST", "threads/THREAD/runs", {"assistant_id": "rests", "after": "TEXT", "input": A}),
    ("POST", "threads/THREAD/runs",
     {"assistant_id": "rests", "multitask_strategy": "TEXT", "input": A}),
    ("POST", "threads/THREAD/runs",
     {"assistant_id": "rests", "budget": {"TEXT": "TEXT"}, "input": A}),
    ("POST", "threads/THREAD/runs", {"assistant_id": "rests", "input": {"messages": [{"content": ["TEXT"]}]}}),
    ("POST", "runs/RUN/fork", {"checkpoint_id": "TEXT"}),
    ("POST", "runs/RUN/fork", {"checkpoint_id": "HERE", "values": {"TEXT": 1}}),
    ("POST", "runs/RUN/questions/TEXT", {"answer": "TEXT"}), ("POST", "runs/RUN/resume", {"budget": {"TEXT": 1}}),
    ("POST", "agent/threads", {"thread_id": "TEXT"}), ("POST", "agent/threads", {"metadata": {"graph_id": "TEXT"}}),
    ("POST", "agent/threads", {"if_exists": "TEXT"}), ("POST", "agent/threads/search", {"metadata": {"a": "TEXT"}}),
    ("POST", "agent/threads/search", {"metadata": {"TEXT": 1}}), ("POST", "agent/threads/search", {"ids": ["TEXT"]}),
    ("POST", "agent/threads/search", {"status": "TEXT"}), ("POST", "agent/threads/search", {"sort_by": "TEXT"}),
    ("POST", "agent/threads/search", {"values": {"a": "TEXT"}}), ("POST", "agent/threads/search", {"select": ["TEXT"]}),
    ("POST", "agent/threads/count", {"metadata": {"a": "TEXT"}}), ("POST", "agent/assistants/search", {"name": "TEXT"}),
    ("POST", "agent/threads/THREAD/history", {"before": "TEXT"}),
    ("POST", "agent/threads/THREAD/history", {"metadata": {"source": "TEXT"}}),
    ("POST", "agent/threads/THREAD/history", {"metadata": {"TEXT": 1}}),
    ("POST", "agent/threads/THREAD/state", {"values": {"messages": []}, "as_node": "TEXT"}),
    ("POST", "agent/threads/THREAD/state", {"values": {}, "checkpoint_id": "TEXT"}),
    ("POST", "agent/threads/THREAD/state/checkpoint", {"checkpoint": {"checkpoint_id": "TEXT"}}),
    ("POST", "agent/runs", {"assistant_id": "TEXT", "input": {}}),
    ("POST", "agent/runs", {"assistant_id": "rests", "input": {"TEXT": 1}}),
    ("POST", "agent/runs", {"assistant_id": "rests", "input": {"messages": [{"role": "TEXT", "content": "a"}]}}),
    ("POST", "agent/runs",
     {"assistant_id": "rests", "input": {"messages": [{"type": "human", "content": [{"type": "TEXT"}]}]}}),
    ("POST", "agent/runs", {"assistant_id": "rests", "input": B, "stream_mode": "TEXT"}),
    ("POST", "agent/runs/stream", {"assistant_id": "rests", "input": B, "stream_mode": "TEXT"}),
    ("POST", "agent/runs", {"assistant_id": "rests", "input": B, "webhook": "TEXT"}),
    ("POST", "agent/runs", {"assistant_id": "rests", "input": B, "multitask_strategy": "TEXT"}),
    ("POST", "agent/runs/cancel", {"run_ids": ["TEXT"]}), ("POST", "agent/runs/cancel", {"thread_id": "TEXT"}),
    ("POST", "agent/threads/THREAD/runs", {"assistant_id": "rests", "checkpoint_id": "TEXT", "input": B}),
    ("POST", "agent/threads/THREAD/runs", {"assistant_id": "rests", "command": {"goto": "TEXT"}}),
    ("DELETE", "agent/store/items", {"namespace": ["TEXT"], "key": "TEXT"}),
    ("POST", "agent/store/items/search", {"namespace_prefix": ["TEXT"]}),
    ("POST", "agent/store/items/search", {"filter": {"a": "TEXT"}}),
    ("POST", "agent/store/items/search", {"filter": {"TEXT": "a"}}),
    ("POST", "agent/store/items/search", {"filter": {"a": {"$TEXT": 1}}}),
    ("POST", "agent/store/items/search", {"query": "TEXT"}), ("POST", "agent/store/namespaces", {"suffix": ["TEXT"]}),
    ("POST", "login", {"key": "TEXT"}),
)  # fmt: skip
HEADERS = ("X-Api-Key", "Authorization", "Cookie", "Last-Event-ID", "Idempotency-Key", "Prefer", "Origin", "Accept")


@pytest.fixture(scope="module")
def known(visitor: Visitor) -> dict[str, str]:
    """Names of things that are there."""
    run = visitor.ended()
    here = visitor.get(f"runs/{run['run_id']}/history")["checkpoints"][0]["checkpoint_id"]
    return {"THREAD": run["thread_id"], "RUN": run["run_id"], "HERE": here}


def named(path: str, known: dict[str, str]) -> str:
    for word, name in known.items():
        path = path.replace(word, name)
    return path


@pytest.mark.parametrize("path", PATHS)
def test_any_text_in_a_path_or_a_query_gets_an_answer(visitor: Visitor, known: dict[str, str], path: str) -> None:
    for text in NAMES.values():
        reply = visitor.http.get(named(path, known).format(escaped(text)))
        if not reply.is_success:
            sentence(reply)


@pytest.mark.parametrize("sent", SENT, ids=lambda sent: f"{sent[1]} {json.dumps(sent[2])[:60]}")
def test_any_text_for_a_name_gets_an_answer(
    visitor: Visitor, known: dict[str, str], sent: tuple[str, str, dict[str, Any]]
) -> None:
    method, path, body = sent
    for text in NAMES.values():
        given = json.loads(named(json.dumps(body), known), object_hook=lambda it, text=text: _put(it, text))
        reply = visitor.send(method, named(path, known).replace("TEXT", escaped(text)), given)
        if not reply.is_success:
            sentence(reply)


def _put(found: dict[str, Any], text: str) -> dict[str, Any]:
    """The same with `text` where it says so."""

    def value(it: Any) -> Any:
        return [value(one) for one in it] if isinstance(it, list) else text if it == "TEXT" else it

    return {key.replace("TEXT", text[:1000]): value(it) for key, it in found.items()}


@pytest.mark.parametrize("header", HEADERS)
def test_any_bytes_in_a_header_get_an_answer(visitor: Visitor, known: dict[str, str], header: str) -> None:
    bodies = {"assistant_id": "rests", "input": A}
    for text in NAMES.values():
        raw = f"Bearer {text[:6000]}" if header == "Authorization" else text[:6000]
        value = raw.encode("utf-8", "surrogatepass").translate(None, b"\x00\r\n\x1b\x07\x7f").strip()
        path = named(
            "agent/threads/THREAD/runs/RUN/stream" if header == "Last-Event-ID" else "threads/THREAD/runs", known
        )
        for reply in (
            visitor.http.get(path, headers={header: value}),
            visitor.http.post(named("threads/THREAD/runs", known), json=bodies, headers={header: value}),
        ):
            if not reply.is_success:
                sentence(reply)


@pytest.mark.parametrize("value", [b"a\x00b", b"a\x0bb", b"\xff\xfe", b"\xed\xa0\x80", b"\xf0\x9f\xa7\xad"])
def test_a_header_that_no_client_would_send_breaks_nothing(server: House, visitor: Visitor, value: bytes) -> None:
    host = server.url.removeprefix("http://")
    body = b'{"graph": "says"}'
    head = f"POST /api/threads HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\nConnection: close\r\nIdempotency-Key: "
    with socket.create_connection(host.split(":"), timeout=60) as line:  # type: ignore[arg-type]
        line.sendall(head.encode() + value + b"\r\n\r\n" + body)
        status = line.recv(65_536).split(b" ", 2)[1]
    assert status in (b"200", b"400", b"422")


@pytest.mark.parametrize(
    "raw", [b'{"graph": "\xed\xa0\x80"}', b'{"graph": "\xff"}', b'{"graph": "a\x00b"}', b"\x00", b"\xef\xbb\xbf{}"]
)
@pytest.mark.parametrize("path", ["threads", "agent/threads", "agent/runs", "agent/store/items/search", "login"])
def test_bytes_that_are_no_text_are_no_json(visitor: Visitor, path: str, raw: bytes) -> None:
    reply = visitor.http.post(path, content=raw, headers={"Content-Type": "application/json"})
    if not reply.is_success:
        sentence(reply)


def test_any_key_in_a_form_gets_an_answer(visitor: Visitor) -> None:
    for text in NAMES.values():
        form = b"key=" + quote(text[:2000].encode("utf-8", "surrogatepass")).encode()
        head = {"Content-Type": "application/x-www-form-urlencoded"}
        assert visitor.http.post("login", content=form, headers=head).status_code in (303, 413)


# -- documents -------------------------------------------------------------------------------------------------------


def uploaded(v: Visitor, files: list[tuple[bytes, bytes]]) -> Any:
    """What came of an upload, once it is done."""
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n%s\r\n'
    body = b"".join(head % file for file in files) + b"--b--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    reply = v.http.post("documents", content=body, headers=kind)
    assert reply.status_code == 202, reply.text
    while (ingest := v.get(f"ingests/{reply.json()['ingest_id']}"))["state"] == "running":
        pass
    return ingest


def test_documents_may_be_called_anything(visitor: Visitor) -> None:
    called = {text: TEXTS[text][:2000].replace('"', "").encode("utf-8", "surrogatepass") for text in TEXTS}
    names = {text: raw.translate(None, b"\r\n") + b".md" for text, raw in called.items()}
    ingest = uploaded(visitor, [(name, f"# About {text}\n\nWords of {text}.".encode()) for text, name in names.items()])
    assert (ingest["state"], ingest["failed"]) == ("done", [])
    listed = {document["title"]: document["name"] for document in visitor.get("documents")["documents"]}
    for text, name in names.items():
        shown = listed[f"About {text}"]
        assert shown == display_name(shown)  # fit to show: the documented change, made once
        assert text not in WELCOME or shown == display_name(name.decode())


def test_documents_may_hold_anything(visitor: Visitor) -> None:
    held = {text: f"# Holds {text}\n\nbefore {TEXTS[text]} after\n" for text in TEXTS}
    files = [(f"holds-{text}.md".encode(), it.encode("utf-8", "surrogatepass")) for text, it in held.items()]
    assert uploaded(visitor, files)["state"] == "done"
    titles = {document["title"] for document in visitor.get("documents")["documents"]}
    assert titles >= {f"Holds {text}" for text in (*WELCOME, *UNSTORABLE)}
