"""The sidebar: new chat, the chats with their state, the other pages, and what kind of model answers."""

from datetime import datetime
from html import escape
from typing import Any

import streamlit as st

from ui import look, session
from ui.client import ApiProblem, Json

UNFINISHED = ("queued", "running", "waiting")
SHOWN = 40
"""Chats listed before "Show all"; a long list costs the browser more than it tells."""

_REFRESH_S = 4
_SHOW_ALL = "all_threads"


def draw(pages: dict[str, Any], info: Json | None, threads: list[Json]) -> None:
    """Everything in the sidebar. `pages` are the navigation's pages by name."""
    with st.sidebar:
        if st.button("New chat", icon=":material/add:", key="new_chat", shortcut="Alt+N", width="stretch"):
            _open(None, pages["chat"])
        # the chat on the page tells its own end; only runs of other chats have to be asked for
        live = any(it["status"] in UNFINISHED and it["thread_id"] != session.thread() for it in threads)
        st.fragment(_thread_list, run_every=_REFRESH_S if live else None)(None if live else threads, pages["chat"])
        with st.container(key="pages"):
            st.page_link(pages["chat"], label="Chat", icon=":material/chat_bubble_outline:")
            st.page_link(pages["documents"], label="Documents", icon=":material/description:")
        st.html(_foot(info), width="stretch")


def _threads() -> list[Json]:
    try:
        return session.api().threads()
    except ApiProblem:
        return []  # the page itself says that the server is away


def _thread_list(threads: list[Json] | None, chat: Any) -> None:
    rows = _threads() if threads is None else threads
    with st.container(key="threads", gap=None):
        if not rows:
            st.html("<p class='sx-hint'>Chats appear here. They keep running when you close the page.</p>")
        for group, members in grouped(rows[: None if st.session_state.get(_SHOW_ALL) else SHOWN]).items():
            st.html(f"<p class='sx-group'>{escape(group)}</p>")
            for row in members:
                _row(row, chat)
        more = len(rows) > SHOWN and not st.session_state.get(_SHOW_ALL)
        if more and st.button(f"Show all {len(rows)} chats", key="show_all", type="tertiary"):
            st.session_state[_SHOW_ALL] = True
            st.rerun()


def _row(row: Json, chat: Any) -> None:
    here = "here_" if row["thread_id"] == session.thread() else ""
    key = f"thread_{row['status'] or 'none'}_{here}{row['thread_id']}"
    if st.button(look.plain(row["title"] or "New chat"), key=key, type="tertiary", width="stretch", wrap=False):
        _open(row["thread_id"], chat)


def _open(thread_id: str | None, chat: Any) -> None:
    session.forget_problem()
    live = {"live": "poll"} if session.polling() else {}
    st.switch_page(chat, query_params={**live, **({"thread": thread_id} if thread_id else {})})


def grouped(rows: list[Json], now: datetime | None = None) -> dict[str, list[Json]]:
    """Chats by what matters first: running, then today, then earlier. Order inside a group is kept."""
    today = (now or datetime.now().astimezone()).date()
    groups: dict[str, list[Json]] = {"Running": [], "Today": [], "Earlier": []}
    for row in rows:
        name = "Earlier"
        if row["status"] in UNFINISHED:
            name = "Running"
        elif _day(row["updated_at"]) == today:
            name = "Today"
        groups[name].append(row)
    return {name: members for name, members in groups.items() if members}


def _day(stamp: str | float) -> Any:
    if isinstance(stamp, int | float):
        return datetime.fromtimestamp(stamp).astimezone().date()
    return datetime.fromisoformat(stamp).astimezone().date()


def _foot(info: Json | None) -> str:
    if info and info["demo"]:
        words = "<b class='sx-badge'>Demo model</b> no key, no GPU, no network"
    elif info:
        passages = f"{info['index']['chunks']:,} passages"
        words = f"<i class='sx-mark sx-done'></i>{escape(str(info['models'].get('large', '')))}, {passages}"
    else:
        words = "<i class='sx-mark sx-lost'></i>The server cannot be reached"
    return f"<p class='sx-foot'>{words}</p>"
