"""Memory in Postgres, found through the same index machinery as the documents: BM25 and FAISS, fused by rank.

The rows are the truth, vectors included; what is searched is built from them in this process, one shelf at a time (an
owner's facts and lessons, or one conversation's pages), and built again when the shelf's mark has moved. So two
processes share it, a vector of another embedder is made anew, and without any embedder words alone find things. The
owner stands in the `where` of every statement, so an index can at worst miss a row, never show another's.

LangGraph's own store is not used for this: its put overwrites unseen, it keeps no versions, a deletion leaves no trace
by which another process's index could know, and its search needs pgvector.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakValueDictionary

import numpy as np
import psycopg
from psycopg_pool import PoolTimeout

from agents.errors import RunLost, ToolFailed
from agents.memory import MAX_ABOUT_CHARS, MAX_TEXT_CHARS, Conflict, Item, Kind, Page, key_for
from app.events import text_safe
from app.postgres import Pool
from retrieval.embed import Embedder, EmbedderUnavailable, Vectors
from retrieval.index import DenseIndex
from retrieval.lexical import LexicalIndex
from retrieval.search import bounded, depth, fuse
from retrieval.terms import query_terms, terms

log = logging.getLogger(__name__)

MAX_KEPT = 5_000
"""Facts and lessons of one owner, all versions."""
MAX_PAGES = 20_000
"""Pages of one conversation that are searched, the newest."""
MAX_SHELVES = 256
EMBEDDED_AT_ONCE = 64
"""Vectors made on the way to an answer; the rest waits for the next question, and is found by its words until then."""
QUERY_TIMEOUT_S = 5.0
FITS = 0.28
"""Cosine from which something fits. With MiniLM, eight statements had 0.70 (median; 0.22 to 0.77) with a question about
them, at most 0.26 with questions about each other and 0.25 with questions about the field guide."""

_FIELDS = "key, text, kind, version, author, written_at, about, coalesce(thread_id, '') as scope"
_LATEST = f"select {_FIELDS} from memories where owner = %s and key = %s and newest"
_INSERT = f"""
insert into memories (owner, key, version, kind, thread_id, author, about, text)
values (%(owner)s, %(key)s, %(version)s, %(kind)s, nullif(%(scope)s, ''), %(author)s, %(about)s, %(text)s)
returning {_FIELDS}
"""
_PAGE = """
insert into memories (owner, key, version, kind, thread_id, author, about, text)
values (%s, %s, 1, 'page', %s, %s, %s, %s) on conflict do nothing
"""
_MARK = """
insert into memory_marks (owner, shelf) values (%s, %s)
on conflict (owner, shelf) do update set mark = memory_marks.mark + 1
"""
_SHELF = """
select row_id, kind, about, text, embedder, vector from memories
where owner = %s and coalesce(thread_id, '') = %s and newest order by row_id desc limit %s
"""


@dataclass(slots=True)
class _Shelf:
    """What one search looks through."""

    mark: int
    lexical: LexicalIndex
    dense: DenseIndex | None
    kinds: dict[int, str]
    pending: bool
    """Some of it has no vector yet."""


class PostgresMemory:
    """All owners' memory."""

    def __init__(self, pool: Pool, embedder: Embedder | None) -> None:
        self._pool, self._embedder = pool, embedder
        self._shelves: OrderedDict[tuple[str, str], _Shelf] = OrderedDict()
        self._building = WeakValueDictionary[tuple[str, str], asyncio.Lock]()  # one for as long as somebody builds

    # -- keeping -----------------------------------------------------------------------------------------------------

    async def keep(
        self,
        owner: str,
        text: str,
        *,
        author: str,
        kind: Kind = "fact",
        key: str | None = None,
        expected_version: int | None = None,
        about: str = "",
        scope: str = "",
    ) -> Item:
        """Write the next version of a thing; the same write twice is one. Raises Conflict, or ToolFailed."""
        text, about = _checked(text), text_safe(about)[:MAX_ABOUT_CHARS]
        put = {"owner": owner, "key": text_safe(key or key_for(kind, scope, about, text)), "kind": kind, "scope": scope,
               "author": text_safe(author), "about": about, "text": text}  # fmt: skip
        async with self._connected() as connection, connection.transaction():
            await connection.execute(_MARK, (owner, scope))  # locks the shelf: one writer at a time
            there = await (await connection.execute(_LATEST, (owner, put["key"]))).fetchone()
            if there:
                _refuse_another(there, kind, scope)
            if there and (there["text"], there["about"]) == (text, about):
                return await self._one(connection, owner, put["key"])
            version = there["version"] if there else 0
            if (expected_version or 0) != version:
                author = there["author"] if there else ""
                raise Conflict(f"memory {put['key']}", expected_version or 0, version, author)
            if kind != "page":
                await self._refuse_beyond(connection, owner)
            older = "update memories set newest = false where owner = %s and key = %s and newest"
            await connection.execute(older, (owner, put["key"]))
            row = await (await connection.execute(_INSERT, {**put, "version": version + 1})).fetchone()
        return Item(**row)

    async def keep_pages(self, owner: str, conversation: str, pages: Sequence[Page]) -> int:
        """Keep what leaves a context, in one transaction; how many were new."""
        rows = [
            (owner, it.key, conversation, text_safe(it.author), text_safe(it.about)[:MAX_ABOUT_CHARS], text)
            for it in pages
            if (text := text_safe(it.text).strip()[:MAX_TEXT_CHARS])
        ]
        async with self._connected() as connection, connection.transaction():
            cursor = connection.cursor()
            await cursor.executemany(_PAGE, rows)
            if new := cursor.rowcount:
                await connection.execute(_MARK, (owner, conversation))
        return int(new)

    async def _refuse_beyond(self, connection: Any, owner: str) -> None:
        sql = "select count(*) as kept from memories where owner = %s and kind <> 'page'"
        kept = (await (await connection.execute(sql, (owner,))).fetchone())["kept"]
        if kept >= MAX_KEPT:
            raise ToolFailed("memory", f"{kept:,} things kept of {MAX_KEPT:,}", "forget something first")

    async def _one(self, connection: Any, owner: str, key: str) -> Item:
        sql = f"select {_FIELDS} from memories where owner = %s and key = %s and newest"
        return Item(**await (await connection.execute(sql, (owner, key))).fetchone())

    async def forget(self, owner: str, key: str) -> bool:
        """Remove a thing with all of its versions, vectors too."""
        async with self._connected() as connection, connection.transaction():
            gone = "delete from memories where owner = %s and key = %s returning coalesce(thread_id, '') as scope"
            rows = await (await connection.execute(gone, (owner, text_safe(key)))).fetchall()
            for scope in {row["scope"] for row in rows}:
                await connection.execute(_MARK, (owner, scope))
        return bool(rows)

    # -- looking through ---------------------------------------------------------------------------------------------

    async def items(
        self, owner: str, *, kinds: Sequence[Kind] = ("fact", "lesson"), limit: int = 100, offset: int = 0
    ) -> list[Item]:
        """Newest versions, newest first."""
        where = "owner = %s and newest and kind = any(%s)"
        sql = f"select {_FIELDS} from memories where {where} order by row_id desc limit %s offset %s"
        async with self._connected() as connection:
            rows = await (await connection.execute(sql, (owner, list(kinds), limit, offset))).fetchall()
        return [Item(**row) for row in rows]

    async def versions(self, owner: str, key: str) -> list[Item]:
        """All versions of a thing, newest first; none when there is no such thing."""
        sql = f"select {_FIELDS} from memories where owner = %s and key = %s order by version desc"
        async with self._connected() as connection:
            rows = await (await connection.execute(sql, (owner, key))).fetchall()
        return [Item(**row) for row in rows]

    # -- finding -----------------------------------------------------------------------------------------------------

    async def recall(
        self, owner: str, query: str, k: int = 5, *, kinds: Sequence[Kind] = ("fact",), scope: str | None = None
    ) -> list[Item]:
        """What fits, best first."""
        question = bounded(query)
        if not question or k < 1 or (shelf := await self._shelf(owner, scope or "")) is None:
            return []
        vector = await self._vector(question) if shelf.dense is not None else None
        ranked = await asyncio.to_thread(_ranked, shelf, question, vector, k, set(kinds))
        return await self._rows(owner, scope or "", ranked)

    async def _rows(self, owner: str, scope: str, ranked: dict[int, float]) -> list[Item]:
        """Rows as they are now: what was forgotten since the index was built is gone."""
        where = "owner = %s and coalesce(thread_id, '') = %s and newest and row_id = any(%s)"
        async with self._connected() as connection:
            found = await connection.execute(
                f"select row_id, {_FIELDS} from memories where {where}", (owner, scope, list(ranked))
            )
            rows = {row.pop("row_id"): row for row in await found.fetchall()}
        return [Item(**rows[row_id], score=score) for row_id, score in ranked.items() if row_id in rows]

    async def _vector(self, question: str) -> Vectors | None:
        assert self._embedder  # a shelf has vectors only where something makes them
        try:
            async with asyncio.timeout(QUERY_TIMEOUT_S):
                return cast(Vectors, (await self._embedder.embed([question]))[0])
        except (EmbedderUnavailable, TimeoutError) as error:
            log.warning("memory is searched by words alone: %s", error)
            return None

    async def _shelf(self, owner: str, scope: str) -> _Shelf | None:
        """The shelf as it is now; None when nothing is on it."""
        place = (owner, scope)
        building = self._building.setdefault(place, asyncio.Lock())
        async with building:
            async with self._connected() as connection:
                sql = "select mark from memory_marks where owner = %s and shelf = %s"
                row = await (await connection.execute(sql, place)).fetchone()
            if row is None:
                return None
            shelf = self._shelves.get(place)
            if shelf is None or shelf.mark != row["mark"] or shelf.pending:
                shelf = self._shelves[place] = await self._built(owner, scope, row["mark"])
        self._shelves.move_to_end(place)
        while len(self._shelves) > MAX_SHELVES:
            self._shelves.popitem(last=False)
        return shelf

    async def _built(self, owner: str, scope: str, mark: int) -> _Shelf:
        async with self._connected() as connection:
            rows = await (await connection.execute(_SHELF, (owner, scope, MAX_PAGES))).fetchall()
        name = self._embedder.name if self._embedder else None
        lacking = [row for row in rows if name and row["embedder"] != name]
        await self._embed(owner, lacking[:EMBEDDED_AT_ONCE])
        pending = any(row["embedder"] != name for row in lacking[:EMBEDDED_AT_ONCE]) or len(lacking) > EMBEDDED_AT_ONCE
        return await asyncio.to_thread(_build, rows, name, mark, pending)

    async def _embed(self, owner: str, rows: Sequence[dict[str, Any]]) -> None:
        """Make the vectors that these rows lack, and store them for every process."""
        if not rows or self._embedder is None:
            return
        try:
            vectors = await self._embedder.embed([_indexed(row) for row in rows])
        except EmbedderUnavailable as error:
            log.warning("memory keeps no vectors for now: %s", error)
            return
        for row, vector in zip(rows, vectors, strict=True):
            row["embedder"], row["vector"] = self._embedder.name, vector.astype(np.float32).tobytes()
        update = "update memories set embedder = %s, vector = %s where owner = %s and row_id = %s"
        made = [(row["embedder"], row["vector"], owner, row["row_id"]) for row in rows]
        async with self._connected() as connection:
            await connection.cursor().executemany(update, made)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        """A connection. Raises RunLost when the database is gone: that is no finding of any agent."""
        try:
            async with self._pool.connection() as connection:
                yield connection
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            raise RunLost(f"memory is out of reach: {error}") from error


def _checked(text: str) -> str:
    text = text_safe(text).strip()
    if not 0 < len(text) <= MAX_TEXT_CHARS:
        raise ToolFailed("memory", f"{len(text):,} characters of 1 to {MAX_TEXT_CHARS:,}", "keep one short statement")
    return text


def _refuse_another(there: dict[str, Any], kind: Kind, scope: str) -> None:
    """A thing that is kept stays what it is, and on its shelf: what was said in one conversation is no fact of all."""
    if (there["kind"], there["scope"]) == (kind, scope):
        return
    what = f"a {there['kind']}" + (" of another conversation" if there["kind"] == kind else "")
    raise ToolFailed(f"memory {there['key']}", f"it is {what}, not a {kind}", "remember something new instead")


def _indexed(row: dict[str, Any]) -> str:
    """What a row is found by: a lesson by its task too, an answer by its question."""
    return f"{row['about']}\n{row['text']}" if row["about"] else str(row["text"])


def _build(rows: Sequence[dict[str, Any]], embedder: str | None, mark: int, pending: bool) -> _Shelf:
    lexical = LexicalIndex.build((row["row_id"], terms(_indexed(row))) for row in reversed(rows))
    sound = [row for row in rows if embedder and row["embedder"] == embedder and row["vector"]]
    dense = None
    if sound:
        ids = np.asarray([row["row_id"] for row in sound], dtype=np.int64)
        dense = DenseIndex.build(ids, np.stack([np.frombuffer(row["vector"], dtype=np.float32) for row in sound]))
    return _Shelf(mark, lexical, dense, {row["row_id"]: row["kind"] for row in rows}, pending)


def _ranked(shelf: _Shelf, question: str, vector: Vectors | None, k: int, kinds: set[Kind]) -> dict[int, float]:
    """Row id -> how well it fits, best first, of those that do."""
    allowed = [row_id for row_id, kind in shelf.kinds.items() if kind in kinds]
    lexical = shelf.lexical.search(query_terms(question), depth(k), allowed)
    dense, without_vector = None, set[int]()
    if vector is not None and shelf.dense is not None and len(vector) == shelf.dense.dimensions:
        dense = shelf.dense.search(vector, depth(k), allowed)
        without_vector = shelf.dense.lacks([row_id for row_id, _ in lexical])
    fused = fuse(lexical, dense, without_vector)
    fits = [each for each in fused if dense is None or each.row_id in without_vector or (each.similarity or 0) >= FITS]
    return {each.row_id: round(each.similarity or each.score, 4) for each in fits[:k]}
