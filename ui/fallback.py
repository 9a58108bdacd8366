"""The conversation without an event stream (`?live=poll`): one polling fragment, native elements, the same view.

For proxies that hold streams back, browsers without scripts of ours, and tests. It draws from the same RunView.
"""

from html import escape

import streamlit as st

from ui import look, session
from ui.blocks import to_html
from ui.client import ApiProblem, Json

POLL_S = 0.5
UNFINISHED = ("queued", "running", "waiting")


def conversation(thread_id: str | None, info: Json) -> None:
    """All turns of a thread, or the examples when there is none."""
    if not thread_id:
        _examples(info)
        return
    runs = _runs(thread_id)
    live = any(run["status"] in UNFINISHED for run in runs)
    st.fragment(_turns, run_every=POLL_S if live else None)(thread_id)


def _examples(info: Json) -> None:
    st.header("What should the agents work on?")
    for at, example in enumerate(info["examples"]):
        st.button(look.plain(example["question"]), key=f"example_{at}", on_click=_ask_example, args=(example,))
        st.caption(look.plain(example["note"]))


def _ask_example(example: Json) -> None:
    st.session_state["graph"] = example["graph"]
    session.ask(example["question"], example["graph"])


def _runs(thread_id: str) -> list[Json]:
    try:
        return session.api().runs(thread_id)
    except ApiProblem as problem:
        session.report(problem)
        return []


def _turns(thread_id: str) -> None:
    live = False
    for run in _runs(thread_id):
        try:
            view = session.api().view(run["run_id"])
        except ApiProblem as problem:
            st.warning(f"{problem} {problem.fix}")
            continue
        live |= view["status"] in UNFINISHED
        _turn(view)
    if not live and st.session_state.pop("polled_live", False):
        st.rerun()  # ended: no more polling, and the sidebar gets its new mark
    st.session_state["polled_live"] = live


def _turn(view: Json) -> None:
    with st.chat_message("user", avatar=":material/person:"):
        st.text(view["question"])
    with st.chat_message("assistant", avatar=":material/explore:"):
        line = view["status_line"]
        st.html(f"<p role='status'><b>{escape(line['lead'])}</b> {escape(line['rest'])}</p>")
        if view["status"] in UNFINISHED and st.button("Stop", key=f"stop_{view['run_id']}"):
            session.api().cancel(view["run_id"])
        if view["lanes"]:
            st.dataframe([_lane(lane) for lane in view["lanes"]], hide_index=True)
        if view["answer"]["blocks"]:
            st.html(to_html(view["answer"]["blocks"]))
        for source in view["sources"]:
            if source["cited"]:
                page = f", page {source['page']}" if source["page"] else ""
                st.html(f"<p>[{source['n']}] {escape(source['document'])}{page}: {escape(source['quote'])}</p>")
        for gap in view["missing"]:
            st.warning(f"{gap['title']} is missing. {gap['reason']}")
        if view["error"]:
            st.error(f"{view['error']['message']} {view['error'].get('fix') or ''}")


def _lane(lane: Json) -> Json:
    elapsed = None if lane["start"] is None or lane["end"] is None else round(lane["end"] - lane["start"], 1)
    words = lane["activity"] or ", ".join(lane["waits_for"])
    return {"agent": lane["title"], "state": lane["state"], "now": words, "seconds": elapsed, "tokens": lane["tokens"]}
