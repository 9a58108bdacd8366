"""Markdown becomes plain data: what is drawn, what is refused, and that nothing raises on hostile text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.markup import blocks, visible_host

NUMBERS = {"3f9a1c": 1, "77ab01": 2}
ONE = ["cite", {"n": 1, "key": "3f9a1c"}, []]
TWO = ["cite", {"n": 2, "key": "77ab01"}, []]
TAGS = {"p", "h3", "h4", "ul", "ol", "li", "strong", "em", "code", "pre", "blockquote", "hr", "br", "a"}
TAGS |= {"table", "thead", "tbody", "tr", "th", "td", "cite"}


def test_a_paragraph_with_emphasis_and_citations():
    assert blocks("A *b* **c** [3f9a1c][77ab01].", NUMBERS) == [
        ["p", {}, ["A ", ["em", {}, ["b"]], " ", ["strong", {}, ["c"]], " ", ONE, TWO, "."]]
    ]


def test_two_keys_in_one_bracket_are_two_citations():
    assert blocks("x [3f9a1c, 77ab01]", NUMBERS) == [["p", {}, ["x ", ONE, TWO]]]


def test_unknown_keys_stay_as_written():
    assert blocks("x [nope] [3f9a1c, nope]", NUMBERS) == [["p", {}, ["x [nope] [3f9a1c, nope]"]]]


def test_code_is_left_alone():
    assert blocks("`[3f9a1c]`", NUMBERS) == [["p", {}, [["code", {}, ["[3f9a1c]"]]]]]
    assert blocks("```sql\n[3f9a1c]\n```", NUMBERS) == [["pre", {"lang": "sql"}, ["[3f9a1c]\n"]]]


def test_headings_have_two_levels():
    drawn = blocks("# a\n\n## b\n\n### c\n\n###### d", NUMBERS)
    assert [node[0] for node in drawn] == ["h3", "h3", "h4", "h4"]


def test_tight_and_loose_lists():
    assert blocks("3. a\n4. b", {}) == [["ol", {"start": 3}, [["li", {}, ["a"]], ["li", {}, ["b"]]]]]
    assert blocks("- a\n\n- b", {})[0][2][0] == ["li", {}, [["p", {}, ["a"]]]]


def test_a_table_keeps_its_alignment():
    table = blocks("| a | b |\n|---|--:|\n| 1 | 2 [3f9a1c] |", NUMBERS)[0]
    head, body = table[2]
    assert head[2][0][2][1] == ["th", {"align": "right"}, ["b"]]
    assert body[2][0][2][1] == ["td", {"align": "right"}, ["2 ", ONE]]


@pytest.mark.parametrize("raw", ["<script>alert(1)</script>", "<div onclick=x>y</div>", "<img src=x onerror=a(1)>"])
def test_raw_html_is_text(raw):
    assert blocks(raw, {}) == [["p", {}, [raw]]]


@pytest.mark.parametrize(
    "href",
    ["javascript:alert(1)", "data:text/html,x", "//evil.example/x", "file:///etc/hosts", "ftp://a.b", "/api"],
)
def test_only_http_and_https_become_links(href):
    assert "a" not in tags_of(blocks(f"[l]({href}) <{href}>", {}))


def test_a_link_names_its_host():
    href = "https://user:pw@ex.org:8443/p?q=1"
    assert blocks(f"[m]({href})", {}) == [["p", {}, [["a", {"href": href, "host": "ex.org"}, ["m"]]]]]


def test_an_image_is_its_alternative_text():
    assert blocks("see ![a chart](https://ex.org/?leak=secret)", {}) == [["p", {}, ["see a chart"]]]


def test_a_reference_definition_cannot_take_over_a_citation():
    drawn = blocks("[3f9a1c]: https://evil.example\n\nsee [3f9a1c]", NUMBERS)
    assert "a" not in tags_of(drawn)
    assert drawn[1] == ["p", {}, ["see ", ONE]]


@pytest.mark.parametrize("cut", range(1, len("[3f9a1c, 77ab01]")))
def test_a_stream_cut_inside_a_citation_shows_nothing_of_it(cut):
    assert blocks("said so " + "[3f9a1c, 77ab01]"[:cut], NUMBERS, streaming=True) == [["p", {}, ["said so"]]]


@pytest.mark.parametrize("cut", range(1, len("**Key points** of")))
def test_a_stream_cut_inside_bold_words_never_shows_their_stars(cut):
    [[tag, _, inner]] = blocks("So: " + "**Key points** of"[:cut], NUMBERS, streaming=True)
    assert tag == "p"
    if cut != 1:  # a lone star may be one
        assert "*" not in json.dumps(inner)
    assert cut < 3 or ["strong", {}, ["Key points"[: max(0, cut - 2)].rstrip()]] in inner


def test_stars_in_code_are_no_bold_words():
    assert blocks("a `2**3", NUMBERS, streaming=True) == [["p", {}, ["a `2**3"]]]
    assert blocks("```\n2**3", NUMBERS, streaming=True) == [["pre", {}, ["2**3"]]]


def test_a_finished_text_keeps_an_open_bracket():
    assert blocks("array [3f", NUMBERS) == [["p", {}, ["array [3f"]]]


@given(st.text(alphabet=st.sampled_from("ab[]()!<>*_`#|-:\n \\&;3f9a1c,\x00\ud800"), max_size=200))
def test_any_text_gives_known_tags_and_plain_data(text):
    for streaming in (False, True):
        drawn = blocks(text, NUMBERS, streaming=streaming)
        json.dumps(drawn)
        assert tags_of(drawn) <= TAGS


@pytest.mark.timeout(30)
@pytest.mark.parametrize("text", [">" * 20_000, "[" * 20_000, "*a " * 7_000, "- " * 5_000, "`" * 20_000, "|a" * 9_000])
def test_hostile_nesting_neither_raises_nor_hangs(text):
    assert tags_of(blocks(text, NUMBERS)) <= TAGS


def test_visible_host_refuses_broken_addresses():
    assert visible_host("http://[::1") is None
    assert visible_host("https:///path") is None


def tags_of(nodes: list) -> set[str]:
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, list):
            found |= {node[0]} | tags_of(node[2])
    return found
