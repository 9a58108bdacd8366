"""The bundled corpus is indexed once, answers questions about itself, and stays removed when removed."""

from pathlib import Path

from retrieval.bundled import FIELD_GUIDE, ingest_bundled
from retrieval.corpus import Corpus
from retrieval.embed import OnnxEmbedder


async def test_the_field_guide_is_indexed_once_and_answers(tmp_path: Path) -> None:
    embedder = await OnnxEmbedder.load()
    async with await Corpus.open(tmp_path / "index", embedder) as corpus:
        report = await ingest_bundled(corpus)
        assert len(report.added) == len(list(FIELD_GUIDE.glob("*.md"))) >= 12 and not report.failed
        assert await corpus.embed_pending() == report.chunks == corpus.stats().embedded
        (hit, *_) = await corpus.search("What happens when one sub-agent is much slower than the others?")
        assert hit.chunk.document == "field_guide/stragglers.md"
        assert hit.dense_rank is not None

        await corpus.remove(hit.chunk.document_id)
        assert (await ingest_bundled(corpus)).added == ()
        assert await corpus.document(hit.chunk.document_id) is None
    await embedder.close()


async def test_a_changed_edition_is_indexed_again(corpus: Corpus, tmp_path: Path) -> None:
    article = tmp_path / "guide" / "one.md"
    article.parent.mkdir()
    article.write_text("# One\n\nThe first edition.\n")
    await ingest_bundled(corpus, article.parent)
    article.write_text("# One\n\nThe second edition.\n")
    assert (await ingest_bundled(corpus, article.parent)).replaced == ("guide/one.md",)
