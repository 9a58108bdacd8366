"""Every fault of the demo model, as a client sees it."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import httpx
import openai
import pytest

TOOL = {
    "type": "function",
    "function": {
        "name": "calculator",
        "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]},
    },
}
SUM = {"model": "demo-large", "messages": [{"role": "user", "content": "What is 6 times 7?"}], "tools": [TOOL]}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    flags = ["--ttft-ms", "0", "--tokens-per-s", "0"]
    process = subprocess.Popen([sys.executable, "-m", "app.demo_model", *flags], stdout=subprocess.PIPE)
    assert process.stdout
    yield json.loads(process.stdout.readline())["url"]
    process.terminate()
    process.wait(60)


@pytest.fixture
async def http(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(timeout=timeout, read_bufsize=1 << 20) as session:
        yield session
        for path in ("faults", "stats"):
            (await session.delete(f"{url}/demo/{path}")).release()


@pytest.fixture
async def client(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0, timeout=60) as made:
        yield made


async def call(client: openai.AsyncOpenAI, **faults: Any) -> Any:
    return await client.chat.completions.create(**SUM, extra_body={"demo_faults": faults})  # type: ignore[call-overload]


async def events(client: openai.AsyncOpenAI, **faults: Any) -> list[Any]:
    stream = await client.chat.completions.create(**SUM, stream=True, extra_body={"demo_faults": faults})  # type: ignore[call-overload]
    return [event async for event in stream]


async def lines(http: aiohttp.ClientSession, url: str, received: list[str], **faults: Any) -> None:
    """Append the stream's events to `received`, also when it breaks."""
    body = {**SUM, "stream": True, "demo_faults": faults}
    async with http.post(f"{url}/chat/completions", json=body) as answer:
        async for line in answer.content:
            if line.strip():
                received.append(line.decode().strip())


# -- time


async def test_latency_waits_before_the_first_byte_and_a_straggler_multiplies_it(client: openai.AsyncOpenAI) -> None:
    began = time.monotonic()
    await call(client, latency_ms=40)
    assert time.monotonic() - began >= 0.04
    began = time.monotonic()
    await call(client, latency_ms=40, slow_factor=4)
    assert time.monotonic() - began >= 0.16


async def test_silence_never_answers(http: aiohttp.ClientSession, url: str) -> None:
    asked = asyncio.create_task(http.post(f"{url}/chat/completions", json={**SUM, "demo_faults": {"silence": True}}))
    await in_flight(http, url, 1)
    assert not asked.done()
    asked.cancel()
    await in_flight(http, url, 0)
    assert (await stats(http, url))["aborted"] == 1  # the server has noticed that nobody waits any more


async def in_flight(http: aiohttp.ClientSession, url: str, wanted: int) -> None:
    """Ask until so many requests are being answered."""
    async with asyncio.timeout(60):
        while (await stats(http, url))["in_flight"] != wanted:
            continue


async def stats(http: aiohttp.ClientSession, url: str) -> Any:
    async with http.get(f"{url}/demo/stats") as answer:
        return await answer.json()


async def test_a_stream_falls_silent_after_n_chunks(http: aiohttp.ClientSession, url: str) -> None:
    received: list[str] = []
    reading = asyncio.create_task(lines(http, url, received, silence_after=3))
    async with asyncio.timeout(60):
        while len(received) < 3:  # noqa: ASYNC110 - a list tells nobody
            await asyncio.sleep(0.01)
    await asyncio.wait({reading}, timeout=0.3)
    assert not reading.done() and len(received) == 3
    reading.cancel()
    await asyncio.wait({reading})


async def test_bytes_drip(http: aiohttp.ClientSession, url: str) -> None:
    body = {**SUM, "demo_faults": {"drip_bytes_per_s": 4000}}
    async with http.post(f"{url}/chat/completions", json=body) as answer:
        parts = [part async for part in answer.content.iter_any()]
    assert len(parts) > 5
    assert json.loads(b"".join(parts))["choices"]


# -- errors


@pytest.mark.parametrize(("status", "kind"), [(500, openai.InternalServerError), (503, openai.InternalServerError)])
async def test_server_errors(client: openai.AsyncOpenAI, status: int, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        await call(client, status=status)


async def test_too_many_requests_says_when_to_come_back(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        await call(client, status=429, retry_after_s=1.5)
    assert caught.value.response.headers["retry-after"] == "1.5"
    with pytest.raises(openai.RateLimitError) as caught:
        await call(client, status=429, retry_after_s=100, retry_after_date=True)
    wait_s = (parsedate_to_datetime(caught.value.response.headers["retry-after"]) - datetime.now(UTC)).total_seconds()
    assert 0 < wait_s <= 100


async def test_a_stream_is_cut_after_n_chunks(http: aiohttp.ClientSession, url: str) -> None:
    received: list[str] = []
    with pytest.raises(aiohttp.ClientError):
        await lines(http, url, received, cut_stream_after=4)
    assert len(received) == 4


@pytest.mark.parametrize("faults", [{"reset": True}, {"cut_stream_after": 20}, {"wrong_content_length": 50}])
async def test_a_broken_connection(client: openai.AsyncOpenAI, faults: Any) -> None:
    with pytest.raises(openai.APIConnectionError):
        await call(client, **faults)


async def test_a_length_too_short_leaves_broken_json(url: str) -> None:
    body = {**SUM, "demo_faults": {"wrong_content_length": -30}}
    async with httpx.AsyncClient() as http:
        answer = await http.post(f"{url}/chat/completions", json=body)
    with pytest.raises(json.JSONDecodeError):
        answer.json()


async def test_done_is_missing(http: aiohttp.ClientSession, url: str) -> None:
    complete: list[str] = []
    await lines(http, url, complete)
    received: list[str] = []
    await lines(http, url, received, missing_done=True)
    assert complete[-1] == "data: [DONE]"
    assert len(received) == len(complete) - 1


@pytest.mark.parametrize(
    ("garbage", "kind", "begin"),
    [
        ("bytes", "application/json", b"\x80"),
        ("html", "text/html", b"<!doctype html>"),
        ("json", "application/json", b'{"detail"'),
        ("sse", "text/event-stream", b'data: {"choices"'),
    ],
)
async def test_garbage(http: aiohttp.ClientSession, url: str, garbage: str, kind: str, begin: bytes) -> None:
    async with http.post(f"{url}/chat/completions", json={**SUM, "demo_faults": {"garbage": garbage}}) as answer:
        assert answer.status == 200
        assert answer.content_type == kind
        assert (await answer.read()).startswith(begin)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_endless_line(http: aiohttp.ClientSession, url: str, stream: bool) -> None:
    body = {**SUM, "stream": stream, "demo_faults": {"long_line_bytes": 100_000_000}}
    size = longest = run = 0
    async with http.post(f"{url}/chat/completions", json=body) as answer:
        async for part in answer.content.iter_any():
            size += len(part)
            run = run + len(part) if b"\n" not in part else 0
            longest = max(longest, run)
    assert size > 100_000_000
    assert longest > 90_000_000


# -- answers


async def test_no_choices(client: openai.AsyncOpenAI) -> None:
    assert (await call(client, empty_choices=True)).choices == []
    assert all(event.choices == [] for event in await events(client, empty_choices=True))


async def test_tool_calls_bent(client: openai.AsyncOpenAI) -> None:
    async def bent(**faults: Any) -> Any:
        choice = (await call(client, **faults)).choices[0]
        assert choice.finish_reason == "tool_calls"
        return choice.message.tool_calls

    good = (await bent())[0].function.arguments
    assert (await bent(tool_arguments='{"a": '))[0].function.arguments == '{"a": '
    assert (await bent(cut_tool_arguments_at=7))[0].function.arguments == good[:7]
    assert (await bent(unknown_tool="rm_rf"))[0].function.name == "rm_rf"
    assert not await bent(empty_tool_calls=True)
    assert len({call.id for call in await bent(tool_calls=3)}) == 3
    assert len({call.id for call in await bent(tool_calls=3, duplicate_tool_ids=True)}) == 1
    one, other = [(await bent(random_tool_ids=True))[0].id for _ in range(2)]
    assert one != other


async def test_cut_arguments_in_a_stream_still_finish_as_a_call(client: openai.AsyncOpenAI) -> None:
    received = await events(client, cut_tool_arguments_at=7)
    deltas = [event.choices[0].delta.tool_calls for event in received]
    text = "".join(pieces[0].function.arguments for pieces in deltas if pieces)
    assert text == '{"expre'
    assert received[-1].choices[0].finish_reason == "tool_calls"


# -- how faults are asked for


async def test_rules_for_all_requests_are_spent_matched_and_cleared(http: aiohttp.ClientSession, url: str) -> None:
    async def statuses(n: int, text: str = "six") -> list[int]:
        body = {"model": "m", "messages": [{"role": "user", "content": text}]}
        found = []
        for _ in range(n):
            async with http.post(f"{url}/chat/completions", json=body) as answer:
                found.append(answer.status)
        return found

    async def put(rule: Any) -> int:
        async with http.put(f"{url}/demo/faults", json=rule) as answer:
            return answer.status

    await put({"status": 503, "times": 2})
    assert await statuses(3) == [503, 503, 200]
    await put({"status": 500, "match": "seven"})
    assert await statuses(1) + await statuses(1, "say seven") == [200, 500]
    await put([{"status": 500, "every": 3}, {"latency_ms": 1}])
    assert await statuses(6) == [200, 200, 500, 200, 200, 500]
    await put({"status": 500, "probability": 0.5, "seed": 7})
    drawn = await statuses(12)
    await put({"status": 500, "probability": 0.5, "seed": 7})
    assert await statuses(12) == drawn
    assert set(drawn) == {200, 500}
    assert await put({"status": 500, "times": 0}) == 400
    assert await put({"status": 200}) == 400
    (await http.delete(f"{url}/demo/faults")).release()
    assert await statuses(1) == [200]


async def test_the_header_wins_over_the_body(http: aiohttp.ClientSession, url: str) -> None:
    body = {**SUM, "demo_faults": {"status": 500}}
    headers = {"x-demo-faults": json.dumps({"status": 418})}
    async with http.post(f"{url}/chat/completions", json=body, headers=headers) as answer:
        assert answer.status == 418


@pytest.mark.parametrize("faults", [{"nope": 1}, {"status": "x"}, {"latency_ms": -1}, {"garbage": "soup"}, [1]])
async def test_an_unknown_fault_is_refused_by_name(http: aiohttp.ClientSession, url: str, faults: Any) -> None:
    async with http.post(f"{url}/chat/completions", json={**SUM, "demo_faults": faults}) as answer:
        assert answer.status == 400
        error = (await answer.json())["error"]
    assert error["param"].startswith("demo_faults")


async def test_stats_count_and_remember(http: aiohttp.ClientSession, url: str, client: openai.AsyncOpenAI) -> None:
    (await http.delete(f"{url}/demo/stats")).release()
    await asyncio.gather(*(call(client, latency_ms=100) for _ in range(5)))
    told = await stats(http, url)
    assert told["requests"] == 5
    assert told["max_concurrent"] >= 2
    assert told["replies"] == {"tool_calls": 5}
    assert told["last"][-1]["messages"] == SUM["messages"]


PERSON = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FILL = {"model": "demo-large", "messages": [{"role": "user", "content": "Anna lives in Bern."}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "p", "schema": PERSON}}}  # fmt: skip


async def fill(client: openai.AsyncOpenAI, **faults: Any) -> str:
    answer = await client.chat.completions.create(**FILL, extra_body={"demo_faults": faults})  # type: ignore[call-overload]
    return str(answer.choices[0].message.content)


async def test_a_lesser_server_refuses_or_ignores_what_it_cannot_do(client: openai.AsyncOpenAI) -> None:
    for refused, ask in (("response_format", fill), ("tools", call)):
        with pytest.raises(openai.BadRequestError, match=refused):
            await ask(client, **{f"refuse_{refused}": True})
    assert not (await fill(client, ignore_response_format=True)).startswith("{")
    answer = (await call(client, ignore_tools=True)).choices[0]
    assert (answer.finish_reason, answer.message.tool_calls) == ("stop", None)


async def test_json_comes_wrapped_cut_or_with_a_field_less(client: openai.AsyncOpenAI) -> None:
    whole = await fill(client)
    assert whole == '{"city":"Bern"}'
    assert f"```json\n{whole}\n```" in await fill(client, json_in="fence")
    assert (await fill(client, json_in="prose")).startswith("Certainly!")
    assert await fill(client, cut_json_at=5) == whole[:5]
    assert await fill(client, lose_json_field="city") == "{}"


async def test_a_schema_in_words_is_filled(client: openai.AsyncOpenAI) -> None:
    demand = f"Answer with one JSON object. It follows this JSON schema:\n{json.dumps(PERSON)}"
    said = [{"role": "user", "content": f"Anna lives in Bern.\n\n{demand}"}]
    mended = [*said, {"role": "assistant", "content": "No."}, {"role": "user", "content": f"That is no p.\n\n{demand}"}]
    for messages in (said, mended):
        answer = await client.chat.completions.create(model="demo-large", messages=messages)  # type: ignore[arg-type]
        assert answer.choices[0].message.content == '{"city":"Bern"}'
