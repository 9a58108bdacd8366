"""Damage on disk: no file is read before it was checked, and no answer is ever a wrong one.

Each index file is damaged more than a hundred times, the truth under it too. An index is refused and built anew, so its
answers stay the same; damaged truth may lose passages, never change them.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from retrieval import manifest
from retrieval.chunk import chunk
from retrieval.corpus import Corpus
from retrieval.documents import Chunk, CorpusError, chunk_id
from retrieval.embed import HashEmbedder
from retrieval.home import Home, Indexes
from retrieval.manifest import IndexDamaged
from retrieval.parse import parse
from retrieval.terms import query_terms

QUESTIONS = ("tide at port 7", "fog and ships", "moon", "harbour master of port 3", "nothing of the kind")
EMBEDDER = HashEmbedder()
DAMAGES = 110
ARTICLE = "# Port {n}\n\nThe tide at port {n} turns at {n} o'clock.\n"
ARTICLE += "\n## Master\n\nThe harbour master of port {n} is {name}.\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small corpus with text and vectors, closed, to be copied and damaged."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "ports").mkdir()
    for number in range(30):
        article = ARTICLE.format(n=number, name=f"Captain {'abcdefghij'[number % 10]}")
        (folder / "ports" / f"{number}.md").write_text(article)
    asyncio.run(_fill(folder / "index", folder / "ports"))
    return folder / "index"


async def _fill(home: Path, source: Path) -> None:
    async with await Corpus.open(home, EMBEDDER) as corpus:
        await corpus.ingest([source])
        await corpus.embed_pending()


@pytest.fixture
def home(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "index"))


async def answers(corpus: Corpus) -> list[list[tuple[Chunk, int | None]]]:
    return [[(hit.chunk, hit.dense_rank) for hit in await corpus.search(question, 5)] for question in QUESTIONS]


def damage(whole: bytes, number: int) -> bytes:
    """A flipped bit, a zeroed stretch, a cut or a doubled end: the same for the same number."""
    draw = random.Random(number)
    data = bytearray(whole)
    at = draw.randrange(len(data))
    if number % 5 < 3:
        data[at] ^= 1 << draw.randrange(8)
    elif number % 5 == 3:
        data[at : at + 64] = bytes(len(data[at : at + 64])) if any(data[at : at + 64]) else b"\xff"
    else:
        data = data[:at] if draw.random() < 0.7 else data + data[at:]
    return bytes(data)


def index_files(home: Path) -> list[Path]:
    return sorted(path for path in (home / "indexes").rglob("*") if path.is_file())


def ranked(home: Home, indexes: Indexes, vectors: np.ndarray) -> list[object]:
    found: list[object] = []
    for question, vector in zip(QUESTIONS, vectors, strict=True):
        found.append(indexes.lexical.search(query_terms(question), 5))
        found.append(indexes.dense.search(vector, 5) if indexes.dense else None)
    return found


@pytest.mark.slow
async def test_no_damaged_index_file_is_believed(home: Path) -> None:
    vectors = await EMBEDDER.embed(QUESTIONS)
    opened = Home(home)
    expected = ranked(opened, opened.load(EMBEDDER.name), vectors)
    count = len(index_files(home))
    assert count == 8  # the manifest, the vectors, six files of BM25
    for position in range(count):
        for number in range(DAMAGES):
            path = index_files(home)[position]  # a rebuild draws new folder names, in the same order
            path.write_bytes(damage(path.read_bytes(), number))
            assert ranked(opened, opened.load(EMBEDDER.name), vectors) == expected, (path, number)
    await opened.close()


async def test_a_missing_swapped_or_added_file_is_damage_too(home: Path) -> None:
    async with await Corpus.open(home, EMBEDDER) as corpus:
        expected = await answers(corpus)
    for change in (_remove_each, _swap_two, _add_one, _remove_all):
        change(home)
        async with await Corpus.open(home, EMBEDDER) as corpus:
            assert await answers(corpus) == expected
            assert corpus.stats().problems == ()


def _remove_each(home: Path) -> None:
    index_files(home)[3].unlink()


def _swap_two(home: Path) -> None:
    one, other = (path for path in index_files(home) if path.name in ("data.csc.index.npy", "indices.csc.index.npy"))
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)


def _add_one(home: Path) -> None:
    (index_files(home)[0].parent / "corpus.jsonl").write_text("{}")


def _remove_all(home: Path) -> None:
    shutil.rmtree(home / "indexes")


def test_the_manifest_leads_nowhere_but_into_its_folder(home: Path) -> None:
    root = home / "indexes"
    raw = json.loads((root / manifest.FILE).read_text())
    raw["parts"]["dense"]["folder"] = "../originals"
    (root / manifest.FILE).write_text(json.dumps(raw))
    with pytest.raises(IndexDamaged, match="names a folder"):
        manifest.verified(root, manifest.read(root).parts["dense"])


async def test_vectors_of_another_corpus_are_not_believed(home: Path, tmp_path: Path) -> None:
    async with await Corpus.open(tmp_path / "other", EMBEDDER) as other:
        (tmp_path / "fog.md").write_text("# Fog\n\nFog hides ships.\n")
        await other.ingest([tmp_path / "fog.md"])
    shutil.rmtree(tmp_path / "other" / "indexes")
    shutil.copytree(home / "indexes", tmp_path / "other" / "indexes")
    async with await Corpus.open(tmp_path / "other", EMBEDDER) as other:
        assert [hit.chunk.document for hit in await other.search("tide at port 7, fog")] == ["fog.md"]


def _known(home: Path) -> dict[str, str]:
    """Every passage as its file says it, worked out without the corpus."""
    known = {}
    for path in (home / "originals").iterdir():
        parsed = parse(path.read_bytes(), "x.md")
        for ordinal, section in enumerate(chunk(parsed)):
            known[chunk_id(path.name, ordinal, section.text)] = section.text
    return known


def _restore(database: Path, data: bytes) -> None:
    for leftover in database.parent.glob(f"{database.name}-*"):
        leftover.unlink()
    database.write_bytes(data)


@pytest.mark.slow
async def test_damaged_truth_loses_passages_and_never_changes_them(whole: Path, home: Path) -> None:
    database = home / "corpus.sqlite3"
    pristine = database.read_bytes()
    known = _known(whole)
    async with await Corpus.open(home, EMBEDDER) as corpus:
        names = {document.id: (document.name, document.title) for document in await corpus.documents()}
    intact = refused = fewer = 0
    for number in range(DAMAGES):
        _restore(database, damage(pristine, number))
        try:
            async with await Corpus.open(home, EMBEDDER) as corpus:
                found = [chunk for hits in await answers(corpus) for chunk, _ in hits]
        except CorpusError as error:
            assert error.fix
            refused += 1
            continue
        for passage in found:
            assert known[passage.id] == passage.text
            assert names[passage.document_id] == (passage.document, passage.title)
        intact += len(found) == 5 * len(QUESTIONS)
        fewer += len(found) < 5 * len(QUESTIONS)
    assert intact > 10 and refused > 10, (intact, refused, fewer)


async def test_damaged_rows_are_left_out_counted_and_mended(home: Path, tmp_path: Path) -> None:
    database = home / "corpus.sqlite3"
    data = database.read_bytes()
    assert data.count(b"turns at 7 o'clock") == 1
    database.write_bytes(data.replace(b"turns at 7 o'clock", b"turns at 8 o'clock"))
    async with await Corpus.open(home, EMBEDDER) as corpus:
        assert "Port 7" not in [hit.chunk.title for hit in await corpus.search("port 7 turns o'clock", 50)]
        assert "1 damaged entries" in corpus.stats().problems[0]
        path = tmp_path / "7.md"
        path.write_text(ARTICLE.format(n=7, name="Captain h"))
        await corpus.ingest([path])
        assert corpus.stats().problems == ()
        assert "turns at 7 o'clock" in (await corpus.search("tide at port 7"))[0].chunk.text


async def test_damaged_vectors_are_made_again(home: Path) -> None:
    database = home / "corpus.sqlite3"
    vector = (
        await EMBEDDER.embed(
            ["Port 7\nThe tide at port 7 turns at 7 o'clock.\n\nMaster\nThe harbour master of port 7 is Captain h."]
        )
    )[0]
    data = database.read_bytes()
    assert data.count(vector.tobytes()) == 1
    database.write_bytes(data.replace(vector.tobytes(), (-vector).tobytes()))
    shutil.rmtree(home / "indexes")
    async with await Corpus.open(home, EMBEDDER) as corpus:
        assert corpus.stats().pending == 1
        assert await corpus.embed_pending() == 1


# -- disks that refuse ------------------------------------------------------------------------------------------------

FULL_DISK = """
import asyncio, resource, signal, sys
from pathlib import Path
from retrieval.corpus import Corpus
from retrieval.documents import CorpusError
from retrieval.embed import HashEmbedder

async def main(home, source):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    async with await Corpus.open(home, HashEmbedder()) as corpus:
        before = [hit.chunk for hit in await corpus.search("tide at port 7")]
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
        try:
            await corpus.ingest([source])
        except CorpusError as error:
            print("refused:", error.reason)
        assert [hit.chunk for hit in await corpus.search("tide at port 7")] == before
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print("then:", len((await corpus.ingest([source])).failed), (await corpus.search("walrus"))[0].chunk.document)

asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
"""


@pytest.mark.parametrize("limit_bytes", [0, 4096, 150_000])
def test_a_full_disk_is_named_and_what_was_there_still_answers(home: Path, tmp_path: Path, limit_bytes: int) -> None:
    source = tmp_path / "new.txt"
    source.write_text("The walrus came late to port 99. " * 8_000)
    command = [sys.executable, "-c", FULL_DISK, str(home), str(source), str(limit_bytes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    refused, then = done.stdout.splitlines()
    assert refused.startswith("refused:")
    assert then == "then: 0 new.txt"


def test_the_manifest_survives_a_writer_that_fails(home: Path) -> None:
    root = home / "indexes"
    before, files = manifest.read(root), index_files(home)

    def fail(folder: Path) -> None:
        (folder / "half.npy").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        manifest.publish(root, "lexical", before.lineage, "mark", fail)
    assert manifest.read(root) == before
    assert index_files(home) == files
