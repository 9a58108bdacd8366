"""The demo model over HTTP, as a process of its own: OpenAI's client talks to it; it ends when it should."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from app.demo_model.arithmetic import shown, value_of

INSTANT = ("--ttft-ms", "0", "--tokens-per-s", "0")
PASSAGES = """\
[3f9a1c] Lease > Term and termination (page 2)
After the first year either party may terminate the lease with three months' written notice. Notice sent by e-mail \
is not valid.

[77be02] Lease > Rent and deposit (page 3)
The tenant pays a deposit of three months' rent, which the landlord keeps in a separate account. The landlord returns \
the deposit within six weeks after the keys are handed back."""


def function(name: str, description: str = "", required: bool = True, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties) if required else []}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


CALCULATOR = function("calculator", "Work out an arithmetic expression.", expression={"type": "string"})
SEARCH = function("search_documents", "Search the documents for passages.", query={"type": "string"})
WEATHER = function("get_weather", "Get the weather at a location.", location={"type": "string"})


def start(*flags: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-m", "app.demo_model", *flags], stdout=subprocess.PIPE, text=True)


def url_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return str(json.loads(process.stdout.readline())["url"])


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    process = start(*INSTANT)
    yield url_of(process)
    process.terminate()
    assert process.wait(60) == 0


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key="any", max_retries=0) as made:
        httpx.delete(f"{url}/demo/stats")
        yield made


def ask(client: openai.OpenAI, messages: Any, **options: Any) -> Any:
    said: Any = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
    return client.chat.completions.create(model="demo-large", messages=said, **options)


def stats(url: str) -> Any:
    return httpx.get(f"{url}/demo/stats").json()


# -- the book's smallest agent


def test_the_smallest_agent_reasons_twice_and_calls_one_tool(client: openai.OpenAI, url: str) -> None:
    messages: list[Any] = [{"role": "user", "content": "three items at 149.99 plus 24.50 shipping"}]
    tool_calls = 0
    while True:
        answer = ask(client, messages, tools=[CALCULATOR]).choices[0].message
        messages.append(answer.model_dump(exclude_none=True))
        if not answer.tool_calls:
            break
        for call in answer.tool_calls:
            tool_calls += 1
            value = value_of(json.loads(call.function.arguments)["expression"])
            assert value is not None
            messages.append({"role": "tool", "tool_call_id": call.id, "content": shown(value)})

    assert "474.47" in answer.content
    assert tool_calls == 1
    assert stats(url)["kinds"] == {"chat": 2}


# -- one answer, whole or in pieces


def assembled(stream: Any) -> dict[str, Any]:
    """What a client makes of a stream."""
    text, finish, usage = "", None, None
    calls: dict[int, dict[str, Any]] = {}
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            finish = choice.finish_reason or finish
            text += choice.delta.content or ""
            for piece in choice.delta.tool_calls or ():
                call = calls.setdefault(piece.index, {"id": piece.id, "name": piece.function.name, "arguments": ""})
                call["arguments"] += piece.function.arguments or ""
    return {"text": text, "finish": finish, "usage": usage, "calls": list(calls.values())}


@pytest.mark.parametrize(
    ("question", "options"),
    [
        ("Hello", {}),
        ("What is 6 times 7?", {"tools": [CALCULATOR]}),
        ("Compare rent and deposit", {"tools": [SEARCH]}),
        (f"How much is the deposit?\n\n{PASSAGES}", {}),
        ("Hello", {"max_tokens": 5}),
        ("What is 6 times 7?", {"tools": [CALCULATOR], "max_tokens": 4}),
    ],
)
def test_a_stream_adds_up_to_the_whole_answer(client: openai.OpenAI, question: str, options: Any) -> None:
    whole = ask(client, question, **options)
    pieces = assembled(ask(client, question, stream=True, stream_options={"include_usage": True}, **options))

    message = whole.choices[0].message
    calls = [{"id": c.id, "name": c.function.name, "arguments": c.function.arguments} for c in message.tool_calls or []]
    assert pieces["text"] == (message.content or "")
    assert pieces["calls"] == calls
    assert pieces["finish"] == whole.choices[0].finish_reason
    assert pieces["usage"].completion_tokens == whole.usage.completion_tokens


def test_a_stream_comes_in_several_pieces_and_tells_usage_only_when_asked(client: openai.OpenAI) -> None:
    chunks = list(ask(client, "Hello", stream=True))
    assert len([c for c in chunks if c.choices and c.choices[0].delta.content]) > 10
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(chunk.usage is None for chunk in chunks)


def test_streamed_calls_name_first_then_pieces_of_arguments(client: openai.OpenAI) -> None:
    stream = ask(client, "Compare rent and deposit", tools=[SEARCH], stream=True)
    pieces = [piece for chunk in stream for piece in chunk.choices[0].delta.tool_calls or ()]
    names = [(piece.index, piece.function.name) for piece in pieces if piece.function.name]
    assert names == [(0, "search_documents"), (1, "search_documents")]
    assert all(piece.id for piece in pieces if piece.function.name)
    assert len(pieces) > 6


def test_the_same_request_gets_the_same_answer(client: openai.OpenAI) -> None:
    first, second = (ask(client, "Compare rent and deposit", tools=[SEARCH]).choices for _ in range(2))
    assert first == second


def test_usage_counts_what_was_said_and_what_was_cached(client: openai.OpenAI) -> None:
    long = "The landlord keeps the roof in working order. " * 20
    messages = [{"role": "system", "content": long}, {"role": "user", "content": "Hello"}]
    first = ask(client, messages).usage
    again = ask(
        client, [*messages, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "Thanks"}]
    ).usage

    assert first.total_tokens == first.prompt_tokens + first.completion_tokens
    assert 150 < first.prompt_tokens < 300
    assert 0 < again.prompt_tokens_details.cached_tokens <= first.prompt_tokens
    assert again.completion_tokens_details.reasoning_tokens == 0


def test_reasoning_is_told_apart_when_asked_for(client: openai.OpenAI) -> None:
    answer = ask(client, "What is 6 times 7?", tools=[CALCULATOR], reasoning_effort="low")
    assert "calculator" in answer.choices[0].message.reasoning_content
    assert 0 < answer.usage.completion_tokens_details.reasoning_tokens < answer.usage.completion_tokens


def test_stop_and_max_tokens_cut(client: openai.OpenAI) -> None:
    whole = ask(client, "Hello").choices[0].message.content
    stopped = ask(client, "Hello", stop=["program"]).choices[0]
    cut = ask(client, "Hello", max_tokens=3)
    assert stopped.message.content == whole.split("program")[0]
    assert stopped.finish_reason == "stop"
    assert cut.choices[0].finish_reason == "length"
    assert cut.usage.completion_tokens == 3
    assert whole.startswith(cut.choices[0].message.content)


# -- tools


def test_a_question_with_parts_is_searched_in_parallel(client: openai.OpenAI) -> None:
    answer = ask(client, "Compare the notice period, the deposit and the rent", tools=[SEARCH]).choices[0]
    queries = [json.loads(call.function.arguments)["query"] for call in answer.message.tool_calls]
    assert queries == ["notice period", "deposit", "rent"]
    assert len({call.id for call in answer.message.tool_calls}) == 3
    alone = ask(client, "Compare the deposit and the rent", tools=[SEARCH], parallel_tool_calls=False).choices[0]
    assert len(alone.message.tool_calls) == 1


def test_tool_choice_is_obeyed(client: openai.OpenAI) -> None:
    tools = [CALCULATOR, WEATHER]
    assert ask(client, "Hello!", tools=tools).choices[0].message.tool_calls is None
    assert ask(client, "Hello!", tools=tools, tool_choice="required").choices[0].message.tool_calls
    named = {"type": "function", "function": {"name": "get_weather"}}
    call = ask(client, "What is 1 + 2?", tools=tools, tool_choice=named).choices[0].message.tool_calls[0]
    assert call.function.name == "get_weather"
    assert isinstance(json.loads(call.function.arguments)["location"], str)
    silent = ask(client, "What is 1 + 2?", tools=tools, tool_choice="none").choices[0]
    assert silent.message.tool_calls is None
    assert silent.finish_reason == "stop"


def test_every_cited_key_was_in_a_result(client: openai.OpenAI) -> None:
    messages = [
        {"role": "user", "content": "When does the landlord return the deposit?"},
        {"role": "assistant", "tool_calls": [search_call("landlord return deposit")]},
        {"role": "tool", "tool_call_id": "call_1", "content": PASSAGES},
    ]
    text = ask(client, messages, tools=[SEARCH]).choices[0].message.content
    assert text.startswith("The landlord returns the deposit within six weeks after the keys are handed back. [77be02]")
    assert set(re.findall(r"\[(\w{6,})\]", text)) <= {"3f9a1c", "77be02"}


def test_it_searches_once_more_in_other_words_and_then_says_that_nothing_was_found(client: openai.OpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": "How do I terminate the insurance contract of my yacht?"}]
    queries = []
    for _ in range(5):
        message = ask(client, messages, tools=[SEARCH]).choices[0].message
        if not message.tool_calls:
            break
        messages.append(message.model_dump(exclude_none=True))
        queries += [json.loads(call.function.arguments)["query"] for call in message.tool_calls]
        messages += [{"role": "tool", "tool_call_id": c.id, "content": PASSAGES} for c in message.tool_calls]
    assert len(queries) == 2
    assert queries[0] != queries[1]
    assert message.content.startswith("I found nothing in the documents")
    assert all(query in message.content for query in queries)
    assert "[" not in message.content


def search_call(query: str) -> dict[str, Any]:
    arguments = json.dumps({"query": query})
    return {"id": "call_1", "type": "function", "function": {"name": "search_documents", "arguments": arguments}}


# -- the other routes


def test_models_embeddings_tokens_and_health(client: openai.OpenAI, url: str) -> None:
    assert [model.id for model in client.models.list()] == ["demo-large", "demo-small", "demo-embed"]
    one, two, other = (
        item.embedding
        for item in client.embeddings.create(
            model="demo-embed", input=["the landlord keeps the deposit", "deposits kept by landlords", "baking bread"]
        ).data
    )
    assert len(one) == 384
    assert abs(sum(x * x for x in one) - 1) < 1e-5
    assert dot(one, two) > 0.5 > 0.3 > dot(one, other)
    assert httpx.post(url.removesuffix("v1") + "tokenize", json={"prompt": "one two three"}).json()["count"] == 3
    assert httpx.get(url.removesuffix("v1") + "health").status_code == 200


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"[]", None),
        ({"messages": []}, "model"),
        ({"model": "m", "messages": []}, "messages"),
        ({"model": "m", "messages": [{"role": "owl", "content": ""}]}, "messages[0].role"),
        ({"model": "m", "messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"model": "m", "messages": [{"role": "tool", "content": ""}]}, "messages[0].tool_call_id"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"n": 2}, "n"),
        ({"stop": 5}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"tools": [{}]}, "tools[0].function.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [CALCULATOR], "tool_choice": {"function": {"name": "other"}}}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
    ],
)
def test_a_bad_body_is_refused_by_the_name_of_its_field(url: str, body: Any, param: str | None) -> None:
    good = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    if isinstance(body, dict) and "messages" not in body:
        body = good | body
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = httpx.post(f"{url}/chat/completions", content=raw)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == param
    assert error["message"]
    assert error["type"] == "invalid_request_error"


def test_what_does_not_exist_is_404_and_what_is_too_long_says_so(client: openai.OpenAI, url: str) -> None:
    with pytest.raises(openai.NotFoundError, match="missing-model"):
        client.chat.completions.create(model="missing-model", messages=[{"role": "user", "content": "Hi"}])
    assert httpx.post(f"{url}/responses", json={}).json()["error"]["message"]
    with pytest.raises(openai.BadRequestError, match="maximum context length") as caught:
        ask(client, "word " * 140_000)
    assert caught.value.code == "context_length_exceeded"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "127.evil.example:80", "[::2]", "[", ""])
def test_only_names_of_this_machine_are_served(url: str, host: str) -> None:
    assert httpx.get(f"{url}/demo/stats", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "127.9.9.9:80", "[::1]:80", "[::1]"])
def test_all_names_of_this_machine_are(url: str, host: str) -> None:
    assert httpx.get(f"{url}/demo/stats", headers={"Host": host}).status_code == 200


def test_odd_text_is_read_without_harm(client: openai.OpenAI) -> None:
    for text in (
        "",
        " ",
        "\x00",
        "?",
        "a" * 50_000,
        "你好，什么是人工智能？",
        "[" * 5_000,
        "**`" * 2_000,
        "## \n" * 500,
    ):
        assert ask(client, text).choices[0].message.content


def test_pace_is_kept(url: str) -> None:
    body = {
        "model": "m", "stream": True, "messages": [{"role": "user", "content": "Hello"}],
        "demo_faults": {"ttft_ms": 50, "tokens_per_s": 400},
    }  # fmt: skip
    began = time.monotonic()
    with httpx.stream("POST", f"{url}/chat/completions", json=body) as answer:
        arrivals = [time.monotonic() - began for line in answer.iter_lines() if '"content"' in line]
    assert arrivals[0] >= 0.05
    # spread, not sent at once: a reader that is held up gets many together, but none before its time
    assert arrivals[-1] >= 0.05 + 0.05


# -- the process


def test_it_prints_one_line_and_ends_on_sigterm() -> None:
    process = start(*INSTANT)
    url = url_of(process)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", url)
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "demo_faults": {"silence": True}}
    with httpx.Client(timeout=None) as waiting:
        request = waiting.build_request("POST", f"{url}/chat/completions", json=body)
        process_ends_under(waiting, request, process)
    assert process.stdout
    assert process.stdout.read() == ""


def process_ends_under(client: httpx.Client, request: httpx.Request, process: "subprocess.Popen[str]") -> None:
    """A client that waits for an answer that never comes does not hold the process."""

    def wait_for_answer() -> None:
        with pytest.raises(httpx.HTTPError):
            client.send(request)

    thread = threading.Thread(target=wait_for_answer)
    thread.start()
    url = str(request.url).removesuffix("/chat/completions")
    until(lambda: stats(url)["in_flight"] == 1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    thread.join(90)
    assert not thread.is_alive()


def until(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


PARENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-m", "app.demo_model", "--parent-pid", str(os.getpid())])
child.wait()
"""


def test_it_ends_when_its_parent_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    url = url_of(parent)
    assert httpx.get(f"{url}/models").status_code == 200
    os.kill(parent.pid, signal.SIGKILL)
    assert parent.stdout
    assert parent.stdout.read() == ""  # ends when the last writer, the child, has ended
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/models")
    parent.wait(60)


def test_a_port_in_use_is_named() -> None:
    process = start(*INSTANT)
    port = url_of(process).split(":")[2].split("/")[0]
    second = subprocess.run(
        [sys.executable, "-m", "app.demo_model", "--port", port], capture_output=True, text=True, timeout=30
    )
    process.terminate()
    process.wait(60)
    assert second.returncode == 1
    assert f"127.0.0.1:{port}" in second.stderr
    assert "Traceback" not in second.stderr
