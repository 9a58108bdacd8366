"""Chunks end where sentences, rows or lines end, stay in bounds, and lose nothing."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from retrieval.chunk import MAX_WORDS, MIN_WORDS, OVERLAP_WORDS, chunk, sentences, weigh
from retrieval.parse.blocks import Block, Kind, Parsed

KINDS: list[Kind] = ["heading", "text", "item", "code", "table"]


def parsed(*blocks: Block) -> Parsed:
    return Parsed("Book", "text/plain", blocks)


def prose(count: int, word: str = "word") -> str:
    return " ".join(f"Sentence {number} has the {word} in it twice, {word}." for number in range(count))


def test_sentences_end_at_stops_but_not_at_abbreviations() -> None:
    text = "Use e.g. a rope. Dr. Ahab agrees (see Fig. 3). Is 3.14 enough? Yes."
    assert sentences(text) == ["Use e.g. a rope.", "Dr. Ahab agrees (see Fig. 3).", "Is 3.14 enough?", "Yes."]


def test_long_prose_is_cut_between_sentences_and_overlaps_by_one() -> None:
    made = chunk(parsed(Block("heading", "Ropes", 1), Block("text", prose(100))))
    assert len(made) > 3
    for section in made:
        assert weigh(section.text) <= MAX_WORDS + OVERLAP_WORDS
        assert section.text.startswith("Sentence") and section.text.endswith(".")
        assert section.heading == "Ropes"
    for one, next_one in pairwise(made):
        assert next_one.text.startswith(sentences(one.text)[-1])


def test_headings_form_a_path_and_sections_of_size_stand_alone() -> None:
    blocks = (
        Block("heading", "Knots", 1),
        Block("text", prose(12, "loop")),
        Block("heading", "Bowline", 2),
        Block("text", prose(12, "rabbit")),
    )
    assert [(s.heading, "rabbit" in s.text) for s in chunk(parsed(*blocks))] == [
        ("Knots", False),
        ("Knots > Bowline", True),
    ]


def test_short_neighbours_share_a_chunk_under_the_heading_they_share() -> None:
    blocks = [Block("heading", "FAQ", 1)]
    for name in ("Wind", "Rain"):
        blocks += [Block("heading", name, 2), Block("text", f"{name} is weather.")]
    (section,) = chunk(parsed(*blocks))
    assert section.heading == "FAQ"
    assert section.text == "Wind\nWind is weather.\n\nRain\nRain is weather."


def test_a_heading_that_repeats_the_title_is_not_said_twice() -> None:
    (section,) = chunk(parsed(Block("heading", "Book", 1), Block("text", "Only this.")))
    assert (section.heading, section.text) == ("", "Only this.")


def test_small_tables_stay_whole_and_large_ones_repeat_their_header() -> None:
    rows = [f"port {number} | {number} m" for number in range(200)]
    made = chunk(parsed(Block("table", "\n".join(["Port | Depth", *rows]), level=1)))
    assert len(made) > 1
    assert all(section.text.startswith("Port | Depth\n") for section in made)
    assert [line for section in made for line in section.text.split("\n")[1:] if line != "Port | Depth"] == rows


def test_headings_without_text_are_text() -> None:
    blocks = [Block("heading", "Ports", 1), Block("heading", "Brest", 2), Block("heading", "Calais", 2)]
    (section,) = chunk(parsed(*blocks))
    assert (section.heading, section.text) == ("Ports", "Brest\n\nCalais")


def test_a_chunk_knows_the_page_where_it_starts() -> None:
    made = chunk(parsed(Block("text", prose(20), page=3), Block("text", prose(20), page=4)))
    assert [section.page for section in made] == [3, 4]
    assert made[1].text == prose(20)


def test_a_line_without_blanks_is_cut_by_characters() -> None:
    made = chunk(parsed(Block("text", "x" * 50_000)))
    assert "".join(section.text for section in made) == "x" * 50_000
    assert max(len(section.text) for section in made) <= MAX_WORDS * 8


@given(
    st.lists(
        st.builds(
            Block,
            st.sampled_from(KINDS),
            st.text(st.sampled_from("ab .\n|x"), min_size=1, max_size=400),
            st.integers(1, 6),
        ),
        max_size=20,
    )
)
def test_no_word_of_the_text_is_lost(blocks: list[Block]) -> None:
    made = chunk(parsed(*blocks))
    kept = " ".join(section.text for section in made).split()
    kept += ["Book", *" ".join(section.heading for section in made).split()]
    for block in blocks:
        assert set(block.text.split()) <= set(kept)
    assert all(
        section.text.strip() and weigh(section.text) <= MAX_WORDS + OVERLAP_WORDS + MIN_WORDS for section in made
    )
