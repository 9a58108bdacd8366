"""The dense half of search: unit vectors under FAISS, ranked by inner product. The only file that knows FAISS.

The index is flat: exact, and fast enough up to some 50,000 vectors (2 to 17 ms). Beyond that an inverted file pays, and
its recall must be tuned on the corpus at hand. FAISS' file format has no checksum (30 of 120 damaged files loaded and
answered wrongly), so a file reaches `load` only after its SHA-256 was checked against the manifest.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FILE = "vectors.faiss"
Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


class DenseUnavailable(Exception):
    """FAISS can't be loaded here: search goes on with BM25 alone."""


def _faiss() -> Any:
    """Import FAISS when it is first needed. Its GPU wheel raises RuntimeError where the CUDA libraries are missing."""
    try:
        import faiss
    except (ImportError, RuntimeError, OSError) as error:
        raise DenseUnavailable(f"FAISS does not load ({error}); install the `cpu` or the `gpu` extra") from error
    faiss.omp_set_num_threads(1)  # one query per thread: OpenMP's spinning costs more than it gains on a busy machine
    return faiss


def faiss_version() -> str | None:
    try:
        return str(_faiss().__version__)
    except DenseUnavailable:
        return None


def gpu_count() -> int:
    """How many GPUs this FAISS can use. (Creating GPU resources succeeds without one, so that is no probe.)"""
    try:
        return int(_faiss().get_num_gpus())
    except DenseUnavailable:
        return 0


class DenseIndex:
    """Vectors by row id. Every vector has unit norm, so the score is the cosine."""

    def __init__(self, index: Any, dimensions: int) -> None:
        self._index = index
        self.dimensions = dimensions
        self._ids: Ids = np.sort(_faiss().vector_to_array(index.id_map))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @classmethod
    def build(cls, ids: Ids, vectors: Vectors) -> DenseIndex:
        faiss = _faiss()
        dimensions = int(vectors.shape[1])
        index = faiss.IndexIDMap2(faiss.IndexFlatIP(dimensions))
        if len(ids):
            index.add_with_ids(np.ascontiguousarray(vectors, dtype=np.float32), ids.astype(np.int64))
        return cls(index, dimensions)

    def search(self, query: Vectors, k: int, allowed: Collection[int] | None = None) -> list[tuple[int, float]]:
        """Nearest chunks, best first; only `allowed` row ids are looked at when given."""
        wanted = min(k, len(self))
        if wanted < 1 or (allowed is not None and not allowed):
            return []
        faiss = _faiss()  # its thread count is each thread's own, and searches come from several
        row = np.ascontiguousarray(query.reshape(1, -1), dtype=np.float32)
        only = None
        if allowed is not None:
            only = faiss.SearchParameters(sel=faiss.IDSelectorBatch(np.fromiter(allowed, dtype=np.int64)))
        scores, ids = self._index.search(row, wanted, params=only)
        return [(int(at), float(score)) for at, score in zip(ids[0], scores[0], strict=True) if at >= 0]

    def lacks(self, row_ids: Collection[int]) -> set[int]:
        """Which of these chunks have no vector here yet."""
        asked = np.fromiter(row_ids, dtype=np.int64)
        return {int(row_id) for row_id in asked[~np.isin(asked, self._ids)]}

    def save(self, folder: Path) -> None:
        _faiss().write_index(self._index, str(folder / FILE))

    @classmethod
    def load(cls, folder: Path) -> DenseIndex:
        """Read what `save` wrote. The caller has checked the file's SHA-256."""
        index = _faiss().read_index(str(folder / FILE))
        return cls(index, int(index.d))
