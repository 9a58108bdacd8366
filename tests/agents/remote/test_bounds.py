"""What a remote party may send."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.remote.bounds import Bucket, Lines, TooLarge


@given(st.lists(st.binary(max_size=20)))
def test_lines_are_the_same_however_they_come(pieces: list[bytes]) -> None:
    lines = Lines()
    found = [line for piece in pieces for line in lines.feed(piece)]

    assert found == b"".join(pieces).split(b"\n")[:-1]


def test_a_line_without_an_end_is_refused_while_it_comes() -> None:
    lines, taken = Lines(1_000), 0
    with pytest.raises(TooLarge, match="over 1,000 bytes"):
        for _ in range(1_000_000):
            lines.feed(b"x" * 100)
            taken += 100

    assert taken == 1_000


def test_a_bucket_takes_many_at_once_and_few_in_the_long_run() -> None:
    now = [0.0]
    bucket = Bucket(3, 2.0, lambda: now[0])

    assert [bucket.take() for _ in range(5)] == [True, True, True, False, False]
    now[0] = 1.0
    assert [bucket.take() for _ in range(3)] == [True, True, False]
    now[0] = 1_000.0
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
