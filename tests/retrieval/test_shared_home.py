"""Several processes on one corpus: writers take turns, readers see what others wrote, a killed writer loses nothing."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from retrieval.corpus import Corpus
from retrieval.embed import HashEmbedder
from retrieval.lock import FileLock

INGEST = """
import asyncio, sys
from pathlib import Path
from retrieval.corpus import Corpus
from retrieval.embed import HashEmbedder

async def main():
    async with await Corpus.open(Path(sys.argv[1]), HashEmbedder(), parsers=1) as corpus:
        print("open", flush=True)
        await corpus.ingest([Path(sys.argv[2])], progress=lambda p: print("at", p.files_done, flush=True))
        print("ingested", flush=True)
        await corpus.embed_pending()

asyncio.run(main())
"""


def notes(folder: Path, count: int, word: str) -> Path:
    folder.mkdir()
    for number in range(count):
        text = f"# {word} {number}\n\nThis is {word} number {number}, {word}{number} for short.\n"
        (folder / f"{number}.md").write_text(text)
    return folder


async def start(home: Path, source: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", INGEST, str(home), str(source), stdout=asyncio.subprocess.PIPE
    )


async def finished(process: asyncio.subprocess.Process) -> int:
    await process.communicate()
    return await process.wait()


async def test_writers_at_once_take_turns_and_lose_nothing(tmp_path: Path) -> None:
    home = tmp_path / "index"
    sources = [notes(tmp_path / word, 40, word) for word in ("gull", "tern", "auk")]
    processes = [await start(home, source) for source in sources]
    assert [await finished(process) for process in processes] == [0, 0, 0]
    async with await Corpus.open(home, HashEmbedder()) as corpus:
        stats = corpus.stats()
        assert (stats.documents, stats.chunks, stats.pending) == (120, 120, 0)
        for word in ("gull", "tern", "auk"):
            (hit, *_) = await corpus.search(f"{word}17")
            assert (hit.chunk.document, hit.lexical_rank) == (f"{word}/17.md", 1)


async def test_a_reader_sees_what_another_process_wrote(tmp_path: Path) -> None:
    async with await Corpus.open(tmp_path / "index", HashEmbedder()) as corpus:
        assert await corpus.search("gull3") == []
        assert await finished(await start(tmp_path / "index", notes(tmp_path / "gull", 5, "gull"))) == 0
        (hit, *_) = await corpus.search("gull3")
        assert (hit.chunk.document, hit.dense_rank) == ("gull/3.md", 1)
        assert len(await corpus.documents()) == 5


@pytest.mark.parametrize("lines", [1, 2, 25, 45, 61, 62, 63])
async def test_a_writer_killed_anywhere_leaves_a_whole_corpus(tmp_path: Path, lines: int) -> None:
    home, source = tmp_path / "index", notes(tmp_path / "gull", 60, "gull")
    process = await start(home, source)
    assert process.stdout is not None
    for _ in range(lines):  # "open", one for each file, one at the end, "ingested"
        await process.stdout.readline()
    process.kill()
    await finished(process)
    async with await Corpus.open(home, HashEmbedder()) as corpus:
        for document in await corpus.documents():
            assert corpus.original(document.id) is not None
            hits = await corpus.search(document.title, document_ids=[document.id])
            assert [hit.chunk.text for hit in hits] == [_only_text(source, document.name)]
        report = await corpus.ingest([source])
        assert len(report.added) + len(report.unchanged) == 60 and not report.failed
        await corpus.embed_pending()
        stats = corpus.stats()
        assert (stats.documents, stats.chunks, stats.pending, stats.problems) == (60, 60, 0, ())


def _only_text(source: Path, name: str) -> str:
    return (source / name.removeprefix("gull/")).read_text().split("\n\n")[1].strip()


async def test_what_was_committed_but_not_indexed_is_found_after_the_next_open(tmp_path: Path) -> None:
    home = tmp_path / "index"
    async with await Corpus.open(home, HashEmbedder()) as corpus:
        await corpus.ingest([notes(tmp_path / "gull", 3, "gull")])
    manifest = home / "indexes" / "manifest.json"
    old = manifest.read_bytes()
    folders = {
        path.name: [(file.name, file.read_bytes()) for file in path.iterdir()]
        for path in (home / "indexes").glob("lex*")
    }
    async with await Corpus.open(home, HashEmbedder()) as corpus:
        await corpus.ingest([notes(tmp_path / "tern", 3, "tern")])
    for name, files in folders.items():  # the state after a kill between the commit and the manifest
        (home / "indexes" / name).mkdir()
        for file, data in files:
            (home / "indexes" / name / file).write_bytes(data)
    manifest.write_bytes(old)
    async with await Corpus.open(home, HashEmbedder()) as corpus:
        assert (await corpus.search("tern2"))[0].chunk.document == "tern/2.md"


async def test_only_one_process_embeds_and_the_other_waits_for_it(tmp_path: Path) -> None:
    async with await Corpus.open(tmp_path / "index", HashEmbedder()) as corpus:
        await corpus.ingest([notes(tmp_path / "gull", 3, "gull")])
        other = FileLock(tmp_path / "index" / "embed.lock")
        assert other.try_acquire()
        stop = asyncio.Event()
        seen: list[tuple[int, int]] = []

        def watch(done: int, total: int) -> None:
            seen.append((done, total))
            stop.set()

        assert await corpus.embed_pending(progress=lambda p: watch(p.done, p.total), stop=stop) == 0
        assert seen == [(0, 3)]
        other.release()
        assert await corpus.embed_pending() == 3


def test_a_lock_is_free_again_when_its_holder_lets_go(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock"):
        assert not FileLock(tmp_path / "lock").try_acquire()
    again = FileLock(tmp_path / "lock")
    assert again.try_acquire()
    again.release()
