"""An answer for pages that are not ours: nothing in it that they would fetch by themselves. Pure.

A picture that a document talked an agent into tells its host what was asked, as soon as it is drawn. Our own page draws
none; what other programs draw we do not know. So where markdown or HTML would draw something it is written out, as a
person would read it; code stays as it is, and links wait for a click.
"""

import re

from markdown_it import MarkdownIt

_MARKDOWN = MarkdownIt("commonmark").enable("table")
_HARMLESS = "br|hr|b|i|em|strong|sub|sup|u|s|del|ins|kbd|mark|small|p|ul|ol|li|details|summary|blockquote"
_TAG = re.compile(rf"<(?!/?(?:{_HARMLESS})\s*/?>)(?=[A-Za-z/!?])", re.IGNORECASE)
_PICTURE = re.compile(r"!\[")
_SUSPECT = re.compile(f"{_PICTURE.pattern}|{_TAG.pattern}", re.IGNORECASE)
_BEGUN = re.compile(r"(?:!|<[A-Za-z/!?]{0,12}\s?/?)$")
"""What may become one with the next letters of a stream."""
_BREAK = re.compile(r"(\r\n|\r|\n)")
ROUNDS = 3
"""Of writing out: what was hidden inside HTML shows when that is gone."""


def unfetched(text: str) -> str:
    """`text`, drawn without fetching anything."""
    for _ in range(ROUNDS):
        if not _SUSPECT.search(text) or (less := _written_out(text)) == text:
            return text
        text = less
    return _escaped(text)


def without_pictures_so_far(text: str) -> str:
    """As much of the beginning of an answer as can be shown: up to what may come to be fetched."""
    suspect = _SUSPECT.search(text)
    return _BEGUN.sub("", text[: suspect.start()] if suspect else text)


def _written_out(text: str) -> str:
    """Every line with a picture or a tag that a parser finds there, with both written out."""
    pieces = _BREAK.split(text)  # line, break, line ...
    for token in _MARKDOWN.parse(text):
        kinds = {token.type, *(child.type for child in token.children or ())}
        if not kinds & {"image", "html_inline", "html_block"}:
            continue
        if token.map is None:
            return _escaped(text)
        begin, end = token.map
        for at in range(2 * begin, min(2 * end, len(pieces)), 2):
            pieces[at] = _escaped(pieces[at])
    return "".join(pieces)


def _escaped(text: str) -> str:
    return _TAG.sub("&lt;", _PICTURE.sub(r"!\[", text))
