"""Each format becomes the same blocks; what can't be read says why and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.parse import parse
from retrieval.parse.blocks import Block, Parsed, Unreadable


def texts(parsed: Parsed, kind: str) -> list[str]:
    return [block.text for block in parsed.blocks if block.kind == kind]


# -- Markdown ---------------------------------------------------------------------------------------------------------

MARKDOWN = """---
title: "Sea charts"
---
# Charts

A *chart* shows [depth](http://nowhere) and `soundings`.
Second line.

## Symbols

- an anchor
- a wreck
  with more

| sign | meaning |
|---|---|
| + | rock |

```python
x = 1
```
"""


def test_markdown_keeps_structure_and_drops_marks() -> None:
    parsed = parse(MARKDOWN.encode(), "a.md")
    assert (parsed.title, parsed.media_type) == ("Sea charts", "text/markdown")
    assert [(b.text, b.level) for b in parsed.blocks if b.kind == "heading"] == [("Charts", 1), ("Symbols", 2)]
    assert texts(parsed, "text") == ["A chart shows depth and soundings. Second line."]
    assert texts(parsed, "item") == ["- an anchor", "- a wreck with more"]
    assert texts(parsed, "table") == ["sign | meaning\n+ | rock"]
    assert texts(parsed, "code") == ["x = 1"]


def test_html_inside_markdown_is_read_as_html() -> None:
    parsed = parse(b"# T\n\n<div><script>evil()</script><p>kept</p></div>\n", "a.md")
    assert texts(parsed, "text") == ["kept"]


# -- text and encodings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_text_survives_its_encoding(encoding: str) -> None:
    parsed = parse("Café über alles, señor.".encode(encoding), "a.txt")
    assert texts(parsed, "text") == ["Café über alles, señor."]


def test_nul_in_text_becomes_a_replacement_sign() -> None:
    assert texts(parse(b"one\0two three four five six", "a.txt"), "text") == ["one\ufffdtwo three four five six"]


def test_text_keeps_lines_that_were_set_by_hand() -> None:
    log = b"Log of the day\n\n  10:00  left port\n  11:30  fog\n\n"
    prose = b"A long line of prose that wraps over\nto the next line here, as prose does.\n"
    parsed = parse(log + prose, "log.txt")
    assert parsed.title == "Log of the day"
    assert texts(parsed, "code") == ["  10:00  left port\n  11:30  fog"]
    assert "A long line of prose that wraps over to the next line here, as prose does." in texts(parsed, "text")


@settings(max_examples=200)
@given(st.binary(max_size=400), st.sampled_from(["a.txt", "a.md", "a.html", "a", "a.pdf", "a.docx"]))
def test_no_bytes_raise_anything_but_unreadable(data: bytes, name: str) -> None:
    try:
        parsed = parse(data, name)
    except Unreadable as error:
        assert error.reason and error.fix
    else:
        for block in parsed.blocks:
            block.text.encode("utf-8")
            assert "\0" not in block.text


@settings(max_examples=100)
@given(st.text(st.characters(codec=None), max_size=300), st.sampled_from(["<p>%s</p>", "# a\n\n%s", "%s"]))
def test_text_of_any_characters_comes_out_clean(text: str, frame: str) -> None:
    name = {"<": "a.html", "#": "a.md", "%": "a.txt"}[frame[0]]
    try:
        parsed = parse((frame % text).encode("utf-8", "surrogatepass"), name)
    except Unreadable:
        return
    "".join(block.text for block in parsed.blocks).encode("utf-8")


# -- HTML -------------------------------------------------------------------------------------------------------------

DOCBOOK = """<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE html><html><head><title>CREATE TIDE</title></head><body>
<div class="navheader"><table><tr><th>Prev</th><th>Next</th></tr></table></div>
<div class="refnamediv"><h2>CREATE TIDE</h2><p>CREATE TIDE — make a tide</p></div>
<div class="toc"><dl><dt><a href="#a">Elsewhere</a></dt></dl></div>
<h2>Parameters</h2><div class="variablelist"><dl>
<dt><span class="term"><code>height</code></span></dt><dd><p>How high it
 rises.</p><p>In metres.</p></dd></dl></div>
<table><tr><th>Port</th><th>Range</th></tr><tr><td>Brest</td><td><p>6 m</p></td></tr></table>
<pre>CREATE TIDE spring
  AT 'Brest';</pre>
<script>alert(1)</script><style>p{}</style>
<div class="navfooter"><p>Home</p></div></body></html>"""


def test_html_keeps_content_and_drops_furniture() -> None:
    parsed = parse(DOCBOOK.encode(), "a.html")
    assert parsed.title == "CREATE TIDE"
    assert texts(parsed, "heading") == ["CREATE TIDE", "Parameters"]
    assert texts(parsed, "text") == ["CREATE TIDE — make a tide", "In metres."]
    assert texts(parsed, "item") == ["- height: How high it rises."]
    assert [b for b in parsed.blocks if b.kind == "table"] == [Block("table", "Port | Range\nBrest | 6 m", level=1)]
    assert texts(parsed, "code") == ["CREATE TIDE spring\n  AT 'Brest';"]


def test_html_header_of_an_article_is_content_and_of_a_page_is_not() -> None:
    page = b"<html><body><header><p>Logo</p></header><article><header><h1>Fog</h1></header><p>Slow down.</p></article>"
    parsed = parse(page, "a.html")
    assert texts(parsed, "heading") == ["Fog"]
    assert texts(parsed, "text") == ["Slow down."]


def test_a_page_that_is_only_a_table_of_contents_is_still_found() -> None:
    page = b"<html><title>Part II</title><body><h1>Part II</h1><div class='toc'><ul><li>Tides</li></ul></div>"
    assert texts(parse(page, "a.html"), "item") == ["- Tides"]


def test_html_believes_the_charset_it_names() -> None:
    page = "<html><head><meta charset='iso-8859-2'></head><body><p>Łódź</p></body></html>".encode("iso-8859-2")
    assert texts(parse(page, "a.html"), "text") == ["Łódź"]


@pytest.mark.parametrize("depth", [200, 50_000])
def test_html_of_any_depth_keeps_what_comes_before_it(depth: int) -> None:
    page = b"<html><body><p>the top</p>" + b"<div>" * depth + b"<p>the bottom</p>" + b"</div>" * depth
    found = texts(parse(page, "a.html"), "text")
    assert found[0] == "the top"
    assert ("the bottom" in found) == (depth < 1000)


# -- PDF --------------------------------------------------------------------------------------------------------------


def test_pdf_keeps_pages_and_takes_bookmarks_as_headings(make_pdf: Callable[..., Path]) -> None:
    pages = [["Lighthouses", "A lighthouse warns ships."], ["Foghorns", "A foghorn is heard, not seen."]]
    path = make_pdf(pages, title="Aids", bookmarks={1: "Lighthouses", 2: "Foghorns"})
    parsed = parse(path.read_bytes(), path.name)
    assert (parsed.title, parsed.pages, parsed.media_type) == ("Aids", 2, "application/pdf")
    assert [(b.kind, b.text, b.page) for b in parsed.blocks] == [
        ("heading", "Lighthouses", 1),
        ("text", "A lighthouse warns ships.", 1),
        ("heading", "Foghorns", 2),
        ("text", "A foghorn is heard, not seen.", 2),
    ]


def test_pdf_drops_running_heads_and_heals_hyphens(make_pdf: Callable[..., Path]) -> None:
    words = ("alpha", "bravo", "charlie", "delta", "echo")
    body = [
        (f"The word {word} is impor-", "tant here and it goes on for", "a third line,", f"says {word}.")
        for word in words
    ]
    path = make_pdf([["Annual report", *lines, f"Page {n}"] for n, lines in enumerate(body, 1)])
    expected = "The word {0} is important here and it goes on for a third line, says {0}."
    parsed = parse(path.read_bytes(), path.name)
    assert texts(parsed, "text") == [expected.format(word) for word in words]


def test_pdf_sentence_over_the_edge_of_a_page_stays_whole(make_pdf: Callable[..., Path]) -> None:
    path = make_pdf([["The tide turns when the moon"], ["says so. Then it ebbs."]])
    found = [(block.text, block.page) for block in parse(path.read_bytes(), path.name).blocks]
    assert found == [("The tide turns when the moon says so.", 1), ("Then it ebbs.", 2)]


def test_pdf_with_an_owner_password_only_is_read(make_pdf: Callable[..., Path]) -> None:
    path = make_pdf([["Anybody may read this line."]], password="")
    assert texts(parse(path.read_bytes(), path.name), "text") == ["Anybody may read this line."]


@pytest.mark.parametrize(
    ("lines", "password", "reason"),
    [(["Secret line that nobody sees."], "s3cret", "encrypted with a password"), ([], None, "no text on its 1 pages")],
)
def test_pdf_that_cannot_be_read_says_why(
    make_pdf: Callable[..., Path], lines: list[str], password: str | None, reason: str
) -> None:
    path = make_pdf([lines], password=password)
    with pytest.raises(Unreadable, match=reason):
        parse(path.read_bytes(), path.name)


def test_a_cut_pdf_is_named_as_damaged(make_pdf: Callable[..., Path]) -> None:
    data = make_pdf([["one line"]]).read_bytes()
    with pytest.raises(Unreadable):
        parse(data[: len(data) // 3], "cut.pdf")


# -- DOCX, and what is no document ------------------------------------------------------------------------------------


def test_docx_keeps_headings_lists_and_tables_in_order(make_docx: Callable[..., Path]) -> None:
    path = make_docx()
    parsed = parse(path.read_bytes(), path.name)
    assert parsed.title == "Harbour handbook"
    assert [(b.kind, b.text) for b in parsed.blocks] == [
        ("heading", "Harbour handbook"),
        ("heading", "Pilots"),
        ("text", "A pilot boards every ship above 80 metres."),
        ("item", "- Book the pilot two hours ahead."),
        ("heading", "Fees"),
        ("table", "Length | Fee\n80 m | 410 euro\n120 m | 655 euro"),
    ]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"   \n ", "white space"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "picture"),
        (b"\xd0\xcf\x11\xe0" + b"\0" * 50, "Office"),
        (b"PK\x03\x04 nonsense", "damaged ZIP"),
        (bytes(range(32)) * 20, "not text"),
    ],
)
def test_what_is_no_document_is_refused_by_content(data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        parse(data, "harmless.txt")


def test_content_decides_and_the_name_only_breaks_ties(make_pdf: Callable[..., Path]) -> None:
    assert parse(make_pdf([["really a PDF inside"]]).read_bytes(), "x.txt").media_type == "application/pdf"
    assert parse(b"<!doctype html><p>hi there</p>", "x.txt").media_type == "text/html"
    for name in ("x.pdf", "X.DOCX"):
        with pytest.raises(Unreadable, match="but only text is in it"):
            parse(b"<html><body><p>404 Not Found</p></body></html>", name)
