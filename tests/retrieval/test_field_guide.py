"""The bundled corpus: its articles have one shape, and every sentence can be quoted on its own.

Single sentences are cited, so a sentence must occur in one article only and an article must open by saying
what its subject is. Knows nothing about parsing or chunking: the files are read as plain text.
"""

import re
from collections import defaultdict
from pathlib import Path

import pytest

import retrieval

FOLDER = Path(retrieval.__file__).parent / "field_guide"
ARTICLES = sorted(FOLDER.glob("*.md"))

WORDS_MIN, WORDS_MAX = 400, 1000
SENTENCE_WORDS_MIN = 4  # below that two articles may well agree, "A fan-in waits."
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
ADDRESS = re.compile(r"\w+://|\bwww\.", re.IGNORECASE)


def headings(text: str, level: int) -> list[str]:
    return re.findall(rf"^{'#' * level} +(\S.*)$", text, re.MULTILINE)


def paragraphs(text: str) -> list[str]:
    """Prose only: headings and tables left out, wrapped lines joined."""
    blocks = (block.strip() for block in re.split(r"\n\s*\n", text))
    return [" ".join(block.split()) for block in blocks if block and not block.startswith(("#", "|"))]


def sentences(text: str) -> list[str]:
    return [sentence for paragraph in paragraphs(text) for sentence in SENTENCE_END.split(paragraph)]


def words(text: str) -> list[str]:
    """Words as a reader counts them: no table bars, no bare signs."""
    return [word for word in text.split() if re.search(r"\w", word)]


@pytest.fixture(params=ARTICLES, ids=lambda path: path.stem)
def text(request: pytest.FixtureRequest) -> str:
    path: Path = request.param
    return path.read_text(encoding="utf-8")


def test_there_are_at_least_twelve_articles() -> None:
    assert len(ARTICLES) >= 12


def test_title_comes_first_and_once(text: str) -> None:
    assert text.startswith("# ")
    assert len(headings(text, 1)) == 1


def test_sections_are_three_or_more_and_named_differently(text: str) -> None:
    sections = headings(text, 2)
    assert len(sections) >= 3
    assert len(set(sections)) == len(sections)


def test_length_is_that_of_a_short_article(text: str) -> None:
    assert WORDS_MIN <= len(words(text)) <= WORDS_MAX


def test_first_sentence_is_a_definition(text: str) -> None:
    assert re.search(r" (is|are) ", sentences(text)[0])


def test_no_raw_address(text: str) -> None:
    assert not ADDRESS.search(text)


def test_every_table_row_has_as_many_cells_as_its_header(text: str) -> None:
    for table in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        assert len({row.count("|") for row in table.splitlines()}) == 1, table


def test_no_sentence_occurs_in_two_articles() -> None:
    homes: dict[str, set[str]] = defaultdict(set)
    for path in ARTICLES:
        for sentence in sentences(path.read_text(encoding="utf-8")):
            if len(words(sentence)) >= SENTENCE_WORDS_MIN:
                homes[sentence.casefold()].add(path.name)
    assert {sentence: names for sentence, names in homes.items() if len(names) > 1} == {}


def test_titles_differ() -> None:
    titles = [headings(path.read_text(encoding="utf-8"), 1)[0] for path in ARTICLES]
    assert len(set(titles)) == len(titles)
