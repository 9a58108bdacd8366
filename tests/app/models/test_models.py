"""The model as LangChain and LangGraph see it: tool calls, structured answers, agents, roles, the probe."""

import asyncio
import json
import random
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from agents.errors import ModelUnavailable
from app.models import Endpoint, Models, chat_model, cost_usd

executed: list[dict[str, Any]] = []


@tool
async def add(a: int, b: int = 0) -> str:
    """Add two numbers."""
    executed.append({"a": a, "b": b})
    return str(a + b)


@tool
async def tick() -> str:
    """Move the clock."""
    executed.append({})
    return "tock"


@pytest.fixture(autouse=True)
def nothing_executed() -> None:
    executed.clear()


async def called(server: Any, stream: bool, tools: Any = (add, tick), history: Any = "add") -> AIMessage:
    """The final message of one call, as LangGraph's model node gets it."""
    answer = await server.model().bind_tools(list(tools)).ainvoke(history, stream=stream)
    assert type(answer) is AIMessage
    return answer


def script_of(arguments: str, finish_reason: str, pieces: int = 3) -> Any:
    """A server that makes one call with these arguments, streamed in pieces or not."""

    async def script(x: Any) -> None:
        if not x.body.get("stream"):
            calls = [x.wire_call(arguments)]
            return await x.whole(x.completion(None, finish_reason, tool_calls=calls))
        size = max(1, len(arguments) // pieces)
        parts = [arguments[i : i + size] for i in range(0, len(arguments), size)]
        opening = x.call_delta("", id="call_1", name="add")
        await x.stream([opening, *map(x.call_delta, parts), x.delta(finish_reason)])

    return script


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


# -- tool calls


@both
async def test_a_whole_call_is_executable(server: Any, stream: bool) -> None:
    server.script = script_of('{"a": 1, "b": 2}', "tool_calls")
    answer = await called(server, stream)
    assert [(c["name"], c["args"], c["id"]) for c in answer.tool_calls] == [("add", {"a": 1, "b": 2}, "call_1")]
    assert answer.invalid_tool_calls == []


async def test_a_stream_announces_a_call_by_name_before_its_arguments(server: Any) -> None:
    seen = asyncio.Event()

    async def script(x: Any) -> None:
        await x.start_stream()
        await x.event(x.call_delta("", id="call_1", name="add"))
        await asyncio.wait_for(seen.wait(), 60)
        for piece in ('{"a": ', "1}"):
            await x.event(x.call_delta(piece))
        await x.event(x.delta("tool_calls"))
        await x.chunk(b"data: [DONE]\n\n")
        await x.end_stream()

    server.script = script
    chunks: list[AIMessageChunk] = []
    async for chunk in server.model().bind_tools([add]).astream("add"):
        chunks.append(chunk)
        seen.set()
    assert [c["name"] for c in chunks[0].tool_call_chunks] == ["add"]
    assert chunks[0].tool_call_chunks[0]["args"] == ""
    whole = sum(chunks[1:], chunks[0])
    assert whole.tool_calls[0]["args"] == {"a": 1}


LONG = json.dumps({"a": 1, "b": 2, "note": 'x, [y] {z} "quoted" \\ back\nslash é ' * 24})
assert len(LONG) > 1_000


@pytest.mark.parametrize("finish_reason", ["tool_calls", "length", "stop"])
async def test_cut_arguments_are_never_executable(server: Any, finish_reason: str) -> None:
    """Every cut point of a thousand and more, streamed and whole, whatever the server says about it."""
    cuts = [cut for cut in range(len(LONG)) if cut % 3 == ["tool_calls", "length", "stop"].index(finish_reason)]
    for cut in cuts:
        server.script = script_of(LONG[:cut], finish_reason)
        for stream in (True, False):
            answer = await called(server, stream)
            assert answer.tool_calls == [], f"cut at {cut}"
            (broken,) = answer.invalid_tool_calls
            assert broken["args"] == LONG[:cut] and broken["error"] and broken["id"] == "call_1"


async def test_cut_arguments_stay_unusable_for_readers_of_chunks(server: Any) -> None:
    for cut in range(0, len(LONG), 97):
        server.script = script_of(LONG[:cut], "tool_calls")
        chunks = [chunk async for chunk in server.model().bind_tools([add]).astream("add")]
        assert sum(chunks[1:], chunks[0]).tool_calls == []
        async for event in server.model().bind_tools([add]).astream_events("add", version="v2"):
            if event["event"] == "on_chat_model_end":
                assert event["data"]["output"].tool_calls == []


@both
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("[1, 2]", "list"),
        ("true", "bool"),
        ("0.0", "float"),
        ("null", "NoneType"),
        ('"{}"', "str"),
        ("Infinity", "Infinity"),
        ('{"a": NaN}', "NaN"),
        ("", "missing"),
        ("  ", "missing"),
        ("{'a': 1}", "not JSON"),
        ('{"a": 1}}', "not JSON"),
        ('{"a": 1} {"a": 2}', "not JSON"),
    ],
)
async def test_arguments_must_be_one_json_object(server: Any, arguments: str, reason: str, stream: bool) -> None:
    server.script = script_of(arguments, "tool_calls")
    answer = await called(server, stream)
    assert answer.tool_calls == []
    assert reason in str(answer.invalid_tool_calls[0]["error"])


@both
async def test_line_breaks_inside_strings_are_forgiven(server: Any, stream: bool) -> None:
    server.script = script_of('{"a": "one\ntwo"}', "tool_calls")
    assert (await called(server, stream)).tool_calls[0]["args"] == {"a": "one\ntwo"}


@both
async def test_a_tool_without_arguments_needs_none(server: Any, stream: bool) -> None:
    async def script(x: Any) -> None:
        wire = x.wire_call("", name="tick")
        if stream:
            return await x.stream([x.delta(tool_calls=[wire | {"index": 0}]), x.delta("tool_calls")])
        await x.whole(x.completion(None, "tool_calls", tool_calls=[wire]))

    server.script = script
    assert (await called(server, stream)).tool_calls[0]["args"] == {}


@both
async def test_tool_calls_announced_but_absent_are_reported(server: Any, stream: bool) -> None:
    async def script(x: Any) -> None:
        if stream:
            return await x.stream([x.delta(content=""), x.delta("tool_calls")])
        await x.whole(x.completion("", "tool_calls", tool_calls=[]))

    server.script = script
    answer = await called(server, stream)
    assert answer.tool_calls == []
    assert "held none" in str(answer.invalid_tool_calls[0]["error"])
    assert answer.invalid_tool_calls[0]["id"]


@both
async def test_only_the_last_call_of_a_cut_answer_is_lost(server: Any, stream: bool) -> None:
    async def script(x: Any) -> None:
        wires = [x.wire_call('{"a": 1}', id="one"), x.wire_call('{"a": 2}', id="two")]
        if stream:
            deltas = [wire | {"index": index} for index, wire in enumerate(wires)]
            return await x.stream([x.delta(tool_calls=deltas), x.delta("length")])
        await x.whole(x.completion(None, "length", tool_calls=wires))

    server.script = script
    answer = await called(server, stream)
    assert [c["id"] for c in answer.tool_calls] == ["one"]
    assert [c["id"] for c in answer.invalid_tool_calls] == ["two"]
    assert "token limit" in str(answer.invalid_tool_calls[0]["error"])


@both
async def test_ids_are_unique_in_the_answer_and_the_conversation(server: Any, stream: bool) -> None:
    async def script(x: Any) -> None:
        wires = [x.wire_call('{"a": 1}', id="c"), x.wire_call('{"a": 2}', id="c"), x.wire_call('{"a": 3}', id="")]
        if stream:
            deltas = [wire | {"index": index} for index, wire in enumerate(wires)]
            return await x.stream([x.delta(tool_calls=deltas), x.delta("tool_calls")])
        await x.whole(x.completion(None, "tool_calls", tool_calls=wires))

    server.script = script
    before = AIMessage("", tool_calls=[{"name": "add", "args": {"a": 0}, "id": "c"}])
    history = [HumanMessage("add"), before, ToolMessage("0", tool_call_id="c"), HumanMessage("again")]
    answer = await called(server, stream, history=history)
    ids = [call["id"] for call in answer.tool_calls]
    assert [call["args"]["a"] for call in answer.tool_calls] == [1, 2, 3]
    assert len({*ids, "c"}) == 4 and all(ids)


async def test_interleaved_deltas_of_many_calls_find_their_own(server: Any) -> None:
    noise = random.Random(7)
    wanted = [json.dumps({"a": n, "b": n * n}) for n in range(200)]
    pieces = [(n, i) for n, text in enumerate(wanted) for i in range(0, len(text), 5)]
    order = sorted(pieces, key=lambda piece: (piece[1], noise.random()))

    async def script(x: Any) -> None:
        events = []
        for n, i in order:
            named = {} if i else {"id": f"call_{n}", "name": "add"}
            events.append(x.call_delta(wanted[n][i : i + 5], index=n, **named))
        await x.stream([*events, x.delta("tool_calls")])

    server.script = script
    answer = await called(server, stream=True)
    assert {call["id"]: call["args"] for call in answer.tool_calls} == {
        f"call_{n}": {"a": n, "b": n * n} for n in range(200)
    }


async def test_a_server_that_gives_every_call_the_same_index_is_understood(server: Any) -> None:
    async def script(x: Any) -> None:
        events = [x.call_delta(f'{{"a": {n}}}', index=0, id=f"call_{n}", name="add") for n in range(3)]
        await x.stream([*events, x.delta("tool_calls")])

    server.script = script
    assert [call["args"]["a"] for call in (await called(server, stream=True)).tool_calls] == [0, 1, 2]


# -- the rest of an answer


@both
@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_reasoning_and_usage_details_are_kept(server: Any, field: str, stream: bool) -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_tokens": 120,
        "prompt_tokens_details": {"cached_tokens": 64},
        "completion_tokens_details": {"reasoning_tokens": 12},
    }

    async def script(x: Any) -> None:
        if stream:
            thoughts = [x.delta(**{field: "Let me "}), x.delta(**{field: "think."})]
            return await x.stream([*thoughts, x.delta(content="42"), x.delta("stop"), {"choices": [], "usage": usage}])
        await x.whole(x.completion("42", **{field: "Let me think."}) | {"usage": usage})

    server.script = script
    answer = await called(server, stream)
    assert answer.text == "42"
    assert answer.additional_kwargs["reasoning_content"] == "Let me think."
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["input_token_details"]["cache_read"] == 64
    assert answer.usage_metadata["output_token_details"]["reasoning"] == 12


class Verdict(BaseModel):
    """A verdict."""

    guilty: bool
    why: str = "no reason"


@both
async def test_structured_output_of_a_class(server: Any, stream: bool) -> None:
    async def script(x: Any) -> None:
        text = '{"guilty": true, "why": "evidence"}'
        if stream:
            return await x.stream([*(x.delta(content=c) for c in text), x.delta("stop")])
        await x.whole(x.completion(text))

    server.script = script
    chain = server.model().with_structured_output(Verdict, include_raw=True, stream=stream)
    result = await chain.ainvoke("judge")
    assert result["parsed"] == Verdict(guilty=True, why="evidence")
    wire = server.exchanges[0].body["response_format"]
    assert (wire["type"], wire["json_schema"]["strict"]) == ("json_schema", True)
    assert wire["json_schema"]["schema"]["required"] == ["guilty", "why"]


@both
async def test_a_cut_structured_answer_is_an_error_and_not_a_guess(server: Any, stream: bool) -> None:
    async def script(x: Any) -> None:
        text = '{"guilty": true'
        await (x.stream([x.delta("length", content=text)]) if stream else x.whole(x.completion(text, "length")))

    server.script = script
    with pytest.raises(ValueError, match="parsed"):
        await server.model().with_structured_output(Verdict, stream=stream).ainvoke("judge")


async def test_log_probabilities_are_summed_over_a_stream(server: Any) -> None:
    async def script(x: Any) -> None:
        events = [x.delta(content=word) for word in ("a", "b")]
        for event, word in zip(events, "ab", strict=True):
            event["choices"][0]["logprobs"] = {"content": [{"token": word, "logprob": -0.5}]}
        await x.stream([*events, x.delta("stop")])

    server.script = script
    answer = await called(server, stream=True)
    assert [item["token"] for item in answer.response_metadata["logprobs"]["content"]] == ["a", "b"]


# -- agents


async def test_an_agent_calls_tools_and_fills_a_schema_while_streaming(server: Any) -> None:
    async def script(x: Any) -> None:
        asked = x.body["messages"][-1]
        if asked["role"] == "user":
            wires = [x.wire_call('{"a": 2, "b": 3}', id="c1") | {"index": 0}]
            return await x.stream(
                [x.delta(reasoning_content="add first"), x.delta(tool_calls=wires), x.delta("tool_calls")]
            )
        text = json.dumps({"guilty": asked["content"] == "5", "why": "the sum"})
        await x.stream([*(x.delta(content=c) for c in text), x.delta("stop")])

    server.script = script
    agent = create_agent(server.model(), [add], response_format=ProviderStrategy(Verdict))
    tokens, state = "", {}
    async for mode, part in agent.astream({"messages": [("user", "judge")]}, stream_mode=["messages", "values"]):
        if mode == "values":
            state = part
        elif isinstance(part[0], AIMessageChunk):
            tokens += part[0].text

    assert executed == [{"a": 2, "b": 3}]
    assert state["structured_response"] == Verdict(guilty=True, why="the sum")
    assert json.loads(tokens) == {"guilty": True, "why": "the sum"}
    assert all(exchange.body["stream"] for exchange in server.exchanges)
    assert state["messages"][1].additional_kwargs["reasoning_content"] == "add first"


@both
async def test_an_agent_never_runs_a_cut_call(server: Any, stream: bool) -> None:
    for cut in range(0, len(LONG), 101):
        server.script = script_of(LONG[:cut], "tool_calls")
        agent = create_agent(server.model(), [add])
        asked = {"messages": [("user", "add")]}
        if stream:
            async for _ in agent.astream(asked, stream_mode=["messages"]):
                pass
        else:
            await agent.ainvoke(asked)
    assert executed == []


async def test_an_agent_goes_on_after_an_unusable_call(server: Any) -> None:
    async def script(x: Any) -> None:
        if any(message["role"] == "tool" for message in x.body["messages"]):
            return await x.whole(x.completion("done"))
        wires = [x.wire_call('{"a": 1', id="cut"), x.wire_call('{"a": 1}', id="good")]
        await x.whole(x.completion(None, "tool_calls", tool_calls=wires))

    server.script = script
    state = await create_agent(server.model(), [add]).ainvoke({"messages": [("user", "add")]})
    assert state["messages"][-1].text == "done"
    assert executed == [{"a": 1, "b": 0}]
    wire = server.exchanges[1].body["messages"]
    asked_ids = [call["id"] for call in wire[1]["tool_calls"]]
    assert sorted(asked_ids) == sorted(message["tool_call_id"] for message in wire if message["role"] == "tool")
    assert all(isinstance(json.loads(c["function"]["arguments"]), dict) for c in wire[1]["tool_calls"])


# -- roles


def test_roles_map_to_models_and_equal_endpoints_share_one() -> None:
    large, small = Endpoint("http://127.0.0.1:1/v1", "big"), Endpoint("http://127.0.0.1:1/v1", "little")
    models = Models({"large": large, "small": small, "judge": large, "embed": small, "rerank": small})
    assert list(models) == ["large", "small", "judge"] and len(models) == 3
    assert models["large"] is models["judge"] is not models["small"]
    assert models["small"].model_name == "little" and models.endpoint("embed") == small
    with pytest.raises(KeyError, match="large, small, judge"):
        models["embed"]
    assert "medium" not in models


def test_cost_needs_both_prices_and_a_usage() -> None:
    usage: Any = {"input_tokens": 1_000_000, "output_tokens": 500_000, "total_tokens": 1_500_000}
    priced = Endpoint("http://h/v1", "m", price_in_usd_per_mtok=2.0, price_out_usd_per_mtok=6.0)
    assert cost_usd(priced, usage) == 5.0
    assert cost_usd(priced, None) is None
    assert cost_usd(Endpoint("http://h/v1", "m", price_in_usd_per_mtok=2.0), usage) is None


@both
async def test_every_answer_of_a_priced_endpoint_says_what_it_has_cost(server: Any, stream: bool) -> None:
    async def script(x: Any) -> None:
        if not x.body.get("stream"):
            return await x.whole(x.completion())
        usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}
        await x.stream([x.delta(content="hello"), x.delta("stop"), usage])

    server.script = script
    endpoint = Endpoint(server.url, "m", price_in_usd_per_mtok=1e6, price_out_usd_per_mtok=10e6)
    said = await chat_model(endpoint).ainvoke("hi", stream=stream)
    assert said.response_metadata["cost_usd"] == 27.0
    assert "cost_usd" not in (await server.model().ainvoke("hi", stream=stream)).response_metadata


async def answers_everything(x: Any) -> None:
    route = x.request_line.split()[1]
    if route.endswith("/tokenize"):
        return await x.whole({"count": 6, "max_model_len": 4096})
    if route.endswith("/embeddings"):
        return await x.whole({"data": [{"embedding": [0.0] * 384}] * 2})
    if route.endswith("/rerank"):
        return await x.whole({"results": [{"index": n, "relevance_score": 1 - n} for n in range(2)]})
    if x.body.get("tools"):
        wire = [x.wire_call('{"a": 17, "b": 25}')]
        return await x.whole(x.completion(None, "tool_calls", tool_calls=wire))
    if x.body.get("stream"):
        usage = {"prompt_tokens": 1, "completion_tokens": 5, "total_tokens": 6}
        return await x.stream([x.delta(content="one"), x.delta("stop"), {"choices": [], "usage": usage}])
    await x.whole(x.completion('{"total": 42}' if x.body.get("response_format") else "hello"))


async def test_a_probe_tries_everything_for_real(server: Any) -> None:
    server.script = answers_everything
    endpoint = Endpoint(server.url, "m")
    models = Models({"large": endpoint, "embed": endpoint, "rerank": endpoint})
    probes = [await models.probe(role) for role in ("large", "embed", "rerank")]
    found = {check.name: check.found for probe in probes for check in probe.checks}
    assert all(probe.ok for probe in probes), probes
    assert found == {
        "answer": "2 tokens",
        "tools": "add(a=17, b=25)",
        "structured": "total=42",
        "stream": "1 chunks, 5 tokens",
        "tokenize": "6 tokens of 4096",
        "embeddings": "384 dimensions",
        "reranking": "scores 1.00 and 0.00",
    }


async def test_a_probe_says_what_is_wrong_and_what_to_do(server: Any) -> None:
    async def answers_in_prose(x: Any) -> None:
        if x.request_line.split()[1].endswith("/chat/completions"):
            return await x.whole(x.completion("I would rather talk."))
        await x.whole({"error": "no such route"}, 404)

    server.script = answers_in_prose
    endpoint = Endpoint(server.url, "m")
    models = Models({"large": endpoint, "embed": endpoint})
    checks = {check.name: check for check in (await models.probe("large")).checks}
    assert (checks["answer"].ok, checks["tokenize"].ok) == (True, True)
    assert "text" in checks["tools"].error and "--tool-call-parser" in checks["tools"].fix
    assert not checks["structured"].ok and checks["structured"].fix
    assert "no event stream" in checks["stream"].error
    (embeddings,) = (await models.probe("embed")).checks
    assert "no such route" in embeddings.error and embeddings.fix


async def test_a_probe_of_nothing_ends_with_what_to_check(unused_tcp_port: int) -> None:
    probe = await Models({"large": Endpoint(f"http://127.0.0.1:{unused_tcp_port}/v1", "m")}).probe("large")
    assert not probe.ok
    assert all(check.fix for check in probe.checks if not check.ok)


# -- the object


def test_the_model_object_is_shared_and_never_serialized_with_its_key() -> None:
    from langchain_core.load import dumps
    from pydantic import SecretStr

    endpoint = Endpoint("http://127.0.0.1:1/v1", "m", SecretStr("hunter2"))
    model = chat_model(endpoint)
    assert model is chat_model(Endpoint("http://127.0.0.1:1/v1", "m", SecretStr("hunter2")))
    assert "hunter2" not in repr(model) + str(model) + dumps(model) + repr(endpoint)


async def test_a_model_without_a_url_says_so() -> None:
    from app.models import LeanChatModel

    with pytest.raises(ValueError, match="base_url is missing"):
        LeanChatModel(model="m")
    with pytest.raises(ModelUnavailable):
        await LeanChatModel(model="m", base_url="http://127.0.0.1:9/v1").ainvoke("hi")
