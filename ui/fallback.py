"""The conversation without an event stream (`?live=poll`): one polling fragment, native elements, the same view.

For proxies that hold streams back, browsers without scripts of ours, and tests. It draws from the same RunView.
"""

import json
from collections.abc import Callable
from functools import partial
from html import escape
from typing import Any

import streamlit as st

from ui import look, session
from ui.blocks import to_html
from ui.client import ApiProblem, Json
from ui.sidebar import need_words

POLL_S = 0.5
UNFINISHED = ("queued", "running", "waiting", "lost")


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
        _commands(view)
        for request in view.get("requests", ()):
            _request(view, request)
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


def _commands(view: Json) -> None:
    """What can be done with the run as it is."""
    api, run_id = session.api(), view["run_id"]
    with st.container(horizontal=True, key=f"commands_{run_id}"):
        if view["status"] in UNFINISHED:
            _act("Stop", f"stop_{run_id}", lambda: api.cancel(run_id))
        if view["status"] == "running" and view["plan"]:
            _act("Answer with what we have", f"hurry_{run_id}", lambda: api.answer_now(run_id))
        if more := view["status"] not in UNFINISHED and (view.get("budget_reached") or {}).get("more"):
            again = api.retry if more["command"] == "retry" else api.resume
            _act("Raise the budget and go on", f"raise_{run_id}", lambda: again(run_id, more["budget"]))
        elif view["status"] in ("failed", "cancelled", "lost"):
            _act("Resume", f"resume_{run_id}", lambda: api.resume(run_id))
        elif view["status"] == "succeeded" and view["missing"]:
            _act("Retry the missing parts", f"retry_{run_id}", lambda: api.retry(run_id))


def _act(words: str, key: str, command: Callable[[], None]) -> None:
    """A button whose refusal is told. What it does may start a run, so the page looks again whether to poll."""
    if not st.button(words, key=key):
        return
    try:
        command()
    except ApiProblem as problem:
        session.report(problem)
    st.rerun()


def _request(view: Json, request: Json) -> None:
    """A question to a person, with native fields: the call as JSON text, and one line of words."""
    if request["answer"] is not None or view["status"] not in UNFINISHED:
        return
    key, choices, args = f"{view['run_id']}_{request['id']}", request.get("choices") or (), None
    part = _editable(request)
    with st.container(border=True, key=f"request_{key}"):
        st.html(f"<p><b>{escape(need_words(request))}</b> {escape(str(request.get('what') or ''))}</p>")
        if request.get(part) is not None:
            given = json.dumps(request[part], ensure_ascii=False, indent=2)
            text = st.text_area("What it is given", given, key=f"args_{key}", disabled="edit" not in choices)
            args = text if text != given else None
        words = st.text_input("In your words" if choices else "Your answer", key=f"words_{key}")
        with st.container(horizontal=True, key=f"answers_{key}"):
            # who has edited approves what is seen, never what was there before
            for choice in [it for it in choices if it != ("edit" if args is None else "approve")] or ["answer"]:
                answer = {"decision": choice, "reason": words} if choices else words
                label = "Approve with edits" if choice == "edit" else choice.capitalize()
                _act(label, f"{choice}_{key}", partial(_answer, view, request, answer, args))


def _editable(request: Json) -> str:
    """What of a request a person may change: the arguments of a call, or a plan."""
    return "plan" if request.get("kind") == "plan" else "args"


def _answer(view: Json, request: Json, answer: Any, args: str | None) -> None:
    if args is not None and answer["decision"] == "edit":
        try:
            answer = {**answer, _editable(request): json.loads(args)}
        except ValueError as error:
            raise ApiProblem(f"This is not JSON: {error}.", "Mend it, then send it again.") from error
    session.api().answer(view["run_id"], request["id"], answer)


def _lane(lane: Json) -> Json:
    elapsed = None if lane["start"] is None or lane["end"] is None else round(lane["end"] - lane["start"], 1)
    words = lane["activity"] or ", ".join(lane["waits_for"])
    return {"agent": lane["title"], "state": lane["state"], "now": words, "seconds": elapsed, "tokens": lane["tokens"]}
