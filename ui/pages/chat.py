"""The chat: header, conversation, input. All that moves during a run is drawn by the run view, without a rerun."""

from collections.abc import Callable
from html import escape

import streamlit as st

from ui import fallback, look, session, trouble, uploads
from ui.client import ApiProblem, Json
from ui.runview import runview

GRAPH = "graph"
INPUT = "question"
MEANWHILE = "meanwhile"
REVIEW = "review_plan"
_REVIEWS = "reviews_plans"
"""What the switch was set to last: its own state goes when another graph hides it."""
_PLANNING = "planning_graphs"
_WAYS = {"enqueue": "waits for this run", "interrupt": "stops it first", "branch": "starts a branch"}
_GRAPH_OF = "graph_of_thread"
_GRAPH_MENU = "graph_menu"


def page(info: Json, threads: list[Json]) -> None:
    """Draw the page for the thread in the address."""
    row = next((it for it in threads if it["thread_id"] == session.thread()), None)
    st.session_state[_PLANNING] = [graph["name"] for graph in info["graphs"] if graph.get("plans")]
    _header(info, row)
    if session.polling():
        fallback.conversation(session.thread(), info)
    else:
        _conversation(info)
    with st.bottom:
        trouble.again(st.session_state[GRAPH])
        uploads.progress(on_ready=_ask)
        st.chat_input(
            "Ask a follow-up" if session.thread() else "Ask anything, or drop files here",
            key=INPUT,
            accept_file="multiple",
            max_upload_size=info["limits"]["max_upload_mb"],
            on_submit=_submitted,
        )
        _meanwhile()
        _plan_first()
        st.html(_foot(info))


def _conversation(info: Json) -> None:
    sent, thread_id = session.sent_run(), session.thread()
    data = {
        "api": session.API_PATH,
        "thread": thread_id,
        "run": sent if sent and sent["thread_id"] == thread_id else None,
        "look": session.looked_at(),
        "info": {key: info[key] for key in ("demo", "graphs", "examples", "index")},
    }
    runview(data, on_ask=_example, on_moved=_moved)


def _moved() -> None:
    """A run has begun, ended or asked: the rerun that follows shows it in the sidebar, and leads nowhere."""
    session.by_itself()


def _example() -> None:
    asked = st.session_state["runview"].ask
    st.session_state[GRAPH] = asked["graph"]
    _ask(asked["question"])


def _submitted() -> None:
    value = st.session_state[INPUT]
    question = (value.text or "").strip()
    if value.files:
        uploads.start([(file.name, file.getvalue(), file.type or "") for file in value.files], question)
    elif question:
        uploads.clear_finished()
        _ask(question, st.session_state.get(MEANWHILE) or "enqueue")
        st.session_state[MEANWHILE] = "enqueue"  # a choice is for one message


def _ask(question: str, meanwhile: str = "enqueue") -> None:
    graph = st.session_state.get(GRAPH) or "chat"
    review = graph in st.session_state.get(_PLANNING, ()) and bool(st.session_state.get(_REVIEWS))
    session.ask(question, graph, meanwhile, review_plan=review)


# ---- header


def _header(info: Json, row: Json | None) -> None:
    graphs = {graph["name"]: graph for graph in info["graphs"]}
    _follow_thread(info, row, graphs)
    with st.container(key="header", horizontal=True, vertical_alignment="center", gap="small", wrap=False):
        if row:
            _title_menu(row)
        else:
            st.html(f"<p class='sx-title'>{'Chat' if session.thread() else 'New chat'}</p>", width="stretch")
        if graphs:
            _graph_menu(graphs)
        model = "demo" if info["demo"] else str(info["models"].get("large", ""))
        st.html(f"<p class='sx-model'>Model <b>{escape(model)}</b></p>", width="content")


def _follow_thread(info: Json, row: Json | None, graphs: dict[str, Json]) -> None:
    """A chat that is opened brings its graph along; a new one starts with the first example's, which shows most."""
    here = session.thread()
    if st.session_state.get(GRAPH) in graphs and st.session_state.get(_GRAPH_OF, "") == here:
        return
    example = info["examples"][0]["graph"] if info["examples"] else ""
    wanted = row["graph"] if row else st.session_state.get(GRAPH) or example
    st.session_state[GRAPH] = wanted if wanted in graphs else next(iter(graphs), "")
    st.session_state[_GRAPH_OF] = here


def _graph_menu(graphs: dict[str, Json]) -> None:
    names = list(graphs)
    with st.popover(
        f"Graph **{look.plain(graphs[st.session_state[GRAPH]]['title'])}**",
        key=_GRAPH_MENU,
        type="tertiary",
        on_change="rerun",  # or a choice could not close it
    ):
        st.radio(
            "Graph",
            names,
            format_func=lambda name: look.plain(graphs[name]["title"]),
            captions=[look.plain(graphs[name]["description"]) for name in names],
            key=GRAPH,
            label_visibility="collapsed",
            on_change=_graph_chosen,
        )


def _graph_chosen() -> None:
    st.session_state[_GRAPH_MENU] = False  # open, it would lie over the conversation


def _title_menu(row: Json) -> None:
    """The title opens what can be done with the chat."""
    title = " ".join((row["title"] or "New chat").split())
    with st.popover(look.plain(title), key="title_menu", type="tertiary"):
        with st.form("rename", border=False):
            new = st.text_input("Title", value=title, max_chars=200).strip()
            renamed = st.form_submit_button("Rename")
        if renamed and new and new != title:
            _try(lambda: session.api().rename_thread(row["thread_id"], new))
            st.rerun()
        if st.button("Delete this chat", icon=":material/delete:", key="delete_thread"):
            _try(lambda: session.api().delete_thread(row["thread_id"]))
            session.show_thread(None)
            st.rerun()


def _try(call: Callable[[], None]) -> None:
    try:
        call()
    except ApiProblem as problem:
        session.report(problem)


# ---- foot


def _meanwhile() -> None:
    """What a message sent now means for the run that is going; the style shows it only while one is."""
    if not session.thread():
        return
    with st.container(key="sent_now", horizontal=True, horizontal_alignment="center", gap="small", wrap=True):
        st.html("<p>Sent now, your message</p>", width="content")
        st.segmented_control(
            "What a message sent now does",
            list(_WAYS),
            default=None if MEANWHILE in st.session_state else "enqueue",
            required=True,
            format_func=lambda way: _WAYS[way],
            key=MEANWHILE,
            label_visibility="collapsed",
        )


def _plan_first() -> None:
    """For graphs that plan: whether a person looks at the plan before anybody works on it."""
    if st.session_state.get(GRAPH) not in st.session_state[_PLANNING]:
        return
    with st.container(key="plan_first", horizontal=True, horizontal_alignment="center"):
        st.toggle(
            "Review the plan first",
            value=bool(st.session_state.get(_REVIEWS)),
            key=REVIEW,
            width="content",
            on_change=_plan_first_changed,
        )


def _plan_first_changed() -> None:
    st.session_state[_REVIEWS] = st.session_state[REVIEW]


def _foot(info: Json) -> str:
    """Under the input: how the parts are doing before the first question, what the keys do after it."""
    if session.thread():
        return "<p class='sx-health'><span>Enter sends, Shift Enter starts a new line</span></p>"
    marks = "".join(
        f"<span><i class='sx-mark sx-{'done' if part['ok'] else 'failed'}'></i>{escape(part['text'])}</span>"
        for part in info["health"]
    )
    return f"<p class='sx-health'>{marks}<span>Started in {float(info['started_in_s']):.1f} s</span></p>"
