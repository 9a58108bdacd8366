"""Our count of terms gives bm25s' own scores, and what is kept between builds changes nothing."""

from __future__ import annotations

import random

import bm25s
import numpy as np

from retrieval.lexical import LexicalIndex, Postings

WORDS = [f"w{number}" for number in range(200)]


def corpus(size: int) -> dict[int, list[str]]:
    draw = random.Random(7)
    return {row: draw.choices(WORDS, weights=range(200, 0, -1), k=draw.randint(1, 60)) for row in range(size)}


def test_scores_equal_those_of_bm25s() -> None:
    rows = corpus(300)
    vocabulary: dict[str, int] = {}
    numbered = [[vocabulary.setdefault(word, len(vocabulary)) for word in words] for words in rows.values()]
    theirs = bm25s.BM25(method="lucene", backend="numpy", csc_backend="numpy")
    theirs.index((numbered, vocabulary), create_empty_token=False, show_progress=False)
    ours = LexicalIndex.build(rows.items())
    for query in (["w3"], ["w1", "w50", "w199"], ["w7", "unknown"]):
        scores = theirs.get_scores_from_ids(theirs.get_tokens_ids(query))
        found = dict(ours.search(query, len(rows)))
        assert found == {row: scores[row] for row in np.flatnonzero(scores).tolist()}


def test_rows_that_come_and_go_leave_no_trace() -> None:
    rows = corpus(100)
    postings = Postings()
    postings.add((row, words) for row, words in rows.items() if row < 60)
    missing = postings.keep(range(30, 100))
    postings.add((row, rows[row]) for row in missing)
    assert missing == list(range(60, 100))
    fresh = LexicalIndex.build((row, words) for row, words in rows.items() if row >= 30)
    for query in (["w3"], ["w1", "w50"]):
        assert postings.index().search(query, 50) == fresh.search(query, 50)


def test_equal_scores_keep_the_older_row_first() -> None:
    index = LexicalIndex.build((row, ["same", "words"]) for row in (9, 4, 7))
    assert [row for row, _ in index.search(["same"], 2)] == [4, 7]
