"""The corpus as everybody else sees it: take files in, find passages, say where they came from.

One object per process and folder; several processes may share the folder. Search never waits for vectors, for another
process or for the embedder's recovery: what is not there is left out, and `stats().problems` says so.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from types import TracebackType

from retrieval import manifest
from retrieval.catch_up import CatchUp
from retrieval.documents import (
    Chunk,
    CorpusStats,
    Document,
    EmbedProgress,
    Hit,
    IngestProgress,
    IngestReport,
    Upload,
)
from retrieval.embed import Embedder, EmbedderUnavailable, Vectors
from retrieval.home import Home, Indexes
from retrieval.index import faiss_version, gpu_count
from retrieval.ingest import ingest
from retrieval.rerank import Reranker, SecondLook
from retrieval.search import MAX_HITS, bounded, depth, fuse, spread
from retrieval.terms import query_terms

QUERY_TIMEOUT_S = 5.0
"""A question waits this long for its vector, then goes on with BM25 alone."""
COOL_DOWN_S = 15.0
"""After a failure the embedder is left alone this long, so that each search doesn't wait for it anew."""


class Corpus:
    def __init__(
        self, home: Home, embedder: Embedder | None, indexes: Indexes, parsers: int, reranker: Reranker | None = None
    ) -> None:
        self._home = home
        self._second_look = SecondLook(reranker)
        self._embedder = embedder
        self._indexes = indexes
        self._parsers = parsers
        self._loading = threading.Lock()
        self._embedder_problem = ""
        self._embedder_down_until = 0.0

    @classmethod
    async def open(
        cls, home: Path, embedder: Embedder | None, *, parsers: int = 2, reranker: Reranker | None = None
    ) -> Corpus:
        """Open or begin a corpus. Raises CorpusError when the folder can't be used."""
        opened = await asyncio.to_thread(Home, home)
        name = embedder.name if embedder else None
        return cls(opened, embedder, await opened.read(opened.load_current, name), parsers, reranker)

    async def __aenter__(self) -> Corpus:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._second_look.close()
        await self._home.close()

    # -- taking in --------------------------------------------------------------------------------------------------

    async def ingest(
        self,
        sources: Sequence[Path | Upload],
        *,
        progress: Callable[[IngestProgress], None] | None = None,
    ) -> IngestReport:
        """Take in files, folders and ZIPs; their text is searchable on return. Bad files are in the report."""
        return await ingest(self._home, sources, workers=self._parsers, progress=progress)

    async def embed_pending(
        self,
        *,
        progress: Callable[[EmbedProgress], None] | None = None,
        stop: asyncio.Event | None = None,
    ) -> int:
        """Give chunks their vectors until none is pending, and say how many. Ends soon after `stop`; safe to repeat.

        Raises EmbedderUnavailable; what was embedded before is kept.
        """
        if self._embedder is None:
            return 0
        return await CatchUp(self._home, self._embedder, progress, stop).run()

    async def remove(self, document_id: str) -> bool:
        """Forget a document, at once for everybody. False when there was none."""
        found = await self._home.write(self._home.remove, document_id)
        if found:
            await self._home.write(self._home.publish, None)
        return found

    # -- finding ----------------------------------------------------------------------------------------------------

    async def search(self, query: str, k: int = 8, *, document_ids: Collection[str] | None = None) -> list[Hit]:
        """Find the best passages, best first; only within `document_ids` when given.

        An empty question finds nothing. Only the first 4,000 characters of a longer one are used.
        """
        question = bounded(query)
        if not question or k < 1:
            return []
        indexes = await self._home.read(self._current)
        vector = await self._vector(question) if indexes.dense is not None else None
        wanted = min(k, MAX_HITS)
        looked_at = self._second_look.looked_at(wanted)
        hits = await self._home.read(self._rank, indexes, question, vector, looked_at, document_ids)
        return (await self._second_look.ordered(question, hits))[:wanted]

    async def passage(self, chunk_id: str) -> Chunk | None:
        return await self._home.read(self._home.store.chunk, chunk_id)

    async def neighbours(self, chunk_id: str, n: int = 1) -> list[Chunk]:
        """Up to n chunks before and n after, in reading order, without the chunk itself."""
        found = await self.passage(chunk_id)
        return [] if found is None else await self._home.read(self._home.store.neighbours, found, n)

    def _current(self) -> Indexes:
        """The indexes to use: newer ones are read as soon as the manifest changes, by one thread at a time."""
        if manifest.signature(self._home.indexes) == self._indexes.signature:
            return self._indexes
        with self._loading:
            if manifest.signature(self._home.indexes) != self._indexes.signature:
                self._indexes = self._home.load(self._embedder_name)
        return self._indexes

    async def _vector(self, question: str) -> Vectors | None:
        if self._embedder is None or time.monotonic() < self._embedder_down_until:
            return None
        try:
            async with asyncio.timeout(QUERY_TIMEOUT_S):
                vectors = await self._embedder.embed([question])
        except (EmbedderUnavailable, TimeoutError) as error:
            self._embedder_down_until = time.monotonic() + COOL_DOWN_S
            self._embedder_problem = str(error) or f"{self._embedder.name} took longer than {QUERY_TIMEOUT_S:.0f} s"
            return None
        self._embedder_problem = ""
        vector: Vectors = vectors[0]
        return vector

    def _rank(
        self,
        indexes: Indexes,
        question: str,
        vector: Vectors | None,
        k: int,
        document_ids: Collection[str] | None,
    ) -> list[Hit]:
        allowed = None if document_ids is None else self._home.store.row_ids(document_ids)
        lexical = indexes.lexical.search(query_terms(question), depth(k), allowed)
        dense, without_vector = None, set[int]()
        if vector is not None and indexes.dense is not None and len(vector) == indexes.dense.dimensions:
            dense = indexes.dense.search(vector, depth(k), allowed)
            without_vector = indexes.dense.lacks([row_id for row_id, _ in lexical])
        fused = fuse(lexical, dense, without_vector)
        chunks = self._home.store.chunks([each.row_id for each in fused[: 3 * k]])
        present = [each for each in fused[: 3 * k] if each.row_id in chunks]  # some may be gone by now
        owners = {row_id: chunk.document_id for row_id, chunk in chunks.items()}
        return [
            Hit(chunks[each.row_id], each.score, each.lexical_rank, each.dense_rank, each.similarity)
            for each in spread(present, owners, k)
        ]

    # -- knowing ----------------------------------------------------------------------------------------------------

    async def documents(self) -> list[Document]:
        """Every document, by name."""
        found = await self._home.read(self._home.store.documents)
        return sorted(found.values(), key=lambda document: document.name)

    async def document(self, document_id: str) -> Document | None:
        return (await self._home.read(self._home.store.documents, {document_id})).get(document_id)

    def original(self, document_id: str) -> Path | None:
        """The stored copy of what was ingested, to open or download; None when the id is not one of ours."""
        return self._home.original(document_id)

    def stats(self) -> CorpusStats:
        counts = self._home.store.counts(self._embedder_name or "")
        store_files = next(os.walk(self._home.root), ("", [], []))[2]
        index_bytes = sum(_bytes_of(self._home.root / name) for name in store_files)
        for folder, _, names in os.walk(self._home.indexes):
            index_bytes += sum(_bytes_of(Path(folder, name)) for name in names)
        return CorpusStats(
            documents=counts.documents,
            chunks=counts.chunks,
            embedded=counts.chunks - counts.pending,
            pending=counts.pending if self._embedder else 0,
            index_bytes=index_bytes,
            embedder=self._embedder_name,
            faiss=faiss_version(),
            gpus=gpu_count(),
            problems=self._problems(),
        )

    def _problems(self) -> tuple[str, ...]:
        found = list(self._indexes.problems)
        if self._embedder_problem:
            found.append(f"searching without vectors: {self._embedder_problem}")
        if self._second_look.problem:
            found.append(f"no second look at what is found: {self._second_look.problem}")
        damaged = len(self._home.store.damaged)
        if damaged:
            found.append(f"{damaged} damaged entries of the store are left out; ingest the same files again")
        return tuple(found)

    @property
    def _embedder_name(self) -> str | None:
        return self._embedder.name if self._embedder else None

    # -- small notes that live with the corpus ----------------------------------------------------------------------

    async def recall(self, key: str) -> str | None:
        return await self._home.read(self._home.store.recall, key)

    async def remember(self, key: str, value: str) -> None:
        await self._home.write(self._home.store.remember, key, value)


def _bytes_of(path: Path) -> int:
    """Size of a file; 0 when it went meanwhile, as that of an index does that was replaced."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
