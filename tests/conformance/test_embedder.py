"""Every embedder promises the same: order, unit norm, one size, the same vector whatever its neighbours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval.embed import MINILM, Embedder, EmbedderUnavailable, HashEmbedder, HttpEmbedder, OnnxEmbedder

TEXTS = [
    "The lighthouse keeper lights the lamp at dusk.",
    "A ship's pilot boards before the harbour.",
    "",
    "Bread rises because yeast makes gas. " * 40,
    "\0 odd \ud800 text",
    "短い文",
]


async def embeddings(request: web.Request) -> web.Response:
    """A little embeddings server: long texts refused like vLLM, rows answered out of order."""
    body = await request.json()
    if request.headers.get("Authorization") != "Bearer sesame":
        return web.json_response({"error": "who are you?"}, status=401)
    if any(len(text) > 1000 for text in body["input"]):
        return web.json_response({"error": "maximum context length is 256 tokens"}, status=400)
    vectors = 3.0 * await HashEmbedder(32).embed(body["input"])
    rows = [{"index": at, "embedding": vector.tolist()} for at, vector in enumerate(vectors)]
    return web.json_response({"data": rows[::-1], "model": body["model"]})


@pytest.fixture
async def server() -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_post("/v1/embeddings", embeddings)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}/v1"
    await runner.cleanup()


@pytest.fixture(params=["onnx", "hash", "http"])
async def embedder(request: pytest.FixtureRequest, server: str) -> AsyncIterator[Embedder]:
    if request.param == "hash":
        yield HashEmbedder()
        return
    made = await OnnxEmbedder.load() if request.param == "onnx" else HttpEmbedder(server, "tiny", api_key="sesame")
    yield made
    await made.close()


async def test_rows_are_unit_vectors_of_one_size(embedder: Embedder) -> None:
    vectors = await embedder.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), embedder.dimensions)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)


async def test_order_is_kept_and_neighbours_do_not_matter(embedder: Embedder) -> None:
    together = await embedder.embed(TEXTS)
    alone = np.concatenate([await embedder.embed([text]) for text in TEXTS])
    assert np.array_equal(together, alone)
    assert np.array_equal(await embedder.embed(TEXTS[::-1]), together[::-1])


async def test_nothing_in_nothing_out(embedder: Embedder) -> None:
    await embedder.embed(["so that the size is known"])
    assert (await embedder.embed([])).shape == (0, embedder.dimensions)


async def test_many_calls_at_once_stay_apart(embedder: Embedder) -> None:
    expected = await embedder.embed(TEXTS)
    answers = await asyncio.gather(*(embedder.embed(TEXTS) for _ in range(4)))
    assert all(np.array_equal(answer, expected) for answer in answers)


async def test_texts_about_the_same_are_nearer_than_others() -> None:
    embedder = await OnnxEmbedder.load()
    query, right, wrong = await embedder.embed(
        ["How do I bake a loaf?", "Bread rises with yeast and goes into the oven.", "Locks keep two writers apart."]
    )
    await embedder.close()
    assert query @ right > query @ wrong + 0.1


async def test_a_damaged_model_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    for name in ("SHA256SUMS", "tokenizer.json"):
        (tmp_path / name).write_bytes((MINILM / name).read_bytes())
    model = bytearray((MINILM / "model.int8.onnx").read_bytes())
    model[len(model) // 2] ^= 1
    (tmp_path / "model.int8.onnx").write_bytes(model)
    with pytest.raises(EmbedderUnavailable, match="SHA-256"):
        await OnnxEmbedder.load(tmp_path)


async def test_http_says_what_the_server_said(server: str) -> None:
    embedder = HttpEmbedder(server, "tiny")
    with pytest.raises(EmbedderUnavailable, match=r"401.*who are you"):
        await embedder.embed(["x"])
    await embedder.close()


async def test_http_without_a_server_is_unavailable() -> None:
    embedder = HttpEmbedder("http://127.0.0.1:9/v1", "tiny", timeout_s=2)
    with pytest.raises(EmbedderUnavailable, match="tiny at http"):
        await embedder.embed(["x"])
    await embedder.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    answer=st.recursive(
        st.none() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["data", "index", "embedding"]), inner)
        ),
        max_leaves=6,
    )
)
async def test_http_takes_no_answer_of_the_wrong_shape(answer: object) -> None:
    async def respond(request: web.Request) -> web.Response:
        return web.json_response({"data": answer})

    application = web.Application()
    application.router.add_post("/v1/embeddings", respond)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    embedder = HttpEmbedder(f"http://{host}:{port}/v1", "tiny")
    try:
        vectors = await embedder.embed(["one", "two"])
    except EmbedderUnavailable:
        return
    finally:
        await embedder.close()
        await runner.cleanup()
    assert vectors.shape[0] == 2 and np.allclose(np.linalg.norm(vectors, axis=1), 1)
