"""Take files in: copy, recognise, parse, store. Text is searchable when this ends; vectors catch up.

What was committed stays, whatever happens next: documents go in by small transactions, and the same call again finds
them by content and does only what is missing. One bad file is one line in the report.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from retrieval.documents import (
    Digested,
    Document,
    IngestError,
    IngestProgress,
    IngestReport,
    Upload,
    document_id,
)
from retrieval.home import Home, disk_errors_named
from retrieval.parser import ParserPool
from retrieval.sources import Candidate, Copied, Survey, copy, survey
from retrieval.store import Addition

COMMIT_DOCUMENTS = 32
COMMIT_EVERY_S = 2.0
PUBLISH_EVERY_S = 10.0
"""A long ingest shows its documents to searchers this often; each time rebuilds the BM25 index."""


async def ingest(
    home: Home,
    sources: Sequence[Path | Upload],
    *,
    workers: int,
    progress: Callable[[IngestProgress], None] | None,
) -> IngestReport:
    found = await home.read(survey, sources)
    pool = ParserPool(workers)
    try:
        with found.opened, home.staged() as staging:
            return await _Ingest(home, found, staging, pool, progress).run(workers)
    finally:
        await pool.close()


class _Ingest:
    """One call: candidates in, a report out."""

    def __init__(
        self,
        home: Home,
        found: Survey,
        staging: Path,
        pool: ParserPool,
        progress: Callable[[IngestProgress], None] | None,
    ) -> None:
        self._home, self._found, self._staging, self._pool = home, found, staging, pool
        self._progress = progress
        self._started = self._committed = self._published = time.monotonic()
        self._done, self._chunks = 0, 0
        self._batch: list[tuple[Addition, Path | None]] = []
        self._added: list[Document] = []
        self._replaced: set[str] = set()
        self._unchanged: list[str] = []
        self._failed: list[IngestError] = list(found.failed)
        self._warnings: list[str] = []
        self._flushing = asyncio.Lock()

    async def run(self, workers: int) -> IngestReport:
        queue = iter(self._found.candidates)
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(min(workers, len(self._found.candidates))):
                    tasks.create_task(self._work(queue))
        except ExceptionGroup as group:
            raise group.exceptions[0] from group
        await self._flush()
        await self._home.write(self._home.publish, None)
        self._tell("")
        return self._report()

    async def _work(self, queue: Iterator[Candidate]) -> None:
        for candidate in queue:
            self._tell(candidate.name)
            try:
                await self._take(candidate)
            except IngestError as error:
                self._failed.append(error)
            self._done += 1
            if len(self._batch) >= COMMIT_DOCUMENTS or time.monotonic() - self._committed > COMMIT_EVERY_S:
                await self._flush()

    async def _take(self, candidate: Candidate) -> None:
        path = self._staging / secrets.token_hex(8)
        copied = await self._home.read(self._copied, candidate, path)
        known = document_id(copied.sha256)
        if await self._home.read(self._home.store.holds_whole, known):
            await self._take_known(candidate.name, known, path)
            return
        digested = await self._pool.digest(path, candidate.name, copied.size_bytes)
        document = _document(candidate.name, copied, digested)
        self._batch.append((Addition(document, digested.pieces), path))
        self._added.append(document)
        self._warnings += [f"{candidate.name}: {note}" for note in digested.notes]

    async def _take_known(self, name: str, known: str, path: Path) -> None:
        """Content that is here already: at most the name is new, or the copy was lost."""
        self._unchanged.append(name)
        found = await self._home.read(self._home.store.documents, {known})
        lost = self._home.original(known) is None
        if known in found and (lost or await self._home.read(self._home.store.owner, name) != known):
            self._batch.append((Addition(replace(found[known], name=name), None), path if lost else None))

    def _copied(self, candidate: Candidate, path: Path) -> Copied:
        try:
            with disk_errors_named(self._home.root):
                return copy(candidate, path)
        except OSError as error:
            raise IngestError(candidate.name, f"reading it failed ({error.strerror})", "try again") from error

    async def _flush(self) -> None:
        async with self._flushing:
            batch, self._batch = self._batch, []
            self._committed = time.monotonic()
            if not batch:
                return
            additions = [addition for addition, _ in batch]
            copies = [(path, addition.document.id) for addition, path in batch if path is not None]
            changes = await self._home.write(self._home.commit, additions, copies)
            self._replaced |= changes.replaced
            self._chunks += sum(len(addition.pieces or ()) for addition in additions)
            if self._committed - self._published > PUBLISH_EVERY_S:
                await self._home.write(self._home.publish, None)
                self._published = time.monotonic()

    def _tell(self, current: str) -> None:
        if self._progress is not None:
            total = len(self._found.candidates)
            self._progress(IngestProgress(self._done, total, current, self._chunks, tuple(self._failed)))

    def _report(self) -> IngestReport:
        return IngestReport(
            added=tuple(self._added),
            replaced=tuple(sorted(self._replaced)),
            unchanged=tuple(self._unchanged),
            skipped=tuple(self._found.skipped),
            failed=tuple(self._failed),
            warnings=tuple(self._warnings),
            chunks=self._chunks,
            elapsed_s=time.monotonic() - self._started,
        )


def _document(name: str, copied: Copied, digested: Digested) -> Document:
    return Document(
        id=document_id(copied.sha256),
        name=name,
        title=digested.title,
        media_type=digested.media_type,
        sha256=copied.sha256,
        pages=digested.pages,
        size_bytes=copied.size_bytes,
        chunks=len(digested.pieces),
        added_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
