"""The parts that need no browser: marks, palette, groups, labels, Blocks as HTML, and what scripts may not hold."""

import re
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import ui
from app.markup import blocks
from ui import look, runview, sidebar
from ui.blocks import to_html
from ui.marks import FAMILY, MARKS, RUN_STATES, data_uri

ROOT = Path(ui.__file__).parent.parent
STATES = {"pending", "ready", "running", "retrying", "waiting", "blocked", "done", "cached", "partial", "failed"}
STATES |= {"timed_out", "cancelled", "not_taken", "second_try", "lost"}


def test_what_a_run_elsewhere_asks_is_listed_within_five_seconds():
    assert sidebar.REFRESH_S + 1 <= 5  # one for the two requests and the drawing


def test_every_state_has_a_mark_of_its_own():
    assert set(MARKS) == set(FAMILY) == STATES
    assert len({repr(shapes) for shapes in MARKS.values()}) == len(STATES)
    assert set(RUN_STATES.values()) <= STATES


def test_a_mark_as_a_mask_survives_the_sanitizer():
    for state in STATES:  # `<x` inside a style element makes a careful sanitizer drop the element
        assert not re.search(r"[<>\"]", data_uri(state))


@pytest.mark.parametrize("side", ["light", "dark"])
def test_the_palette_has_contrast(side: str):
    theme = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["theme"][side]
    surface = {"light": "#ffffff", "dark": "#16243a"}[side]
    grounds = [theme["backgroundColor"], theme["secondaryBackgroundColor"], surface]
    names = ["textColor", "grayTextColor", "linkColor", *(f"{family}Color" for family in set(FAMILY.values()))]
    low = {name: ratio for name in names for ground in grounds if (ratio := contrast(theme[name], ground)) < 4.5}
    assert not low


def contrast(a: str, b: str) -> float:
    lighter, darker = sorted((luminance(a), luminance(b)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(color: str) -> float:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def test_scripts_never_parse_html_and_fetch_only_our_api():
    source = runview.module_source()
    for forbidden in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "DOMParser",
    ):
        assert forbidden not in source
    addresses = set(re.findall(r"https?://[^\s\"'`)]+", source)) - {"http://www.w3.org/2000/svg"}
    assert not addresses
    assert source.count("export default") == 1


def test_styles_fetch_nothing():
    for sheet in (ROOT / "ui" / "runview").glob("*.css"):
        assert "url(" not in sheet.read_text()
        assert "@import" not in sheet.read_text()


def test_chats_are_grouped_by_what_matters_first():
    now = datetime(2026, 3, 4, 12, tzinfo=UTC).astimezone()
    old = (now - timedelta(days=3)).isoformat()
    rows = [
        row("a", "running", old),
        row("b", "succeeded", now.isoformat()),
        row("c", "failed", old),
        row("d", "queued", old),
    ]
    groups = {name: [it["thread_id"] for it in members] for name, members in sidebar.grouped(rows, now).items()}
    assert groups == {"Running": ["a", "d"], "Today": ["b"], "Earlier": ["c"]}
    waits = [row("a", "waiting", now.isoformat()), row("b", "lost", old)]
    assert {name: len(members) for name, members in sidebar.grouped(waits, now).items()} == {"Running": 1, "Today": 1}
    assert sidebar.grouped([row("a", "succeeded", now.timestamp())], now).keys() == {"Today"}


def row(thread_id: str, status: str, updated_at: object) -> dict:
    return {
        "thread_id": thread_id,
        "status": status,
        "title": "x",
        "updated_at": updated_at,
        "graph": "chat",
        "run_id": "r",
    }


def test_what_needs_a_person_is_named_by_what_it_would_do():
    call = {"tool": "save_note", "args": {"text": "long", "title": "Budget"}, "schema": {"required": ["title", "text"]}}
    assert sidebar.need_words(call) == "Save note: Budget"
    assert sidebar.need_words({"tool": "send_mail", "args": {"to": ["a"], "urgent": True}}) == "Send mail: True"
    assert sidebar.need_words({"kind": "question", "value": "Which region?"}) == "Which region?"
    assert sidebar.need_words({"question": {"deep": 1}}) == ""


@pytest.mark.parametrize(
    ("minutes", "words"),
    [(0.9, "now"), (2, "2 min"), (59.9, "59 min"), (60, "1 h"), (47 * 60, "47 h"), (3000, "2 days")],
)
def test_an_age_is_told_in_the_unit_that_matters(minutes: float, words: str):
    now = datetime(2026, 3, 4, 12, tzinfo=UTC)
    assert sidebar.age_words((now - timedelta(minutes=minutes)).isoformat(), now) == words


def test_a_label_is_never_markdown():
    assert look.plain("**b** [x](y) :bolt:\n\n`c`") == r"\*\*b\*\* \[x\]\(y\) \:bolt\: \`c\`"
    assert len(look.plain("x" * 500)) == 120


def test_blocks_as_html_are_escaped():
    drawn = to_html(blocks("<b>x</b> & [l](https://a.b/?q='\"><i>) [c1] `<i>`\n\n- a\n\n---", {"c1": 3}))
    assert "&lt;b&gt;x&lt;/b&gt; &amp;" in drawn
    assert "<sup>[3]</sup>" in drawn
    assert "<code>&lt;i&gt;</code>" in drawn
    assert "<ul><li>a</li></ul><hr>" in drawn
    assert to_html([["script", {}, ["alert(1)"]], ["a", {"href": "javascript:x"}, ["y"]]]) == "alert(1)y"
