"""Whatever an endpoint does, a call ends in an answer or in a typed error within its deadlines."""

import asyncio
import gc
import gzip
import random
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from pydantic import SecretStr

from agents.errors import ModelRefusedRequest, ModelUnavailable, RunError
from app.models import Deadlines, Endpoint, Models, chat_model
from app.models.faults import from_json, retry_after_s, to_json

PATIENT = Deadlines()
SHORT = Deadlines(connect_s=2, first_token_s=0.2, between_tokens_s=0.2, total_s=0.5)


async def ask(model: Any, stream: bool) -> AIMessage:
    if not stream:
        answer = await model.ainvoke("hello?")
        assert isinstance(answer, AIMessage)
        return answer
    whole: AIMessageChunk | None = None
    async for chunk in model.astream("hello?"):
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    return whole


async def failure(server: Any, script: Any, stream: bool, deadlines: Deadlines = PATIENT) -> RunError:
    server.script = script
    with pytest.raises(RunError) as caught:
        await ask(server.model(deadlines), stream)
    return caught.value


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


# -- answers


@both
async def test_it_answers_with_text_usage_and_finish_reason(server: Any, stream: bool) -> None:
    async def script(x: Any) -> None:
        if not x.body.get("stream"):
            return await x.whole(x.completion("good day"))
        usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
        await x.stream(
            [
                x.delta(role="assistant"),
                x.delta(content="good "),
                x.delta(content="day"),
                x.delta("stop"),
                {"choices": [], "usage": usage},
            ]
        )

    server.script = script
    answer = await ask(server.model(), stream)

    assert answer.text == "good day"
    assert answer.usage_metadata and answer.usage_metadata["total_tokens"] == 9
    assert answer.response_metadata["finish_reason"] == "stop"


async def test_tokens_of_one_read_are_one_chunk_and_the_first_comes_at_once(server: Any) -> None:
    seen = asyncio.Event()

    async def script(x: Any) -> None:
        await x.start_stream()
        await x.event(x.delta(content="one "))
        await asyncio.wait_for(seen.wait(), 60)
        for word in ("two ", "three ", "four"):
            await x.event(x.delta(content=word))
        await x.event(x.delta("stop"))
        await x.chunk(b"data: [DONE]\n\n")
        await x.end_stream()

    server.script = script
    texts = []
    async for chunk in server.model().astream("count"):
        texts.append(chunk.text)
        seen.set()

    assert texts[0] == "one "
    assert "".join(texts) == "one two three four"
    assert len(texts) <= 3


async def test_connections_are_reused(server: Any) -> None:
    async def script(x: Any) -> None:
        await (x.stream([x.delta("stop", content="a")]) if x.body.get("stream") else x.whole(x.completion()))

    server.script = script
    for stream in (False, True, True, False):
        await ask(server.model(), stream)

    assert (len(server.exchanges), server.connections) == (4, 1)


async def test_a_stream_may_lack_done_and_its_connections_end_after_the_finish_reason(server: Any) -> None:
    async def no_done(x: Any) -> None:
        await x.stream([x.delta(content="all"), x.delta("stop")], done=False)

    async def torn(x: Any) -> None:
        await x.start_stream()
        await x.event(x.delta(content="all"))
        await x.event(x.delta("stop"))
        x.cut()

    for script in (no_done, torn):
        server.script = script
        assert (await ask(server.model(), stream=True)).text == "all"


async def test_nothing_of_the_environment_is_trusted(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_BASE_URL", "OPENAI_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/secret")

    async def script(x: Any) -> None:
        await x.whole(x.completion())

    server.script = script
    await ask(chat_model(Endpoint(server.url, "m", SecretStr("own-key"))), stream=False)
    await ask(chat_model(Endpoint(server.url, "m")), stream=False)

    first, second = server.exchanges
    assert first.headers["Authorization"] == "Bearer own-key"
    assert "Authorization" not in second.headers
    assert "secret" not in str(first.headers) + str(second.headers)


@pytest.mark.parametrize("url", ["ftp://host/v1", "localhost:8000/v1", "http:///v1"])
def test_an_endpoint_must_be_a_url(url: str) -> None:
    with pytest.raises(ValueError, match="http"):
        Endpoint(url, "m")


def test_a_key_must_fit_a_header() -> None:
    with pytest.raises(ValueError, match="paste it again") as caught:
        Endpoint("http://host/v1", "m", SecretStr("broken\nkey"))
    assert "broken" not in str(caught.value)


# -- errors


def status(code: int, body: Any, **headers: str) -> Any:
    async def script(x: Any) -> None:
        await x.whole(body, code, **headers)

    return script


TOO_LONG = {"error": {"message": "This model's maximum context length is 4096 tokens", "code": 400}}


@both
@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (status(429, {"error": {"message": "slow down"}}), "rate_limited"),
        (status(500, b"<html>oops</html>"), "server_error"),
        (status(503, {"message": "warming up"}), "server_error"),
        (status(400, TOO_LONG), "context_too_long"),
        (status(400, {"error": "no"}), "bad_request"),
        (status(401, {"error": {"message": "bad key"}}), "unauthorized"),
        (status(403, b""), "unauthorized"),
        (status(404, {"error": {"message": "no such model"}}), "unknown_model"),
        (status(429, {"error": {"code": "insufficient_quota", "message": "pay"}}), "quota"),
        (status(307, b"", Location="http://127.0.0.1:1/v1"), "bad_request"),
    ],
)
async def test_a_status_becomes_a_typed_error(server: Any, script: Any, kind: str, stream: bool) -> None:
    error = await failure(server, script, stream)

    assert isinstance(error, ModelUnavailable | ModelRefusedRequest)
    assert error.kind == kind
    assert server.url in str(error)
    assert len(server.exchanges) == 1  # no retries, no redirects


async def test_retry_after_reaches_the_error(server: Any) -> None:
    error = await failure(server, status(429, b"", Retry_After="7"), stream=False)
    assert isinstance(error, ModelUnavailable)
    assert error.retry_after_s == 7
    assert "retry in 7 s" in str(error)


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("3", None, 3.0),
        ("0.5", None, 0.5),
        ("Wed, 21 Oct 2026 07:28:30 GMT", "Wed, 21 Oct 2026 07:28:00 GMT", 30.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:29:00 GMT", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None, 0.0),
        ("-5", None, 0.0),
        ("nan", None, None),
        ("inf", None, None),
        ("soon", None, None),
        ("", None, None),
        (None, None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date_on_the_servers_clock(
    value: str | None, date: str | None, seconds: float | None
) -> None:
    assert retry_after_s(value, date) == seconds


async def test_secrets_in_the_url_stay_out_of_messages(server: Any) -> None:
    server.script = status(500, b"")
    url = server.url.replace("127", "user:hunter2@127") + "?token=hunter3"
    with pytest.raises(ModelUnavailable) as caught:
        await ask(chat_model(Endpoint(url, "m")), stream=False)
    assert "hunter" not in str(caught.value) + caught.value.url


def garbage(data: bytes, content_type: str = "text/event-stream") -> Any:
    async def script(x: Any) -> None:
        await x.whole(data, Content_Type=content_type)

    return script


@both
@pytest.mark.parametrize(
    "script",
    [
        garbage(b"<html><body>It works!</body></html>", "text/html"),
        garbage(b"data: {not json}\n\n"),
        garbage(b"data: [1, 2]\n\n"),
        garbage(b'data: {"choices": [{"delta": {"content": 7}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'),
        garbage(b'data: {"choices": [{"delta": "x", "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'),
        garbage(b"data: [DONE]\n\n"),
        garbage(b"", "application/json"),
        garbage(b"[]", "application/json"),
        garbage(b'{"choices": []}', "application/json"),
        garbage(b'{"choices": null}', "application/json"),
        garbage(b'{"choices": [{"message": null}]}', "application/json"),
        garbage(b'{"choices": [{"message": {"content": 7}}]}', "application/json"),
        garbage(b'{"choices": [{"message": {"content": "x"}}], "usage": 7}', "application/json"),
        garbage(gzip.compress(b"{}")[:-4], "application/json"),
        garbage(b"\x00\xff" * 50, "application/octet-stream"),
    ],
)
async def test_garbage_under_a_good_status_is_a_bad_response(server: Any, script: Any, stream: bool) -> None:
    error = await failure(server, script, stream)
    assert isinstance(error, ModelUnavailable)
    assert error.kind in ("bad_response", "cut_stream")


async def test_garbage_is_quoted_in_the_error(server: Any) -> None:
    error = await failure(server, garbage(b"<html>It works!</html>", "text/html"), stream=True)
    assert "text/html" in str(error) and "It works!" in str(error) and "/v1" in str(error)


@both
async def test_an_error_under_a_good_status_is_an_error(server: Any, stream: bool) -> None:
    async def script(x: Any) -> None:
        trouble = {"error": {"message": "engine died", "code": 500}}
        await (x.stream([x.delta(content="par"), trouble]) if stream else x.whole(trouble))

    error = await failure(server, script, stream)
    assert isinstance(error, ModelUnavailable)
    assert (error.kind, "engine died" in str(error)) == ("server_error", True)


@both
async def test_a_server_that_gives_up_in_mid_answer_did_not_answer(server: Any, stream: bool) -> None:
    async def script(x: Any) -> None:
        await (x.stream([x.delta("abort", content="par")]) if stream else x.whole(x.completion("par", "abort")))

    error = await failure(server, script, stream)
    assert isinstance(error, ModelUnavailable) and error.kind == "cut_stream"


async def breaks_off(x: Any) -> None:
    await x.start_stream()
    await x.event(x.delta(content="half an ans"))
    x.cut()


async def ends_early(x: Any) -> None:
    await x.stream([x.delta(content="half an ans")], done=False)


async def is_reset(x: Any) -> None:
    await x.start_stream()
    await x.event(x.delta(content="half an ans"))
    x.reset()


async def is_shorter_than_told(x: Any) -> None:
    await x.whole(b'data: {"choices"', Content_Length="1000")
    x.cut()


@pytest.mark.parametrize("script", [breaks_off, ends_early, is_reset, is_shorter_than_told])
async def test_a_cut_stream_is_told_from_a_finished_one(server: Any, script: Any) -> None:
    error = await failure(server, script, stream=True)
    assert isinstance(error, ModelUnavailable) and error.kind == "cut_stream"


async def test_a_whole_answer_that_is_cut_is_told(server: Any) -> None:
    error = await failure(server, is_shorter_than_told, stream=False)
    assert isinstance(error, ModelUnavailable) and error.kind == "cut_stream"


async def hangs_up_at_once(x: Any) -> None:
    x.reset()


@both
async def test_no_answer_at_all_is_refused(server: Any, stream: bool) -> None:
    error = await failure(server, hangs_up_at_once, stream)
    assert isinstance(error, ModelUnavailable) and error.kind == "refused"


async def test_a_closed_port_is_refused(unused_tcp_port: int) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        await ask(chat_model(Endpoint(f"http://127.0.0.1:{unused_tcp_port}/v1", "m")), stream=False)
    assert caught.value.kind == "refused"


@pytest.mark.parametrize("seed", range(60))
async def test_noise_ends_in_an_answer_or_a_typed_error(server: Any, seed: int) -> None:
    noise = random.Random(seed)
    good = (
        b'data: {"choices": [{"delta": {"content": "a", "tool_calls": [{"index": 0}]}, "finish_reason": "stop"}]}\n\n'
    )
    data = bytearray(good * 3)
    for _ in range(noise.randrange(1, 12)):
        data[noise.randrange(len(data))] = noise.choice(b'{}[]",:null019\n\x00\xff')

    async def script(x: Any) -> None:
        await x.whole(bytes(data))

    server.script = script
    for stream in (True, False):
        try:
            await ask(server.model(), stream)
        except RunError as error:
            assert str(error)


# -- limits


async def test_an_event_without_end_is_cut_off(server: Any) -> None:
    async def script(x: Any) -> None:
        await x.start_stream()
        await x.chunk(b'data: {"choices": [{"delta": {"content": "')
        while True:
            await x.chunk(b"x" * 1_000_000)

    error = await failure(server, script, stream=True)
    assert isinstance(error, ModelUnavailable) and error.kind == "bad_response"
    assert "8,388,608" in str(error)


@both
async def test_an_answer_without_end_is_cut_off(server: Any, stream: bool) -> None:
    async def script(x: Any) -> None:
        await x.start_stream()
        while True:
            await x.chunk(b": comment\n" * 100_000)

    error = await failure(server, script, stream)
    assert isinstance(error, ModelUnavailable) and error.kind == "bad_response"
    assert "67,108,864" in str(error)


# -- deadlines


async def says_nothing(x: Any) -> None:
    await x.silence()


async def only_greets(x: Any) -> None:
    await x.start_stream()
    await x.event(x.delta(role="assistant", content=""))
    await x.silence()


async def drips_bytes(x: Any) -> None:
    await x.start_stream()
    while True:
        await x.chunk(b"d")
        await asyncio.sleep(0.01)


async def comments(x: Any) -> None:
    while True:
        await x.chunk(b": still here\n\n")
        await asyncio.sleep(0.01)


async def only_comments(x: Any) -> None:
    await x.start_stream()
    await comments(x)


@pytest.mark.parametrize("script", [says_nothing, only_greets, drips_bytes, only_comments])
async def test_the_first_token_has_a_deadline(server: Any, script: Any) -> None:
    error = await failure(server, script, stream=True, deadlines=SHORT)
    assert isinstance(error, ModelUnavailable) and error.kind == "first_token_timeout"
    assert "0.2 s" in str(error)


async def begins_and_comments(x: Any) -> None:
    await x.start_stream()
    await x.event(x.delta(content="Well, "))
    await comments(x)


async def begins(x: Any) -> None:
    await x.start_stream()
    await x.event(x.delta(content="Well, "))
    await x.silence()


@pytest.mark.parametrize("script", [begins, begins_and_comments])
async def test_silence_between_tokens_has_a_deadline(server: Any, script: Any) -> None:
    deadlines = Deadlines(first_token_s=30, between_tokens_s=0.2, total_s=30)
    error = await failure(server, script, stream=True, deadlines=deadlines)
    assert isinstance(error, ModelUnavailable) and error.kind == "between_tokens_timeout"


async def never_stops(x: Any) -> None:
    await x.start_stream()
    while True:
        await x.event(x.delta(content="and "))
        await asyncio.sleep(0.005)


async def floods(x: Any) -> None:
    await x.start_stream()
    while True:
        await x.event(x.delta(content="and "))


@pytest.mark.parametrize("script", [never_stops, floods])
async def test_the_whole_stream_has_a_deadline(server: Any, script: Any) -> None:
    error = await failure(server, script, stream=True, deadlines=Deadlines(total_s=0.3))
    assert isinstance(error, ModelUnavailable) and error.kind == "total_timeout"


async def test_a_whole_answer_has_a_deadline(server: Any) -> None:
    error = await failure(server, says_nothing, stream=False, deadlines=SHORT)
    assert isinstance(error, ModelUnavailable) and error.kind == "total_timeout"


async def test_connecting_has_a_deadline() -> None:
    """A listener that never accepts, its backlog full: connecting hangs as it does behind a firewall."""
    import socket

    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        model = chat_model(Endpoint(f"http://127.0.0.1:{deaf.getsockname()[1]}/v1", "m"), Deadlines(connect_s=0.2))
        with pytest.raises(ModelUnavailable) as caught:
            await ask(model, stream=False)
        for filler in fillers:
            filler.close()
    assert caught.value.kind == "connect_timeout"


async def test_a_slow_reader_is_not_a_silent_server(server: Any) -> None:
    async def script(x: Any) -> None:
        await x.stream([x.delta(content="a"), x.delta(content="b"), x.delta("stop")])

    server.script = script
    text = ""
    async for chunk in server.model(Deadlines(between_tokens_s=1)).astream("hello?"):
        await asyncio.sleep(0 if text else 1.5)
        text += chunk.text
    assert text == "ab"


# -- cancellation


@both
@pytest.mark.parametrize("script", [says_nothing, begins])
async def test_a_cancelled_call_hangs_up(server: Any, script: Any, stream: bool) -> None:
    server.script = script
    task = asyncio.create_task(ask(server.model(), stream))
    await asyncio.wait_for(server.asked.wait(), 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(server.hung_up.wait(), 60)


async def test_a_reader_that_loses_interest_hangs_up(server: Any) -> None:
    server.script = begins
    stream = server.model().astream("hello?")
    await anext(stream)
    await stream.aclose()
    await asyncio.wait_for(server.hung_up.wait(), 60)


# -- event loops


async def test_every_event_loop_has_its_own_session(server: Any) -> None:
    async def script(x: Any) -> None:
        await x.whole(x.completion())

    async def once() -> str:
        try:
            return (await ask(server.model(), stream=False)).text
        finally:
            await Models({}).aclose()

    server.script = script
    assert await once() == "hello"
    elsewhere = [asyncio.to_thread(asyncio.run, once()) for _ in range(3)]
    assert await asyncio.gather(*elsewhere, once()) == ["hello"] * 4


async def test_a_loop_that_ended_without_closing_does_no_harm(server: Any, recwarn: pytest.WarningsRecorder) -> None:
    async def script(x: Any) -> None:
        await x.whole(x.completion())

    server.script = script
    await asyncio.to_thread(asyncio.run, ask(server.model(), stream=False))
    await ask(server.model(), stream=False)
    gc.collect()  # transports of a closed loop have no other end
    assert not [w for w in recwarn if "Unclosed" in str(w.message)]
    await asyncio.wait_for(server.hung_up.wait(), 60)


async def test_callers_without_a_loop_are_served(server: Any) -> None:
    async def script(x: Any) -> None:
        await (x.stream([x.delta("stop", content="hi")]) if x.body.get("stream") else x.whole(x.completion()))

    server.script = script
    model = server.model()
    assert (await asyncio.to_thread(model.invoke, "hello?")).text == "hello"
    assert await asyncio.to_thread(lambda: "".join(chunk.text for chunk in model.stream("hello?"))) == "hi"


async def test_a_sync_reader_that_loses_interest_hangs_up(server: Any) -> None:
    def first() -> str:
        for chunk in server.model().stream("hello?"):
            return str(chunk.text)
        return ""

    server.script = begins
    assert await asyncio.to_thread(first) == "Well, "
    await asyncio.wait_for(server.hung_up.wait(), 60)


# -- JSON


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": "line\nbreak"}', {"a": "line\nbreak"}),
        ('{"a": NaN}', {"a": None}),
        (r'{"a": "\ud800"}', {"a": "?"}),
        ("[" * 100_000, None),
        (b"\xff\xfe\x00", None),
        ("", None),
    ],
)
def test_json_is_read_leniently_and_fails_one_way(text: Any, value: Any) -> None:
    if value is None:
        with pytest.raises(ValueError):
            from_json(text)
    else:
        assert from_json(text) == value


def test_json_is_written_whatever_the_text() -> None:
    assert to_json({"a": "\ud800\x00é", 1: 2}) == '{"a": "?\\u0000é", "1": 2}'.encode()
