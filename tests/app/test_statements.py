"""Statements without a source: which they are, that nothing else is touched, and that no word gets lost."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.markup import blocks
from app.statements import BARE, marked

NUMBERS = {"3f9a1c": 1, "77ab01": 2}


def words(node: Any) -> str:
    if isinstance(node, str):
        return node
    return f"[{node[1]['key']}]" if node[0] == "cite" else "".join(map(words, node[2]))


def bare(node: Any) -> list[str]:
    """Words of the statements that are marked."""
    if isinstance(node, str):
        return []
    return [words(node)] if node[0] == BARE else [text for child in node[2] for text in bare(child)]


def found(markdown: str) -> list[str]:
    tree, count = marked(blocks(markdown, NUMBERS))
    texts = [text for block in tree for text in bare(block)]
    assert len(texts) == count
    return texts


@pytest.mark.parametrize(
    ("markdown", "texts"),
    [
        ("It waits [3f9a1c]. Nobody knows why.", ["Nobody knows why."]),
        ("It waits. And so does the other [3f9a1c].", []),
        ("It waits. [3f9a1c] It **always** did. So it will.", ["It always did.", "So it will."]),
        ("Cited [3f9a1c].\n\nNot cited. Nor this.", ["Not cited.", "Nor this."]),
        ("Cited [3f9a1c].\n\n- one [77ab01]\n- two\n- three", ["two", "three"]),
        ("Cited [3f9a1c].\n\n- one [77ab01]\n\n- two\n\n  and more", ["two", "and more"]),
        ("Cited [3f9a1c].\n\n- costs\n  - low [77ab01]\n  - high", ["high"]),
        ("Cited [3f9a1c], e.g. this one, 3.5 of it.", []),
        ("# Title\n\nCited [3f9a1c].\n\nThese are:\n\n```\ncode\n```\n\n> quoted\n\nIs it?", []),
        ("Cited [3f9a1c].\n\n*Not done: one part.*", []),
        ("| a | b |\n|---|---|\n| 1 [3f9a1c] | 2 |", []),
    ],
)
def test_what_comes_after_the_last_citation_is_bare(markdown: str, texts: list[str]) -> None:
    assert found(markdown) == texts


def test_where_nothing_is_cited_nothing_is_underlined_but_all_is_counted() -> None:
    tree = blocks("One. Two.\n\n- three", NUMBERS)
    assert marked(tree) == (tree, 3)


@pytest.mark.parametrize(
    ("statement", "is_bare"),
    [
        ("The result is **2.75862068966**…", False),
        ("That is 80/29, or about 2.76.", False),
        ("It is 12,500.5 in all.", False),
        ("It is 3.", True),
        ("It is 2.75862068966 and takes 7 days.", True),
        ("The divisor is 29.", True),
        ("Nobody knows.", True),
    ],
)
def test_what_a_tool_has_computed_is_not_bare(statement: str, is_bare: bool) -> None:
    tree = blocks(f"Cited [3f9a1c].\n\n{statement}", NUMBERS)
    drawn, count = marked(tree, ["80/29 = 2.75862068966", "12500.5"])
    assert (count, bool([text for block in drawn for text in bare(block)])) == (int(is_bare), is_bare)


_PIECES = st.sampled_from(
    ["A wait. ", "See [3f9a1c]. ", "Both [3f9a1c, 77ab01]", "\n\n- one\n- two [77ab01]\n", "**x. Y** ", "`c. D`", "? ",
     "\n\n1. a\n   - b\n\n   c\n", "*em. Em.*", "\n\n> q. Q.\n\n", "|a|\n|-|\n|B. C|\n", "[l](http://x.y). ", "… Z"]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=8))
def test_no_word_is_lost_or_moved(pieces: list[str]) -> None:
    tree = blocks("".join(pieces), NUMBERS)
    drawn, count = marked(tree)
    assert "".join(map(words, drawn)) == "".join(map(words, tree))
    assert count >= len([text for block in drawn for text in bare(block)])
