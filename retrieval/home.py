"""One corpus on disk: where its parts lie, who may write, and how indexes come and go.

    corpus.sqlite3     the truth
    originals/ID       what was ingested, byte for byte
    indexes/           derived: manifest.json and one folder for each of BM25 and vectors
    staging/           copies in the making

Everything here blocks, so it runs in this object's own threads: several for reading, one for writing, so that two
writes of this process queue up before they ask for the file lock that keeps other processes out.
"""

from __future__ import annotations

import asyncio
import errno
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ParamSpec, TypeVar

from retrieval import manifest
from retrieval.documents import CorpusError
from retrieval.index import DenseIndex, DenseUnavailable
from retrieval.lexical import LexicalIndex, Postings
from retrieval.lock import FileLock
from retrieval.manifest import IndexDamaged, Manifest
from retrieval.store import Addition, Changes, Marks, Store

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)
READERS = 4
_ID = re.compile(r"[0-9a-f]{16}")
_LOAD_ATTEMPTS = 3
_REPAIR_WAIT_S = 5.0
_STAGING_KEPT_S = 86_400.0
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Indexes:
    """What searches use until the manifest changes."""

    signature: tuple[int, int, int]
    lexical: LexicalIndex
    dense: DenseIndex | None
    problems: tuple[str, ...] = ()


class Home:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.originals, self.staging, self.indexes = root / "originals", root / "staging", root / "indexes"
        with disk_errors_named(root):
            for folder in (root, self.originals, self.staging, self.indexes):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.store = Store(root / "corpus.sqlite3")
        self._postings = Postings()
        """For whoever holds the file lock."""
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="corpus-read")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="corpus-write")

    async def read(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.wrap_future(self._readers.submit(work, *args, **kwargs))

    async def write(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a write to its end, even if the one who waits for it is cancelled."""
        return await asyncio.shield(asyncio.wrap_future(self._writer.submit(work, *args, **kwargs)))

    async def close(self) -> None:
        await asyncio.to_thread(self._writer.shutdown)
        await asyncio.to_thread(self._readers.shutdown)
        self.store.close()

    def lock(self, wait_s: float = 120.0) -> FileLock:
        return FileLock(self.root / "writer.lock", wait_s=wait_s)

    def embed_lock(self) -> FileLock:
        return FileLock(self.root / "embed.lock")

    # -- documents --------------------------------------------------------------------------------------------------

    def original(self, document_id: str) -> Path | None:
        """The stored copy. An id that isn't one of ours never becomes a path."""
        path = self.originals / document_id
        return path if _ID.fullmatch(document_id) and path.is_file() else None

    def commit(self, additions: Sequence[Addition], copies: Sequence[tuple[Path, str]]) -> Changes:
        """Keep the copies, then the rows: a crash between leaves a spare copy, never a document without one."""
        with disk_errors_named(self.root), self.lock():
            for path, document_id in copies:
                path.replace(self.originals / document_id)
            changes = self.store.put(additions)
            for document_id in changes.dropped:
                (self.originals / document_id).unlink(missing_ok=True)
        return changes

    def remove(self, document_id: str) -> bool:
        with disk_errors_named(self.root), self.lock():
            found = self.store.remove(document_id)
            if path := self.original(document_id):
                path.unlink()
        return found

    @contextmanager
    def staged(self) -> Iterator[Path]:
        """A folder for copies in the making; what a killed process left behind goes after a day."""
        with disk_errors_named(self.root):
            for old in self.staging.iterdir():
                if time.time() - old.stat().st_mtime > _STAGING_KEPT_S:
                    shutil.rmtree(old, ignore_errors=True)
            folder = Path(tempfile.mkdtemp(dir=self.staging))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    # -- indexes ----------------------------------------------------------------------------------------------------

    def publish(self, embedder: str | None, *, wait_s: float = 120.0) -> None:
        """Build what is out of date or damaged, and make it current: BM25, and vectors when an embedder is named."""
        with disk_errors_named(self.root), self.lock(wait_s):
            marks = self.store.marks()
            if not self._sound("lexical", marks.lineage, marks.chunks, ""):
                index = self._build_lexical(self._postings)
                manifest.publish(self.indexes, "lexical", marks.lineage, marks.chunks, index.save)
            if embedder is not None and not self._sound("dense", marks.lineage, _dense_mark(marks), embedder):
                with suppress(DenseUnavailable):  # text is found without vectors, and `load` says why there are none
                    self._publish_dense(embedder)

    def _build_lexical(self, postings: Postings) -> LexicalIndex:
        missing = postings.keep(self.store.all_row_ids())
        postings.add(self.store.terms(missing))
        return postings.index()

    def _publish_dense(self, embedder: str) -> None:
        index = self._build_dense(embedder)
        marks = self.store.marks()
        if index is not None:
            mark = _dense_mark(marks)
            manifest.publish(self.indexes, "dense", marks.lineage, mark, index.save, embedder=embedder)

    def _build_dense(self, embedder: str) -> DenseIndex | None:
        """None while there is nothing to index. Raises DenseUnavailable without FAISS."""
        ids, vectors = self.store.vectors(embedder)
        return DenseIndex.build(ids, vectors) if len(ids) else None

    def _sound(self, kind: str, lineage: str, mark: str, embedder: str) -> bool:
        try:
            found = manifest.read(self.indexes)
            part = found.parts.get(kind)
            if part is None or (found.lineage, part.mark, part.embedder) != (lineage, mark, embedder):
                return False
            manifest.verified(self.indexes, part)
        except IndexDamaged:
            return False
        return True

    def load(self, embedder: str | None) -> Indexes:
        """Read the current indexes, checked. What is damaged is built anew, on disk or, failing that, in memory."""
        damage = IndexDamaged("it kept changing")
        for _ in range(_LOAD_ATTEMPTS):
            signature = manifest.signature(self.indexes)
            try:
                return self._read_indexes(signature, embedder)
            except IndexDamaged as error:
                damage = error
                if manifest.signature(self.indexes) == signature:  # else a writer was faster: look again
                    break
        return self._repaired(embedder, damage)

    def load_current(self, embedder: str | None) -> Indexes:
        """What `load` does, after publishing what a killed process committed but did not index."""
        try:
            self.publish(embedder, wait_s=_REPAIR_WAIT_S)
        except CorpusError as error:
            found = self.load(embedder)
            return replace(found, problems=(*found.problems, f"the index may be behind: {error}"))
        return self.load(embedder)

    def _repaired(self, embedder: str | None, damage: IndexDamaged) -> Indexes:
        try:
            self.publish(embedder, wait_s=_REPAIR_WAIT_S)
            return self._read_indexes(manifest.signature(self.indexes), embedder)
        except (CorpusError, IndexDamaged) as error:
            problem = f"the index was damaged ({damage}) and is kept in memory only, because {error}"
            return self._built_in_memory(embedder, problem)

    def _built_in_memory(self, embedder: str | None, problem: str) -> Indexes:
        signature = manifest.signature(self.indexes)
        lexical = self._build_lexical(Postings())
        try:
            dense = self._build_dense(embedder) if embedder is not None else None
        except DenseUnavailable as error:
            return Indexes(signature, lexical, None, (problem, str(error)))
        return Indexes(signature, lexical, dense, (problem,))

    def _read_indexes(self, signature: tuple[int, int, int], embedder: str | None) -> Indexes:
        found = manifest.read(self.indexes)
        marks = self.store.marks()
        if found.lineage != marks.lineage or "lexical" not in found.parts:
            raise IndexDamaged("there is no index for this corpus yet")
        lexical = _loaded(self.indexes, found, "lexical", LexicalIndex.load)
        dense: DenseIndex | None = None
        problems: tuple[str, ...] = ()
        part = found.parts.get("dense")
        if embedder is not None and part is not None and part.embedder == embedder:
            try:
                dense = _loaded(self.indexes, found, "dense", DenseIndex.load)
            except DenseUnavailable as error:
                problems = (str(error),)
        return Indexes(signature, lexical, dense, problems)


def _dense_mark(marks: Marks) -> str:
    return f"{marks.chunks}:{marks.vectors}"


def _loaded(root: Path, found: Manifest, kind: str, load: Callable[[Path], T]) -> T:
    folder = manifest.verified(root, found.parts[kind])
    try:
        return load(folder)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise IndexDamaged(f"{kind} does not load ({error})") from error


@contextmanager
def disk_errors_named(root: Path) -> Iterator[None]:
    """Turn a full or unwritable disk into a sentence; other errors are bugs and stay what they are."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        fix = f"free some space or let this user write to {root}; what was there before still works"
        raise CorpusError(str(root), error.strerror or str(error), fix) from error
