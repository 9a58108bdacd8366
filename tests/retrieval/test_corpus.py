"""The corpus from outside: what goes in is found, cited, replaced and forgotten; bad input is named."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval.corpus import Corpus
from retrieval.documents import CorpusError, EmbedProgress, Hit, IngestProgress, Upload, chunk_id
from retrieval.embed import EmbedderUnavailable, HashEmbedder, Vectors

TIDES = "# Tides\n\nThe tide turns twice a day.\n\n## Spring tides\n\nA spring tide follows the full moon.\n"


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def names(hits: Sequence[Hit]) -> list[str]:
    return [hit.chunk.document for hit in hits]


async def test_every_format_is_found_and_cited(
    corpus: Corpus,
    tmp_path: Path,
    make_pdf: Callable[..., Path],
    make_docx: Callable[..., Path],
    make_zip: Callable[..., Path],
) -> None:
    sources = [
        write(tmp_path, "tides.md", TIDES),
        make_pdf([["Nothing here."], ["The foghorn sounds every 30 seconds."]], name="fog.pdf"),
        make_docx("harbour.docx"),
        make_zip({"guide/wrecks.html": "<title>Wrecks</title><p>The barque sank off Ushant.</p>"}, "site.zip"),
    ]
    report = await corpus.ingest(sources)
    assert not report.failed and len(report.added) == 4 and report.chunks == 5
    assert names(await corpus.search("spring tide moon"))[0] == "tides.md"
    (fog, *_) = await corpus.search("foghorn seconds")
    assert (fog.chunk.document, fog.chunk.page) == ("fog.pdf", 2)
    assert names(await corpus.search("fee for a ship of 120 m"))[0] == "harbour.docx"
    (wreck, *_) = await corpus.search("barque Ushant")
    assert (wreck.chunk.document, wreck.chunk.title) == ("site.zip/guide/wrecks.html", "Wrecks")
    original = corpus.original(fog.chunk.document_id)
    assert original is not None and original.read_bytes() == (tmp_path / "fog.pdf").read_bytes()


async def test_identity_is_content(corpus: Corpus, tmp_path: Path) -> None:
    await corpus.ingest([write(tmp_path, "tides.md", TIDES)])
    (document,) = await corpus.documents()
    (hit,) = await corpus.search("spring tide")
    assert hit.chunk.id == chunk_id(document.id, hit.chunk.ordinal, hit.chunk.text)
    assert document.id == document.sha256[:16]
    assert await corpus.passage(hit.chunk.id) == hit.chunk
    assert await corpus.document(document.id) == document
    assert await corpus.passage("0" * 12) is None
    assert await corpus.document("0" * 16) is None


async def test_the_same_again_does_nothing(corpus: Corpus, tmp_path: Path) -> None:
    path = write(tmp_path, "tides.md", TIDES)
    await corpus.ingest([path])
    before = await corpus.documents()
    again = await corpus.ingest([path])
    assert (again.unchanged, again.added, again.chunks) == (("tides.md",), (), 0)
    assert await corpus.documents() == before


async def test_changed_content_replaces_what_had_its_name(corpus: Corpus, tmp_path: Path) -> None:
    await corpus.ingest([write(tmp_path, "tides.md", TIDES)])
    (old,) = await corpus.documents()
    report = await corpus.ingest([write(tmp_path, "tides.md", "# Tides\n\nNeap tides are weak.\n")])
    assert report.replaced == ("tides.md",)
    assert [document.name for document in await corpus.documents()] == ["tides.md"]
    assert [hit.chunk.text for hit in await corpus.search("tide moon neap")] == ["Neap tides are weak."]
    assert corpus.original(old.id) is None


async def test_one_content_under_two_names_lives_until_both_are_gone(corpus: Corpus, tmp_path: Path) -> None:
    one, other = write(tmp_path, "a/tides.md", TIDES), write(tmp_path, "b/copy.md", TIDES)
    await corpus.ingest([one])
    assert (await corpus.ingest([other])).unchanged == ("copy.md",)
    assert [document.name for document in await corpus.documents()] == ["copy.md"]
    await corpus.ingest([write(tmp_path, "b/copy.md", "# Other\n\nSomething else.\n")])
    assert sorted(document.name for document in await corpus.documents()) == ["copy.md", "tides.md"]
    assert names(await corpus.search("spring tide")) == ["tides.md"]


async def test_removed_is_gone_at_once(corpus: Corpus, tmp_path: Path) -> None:
    await corpus.ingest([write(tmp_path, "tides.md", TIDES), write(tmp_path, "fog.md", "# Fog\n\nFog hides ships.\n")])
    await corpus.embed_pending()
    (hit, *_) = await corpus.search("spring tide")
    assert await corpus.remove(hit.chunk.document_id)
    assert "tides.md" not in names(await corpus.search("spring tide"))
    assert await corpus.passage(hit.chunk.id) is None
    assert corpus.original(hit.chunk.document_id) is None
    assert not await corpus.remove(hit.chunk.document_id)


async def test_search_looks_only_where_it_may(corpus: Corpus, tmp_path: Path) -> None:
    for number in range(12):
        write(tmp_path, f"tides/{number}.md", f"# Tide {number}\n\nThe tide at port {number} turns.\n")
    await corpus.ingest([tmp_path / "tides"])
    await corpus.embed_pending()
    wanted = {document.id for document in await corpus.documents() if document.name.endswith(("/3.md", "/7.md"))}
    hits = await corpus.search("tide turns at port", document_ids=wanted)
    assert {hit.chunk.document_id for hit in hits} == wanted
    assert await corpus.search("tide", document_ids=[]) == []


async def test_neighbours_come_in_reading_order(corpus: Corpus, tmp_path: Path) -> None:
    text = "\n\n".join(f"## Part {n}\n\n" + f"Part {n} says its own thing at length. " * 30 for n in range(5))
    await corpus.ingest([write(tmp_path, "parts.md", text)])
    (hit, *_) = await corpus.search("part 2 says")
    middle = hit.chunk.ordinal
    around = await corpus.neighbours(hit.chunk.id, 1)
    assert [chunk.ordinal for chunk in around] == [middle - 1, middle + 1]
    assert await corpus.neighbours("0" * 12) == []


async def test_one_bad_file_does_not_stop_the_others(
    corpus: Corpus, tmp_path: Path, make_pdf: Callable[..., Path]
) -> None:
    seen: list[IngestProgress] = []
    sources = [
        tmp_path / "missing.md",
        make_pdf([["secret"]], name="locked.pdf", password="s3cret"),
        write(tmp_path, "tides.md", TIDES),
        write(tmp_path, "empty.md", ""),
    ]
    report = await corpus.ingest(sources, progress=seen.append)
    assert {error.name: error.reason for error in report.failed} == {
        "missing.md": "no such file or folder",
        "locked.pdf": "it is encrypted with a password",
        "empty.md": "the file is empty",
    }
    assert [document.name for document in report.added] == ["tides.md"]
    assert (seen[-1].files_done, seen[-1].files_total, len(seen[-1].failed)) == (3, 3, 3)


async def test_a_strangers_file_name_is_only_shown(corpus: Corpus, tmp_path: Path) -> None:
    path = write(tmp_path, "upload.tmp", TIDES)
    await corpus.ingest([Upload("../../../etc/\0tides.md", path)])
    (document,) = await corpus.documents()
    assert document.name == "etc/\ufffdtides.md"
    assert corpus.original("../../corpus.sqlite3") is None


async def test_strange_text_is_stored_and_found(corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "odd.txt"
    path.write_bytes(b"The b\0uoy rings. \xed\xa0\x80 lone." + "\u202ertl 🚢 e".encode() + "\u0301".encode() * 500)
    assert not (await corpus.ingest([path])).failed
    (hit,) = await corpus.search("rings")
    assert "\0" not in hit.chunk.text and "\ufffd" in hit.chunk.text


@pytest.mark.parametrize("query", ["", "   ", "\0", "\ud800", "\u202e"])
async def test_an_empty_question_finds_nothing(corpus: Corpus, tmp_path: Path, query: str) -> None:
    await corpus.ingest([write(tmp_path, "tides.md", TIDES)])
    assert await corpus.search(query) == []


async def test_a_megabyte_of_question_is_cut_and_answered(corpus: Corpus, tmp_path: Path) -> None:
    await corpus.ingest([write(tmp_path, "tides.md", TIDES)])
    assert names(await corpus.search("spring tide " * 90_000)) == ["tides.md"]
    assert await corpus.search("x" * 4_000 + " tide") == []


async def test_any_question_is_answered_without_an_error(corpus: Corpus, tmp_path: Path) -> None:
    await corpus.ingest([write(tmp_path, "tides.md", TIDES)])
    await corpus.embed_pending()

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.text(st.characters(codec=None), max_size=200), st.integers(-3, 500))
    def ask(query: str, k: int) -> None:
        hits = asyncio.run_coroutine_threadsafe(corpus.search(query, k), loop).result(10)
        assert len(hits) <= max(k, 0)

    loop = asyncio.get_running_loop()
    await asyncio.to_thread(ask)


# -- vectors ----------------------------------------------------------------------------------------------------------


class Counting(HashEmbedder):
    """Counts what it embeds and fails while told to."""

    def __init__(self, dimensions: int = 256) -> None:
        super().__init__(dimensions)
        self.texts: list[str] = []
        self.broken = False

    async def embed(self, texts: Sequence[str]) -> Vectors:
        if self.broken:
            raise EmbedderUnavailable("the embedder is on strike")
        self.texts += texts
        return await super().embed(texts)


async def test_text_is_searchable_before_its_vectors(tmp_path: Path) -> None:
    embedder = Counting()
    async with await Corpus.open(tmp_path / "index", embedder) as corpus:
        await corpus.ingest([write(tmp_path, "tides.md", TIDES)])
        (hit,) = await corpus.search("spring tide")
        assert (hit.lexical_rank, hit.dense_rank, hit.score, embedder.texts) == (1, None, 1.0, [])
        progress: list[EmbedProgress] = []
        assert await corpus.embed_pending(progress=progress.append) == 1
        assert [(each.done, each.total) for each in progress] == [(0, 1), (1, 1)]
        (hit,) = await corpus.search("spring tide")
        assert (hit.lexical_rank, hit.dense_rank) == (1, 1)
        assert hit.similarity is not None and 0 < hit.similarity <= 1.001
        assert corpus.stats().pending == 0


async def test_a_new_file_is_not_beaten_for_want_of_vectors(corpus: Corpus, tmp_path: Path) -> None:
    for number in range(20):
        write(tmp_path, f"old/{number}.md", f"# Old {number}\n\nAn old note about the harbour, number {number}.\n")
    await corpus.ingest([tmp_path / "old"])
    await corpus.embed_pending()
    await corpus.ingest([write(tmp_path, "new.md", "# New\n\nThe harbour harbour harbour master retired.\n")])
    assert names(await corpus.search("harbour master"))[0] == "new.md"


async def test_no_text_is_embedded_twice(tmp_path: Path) -> None:
    embedder = Counting()
    async with await Corpus.open(tmp_path / "index", embedder) as corpus:
        await corpus.ingest([write(tmp_path, "parts.md", _parts(4))])
        await corpus.embed_pending()
        embedder.texts.clear()
        await corpus.ingest([write(tmp_path, "parts.md", _parts(5))])
        await corpus.embed_pending()
        assert [text.split("\n")[1] for text in embedder.texts] == ["Part 4"]
        assert corpus.stats().embedded == corpus.stats().chunks == 5


def _parts(count: int) -> str:
    parts = [f"## Part {number}\n\n" + f"Part {number} goes on at length here. " * 30 for number in range(count)]
    return "# Whole\n\n" + "\n\n".join(parts)


async def test_embedding_stops_when_told_and_goes_on_later(tmp_path: Path) -> None:
    for number in range(200):
        write(tmp_path, f"many/{number}.md", f"# Note {number}\n\nNote number {number}.\n")
    stop = asyncio.Event()

    def after_the_first_batch(progress: EmbedProgress) -> None:
        if progress.done:
            stop.set()

    async with await Corpus.open(tmp_path / "index", Counting()) as corpus:
        await corpus.ingest([tmp_path / "many"])
        first = await corpus.embed_pending(progress=after_the_first_batch, stop=stop)
        assert 0 < first < 200 and corpus.stats().pending == 200 - first
    embedder = Counting()
    async with await Corpus.open(tmp_path / "index", embedder) as corpus:
        assert await corpus.embed_pending() == 200 - first == len(embedder.texts)


async def test_an_embedder_that_fails_leaves_words_to_find_by(tmp_path: Path) -> None:
    embedder = Counting()
    async with await Corpus.open(tmp_path / "index", embedder) as corpus:
        await corpus.ingest([write(tmp_path, "tides.md", TIDES)])
        await corpus.embed_pending()
        embedder.broken = True
        (hit,) = await corpus.search("spring tide")
        assert (hit.lexical_rank, hit.dense_rank) == (1, None)
        assert corpus.stats().problems == ("searching without vectors: the embedder is on strike",)
        await corpus.ingest([write(tmp_path, "fog.md", "# Fog\n\nFog hides ships.\n")])
        with pytest.raises(EmbedderUnavailable):
            await corpus.embed_pending()
        assert names(await corpus.search("fog")) == ["fog.md"]


async def test_another_embedder_never_meets_the_old_vectors(tmp_path: Path) -> None:
    async with await Corpus.open(tmp_path / "index", HashEmbedder(256)) as corpus:
        await corpus.ingest([write(tmp_path, "tides.md", TIDES)])
        await corpus.embed_pending()
    async with await Corpus.open(tmp_path / "index", HashEmbedder(64)) as corpus:
        assert corpus.stats().pending == 1
        assert [hit.dense_rank for hit in await corpus.search("spring tide")] == [None]
        await corpus.embed_pending()
        assert [hit.dense_rank for hit in await corpus.search("spring tide")] == [1]


async def test_without_an_embedder_search_is_lexical(tmp_path: Path) -> None:
    async with await Corpus.open(tmp_path / "index", None) as corpus:
        await corpus.ingest([write(tmp_path, "tides.md", TIDES)])
        assert await corpus.embed_pending() == 0
        assert names(await corpus.search("spring tide")) == ["tides.md"]
        assert (corpus.stats().embedder, corpus.stats().pending) == (None, 0)


async def test_stats_count_what_is_there(corpus: Corpus, tmp_path: Path) -> None:
    await corpus.ingest([write(tmp_path, "tides.md", TIDES)])
    stats = corpus.stats()
    assert (stats.documents, stats.chunks, stats.embedded, stats.pending) == (1, 1, 0, 1)
    assert stats.index_bytes > 0 and stats.faiss and stats.problems == ()


async def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    blocked = write(tmp_path, "file", "not a folder")
    with pytest.raises((CorpusError, NotADirectoryError, FileExistsError)):
        await Corpus.open(blocked, None)
    write(tmp_path, "index/corpus.sqlite3", "this is no database, whatever its name says" * 100)
    with pytest.raises(CorpusError, match=r"file is not a database; move .* aside and ingest again"):
        await Corpus.open(tmp_path / "index", None)


def test_hash_vectors_are_finite() -> None:
    assert np.isfinite(asyncio.run(HashEmbedder().embed(["", "a b c"]))).all()
