"""Tokens counted over HTTP as vLLM counts them, and estimated where nobody counts."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from demo import MODEL, recorded_demo

from agents.counting import estimated
from app.demo_model.tokens import count_tokens
from app.demo_model.wire import MAX_CONTEXT_TOKENS
from app.models import Endpoint
from app.models.counting import ServedTokens

TEXTS = ["The critical path is what the person waits for.", "", "Zwölf Boxkämpfer, 3.14159", "智能体系统"]


async def test_the_served_models_own_count_is_used_and_asked_for_once() -> None:
    async with recorded_demo() as demo:
        tokens = ServedTokens(Endpoint(demo.url, MODEL))

        first = await tokens.count(TEXTS)
        asked = demo.demo.counts.kinds["tokenize"]
        again = await tokens.count([*reversed(TEXTS), TEXTS[0]])

        assert first == [count_tokens(text) for text in TEXTS]
        assert again == [*reversed(first), first[0]]
        assert (asked, demo.demo.counts.kinds["tokenize"]) == (len(TEXTS), len(TEXTS))
        assert await tokens.window() == MAX_CONTEXT_TOKENS


async def test_what_is_asked_is_what_vllm_takes(server: Any) -> None:
    async def counts(exchange: Any) -> None:
        await exchange.whole({"count": 3, "max_model_len": 4_096, "tokens": [1, 2, 3], "token_strs": None})

    server.script = counts
    tokens = ServedTokens(Endpoint(server.url, "Qwen/Qwen3-32B"))

    assert await tokens.count(["one two three"]) == [3]
    assert await tokens.window() == 4_096
    assert [it.request_line for it in server.exchanges] == ["POST /tokenize HTTP/1.1"]
    assert server.exchanges[0].body == {
        "model": "Qwen/Qwen3-32B",
        "prompt": "one two three",
        "add_special_tokens": False,
    }


def status(code: int) -> Callable[[Any], Awaitable[None]]:
    async def answer(exchange: Any) -> None:
        await exchange.whole({"error": {"message": "no"}}, code)

    return answer


async def nonsense(exchange: Any) -> None:
    await exchange.whole({"count": "many"})


async def garbage(exchange: Any) -> None:
    await exchange.whole(b"<html>")


async def hangs_up(exchange: Any) -> None:
    exchange.reset()


@pytest.mark.parametrize("script", [status(404), status(405), status(500), status(400), nonsense, garbage, hangs_up])
async def test_a_server_that_does_not_count_is_estimated(server: Any, script: Any) -> None:
    server.script = script
    tokens = ServedTokens(Endpoint(server.url, "m"))

    assert await tokens.count(TEXTS) == [estimated(text) for text in TEXTS]


async def test_a_server_without_the_route_is_not_asked_for_every_text(server: Any) -> None:
    server.script = status(404)
    tokens = ServedTokens(Endpoint(server.url, "m"))
    for n in range(20):
        await tokens.count([f"text {n}"])

    assert len(server.exchanges) == 1


async def test_nobody_there_is_no_failure() -> None:
    tokens = ServedTokens(Endpoint("http://127.0.0.1:9/v1", "m"))

    assert await tokens.count(TEXTS) == [estimated(text) for text in TEXTS]
    assert await tokens.window() is None


@pytest.mark.parametrize(
    ("cards", "window"),
    [
        ([{"id": "other", "max_model_len": 1}, {"id": "m", "max_model_len": 8_192}], 8_192),
        ([{"id": "m", "context_length": 200_000}], 200_000),
        ([{"id": "m"}], None),
        ([{"id": "other", "max_model_len": 1}], None),
        ([{"id": "m", "max_model_len": "long"}, None], None),
        ("none", None),
    ],
)
async def test_the_window_is_what_the_list_of_models_says(cards: Any, window: int | None) -> None:
    from aiohttp import web

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"data": cards})

    application = web.Application()
    application.router.add_get("/v1/models", models)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        tokens = ServedTokens(Endpoint(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", "m"))
        assert await tokens.window() == window
    finally:
        await runner.cleanup()
