"""The truth about the corpus: one SQLite file of documents, names, chunks and vectors.

Everything under `indexes/` is derived from it and can be thrown away. Every row carries a seal over its own fields,
because SQLite has no page checksums: a row whose seal is broken is left out and counted, never shown. Row ids are never
used twice, so an index that is a moment old can miss a chunk but can't name a wrong one. Each change draws a new random
mark; an index that carries the same mark is up to date.

Reads go through one connection and writes through another, each behind a lock. A writer holds the corpus' file lock.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.documents import Chunk, CorpusError, Document, Piece, chunk_id, indexed_text

SCHEMA_VERSION = "1"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS documents (
    id TEXT PRIMARY KEY, title TEXT NOT NULL, media_type TEXT NOT NULL, sha256 TEXT NOT NULL, pages INTEGER,
    size_bytes INTEGER NOT NULL, chunks INTEGER NOT NULL, added_at TEXT NOT NULL, seal BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS names (
    name TEXT PRIMARY KEY, document_id TEXT NOT NULL, seal BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS names_by_document ON names(document_id);
CREATE TABLE IF NOT EXISTS chunks (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, document_id TEXT NOT NULL, ordinal INTEGER NOT NULL,
    heading TEXT NOT NULL, page INTEGER, text TEXT NOT NULL, digest BLOB NOT NULL, seal BLOB NOT NULL,
    terms TEXT NOT NULL, terms_seal BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS chunks_by_id ON chunks(id);
CREATE UNIQUE INDEX IF NOT EXISTS chunks_by_place ON chunks(document_id, ordinal);
CREATE INDEX IF NOT EXISTS chunks_by_digest ON chunks(digest);
CREATE TABLE IF NOT EXISTS vectors (
    embedder TEXT NOT NULL, digest BLOB NOT NULL, vector BLOB NOT NULL, seal BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS vectors_by_digest ON vectors(embedder, digest);
"""
_CHUNK = "row_id, id, document_id, ordinal, heading, page, text, digest, seal"
_DOCUMENT = "id, title, media_type, sha256, pages, size_bytes, chunks, added_at, seal"
_UNSEEN = "NOT EXISTS (SELECT 1 FROM vectors v WHERE v.embedder = ? AND v.digest = c.digest)"
_MANY = 500  # parameters of one statement


@dataclass(frozen=True, slots=True)
class Marks:
    lineage: str
    chunks: str
    vectors: str


@dataclass(frozen=True, slots=True)
class Addition:
    """One name on its way in. Without pieces the content is known already and only the name is new."""

    document: Document
    pieces: tuple[Piece, ...] | None


@dataclass(frozen=True, slots=True)
class Changes:
    replaced: set[str]
    """Names that held other content before."""
    dropped: set[str]
    """Ids of documents that no name leads to any more."""


@dataclass(frozen=True, slots=True)
class Pending:
    row_id: int
    digest: bytes
    text: str


@dataclass(frozen=True, slots=True)
class Counts:
    documents: int
    chunks: int
    pending: int


def _seal(*fields: object) -> bytes:
    return hashlib.blake2b(repr(fields).encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _marks(count: int) -> str:
    return ",".join("?" * count)


class Store:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged: set[str] = set()
        """What was found with a broken seal, in words; it is left out of every answer."""
        self._read_lock, self._write_lock = threading.Lock(), threading.Lock()
        with self._guarded():
            self._write = self._connect()
            self._write.executescript(_SCHEMA)
            self._begin_lineage()
            self._read = self._connect()
            self._read.execute("PRAGMA query_only = ON")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")  # damage must not raise, but break seals
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    def _begin_lineage(self) -> None:
        born = {"schema": SCHEMA_VERSION, "lineage": secrets.token_hex(8), "chunks": "empty", "vectors": "empty"}
        self._write.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", list(born.items()))
        found = self._write.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()[0]
        if found != SCHEMA_VERSION:
            raise CorpusError(str(self.path), f"it has schema {found}, this program knows {SCHEMA_VERSION}", self._fix)

    def close(self) -> None:
        with self._read_lock, self._write_lock:
            self._read.close()
            self._write.close()

    # -- errors and transactions ------------------------------------------------------------------------------------

    @property
    def _fix(self) -> str:
        return f"move {self.path.parent} aside and ingest again; your files are unharmed"

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            full = "full" in str(error) or "disk I/O" in str(error)
            fix = "free some disk space and try again; nothing was half written" if full else self._fix
            raise CorpusError(str(self.path), str(error), fix) from error

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._guarded(), self._read_lock:
            return self._read.execute(sql, parameters).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._guarded(), self._write_lock:
            self._write.execute("BEGIN IMMEDIATE")
            try:
                yield self._write
                self._write.execute("COMMIT")
            except BaseException:
                if self._write.in_transaction:
                    self._write.execute("ROLLBACK")
                raise

    # -- reading ----------------------------------------------------------------------------------------------------

    def marks(self) -> Marks:
        found = dict(self._rows("SELECT key, value FROM meta WHERE key IN ('lineage', 'chunks', 'vectors')"))
        return Marks(found["lineage"], found["chunks"], found["vectors"])

    def recall(self, key: str) -> str | None:
        found = self._rows("SELECT value FROM meta WHERE key = ?", (f"note:{key}",))
        return str(found[0][0]) if found else None

    def owner(self, name: str) -> str | None:
        """Id of the document that a name leads to."""
        found = self._rows("SELECT document_id FROM names WHERE name = ?", (name,))
        return str(found[0][0]) if found else None

    def counts(self, embedder: str) -> Counts:
        documents = self._rows("SELECT count(*) FROM documents")[0][0]
        chunks = self._rows("SELECT count(*) FROM chunks")[0][0]
        pending = self._rows(f"SELECT count(*) FROM chunks c WHERE {_UNSEEN}", (embedder,))[0][0]
        return Counts(documents, chunks, pending)

    def documents(self, ids: Collection[str] | None = None) -> dict[str, Document]:
        """Documents by id, under the first of their names. A damaged row or name is left out."""
        if ids is not None and len(ids) > _MANY:
            found = self.documents()
            return {each: found[each] for each in ids if each in found}
        where, wanted = ("", ()) if ids is None else (f"WHERE {{}} IN ({_marks(len(ids))})", tuple(ids))
        rows = self._rows(f"SELECT {_DOCUMENT} FROM documents {where.format('id')}", wanted)
        named = self._rows(f"SELECT name, document_id, seal FROM names {where.format('document_id')}", wanted)
        names: dict[str, str] = {}
        for name, owner, seal in sorted(named, reverse=True, key=lambda each: str(each[0])):
            if self._intact(seal, (name, owner), f"name {name}"):
                names[owner] = name
        return {
            row[0]: Document(row[0], names[row[0]], *row[1:-1])
            for row in rows
            if self._intact(row[-1], row[:-1], f"document {row[0]}") and row[0] in names
        }

    def chunks(self, row_ids: Collection[int]) -> dict[int, Chunk]:
        """Chunks by row id; rows that are gone or damaged are missing from the answer."""
        rows = self._rows(f"SELECT {_CHUNK} FROM chunks WHERE row_id IN ({_marks(len(row_ids))})", tuple(row_ids))
        return dict(self._as_chunks(rows))

    def chunk(self, wanted: str) -> Chunk | None:
        rows = self._rows(f"SELECT {_CHUNK} FROM chunks WHERE id = ?", (wanted,))
        return next((chunk for _, chunk in self._as_chunks(rows)), None)

    def neighbours(self, chunk: Chunk, n: int) -> list[Chunk]:
        rows = self._rows(
            f"SELECT {_CHUNK} FROM chunks WHERE document_id = ? AND ordinal BETWEEN ? AND ? ORDER BY ordinal",
            (chunk.document_id, chunk.ordinal - n, chunk.ordinal + n),
        )
        return [found for _, found in self._as_chunks(rows) if found.ordinal != chunk.ordinal]

    def row_ids(self, document_ids: Collection[str]) -> set[int]:
        """Row ids of every chunk of these documents: what a filtered search may look at."""
        found: set[int] = set()
        wanted = list(document_ids)
        for start in range(0, len(wanted), _MANY):
            part = wanted[start : start + _MANY]
            rows = self._rows(f"SELECT row_id FROM chunks WHERE document_id IN ({_marks(len(part))})", part)
            found.update(row_id for (row_id,) in rows)
        return found

    def holds_whole(self, document_id: str) -> bool:
        """Whether a document is here with every chunk undamaged. If not, ingesting it again mends it."""
        document = self._rows(f"SELECT {_DOCUMENT} FROM documents WHERE id = ?", (document_id,))
        if not document or not self._intact(document[0][-1], document[0][:-1], f"document {document_id}"):
            return False
        rows = self._rows(f"SELECT {_CHUNK}, terms, terms_seal FROM chunks WHERE document_id = ?", (document_id,))
        whole = all(row[8] == _seal(*row[:8]) and row[10] == _seal(row[0], row[9]) for row in rows)
        return whole and len(rows) == document[0][6]

    def _as_chunks(self, rows: Iterable[tuple[Any, ...]]) -> list[tuple[int, Chunk]]:
        sound = [row for row in rows if self._intact(row[-1], row[:-1], f"chunk {row[1]}")]
        owners = self.documents({row[2] for row in sound})
        chunks = []
        for row_id, chunk, owner, ordinal, heading, page, text, _, _ in sound:
            if owner in owners:
                document = owners[owner]
                made = Chunk(chunk, owner, document.name, document.title, heading, page, ordinal, text)
                chunks.append((row_id, made))
        return chunks

    def _intact(self, seal: bytes, fields: Sequence[Any], what: str) -> bool:
        sound = seal == _seal(*fields)
        if not sound:
            self.damaged.add(what)
        return sound

    # -- what indexes are built from --------------------------------------------------------------------------------

    def all_row_ids(self) -> list[int]:
        return [row_id for (row_id,) in self._rows("SELECT row_id FROM chunks ORDER BY row_id")]

    def terms(self, row_ids: Sequence[int]) -> Iterator[tuple[int, list[str]]]:
        """Terms of these chunks; a damaged row has none."""
        for start in range(0, len(row_ids), _MANY):
            part = row_ids[start : start + _MANY]
            sql = f"SELECT row_id, terms, terms_seal FROM chunks WHERE row_id IN ({_marks(len(part))})"
            for row_id, terms, seal in self._rows(sql, part):
                if self._intact(seal, (row_id, terms), f"terms of row {row_id}"):
                    yield row_id, terms.split()

    def vectors(self, embedder: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Row ids and their vectors, (n,) and (n, d). Damaged vectors are forgotten, to be made again."""
        rows = self._rows(
            "SELECT c.row_id, v.vector, v.digest, v.seal FROM chunks c"
            " JOIN vectors v ON v.embedder = ? AND v.digest = c.digest ORDER BY c.row_id",
            (embedder,),
        )
        broken = {row[2] for row in rows if row[3] != _seal(embedder, row[2], row[1])}
        if broken:
            with self._transaction() as write:
                write.executemany("DELETE FROM vectors WHERE digest = ?", [(digest,) for digest in broken])
        sound = [row for row in rows if row[2] not in broken]
        ids = np.asarray([row[0] for row in sound], dtype=np.int64)
        flat = np.frombuffer(b"".join(row[1] for row in sound), dtype=np.float32)
        return ids, flat.reshape(len(sound), -1) if sound else np.empty((0, 0), dtype=np.float32)

    def pending(self, embedder: str, limit: int, after: int = 0) -> list[Pending]:
        """Chunks beyond a row id that have no vector of this embedder yet, oldest first."""
        rows = self._rows(
            "SELECT c.row_id, c.digest, d.title, c.heading, c.text"
            " FROM chunks c JOIN documents d ON d.id = c.document_id"
            f" WHERE c.row_id > ? AND {_UNSEEN} ORDER BY c.row_id LIMIT ?",
            (after, embedder, limit),
        )
        return [Pending(row[0], row[1], indexed_text(row[2], row[3], row[4])) for row in rows]

    # -- writing ----------------------------------------------------------------------------------------------------

    def put(self, additions: Sequence[Addition]) -> Changes:
        """Add documents, all of them or none, and say what they took the place of."""
        changes = Changes(set(), set())
        self.damaged.clear()  # what is still broken will be met again
        with self._transaction() as write:
            for addition in additions:
                document = addition.document
                if addition.pieces is not None:
                    self._drop(write, document.id)
                    self._insert(write, document, addition.pieces)
                before = write.execute("SELECT document_id FROM names WHERE name = ?", (document.name,)).fetchone()
                seal = _seal(document.name, document.id)
                write.execute("INSERT OR REPLACE INTO names VALUES (?, ?, ?)", (document.name, document.id, seal))
                if before and before[0] != document.id:
                    changes.replaced.add(document.name)
                    changes.dropped.update(self._drop_if_nameless(write, before[0]))
            self._mark(write, "chunks", "vectors")
        return changes

    def remove(self, document_id: str) -> bool:
        with self._transaction() as write:
            found = write.execute("SELECT 1 FROM documents WHERE id = ?", (document_id,)).fetchone()
            write.execute("DELETE FROM names WHERE document_id = ?", (document_id,))
            self._drop(write, document_id)
            self._forget_vectors(write)
            self._mark(write, "chunks", "vectors")
        return found is not None

    def put_vectors(self, embedder: str, digests: Sequence[bytes], vectors: npt.NDArray[np.float32]) -> None:
        rows = [
            (embedder, digest, vector.tobytes(), _seal(embedder, digest, vector.tobytes()))
            for digest, vector in zip(digests, np.ascontiguousarray(vectors, dtype=np.float32), strict=True)
        ]
        with self._transaction() as write:
            write.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?)", rows)
            self._mark(write, "vectors")

    def remember(self, key: str, value: str) -> None:
        with self._transaction() as write:
            write.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"note:{key}", value))

    def _insert(self, write: sqlite3.Connection, document: Document, pieces: Sequence[Piece]) -> None:
        fields = (document.id, document.title, document.media_type, document.sha256, document.pages)
        fields += (document.size_bytes, len(pieces), document.added_at)  # type: ignore[assignment]
        write.execute(f"INSERT INTO documents VALUES ({_marks(9)})", (*fields, _seal(*fields)))
        for ordinal, piece in enumerate(pieces):
            digest = _digest(indexed_text(document.title, piece.heading, piece.text))
            named = chunk_id(document.id, ordinal, piece.text)
            row = (named, document.id, ordinal, piece.heading, piece.page, piece.text, digest)
            terms = " ".join(piece.terms)
            row_id = write.execute(f"INSERT INTO chunks VALUES (NULL, {_marks(10)})", (*row, b"", terms, b"")).lastrowid
            seals = (_seal(row_id, *row), _seal(row_id, terms), row_id)
            write.execute("UPDATE chunks SET seal = ?, terms_seal = ? WHERE row_id = ?", seals)

    def _drop_if_nameless(self, write: sqlite3.Connection, document_id: str) -> set[str]:
        if write.execute("SELECT 1 FROM names WHERE document_id = ?", (document_id,)).fetchone():
            return set()
        self._drop(write, document_id)
        self._forget_vectors(write)
        return {document_id}

    def _drop(self, write: sqlite3.Connection, document_id: str) -> None:
        write.execute("DELETE FROM chunks WHERE document_id = ?", (document_id,))
        write.execute("DELETE FROM documents WHERE id = ?", (document_id,))

    def _forget_vectors(self, write: sqlite3.Connection) -> None:
        write.execute("DELETE FROM vectors WHERE NOT EXISTS (SELECT 1 FROM chunks c WHERE c.digest = vectors.digest)")

    def _mark(self, write: sqlite3.Connection, *keys: str) -> None:
        write.executemany("UPDATE meta SET value = ? WHERE key = ?", [(secrets.token_hex(8), key) for key in keys])
