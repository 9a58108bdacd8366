"""The client turns every failure into one sentence with a next move."""

import json

import httpx
import pytest

from ui.client import Api, ApiProblem


def api(handler) -> Api:
    return Api("http://sextant.test/api/", transport=httpx.MockTransport(handler))


def test_a_run_is_sent_once_with_a_key_of_its_own():
    sent = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json={"run_id": "r1"})

    with api(handler) as client:
        assert client.start_run("t1", "research", "Why?")["run_id"] == "r1"
        client.start_run("t1", "research", "Why?")
    assert sent[0].url.path == "/api/threads/t1/runs"
    assert json.loads(sent[0].content)["input"]["messages"] == [{"role": "user", "content": "Why?"}]
    assert sent[0].headers["idempotency-key"] != sent[1].headers["idempotency-key"]


def test_what_a_person_does_to_a_run_has_a_route_each():
    sent = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append((request.url.path.removeprefix("/api/"), request.content))
        return httpx.Response(202, json={})

    with api(handler) as client:
        client.answer_now("r1")
        client.resume("r1")
        client.retry("r1")
        client.answer("r1", "q1", {"decision": "approve"})
    assert [path for path, _ in sent] == [
        "runs/r1/answer-now",
        "runs/r1/resume",
        "runs/r1/retry",
        "runs/r1/questions/q1",
    ]
    assert json.loads(sent[-1][1]) == {"answer": {"decision": "approve"}}


def test_an_error_and_its_fix_are_sentences():
    told = {"error": {"code": "question_too_long", "message": "question: 9 of 8 characters", "fix": "shorten it"}}
    with api(lambda _: httpx.Response(422, json=told)) as client, pytest.raises(ApiProblem) as caught:
        client.info()
    assert str(caught.value) == "Question: 9 of 8 characters."
    assert (caught.value.fix, caught.value.status) == ("Shorten it.", 422)


@pytest.mark.parametrize("body", [b"<h1>oops</h1>", b"[]", b"{}", b'{"error": "no"}', b""])
def test_an_error_without_words_gets_some(body):
    with api(lambda _: httpx.Response(500, content=body)) as client, pytest.raises(ApiProblem, match="answered 500"):
        client.threads()


def test_a_server_that_is_away_is_named():
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with api(refuse) as client, pytest.raises(ApiProblem, match="cannot be reached") as caught:
        client.info()
    assert "sextant up" in caught.value.fix


def test_a_slow_server_is_named():
    def stall(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow")

    with api(stall) as client, pytest.raises(ApiProblem, match="too long"):
        client.info()


def test_files_travel_as_parts_of_one_field():
    seen = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.read())
        return httpx.Response(202, json={"ingest_id": "i1"})

    with api(handler) as client:
        assert client.upload([("a.md", b"alpha", "text/markdown"), ("b.md", b"beta", "")]) == "i1"
    assert seen[0].count(b'name="files"') == 2
    assert b'filename="b.md"' in seen[0]


def test_an_empty_answer_is_no_error():
    with api(lambda _: httpx.Response(204)) as client:
        client.delete_document("d1")
