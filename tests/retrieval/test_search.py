"""Fusion by rank: both lists count, a chunk without a vector is not punished, no document crowds out the rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.search import MAX_QUERY_CHARS, bounded, fuse, spread

RANKED = st.lists(st.integers(1, 40), unique=True, max_size=30).map(
    lambda ids: [(row_id, 1.0 / (at + 1)) for at, row_id in enumerate(ids)]
)


@given(RANKED, st.none() | RANKED)
def test_scores_are_bounded_ordered_and_say_where_they_come_from(
    lexical: list[tuple[int, float]], dense: list[tuple[int, float]] | None
) -> None:
    fused = fuse(lexical, dense)
    assert {each.row_id for each in fused} == {row for row, _ in lexical} | {row for row, _ in dense or ()}
    assert all(0 < each.score <= 1 for each in fused)
    assert [each.score for each in fused] == sorted((each.score for each in fused), reverse=True)
    for each in fused:
        assert each.lexical_rank is None or lexical[each.lexical_rank - 1][0] == each.row_id
        assert each.dense_rank is None or (dense or [])[each.dense_rank - 1] == (each.row_id, each.similarity)


def test_first_in_every_list_scores_one() -> None:
    assert fuse([(5, 9.0)], None)[0].score == 1
    assert fuse([(5, 9.0)], [(5, 0.9)])[0].score == 1
    assert fuse([(5, 9.0)], [(6, 0.9)])[0].score == pytest.approx(0.5)


def test_what_both_lists_like_beats_what_one_likes_best() -> None:
    fused = fuse([(1, 9.0), (2, 8.0)], [(3, 0.9), (2, 0.8)])
    assert [each.row_id for each in fused] == [2, 1, 3]


def test_a_chunk_without_a_vector_is_judged_by_its_words() -> None:
    lexical, dense = [(99, 9.0), (2, 8.0)], [(2, 0.9), (3, 0.8)]
    assert fuse(lexical, dense)[0].row_id == 2
    first = fuse(lexical, dense, without_vector={99})[0]
    assert (first.row_id, first.score, first.dense_rank) == (99, 1.0, None)


def test_one_document_takes_half_the_places_while_others_compete() -> None:
    fused = fuse([(row, 10.0 - row) for row in range(1, 10)], None)
    owners = {row: "long" if row < 7 else "other" for row in range(1, 10)}
    assert [each.row_id for each in spread(fused, owners, 4)] == [1, 2, 7, 8]
    assert [each.row_id for each in spread(fused, dict.fromkeys(owners, "only"), 4)] == [1, 2, 3, 4]


@given(st.text(st.characters(codec=None), max_size=50))
def test_any_question_becomes_bounded_and_clean(question: str) -> None:
    made = bounded(question * 500)
    made.encode("utf-8")
    assert len(made) <= MAX_QUERY_CHARS and "\0" not in made
