"""Terms: stems, compounds whole and in parts, no function words, no surprises from strange text."""

from hypothesis import given
from hypothesis import strategies as st

from retrieval.terms import MAX_TERM_CHARS, query_terms, terms


def test_words_meet_by_their_stems() -> None:
    assert terms("Indexes, indexing and the INDEXED") == ["index", "index", "index"]


def test_compounds_count_whole_and_by_their_parts() -> None:
    assert terms("max_connections") == ["max_connect", "max", "connect"]
    assert terms("getUserName") == ["getusernam", "get", "user", "name"]


def test_letters_and_digits_alone_are_words() -> None:
    assert terms("It's the C library, chapter 7") == ["c", "librari", "chapter", "7"]


def test_a_question_of_function_words_alone_keeps_them() -> None:
    assert query_terms("how do I use the index") == ["use", "index"]
    assert query_terms("to be or not to be") == ["to", "be", "or", "not"]
    assert query_terms("index index") == ["index"]


@given(st.text(st.characters(codec=None), max_size=2000))
def test_any_text_has_terms_that_fit_a_row(text: str) -> None:
    for term in terms(text):
        assert 1 <= len(term) <= MAX_TERM_CHARS
        assert term == "".join(term.split())
