"""The sample corpus that ships with the product: a field guide to multi-agent systems, indexed on the first start."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from retrieval.corpus import Corpus
from retrieval.documents import IngestReport

FIELD_GUIDE = Path(__file__).parent / "field_guide"


async def ingest_bundled(corpus: Corpus, folder: Path = FIELD_GUIDE) -> IngestReport:
    """Index the bundled articles once; again only when they changed, so that what a person removed stays removed."""
    edition = await asyncio.to_thread(_edition, folder)
    if await corpus.recall("bundled") == edition:
        return IngestReport()
    report = await corpus.ingest([folder])
    if not report.failed:  # else the next start tries again
        await corpus.remember("bundled", edition)
    return report


def _edition(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.md")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
