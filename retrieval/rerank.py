"""A second look at what was found: a `/v1/rerank` endpoint, as vLLM serves it, reads question and passage together.

It changes the order and nothing else. One that is away, slow or talks nonsense is left alone for a while, and the order
of the fusion stands.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from typing import Protocol

import httpx

from retrieval.documents import Hit, clean_text

RERANK_TIMEOUT_S = 3.0
COOL_DOWN_S = 15.0
TIMES_K = 3
"""Passages that are looked at for each one that is wanted: what lies deeper is seldom lifted, and costs as much."""
MAX_LOOKED_AT = 60
MAX_CHARS = 4_000
"""Of one passage."""


class RerankerUnavailable(Exception):
    """The endpoint did not answer, or not with one score for each passage."""


class Reranker(Protocol):
    """Says how well each passage answers a question."""

    @property
    def name(self) -> str: ...

    async def scores(self, question: str, passages: Sequence[str]) -> list[float]:
        """One for each, in their order; more is better. Raises RerankerUnavailable."""

    async def close(self) -> None: ...


class HttpReranker:
    """An endpoint."""

    def __init__(self, base_url: str, model: str, *, api_key: str = "", timeout_s: float = RERANK_TIMEOUT_S) -> None:
        self.name = model
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.AsyncClient(base_url=base_url.rstrip("/") + "/", timeout=timeout_s, headers=headers)

    async def scores(self, question: str, passages: Sequence[str]) -> list[float]:
        """Raises RerankerUnavailable on an unreachable server, a refusal, or an answer of the wrong shape."""
        sent = [clean_text(text)[:MAX_CHARS] or " " for text in passages]
        body = {"model": self.name, "query": clean_text(question), "documents": sent}
        try:
            answer = await self._client.post("rerank", json=body)
            answer.raise_for_status()
            told = {int(row["index"]): float(row["relevance_score"]) for row in answer.json()["results"]}
        except httpx.HTTPStatusError as error:
            raise self._unavailable(f"HTTP {error.response.status_code}: {error.response.text[:200]}") from error
        except httpx.HTTPError as error:
            raise self._unavailable(str(error) or type(error).__name__) from error
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise self._unavailable(f"not a rerank answer ({error})") from error
        if told.keys() != set(range(len(sent))) or not all(map(math.isfinite, told.values())):
            raise self._unavailable(f"{len(sent)} passages gave {len(told)} scores")
        return [told[at] for at in range(len(sent))]

    def _unavailable(self, reason: str) -> RerankerUnavailable:
        return RerankerUnavailable(f"reranker {self.name} at {self._client.base_url}: {reason}")

    async def close(self) -> None:
        await self._client.aclose()


class SecondLook:
    """What a corpus does with a reranker, or without one."""

    def __init__(self, reranker: Reranker | None) -> None:
        self._reranker = reranker
        self._down_until = 0.0
        self.problem = ""

    def looked_at(self, k: int) -> int:
        """How many passages to find when `k` are wanted."""
        return max(k, min(TIMES_K * k, MAX_LOOKED_AT)) if self._reranker else k

    async def ordered(self, question: str, hits: list[Hit]) -> list[Hit]:
        """The hits, best first; as they came when nobody can say."""
        if self._reranker is None or len(hits) < 2 or time.monotonic() < self._down_until:
            return hits
        try:
            async with asyncio.timeout(RERANK_TIMEOUT_S):
                scores = await self._reranker.scores(question, [hit.chunk.text for hit in hits])
        except (RerankerUnavailable, TimeoutError) as error:
            self._down_until = time.monotonic() + COOL_DOWN_S
            self.problem = str(error) or f"{self._reranker.name} took longer than {RERANK_TIMEOUT_S:.0f} s"
            return hits
        self.problem = ""
        best_first = sorted(range(len(hits)), key=lambda at: (-scores[at], at))
        return [hits[at] for at in best_first]

    async def close(self) -> None:
        if self._reranker is not None:
            await self._reranker.close()
