"""Names and texts of strangers become harmless; identity is content."""

from hypothesis import given
from hypothesis import strategies as st

from retrieval.documents import MAX_NAME_CHARS, chunk_id, clean_text, display_name, document_id

ANYTHING = st.text(st.characters(codec=None))  # lone surrogates and NUL included


@given(ANYTHING)
def test_clean_text_changes_nul_and_surrogates_only(text: str) -> None:
    cleaned = clean_text(text)
    cleaned.encode("utf-8")
    expected = ("\ufffd" if old == "\0" or "\ud800" <= old <= "\udfff" else old for old in text)
    assert cleaned == "".join(expected)


@given(ANYTHING)
def test_display_name_never_leaves_its_place(raw: str) -> None:
    name = display_name(raw)
    assert 0 < len(name) <= MAX_NAME_CHARS
    assert not name.startswith("/")
    assert ".." not in name.split("/")
    assert not any(ord(character) < 32 for character in name)
    name.encode("utf-8")


def test_display_name_keeps_what_a_person_recognises() -> None:
    assert display_name("../../x") == "x"
    assert display_name("C:\\Users\\ada\\notes.md") == "Users/ada/notes.md"
    assert display_name("site.zip/guide/intro.html") == "site.zip/guide/intro.html"
    assert display_name("\0\n") == "\ufffd"
    assert display_name("..") == "unnamed"


def test_ids_follow_from_content() -> None:
    assert document_id("ab" * 32) == "abababababababab"
    assert chunk_id("d", 0, "text") == chunk_id("d", 0, "text")
    assert (
        len({chunk_id("d", 0, "text"), chunk_id("e", 0, "text"), chunk_id("d", 1, "text"), chunk_id("d", 0, "t")}) == 4
    )
