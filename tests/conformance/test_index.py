"""Every index promises the same: best first, bounded, filtered inside the search, the same after a reload."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.index import DenseIndex
from retrieval.lexical import LexicalIndex

TEXTS = {3: "harbour pilot", 5: "harbour harbour harbour", 8: "fog horn", 13: "pilot boat harbour", 21: "tide table"}
AXES = ("harbour", "pilot", "fog", "horn", "boat", "tide", "table")


@dataclass(frozen=True)
class Kind:
    """How to build an implementation from texts and how to ask it for words."""

    build: Callable[[dict[int, str]], Any]
    load: Callable[[Path], Any]
    query: Callable[[str], Any]


def vector(text: str) -> np.ndarray:
    counts = np.array([text.split().count(axis) for axis in AXES], dtype=np.float32)
    return counts / max(float(np.linalg.norm(counts)), 1e-9)


def build_dense(texts: dict[int, str]) -> DenseIndex:
    vectors = np.array([vector(text) for text in texts.values()], dtype=np.float32).reshape(-1, len(AXES))
    return DenseIndex.build(np.array(list(texts), dtype=np.int64), vectors)


KINDS = {
    "lexical": Kind(
        lambda texts: LexicalIndex.build((row_id, text.split()) for row_id, text in texts.items()),
        LexicalIndex.load,
        str.split,
    ),
    "dense": Kind(build_dense, DenseIndex.load, vector),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


def ids(found: list[tuple[int, float]]) -> list[int]:
    return [row_id for row_id, _ in found]


def test_the_best_comes_first(kind: Kind) -> None:
    found = kind.build(TEXTS).search(kind.query("fog horn"), 3)
    assert ids(found)[0] == 8
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


def test_k_bounds_the_answer_and_may_exceed_the_index(kind: Kind) -> None:
    index = kind.build(TEXTS)
    assert len(index.search(kind.query("harbour"), 2)) == 2
    assert set(ids(index.search(kind.query("harbour"), 1000))) >= {3, 5, 13}
    assert index.search(kind.query("harbour"), 0) == []


def test_a_filter_holds_inside_the_search(kind: Kind) -> None:
    index = kind.build(TEXTS)
    allowed: Collection[int]
    for allowed in ({13, 21}, {13}, set(), {999}):
        assert set(ids(index.search(kind.query("harbour"), 3, allowed))) <= set(allowed)
    assert ids(index.search(kind.query("harbour"), 1, {13, 21})) == [13]


def test_an_empty_index_answers_nothing(kind: Kind) -> None:
    index = kind.build({})
    assert len(index) == 0
    assert index.search(kind.query("harbour"), 5) == []


def test_a_reloaded_index_answers_the_same(kind: Kind, tmp_path: Path) -> None:
    index = kind.build(TEXTS)
    index.save(tmp_path)
    again = kind.load(tmp_path)
    assert len(again) == len(TEXTS)
    for words in ("harbour", "pilot boat", "tide"):
        assert again.search(kind.query(words), 5) == index.search(kind.query(words), 5)


def test_the_same_build_gives_the_same_answers(kind: Kind) -> None:
    one, other = kind.build(TEXTS), kind.build(dict(reversed(TEXTS.items())))
    for words in ("harbour", "pilot boat", "tide"):
        assert dict(one.search(kind.query(words), 5)) == pytest.approx(dict(other.search(kind.query(words), 5)))
