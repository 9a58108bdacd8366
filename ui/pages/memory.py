"""Memory: what is kept about the person, who wrote it as which version; to add to, and to delete from."""

from datetime import datetime
from html import escape

import streamlit as st

from ui import look, session, trouble
from ui.client import ApiProblem, Json

SHOWN = 200
"""Rows drawn; the filter finds the rest, and the page says so."""
MAX_CHARS = 4_000
KINDS = {"fact": "remembered", "lesson": "a lesson"}

_DOUBT = "delete_memory"


def page() -> None:
    """Draw the list."""
    with st.container(key="header", horizontal=True, vertical_alignment="center"):
        st.html("<p class='sx-title'>Memory</p>", width="stretch")
    st.html("<h1 class='sx-h1'>What is kept about you</h1>")
    st.html("<p class='sx-lead'>Agents read it as evidence. Nobody else sees it, and what you delete is gone.</p>")
    trouble.once()
    rows = _load()
    if rows is None:
        return
    _add()
    _table(rows)


def _load() -> list[Json] | None:
    try:
        return session.api().memories()
    except ApiProblem as problem:
        st.html(
            f"<p role='alert'><i class='sx-mark sx-failed'></i><b>{escape(str(problem))}</b> {escape(problem.fix)}</p>"
        )
        return None


def _add() -> None:
    with st.form("remember", border=False, clear_on_submit=True):
        text = st.text_input("Something to remember", max_chars=MAX_CHARS, placeholder="My travel budget is 500 euros.")
        if st.form_submit_button("Remember") and text.strip():
            try:
                session.api().remember(text.strip())
            except ApiProblem as problem:
                session.report(problem)
            st.rerun()


def _table(rows: list[Json]) -> None:
    if not rows:
        st.html("<p class='sx-hint'>Nothing is kept yet. Say “Remember: …” in a chat, or write it above.</p>")
        return
    wanted = st.text_input("Filter", key="filter_memory", placeholder="Filter", label_visibility="collapsed")
    found = [row for row in rows if wanted.lower() in f"{row['text']} {row['author']} {row['about']}".lower()]
    for row in found[:SHOWN]:
        _row(row)
    if len(found) > SHOWN:
        st.html(f"<p class='sx-hint'>Showing {SHOWN} of {len(found):,}. Filter to see the others.</p>")


def _row(row: Json) -> None:
    key = row["key"]
    with st.container(key=f"memory_{key}", horizontal=True, vertical_alignment="center", gap="small", wrap=False):
        st.html(
            f"<p class='sx-doc'><b>{escape(row['text'])}</b><br><span>{escape(_facts(row))}</span></p>", width="stretch"
        )
        if st.session_state.get(_DOUBT) != key:
            label = f"Delete {look.plain(row['text'], 60)}"
            if st.button("", icon=":material/delete:", key=f"ask_{key}", help=label, type="tertiary"):
                st.session_state[_DOUBT] = key
                st.rerun()
            return
        if st.button("Delete", key=f"do_{key}"):
            _delete(key)
        if st.button("Keep", key=f"keep_{key}", type="tertiary"):
            st.session_state.pop(_DOUBT)
            st.rerun()


def _facts(row: Json) -> str:
    day = datetime.fromisoformat(row["written_at"]).strftime("%Y-%m-%d")
    of = f", of: {row['about'][:80]}" if row["about"] else ""
    return f"{KINDS.get(row['kind'], row['kind'])} by {row['author']}, version {row['version']}, {day}{of}"


def _delete(key: str) -> None:
    st.session_state.pop(_DOUBT, None)
    try:
        session.api().forget(key)
    except ApiProblem as problem:
        session.report(problem)
    st.rerun()
