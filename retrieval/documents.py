"""What the corpus is made of: documents, chunks, hits, and the words for what went wrong.

Identity is content: a document is named by the SHA-256 of its bytes, a chunk by its document, place and text. The same
file twice is one document, and a citation that was right once stays right or stops resolving; it never moves.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

MAX_NAME_CHARS = 200
_UNWELCOME = re.compile("[\x00\ud800-\udfff]")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")


def clean_text(text: str) -> str:
    """Replace what no database or tokenizer takes, NUL and lone surrogates, by U+FFFD. Nothing else changes."""
    return _UNWELCOME.sub("\ufffd", text)


def display_name(raw: str) -> str:
    """Make a stranger's file name fit to show: relative, without `..` or controls, bounded. It is never a path."""
    text = _CONTROLS.sub(" ", clean_text(raw)).replace("\\", "/")
    parts = [part.strip() for part in PurePosixPath(text).parts]
    kept = "/".join(part for part in parts if part not in ("", "/", ".", "..") and not part.endswith(":"))
    return kept[-MAX_NAME_CHARS:] or "unnamed"


def document_id(sha256: str) -> str:
    return sha256[:16]


def chunk_id(document: str, ordinal: int, text: str) -> str:
    return hashlib.sha256(f"{document}\n{ordinal}\n{text}".encode()).hexdigest()[:12]


def indexed_text(title: str, heading: str, text: str) -> str:
    """What BM25 and the embedder read: a chunk alone forgets what it is about."""
    return f"{title}\n{heading}\n{text}" if heading else f"{title}\n{text}"


@dataclass(frozen=True, slots=True)
class Document:
    id: str
    """First 16 hex digits of the content's SHA-256."""
    name: str
    """Display path, such as `handbook.pdf` or `site.zip/guide/intro.html`."""
    title: str
    media_type: str
    sha256: str
    pages: int | None
    """For PDF only: other formats have no fixed pages."""
    size_bytes: int
    chunks: int
    added_at: str
    """ISO 8601, UTC."""


@dataclass(frozen=True, slots=True)
class Chunk:
    id: str
    """12 hex digits over document id, ordinal and text."""
    document_id: str
    document: str
    """The document's display name."""
    title: str
    heading: str
    """Path of headings above the text, `A > B`; empty when there is none."""
    page: int | None
    """Counted from 1; where the text starts."""
    ordinal: int
    text: str


@dataclass(frozen=True, slots=True)
class Hit:
    chunk: Chunk
    score: float
    """Fused rank score: 1.0 is first in every list that was asked. Comparable inside one query only."""
    lexical_rank: int | None
    """Place in the BM25 list, from 1; None where BM25 did not list it."""
    dense_rank: int | None
    """Place in the vector list, from 1; None too while the chunk has no vector yet."""
    similarity: float | None = None
    """Cosine of query and chunk, when the vector list held it. Comparable between queries of one embedder."""


@dataclass(frozen=True, slots=True)
class Upload:
    name: str
    """What the person called it; shown, never used as a path."""
    path: Path


@dataclass(frozen=True, slots=True)
class Piece:
    """One chunk on its way into the store, as the parser process made it."""

    heading: str
    page: int | None
    text: str
    terms: tuple[str, ...]
    """Stemmed terms of title, heading and text, for BM25."""


@dataclass(frozen=True, slots=True)
class Digested:
    """What one file became: parsed, cut into chunks and those into terms."""

    title: str
    media_type: str
    pages: int | None
    pieces: tuple[Piece, ...]
    notes: tuple[str, ...] = ()
    """Parts that could not be read although the rest could."""


class IngestError(Exception):
    """One file that could not be read. The others go on."""

    def __init__(self, name: str, reason: str, fix: str) -> None:
        super().__init__(f"{name}: {reason}; {fix}")
        self.name = name
        self.reason = reason
        self.fix = fix


class CorpusError(Exception):
    """The corpus itself cannot do what was asked: disk full, damaged store, a writer that never ends."""

    def __init__(self, place: str, reason: str, fix: str) -> None:
        super().__init__(f"{place}: {reason}; {fix}")
        self.place = place
        self.reason = reason
        self.fix = fix


@dataclass(frozen=True, slots=True)
class IngestProgress:
    files_done: int
    files_total: int
    current: str
    chunks: int
    """Written so far by this call."""
    failed: tuple[IngestError, ...] = ()


@dataclass(frozen=True, slots=True)
class IngestReport:
    added: tuple[Document, ...] = ()
    replaced: tuple[str, ...] = ()
    """Names that now hold other content than before."""
    unchanged: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    """Members of a folder or archive that are no documents: images, styles, hidden files, links."""
    failed: tuple[IngestError, ...] = ()
    warnings: tuple[str, ...] = ()
    """Documents that were taken, but not whole: `report.pdf: page 17 could not be read`."""
    chunks: int = 0
    elapsed_s: float = 0.0


@dataclass(frozen=True, slots=True)
class EmbedProgress:
    done: int
    total: int
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class CorpusStats:
    documents: int
    chunks: int
    embedded: int
    pending: int
    index_bytes: int
    embedder: str | None
    faiss: str | None
    gpus: int
    problems: Sequence[str] = field(default=())
    """Why search is less than whole right now, in words; empty when all is well."""
