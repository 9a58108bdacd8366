"""Rows of a batch: each is named the same way every time, and a bad one says what is wrong with it."""

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.batch_rows import MAX_ROW_BYTES, Row, count_rows, encoded, read_rows

MAX_CHARS = 1_000


def rows(*lines: bytes, job: str = "chat\n/out") -> list[Row]:
    return list(read_rows(io.BytesIO(b"\n".join(lines)), job, MAX_CHARS))


def problem(line: bytes) -> dict[str, Any]:
    (row,) = rows(line)
    assert row.problem is not None
    return row.problem


def test_objects_and_strings_are_questions() -> None:
    found = rows(b'{"question": "one", "id": 7}', b'{"input": "two"}', b'"three"')
    assert [(row.question, row.id, row.problem) for row in found] == [
        ("one", 7, None),
        ("two", None, None),
        ("three", None, None),
    ]


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (b"not json", "row_not_json", "column 1"),
        (b'{"question": "a"', "row_not_json", "column"),
        (b'{"question": NaN}', "row_not_json", "NaN"),
        (b'{"question": "a", "n": 1e999}', "row_not_json", "not JSON"),
        (b"[" * 100_000, "row_not_json", "not JSON"),
        (b'{"question": "\xff"}', "row_not_json", "byte 15"),
        (b"[1, 2]", "row_not_object", "list"),
        (b"null", "row_not_object", "NoneType"),
        (b'{"id": 9}', "question_missing", "no question"),
        (b'{"question": null}', "question_missing", "no question"),
        (b'{"question": "  "}', "question_empty", "empty"),
        (b'{"question": 5}', "question_not_text", "int given"),
        (b'{"question": "a\\u0000b"}', "question_not_text", "character 2 is U+0000"),
        (b'{"question": "\\ud800"}', "question_not_text", "U+D800"),
        (b'{"question": "%s"}' % (b"x" * 1_001), "question_too_long", "1,001 characters of at most 1,000"),
        (b'{"question": "%s"}' % (b"x" * MAX_ROW_BYTES), "row_too_long", "8,000,000 bytes"),
        (b'{"question": "a", "id": [1]}', "id_not_text", "neither a string nor a number"),
        (b'{"question": "a", "id": true}', "id_not_text", "neither a string nor a number"),
    ],
)
def test_a_bad_row_says_what_is_wrong_and_what_to_do(line: bytes, code: str, said: str) -> None:
    found = problem(line)
    assert found["code"] == code
    assert said in found["message"]
    assert found["fix"]


def test_after_a_line_that_is_too_long_the_next_one_is_read() -> None:
    found = rows(b'{"question": "%s"}' % (b"x" * 3 * MAX_ROW_BYTES), b'"next"')
    assert [(row.line, row.question) for row in found] == [(1, ""), (2, "next")]


def test_a_second_row_of_the_same_id_is_refused_by_name() -> None:
    first, second, number = rows(
        b'{"id": "1", "question": "a"}', b'{"id": "1", "question": "b"}', b'{"id": 1, "question": "c"}'
    )
    assert (first.problem, number.problem) == (None, None)  # "1" and 1 are two ids
    assert second.id == "1"
    assert second.problem is not None
    assert second.problem["message"] == "its id '1' is that of line 1"


def test_the_same_row_of_the_same_batch_has_the_same_name_wherever_it_stands() -> None:
    (alone,) = rows(b'{"id": "x", "question": "a"}')
    among = rows(b'"other"', b'{"note": 1, "question": "a", "id": "x"}')[1]
    assert alone.key == among.key


def test_names_tell_apart_what_differs() -> None:
    found = rows(b'"a"', b'"a"', b'"b"', b'{"question": "a", "id": 1}', b'{"question": "a", "id": "1"}')
    found += rows(b'"a"', job="research\n/out") + rows(b'"a"', job="chat\n/other")
    assert len({row.key for row in found}) == 7


def test_blank_lines_and_the_mark_of_windows_are_no_rows() -> None:
    text = b'\xef\xbb\xbf"a"\r\n\r\n   \n"b"'
    assert [(row.number, row.line, row.question) for row in rows(text)] == [(1, 1, "a"), (2, 4, "b")]
    assert count_rows(io.BytesIO(text)) == 2


def test_other_fields_come_back_and_never_take_the_place_of_ours() -> None:
    (row,) = rows(b'{"question": "a", "answer": "gold", "rounds": 2, "given": 1, "tag": ["x"]}')
    assert row.tail() == {"tag": ["x"], "given": {"answer": "gold", "rounds": 2, "given": 1}}
    assert row.head() == {"line": 1}


def test_half_characters_in_other_fields_go_out_as_they_came() -> None:
    (row,) = rows(b'{"question": "a", "note": "\\ud800", "more": "\xc3\xa9"}')
    assert json.loads(encoded(row.tail())) == {"note": "\ud800", "more": "é"}


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_any_bytes_are_rows_with_a_question_or_a_problem(lines: list[bytes]) -> None:
    text = b"\n".join(lines)
    found = list(read_rows(io.BytesIO(text), "job", MAX_CHARS))
    assert len(found) == count_rows(io.BytesIO(text))
    assert all(bool(row.question) != bool(row.problem) for row in found)
    for row in found:
        json.loads(encoded(row.head() | row.tail()))
