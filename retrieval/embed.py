"""Turn texts into unit vectors: MiniLM in this process, or any OpenAI-compatible embeddings URL.

`OnnxEmbedder` is the default and needs no network, key or GPU. It runs one text at a time on one thread each: measured
on two cores with passages of 200 words, 74 texts/s against 46 in padded batches, and a text's vector doesn't depend on
its neighbours (int8 scales are taken over the whole batch: the same text came out at cosine 0.975 to itself).
`HttpEmbedder` speaks to vLLM (`--runner pooling`). `HashEmbedder` knows only words, and is for tests.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import httpx
import numpy as np
import numpy.typing as npt

from retrieval.documents import clean_text
from retrieval.terms import terms

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

Vectors = npt.NDArray[np.float32]
MINILM = Path(__file__).parent / "minilm"


class Embedder(Protocol):
    name: str
    """Pins the exact weights: vectors of two names are never compared."""
    dimensions: int

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed in order: n texts -> (n, d) float32, unit norm. Repeats are safe and give the same vectors."""
        ...


class EmbedderUnavailable(Exception):
    """No vectors now. Search goes on with BM25 alone; what was embedded before is kept."""


class OnnxEmbedder:
    """MiniLM, 384 dimensions, int8. `load` checks the files, then owns its threads until `close`."""

    MAX_TOKENS = 256
    dimensions = 384

    def __init__(self, session: InferenceSession, tokenizer: Tokenizer, name: str, threads: int) -> None:
        self.name = name
        self._session = session
        self._tokenizer = tokenizer
        self._bulk = ThreadPoolExecutor(threads, thread_name_prefix="embed")
        # A question must not queue behind a thousand passages.
        self._query = ThreadPoolExecutor(1, thread_name_prefix="embed-query")

    @classmethod
    async def load(cls, folder: Path = MINILM, *, threads: int = 2) -> OnnxEmbedder:
        return await asyncio.to_thread(cls._load, folder, threads)

    @classmethod
    def _load(cls, folder: Path, threads: int) -> OnnxEmbedder:
        import onnxruntime  # here, in a thread: importing it takes longer than loading the model
        from tokenizers import Tokenizer

        digests = _verified(folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        model = (folder / "model.int8.onnx").read_bytes()
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(cls.MAX_TOKENS)
        return cls(session, tokenizer, f"minilm-l6-v2-int8@{digests['model.int8.onnx'][:8]}", threads)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        loop = asyncio.get_running_loop()
        pool = self._query if len(texts) == 1 else self._bulk
        rows = await asyncio.gather(*(loop.run_in_executor(pool, self._one, text) for text in texts))
        return np.stack(rows) if rows else np.empty((0, self.dimensions), dtype=np.float32)

    def _one(self, text: str) -> Vectors:
        ids = np.asarray([self._tokenizer.encode(clean_text(text)).ids], dtype=np.int64)
        output: list[Vectors] = self._session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        vector: Vectors = output[0][0]
        return vector

    async def close(self) -> None:
        await asyncio.to_thread(self._bulk.shutdown, cancel_futures=True)
        await asyncio.to_thread(self._query.shutdown, cancel_futures=True)


def _verified(folder: Path) -> dict[str, str]:
    """Check every listed file before anything reads it as a model: name -> SHA-256."""
    try:
        lines = (folder / "SHA256SUMS").read_text("utf-8").splitlines()
        listed = {name: digest for digest, name in (line.split() for line in lines)}
        for name, expected in listed.items():
            actual = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            if actual != expected:
                raise EmbedderUnavailable(f"{name}: SHA-256 is {actual[:12]}, listed {expected[:12]}; reinstall it")
    except (OSError, ValueError) as error:
        raise EmbedderUnavailable(f"the bundled embedder in {folder} can't be read ({error}); reinstall it") from error
    return listed


class HttpEmbedder:
    """An OpenAI-compatible `/v1/embeddings`. Texts go in batches; an answer that is not n unit vectors is refused."""

    BATCH = 64
    LEAST_CHARS = 500

    def __init__(
        self, base_url: str, model: str, *, api_key: str = "", timeout_s: float = 30.0, max_chars: int = 8_000
    ) -> None:
        self.name = model
        self.dimensions = 0
        """Known after the first answer."""
        self._max_chars = max_chars
        """Halved when the server says 400, as one does whose model takes only 256 tokens."""
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.AsyncClient(base_url=base_url.rstrip("/") + "/", timeout=timeout_s, headers=headers)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Raises EmbedderUnavailable on an unreachable server, a refusal, or an answer of the wrong shape."""
        starts = range(0, len(texts), self.BATCH)
        batches = [await self._batch(texts[start : start + self.BATCH]) for start in starts]
        return np.concatenate(batches) if batches else np.empty((0, self.dimensions), dtype=np.float32)

    async def _batch(self, texts: Sequence[str]) -> Vectors:
        try:
            answer = await self._post(texts)
            answer.raise_for_status()
            rows = answer.json()["data"]
            vectors = np.asarray([row["embedding"] for row in sorted(rows, key=_place)], dtype=np.float32)
        except httpx.HTTPStatusError as error:
            raise self._unavailable(f"HTTP {error.response.status_code}: {error.response.text[:200]}") from error
        except httpx.HTTPError as error:
            raise self._unavailable(str(error) or type(error).__name__) from error
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise self._unavailable(f"not an embeddings answer ({error})") from error
        return self._unit(vectors, len(texts))

    async def _post(self, texts: Sequence[str]) -> httpx.Response:
        while True:
            sent = [clean_text(text)[: self._max_chars] or " " for text in texts]
            answer = await self._client.post("embeddings", json={"model": self.name, "input": sent})
            too_long = answer.status_code == httpx.codes.BAD_REQUEST and self._max_chars > self.LEAST_CHARS
            if not too_long:
                return answer
            self._max_chars //= 2

    def _unit(self, vectors: Vectors, expected: int) -> Vectors:
        dimensions = self.dimensions or (vectors.shape[1] if vectors.ndim == 2 else 0)
        if not dimensions or vectors.shape != (expected, dimensions) or not np.isfinite(vectors).all():
            raise self._unavailable(f"{expected} texts gave vectors of shape {vectors.shape}, d = {dimensions}")
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not norms.all():
            raise self._unavailable("a vector of zeros")
        self.dimensions = int(dimensions)
        unit: Vectors = vectors / norms
        return unit

    def _unavailable(self, reason: str) -> EmbedderUnavailable:
        return EmbedderUnavailable(f"embedder {self.name} at {self._client.base_url}: {reason}")

    async def close(self) -> None:
        await self._client.aclose()


def _place(row: Any) -> int:
    return int(row["index"])


class HashEmbedder:
    """Words hashed into signed slots. Deterministic and instant; knows no meaning, so only for tests."""

    def __init__(self, dimensions: int = 256) -> None:
        self.name = f"hash-{dimensions}"
        self.dimensions = dimensions

    async def embed(self, texts: Sequence[str]) -> Vectors:
        rows = [self._one(clean_text(text)) for text in texts]
        return np.stack(rows) if rows else np.empty((0, self.dimensions), dtype=np.float32)

    def _one(self, text: str) -> Vectors:
        row = np.zeros(self.dimensions, dtype=np.float32)
        row[0] = 1e-3  # no text is the zero vector
        for term in terms(text):
            digest = hashlib.blake2b(term.encode(), digest_size=8).digest()
            row[int.from_bytes(digest[:4]) % self.dimensions] += 1.0 if digest[4] & 1 else -1.0
        unit: Vectors = row / np.linalg.norm(row)
        return unit
