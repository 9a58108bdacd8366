"""The run view: one component that draws the whole conversation of a thread and the run panel beside it.

It fetches earlier turns itself and follows the live one by server-sent events, so text, lanes and graph move without
a single rerun of the page. The JavaScript is plain and unbundled; its files share one module scope, in this order.
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

from ui.marks import FAMILY, MARKS, RUN_STATES

_HERE = Path(__file__).parent
_SCRIPTS = ("dom", "marks", "words", "blocks", "feed", "commands", "graph", "axis", "lanes", "stop", "stages",
            "sources", "popover", "recover", "ledger", "panel", "chips", "fields", "requests", "schedule", "plan",
            "branch", "advice", "compare", "made", "turn", "home", "voice", "pulse", "text", "steering",
            "runview")  # fmt: skip
_STYLES = ("runview", "panel", "steering", "plan", "after")


def module_source() -> str:
    """The component's ES module: the marks as data, then every script."""
    data = f"const MARKS = {json.dumps(MARKS)};\nconst FAMILY = {json.dumps(FAMILY)};\n"
    data += f"const RUN_STATES = {json.dumps(RUN_STATES)};\n"
    return data + "\n".join((_HERE / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS)


def style_source() -> str:
    """The component's style, confined to its shadow root."""
    return "\n".join((_HERE / f"{name}.css").read_text(encoding="utf-8") for name in _STYLES)


@cache
def _component() -> Callable[..., Any]:
    return st.components.v2.component(
        "sextant_runview", html='<div class="runview"></div>', css=style_source(), js=module_source()
    )


def runview(data: dict[str, Any], *, on_ask: Callable[[], None], on_moved: Callable[[], None]) -> Any:
    """Mount the view. `data` is {api, thread, run, look, info}; the result has `ask` once an example was clicked."""
    return _component()(key="runview", data=data, on_ask_change=on_ask, on_moved_change=on_moved)
