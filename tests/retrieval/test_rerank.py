"""A reranker puts what was found in order; one that cannot say leaves the order and the search alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from retrieval.corpus import Corpus
from retrieval.embed import HashEmbedder
from retrieval.rerank import HttpReranker, RerankerUnavailable

Answer = Callable[[dict[str, Any]], Any]
TEXTS = {"tide": "The tide turns twice a day.", "pilot": "The pilot waits for the tide.", "fee": "A fee for the tide."}


class Endpoint:
    """A server whose answer is the test's."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.url = ""
        self.answer: Answer = lambda body: None

    async def respond(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        said = self.answer(self.asked[-1])
        return web.Response(status=said) if isinstance(said, int) else web.json_response(said)


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    it = Endpoint()
    application = web.Application()
    application.router.add_post("/v1/rerank", it.respond)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    it.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield it
    await runner.cleanup()


@pytest.fixture
async def corpus(tmp_path: Path, endpoint: Endpoint) -> AsyncIterator[Corpus]:
    reranker = HttpReranker(endpoint.url, "judge", api_key="k")
    files = [tmp_path / f"{name}.md" for name in TEXTS]
    for file, text in zip(files, TEXTS.values(), strict=True):
        file.write_text(f"# {file.stem.capitalize()}\n\n{text}\n")
    async with await Corpus.open(tmp_path / "index", HashEmbedder(), parsers=1, reranker=reranker) as opened:
        await opened.ingest(files)
        yield opened


def prefers(word: str) -> Answer:
    def answer(body: dict[str, Any]) -> Any:
        rows = [{"index": at, "relevance_score": float(word in text)} for at, text in enumerate(body["documents"])]
        return {"results": rows[::-1]}  # servers sort by score, so their order says nothing

    return answer


@pytest.mark.parametrize("word", ["pilot", "fee", "twice"])
async def test_what_the_reranker_likes_best_comes_first(corpus: Corpus, endpoint: Endpoint, word: str) -> None:
    endpoint.answer = prefers(word)
    [hit] = await corpus.search("tide", 1)
    assert word in hit.chunk.text
    assert endpoint.asked[0]["query"] == "tide" and endpoint.asked[0]["model"] == "judge"
    assert len(endpoint.asked[0]["documents"]) == 3  # more than the one that is wanted
    assert corpus.stats().problems == ()


@pytest.mark.parametrize(
    "said", [500, 200, {}, {"results": []}, {"results": [{"index": 0, "relevance_score": "high"}]}, [1], None]
)
async def test_one_that_cannot_say_leaves_the_order_and_is_left_alone(
    corpus: Corpus, endpoint: Endpoint, said: Any
) -> None:
    endpoint.answer = lambda body: said
    found = await corpus.search("tide", 3)
    assert len(found) == 3 and [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)
    await corpus.search("tide", 3)
    assert len(endpoint.asked) == 1
    assert corpus.stats().problems[0].startswith("no second look at what is found: reranker judge at")


async def test_one_that_is_away_is_named() -> None:
    reranker = HttpReranker("http://127.0.0.1:9/v1", "judge")
    with pytest.raises(RerankerUnavailable, match="judge at http"):
        await reranker.scores("why", ["a", "b"])
    await reranker.close()
