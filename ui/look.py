"""The page's own style: how Streamlit's parts are set in place around the run view.

The palette is read from the theme options, so `.streamlit/config.toml` stays the only place where colours are set;
the component reads the same ones as `--st-*`.
"""

from functools import cache
from html import escape
from pathlib import Path
from urllib.parse import quote

import streamlit as st

from ui.client import ApiProblem
from ui.marks import FAMILY, MARKS, RUN_STATES, data_uri

COLUMN_HOME_PX = 760
COLUMN_CHAT_PX = 632
"""Widest column of text: 76 characters of an answer beside the open panel, a little more without it."""

_FRAME = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32' fill='none' stroke='{}' stroke-width='2' "
    "stroke-linecap='round' stroke-linejoin='round'><path d='M16 5L4.6 20.4M16 5l11.4 15.4M3.4 19.4a17.5 17.5 0 0 0 "
    "25.2 0M6 24.6a16 16 0 0 0 20 0M16 5l3.4 18M3.4 19.4l2.6 5.2M28.6 19.4l-2.6 5.2M10 22.6l-.6 3M22 22.6l.6 3'/>"
    "<circle cx='16' cy='4.6' r='2.2' fill='{}'/></svg>"
)
"""A sextant: frame, arc and index arm."""


def _image(svg: str) -> str:
    return "data:image/svg+xml," + quote(svg, safe="/:=' ")


ICON = _image(_FRAME.format("#B07D2B", "#B07D2B"))
"""Of the browser's tab. Its own image: Streamlit would fetch a named icon from a stranger's server."""

_LOGO = _image(_FRAME.format("black", "black"))
"""As a mask, so that it takes the brass of either theme."""

_CLIP = _image(
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 20 20' fill='none' stroke='black' stroke-width='1.6' "
    "stroke-linecap='round'><path d='M7.2 6.6v6.1a2.7 2.7 0 0 0 5.4 0V5.4a3.7 3.7 0 0 0-7.4 0v7.4a4.8 4.8 0 0 0 "
    "9.6 0V6.6'/></svg>"
)

_NAMES = {
    "paper": "backgroundColor",
    "ink": "textColor",
    "ink3": "grayTextColor",
    "line": "borderColor",
    "brass": "primaryColor",
    "brass-text": "linkColor",
    "sunk": "secondaryBackgroundColor",
    "blue": "blueColor",
    "green": "greenColor",
    "yellow": "yellowColor",
    "orange": "orangeColor",
    "red": "redColor",
    "gray": "grayColor",
}


@cache
def _style() -> str:
    css = (Path(__file__).parent / "runview" / "page.css").read_text(encoding="utf-8")
    images = {"logo": _LOGO, "clip": _CLIP, "hand": data_uri("waiting")}
    pictures = "".join(f'--sx-{name}:url("{image}");' for name, image in images.items())
    return f":root{{{_palette()}{pictures}}}\n{_marks()}\n{css}"


def _palette() -> str:
    pairs = {name: [st.get_option(f"theme.{side}.{key}") for side in ("light", "dark")] for name, key in _NAMES.items()}
    return "".join(f"--sx-{name}:light-dark({light},{dark});" for name, (light, dark) in pairs.items())


def _marks() -> str:
    """One rule per state: `.sx-mark.sx-done` in HTML, and the rows of the thread list by their widget key."""
    places = {state: [f".sx-{state}"] for state in MARKS}
    for status, state in RUN_STATES.items():
        # the second follows the open chat's run between reruns: the run view writes its status on the root element
        here = f'html[data-sx-run="{status}"] [class*="st-key-thread_"][class*="_here_"]'
        places[state] += [f'[class*="st-key-thread_{status}_"]', here]
    rules = ("{" + f'--mark:url("{data_uri(state)}");--c:var(--sx-{FAMILY[state]})' + "}" for state in places)
    return "\n".join(",".join(where) + rule for where, rule in zip(places.values(), rules, strict=True))


def apply(column_px: int) -> None:
    """Put the style on the page; `column_px` is the width of the text column when the panel is closed."""
    st.html(f"<style>{_style()}\n:root{{--sx-column:{column_px}px}}</style>")


def plain(words: str, limit: int = 120) -> str:
    """Words of a stranger as a label: Streamlit reads labels as markdown, and this one must not become any."""
    short = " ".join(words.split())[:limit]
    return "".join(f"\\{char}" if char in "\\`*_{}[]()#+-.!|<>$~:" else char for char in short)


def out_of_reach(problem: ApiProblem) -> None:
    """The whole page when the API does not answer."""
    st.html(
        f"<div class='sx-away' role='alert'><i class='sx-mark sx-lost'></i><p><b>{escape(str(problem))}</b> "
        f"{escape(problem.fix)}</p></div>"
    )
    st.button("Try again", key="again")
