"""The sidebar: new chat, what needs a person, the chats with their state, the other pages, which model answers."""

import re
from datetime import UTC, datetime
from html import escape
from typing import Any

import streamlit as st

from ui import look, session, sign_in
from ui.client import ApiProblem, Json

UNFINISHED = ("queued", "running", "waiting", "lost")
SHOWN = 40
"""Chats listed before "Show all"; a long list costs the browser more than it tells."""

REFRESH_S = 4
"""Whatever is going on here: a run that was started elsewhere may come to ask something, and is seen within 5 s."""
_SHOW_ALL = "all_threads"


def draw(pages: dict[str, Any], info: Json | None) -> None:
    """Everything in the sidebar. `pages` are the navigation's pages by name."""
    with st.sidebar:
        if st.button("New chat", icon=":material/add:", key="new_chat", shortcut="Alt+N", width="stretch"):
            _open(None, pages["chat"])
        st.fragment(_lists, run_every=REFRESH_S)(pages["chat"])
        with st.container(key="pages"):
            st.page_link(pages["chat"], label="Chat", icon=":material/chat_bubble_outline:")
            st.page_link(pages["documents"], label="Documents", icon=":material/description:")
            st.page_link(pages["memory"], label="Memory", icon=":material/bookmark:")
            st.page_link(pages["settings"], label="Settings", icon=":material/tune:")
        st.html(_foot(info), width="stretch")
        sign_in.out()


def _lists(chat: Any) -> None:
    try:
        questions, threads = session.api().questions(), session.api().threads()
    except ApiProblem:
        questions, threads = [], []  # the page itself says that the server is away
    _needs_you(questions, chat)
    _thread_list(threads, chat)


def _needs_you(questions: list[Json], chat: Any) -> None:
    """What waits for a person, over all chats, oldest first."""
    if not questions:
        return
    count = len(questions)
    with st.container(key="needs", gap=None):
        st.html(f"<p class='sx-group sx-needs'>Needs you<span>{count}</span></p>{_ages(questions)}")
        for row in questions:
            label = look.plain(need_words(row["value"]) or row["title"], 60)
            if st.button(label, key=_need_key(row), type="tertiary", width="stretch", wrap=False):
                session.look_at(row["interrupt_id"])
                _open(row["thread_id"], chat)


def _need_key(row: Json) -> str:
    return "need_" + re.sub(r"[^A-Za-z0-9]", "", str(row["interrupt_id"]))


def _ages(questions: list[Json]) -> str:
    """Beside each label, where a long one does not push it away; and the count, for the button of a closed sidebar."""
    rules = (f".st-key-{_need_key(row)} button::after{{content:'{age_words(row['asked_at'])}'}}" for row in questions)
    return f"<style>:root{{--sx-needs:'{len(questions)}'}}{''.join(rules)}</style>"


def need_words(value: Json) -> str:
    """What a request is about, in a few words: the tool and what it was told, or the question."""
    if not value.get("tool"):
        told = (value.get(name) for name in ("value", "question", "message"))
        return next((words for words in told if isinstance(words, str)), "")
    tool = str(value["tool"]).replace("_", " ")
    args = value.get("args") or {}
    order = [*(value.get("schema") or {}).get("required", ()), *args]
    first = next((str(args[name]) for name in order if isinstance(args.get(name), str | int | float)), "")
    return f"{tool[:1].upper()}{tool[1:]}{f': {first}' if first else ''}"


def age_words(asked_at: str, now: datetime | None = None) -> str:
    """How long somebody has been waiting, to the unit that matters."""
    minutes = int(((now or datetime.now(UTC)) - datetime.fromisoformat(asked_at)).total_seconds() // 60)
    if minutes < 1:
        return "now"
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h" if hours < 48 else f"{hours // 24} days"


def _thread_list(rows: list[Json], chat: Any) -> None:
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
    session.went(chat.url_path, thread_id)
    st.switch_page(chat, query_params=session.address(thread_id))


def grouped(rows: list[Json], now: datetime | None = None) -> dict[str, list[Json]]:
    """Chats by what matters first: running, then today, then earlier. Order inside a group is kept.

    One that waits for a person is in "Needs you", and does not run.
    """
    today = (now or datetime.now().astimezone()).date()
    groups: dict[str, list[Json]] = {"Running": [], "Today": [], "Earlier": []}
    for row in rows:
        name = "Earlier"
        if row["status"] in UNFINISHED and row["status"] != "waiting":
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
