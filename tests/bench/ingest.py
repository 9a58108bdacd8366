"""Chunks per second from files to searchable text, and from text to vectors, on copies of the bundled articles.

Each copy has a word of its own in every paragraph, so that nothing is recognised as known. The embedder is the built-in
one.

    python tests/bench/ingest.py [--copies 8]

Prints a table, and as the last line the same as JSON.
"""

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))


def copies(folder: Path, count: int) -> None:
    """Write `count` variants of every bundled article."""
    for article in sorted((ROOT / "retrieval" / "field_guide").glob("*.md")):
        for n in range(count):
            text = article.read_text("utf-8").replace("\n\n", f"\n\nEdition {n}. ")
            (folder / f"{article.stem}-{n}.md").write_text(text, "utf-8")


async def measure(count: int) -> dict[str, float]:
    """Chunks, and chunks per second of each stage."""
    from retrieval.corpus import Corpus
    from retrieval.embed import OnnxEmbedder

    with TemporaryDirectory() as home, TemporaryDirectory() as folder:
        copies(Path(folder), count)
        async with await Corpus.open(Path(home), await OnnxEmbedder.load()) as corpus:
            begun = time.perf_counter()
            report = await corpus.ingest([Path(folder)])
            searchable_s = time.perf_counter() - begun
            assert await corpus.search("What is a critic loop?")
            await corpus.embed_pending()
            vectors_s = time.perf_counter() - begun - searchable_s
            stats = corpus.stats()
            assert stats.pending == 0
            return {
                "files": len(report.added),
                "chunks": stats.chunks,
                "text_chunks_per_s": stats.chunks / searchable_s,
                "vector_chunks_per_s": stats.chunks / vectors_s,
                "index_mb": stats.index_bytes / 1e6,
            }


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--copies", type=int, default=8)
    figures = asyncio.run(measure(options.parse_args().copies))
    print(f"ingest of {figures['files']:.0f} files, {figures['chunks']:.0f} chunks, {figures['index_mb']:.1f} MB")
    print(f"  files to searchable text  {figures['text_chunks_per_s']:7.0f} chunks/s")
    print(f"  text to vectors           {figures['vector_chunks_per_s']:7.1f} chunks/s")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
