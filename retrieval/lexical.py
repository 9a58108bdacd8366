"""The lexical half of search: a BM25 index (bm25s) over stored terms.

The index is rebuilt whole (20,000 chunks: about a second); it is small, exact, and never out of step with itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import bm25s
import numpy as np
import numpy.typing as npt

NO_IDS: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)


class LexicalIndex:
    """BM25 over chunks. Ids are the store's row ids; scores fall off to the right."""

    def __init__(self, model: bm25s.BM25 | None, ids: npt.NDArray[np.int64]) -> None:
        self._model = model
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def build(cls, rows: Iterable[tuple[int, Sequence[str]]]) -> LexicalIndex:
        """Index (row id, terms); a row without terms stays out."""
        vocabulary: dict[str, int] = {}
        ids: list[int] = []
        corpus: list[list[int]] = []
        for row_id, words in rows:
            if words:
                ids.append(row_id)
                corpus.append([vocabulary.setdefault(word, len(vocabulary)) for word in words])
        if not corpus:
            return cls(None, NO_IDS)
        model = bm25s.BM25(method="lucene", backend="numpy", csc_backend="numpy")
        model.index((corpus, vocabulary), create_empty_token=False, show_progress=False)
        return cls(model, np.asarray(ids, dtype=np.int64))

    def search(self, query: Sequence[str], k: int, allowed: Collection[int] | None = None) -> list[tuple[int, float]]:
        """Rank chunks that share a term with the query, best first; equal scores keep the older row first."""
        known = self._model.get_tokens_ids(list(query)) if self._model is not None else []
        if not known or k < 1 or self._model is None:
            return []
        scores = self._model.get_scores_from_ids(known)
        if allowed is not None:
            scores = np.where(np.isin(self.ids, np.fromiter(allowed, dtype=np.int64)), scores, 0.0)
        found = np.flatnonzero(scores > 0)
        if len(found) > k:
            kth = np.partition(scores[found], -k)[-k]
            found = found[scores[found] >= kth]
        order = found[np.lexsort((self.ids[found], -scores[found]))][:k]
        return [(int(self.ids[at]), float(scores[at])) for at in order]

    def save(self, folder: Path) -> None:
        np.save(folder / "ids.npy", self.ids, allow_pickle=False)
        if self._model is not None:
            self._model.save(folder, show_progress=False)

    @classmethod
    def load(cls, folder: Path) -> LexicalIndex:
        """Read what `save` wrote. The caller has checked every file's SHA-256; nothing here unpickles."""
        ids = np.load(folder / "ids.npy", allow_pickle=False)
        if not len(ids):
            return cls(None, NO_IDS)
        return cls(bm25s.BM25.load(folder, load_corpus=False, mmap=False, show_progress=False), ids)
