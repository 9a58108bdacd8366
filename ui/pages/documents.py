"""Documents: what can be searched and cited, adding to it, and taking from it."""

from html import escape

import streamlit as st

from ui import look, session, trouble, uploads
from ui.client import ApiProblem, Json

SHOWN = 200
"""Rows drawn; the filter finds the rest, and the page says so."""

_DOUBT = "delete_document"


def page(info: Json) -> None:
    """Draw the list."""
    with st.container(key="header", horizontal=True, vertical_alignment="center"):
        st.html("<p class='sx-title'>Documents</p>", width="stretch")
    st.html("<h1 class='sx-h1'>What the agents may cite</h1>")
    trouble.once()
    listed = _load()
    if listed is None:
        return
    st.html(f"<p class='sx-lead'>{_summary(listed['index'])}</p>")
    _upload(info)
    uploads.progress(on_ready=lambda _: None)
    _table(listed["documents"])


def _load() -> Json | None:
    try:
        return session.api().documents()
    except ApiProblem as problem:
        st.html(
            f"<p role='alert'><i class='sx-mark sx-failed'></i><b>{escape(str(problem))}</b> {escape(problem.fix)}</p>"
        )
        return None


def _summary(index: Json) -> str:
    words = f"{index['documents']:,} documents, {index['chunks']:,} passages."
    if pending := index.get("pending"):
        words += f" {pending:,} passages are found by their words now and by their meaning soon."
    return words


def _upload(info: Json) -> None:
    limit = info["limits"]["max_upload_mb"]
    with st.form("add", border=False, clear_on_submit=True):
        files = st.file_uploader(
            f"PDF, Word, Markdown, text, HTML, or a zip of them, up to {limit} MB each",
            accept_multiple_files=True,
            max_upload_size=limit,
        )
        if st.form_submit_button("Add to the index") and files:
            uploads.start([(file.name, file.getvalue(), file.type or "") for file in files])
            st.rerun()


def _table(documents: list[Json]) -> None:
    if not documents:
        st.html("<p class='sx-hint'>Nothing is indexed yet. Add files above, or drop them on the chat.</p>")
        return
    wanted = st.text_input("Filter by name", key="filter", placeholder="Filter by name", label_visibility="collapsed")
    rows = [row for row in documents if wanted.lower() in f"{row['name']} {row['title']}".lower()]
    for row in rows[:SHOWN]:
        _row(row)
    if len(rows) > SHOWN:
        st.html(f"<p class='sx-hint'>Showing {SHOWN} of {len(rows):,}. Filter to see the others.</p>")


def _row(row: Json) -> None:
    with st.container(
        key=f"document_{row['id']}", horizontal=True, vertical_alignment="center", gap="small", wrap=False
    ):
        pages = f"{row['pages']:,} pages" if row["pages"] else ""
        facts = [pages, f"{row['chunks']:,} passages", _size(row["size_bytes"])]
        title = "" if row["title"] in ("", row["name"]) else f" · {escape(row['title'])}"
        st.html(
            f"<p class='sx-doc'><b>{escape(row['name'])}</b>{title}<br>"
            f"<span>{escape(', '.join(filter(None, facts)))}</span></p>",
            width="stretch",
        )
        if st.session_state.get(_DOUBT) != row["id"]:
            label = f"Delete {look.plain(row['name'])}"
            if st.button("", icon=":material/delete:", key=f"ask_{row['id']}", help=label, type="tertiary"):
                st.session_state[_DOUBT] = row["id"]
                st.rerun()
            return
        if st.button("Delete", key=f"do_{row['id']}"):
            _delete(row["id"])
        if st.button("Keep", key=f"keep_{row['id']}", type="tertiary"):
            st.session_state.pop(_DOUBT)
            st.rerun()


def _delete(document_id: str) -> None:
    st.session_state.pop(_DOUBT, None)
    try:
        session.api().delete_document(document_id)
    except ApiProblem as problem:
        session.report(problem)
    st.rerun()


def _size(size: int) -> str:
    return f"{size / 1_000_000:.1f} MB" if size >= 1_000_000 else f"{max(1, round(size / 1000)):,} kB"
