"""What one open page knows: where the API is, which thread it shows, and what went wrong last.

The thread is kept in the address (`?thread=...`), so a reload or a second tab shows the same. Nothing of a run lives
here: a run goes on without any page.
"""

from typing import Any
from uuid import uuid4

import streamlit as st
from streamlit import config

from ui import sign_in
from ui.client import Api, ApiProblem

API_PATH = "/api"
"""Where the browser finds the API: the same origin as the page."""

_PROBLEM = "problem"
_SENT = "sent"
_LOOK_AT = "look_at"
_HERE, _BY_ITSELF = "here", "by_itself"


def api_url() -> str:
    """Address of the API for this process: the page is served by the same server, on Streamlit's port."""
    host = config.get_option("server.address") or "127.0.0.1"
    wildcard = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  an address to listen on is none to call
    reached = wildcard.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{reached}:{config.get_option('server.port')}{API_PATH}/"


@st.cache_resource(show_spinner=False)
def _shared(base_url: str) -> Api:
    return Api(base_url, key=sign_in.key)


def api() -> Api:
    """The client, one connection pool for all sessions."""
    return _shared(api_url())


def thread() -> str | None:
    """Thread in the address, if any."""
    return st.query_params.get("thread")


def show_thread(thread_id: str | None) -> None:
    """Put the thread into the address; the rest of the address stays."""
    went(st.session_state.get(_HERE, ("",))[0], thread_id)
    if thread_id:
        st.query_params["thread"] = thread_id
    else:
        st.query_params.pop("thread", None)


def went(page: str, thread_id: str | None) -> None:
    """A person has gone to `page`, and in it to a thread."""
    st.session_state[_HERE] = page, thread_id


def by_itself() -> None:
    """What makes the page run now was sent by the page, not by a person."""
    st.session_state[_BY_ITSELF] = thread()  # of this request: it may be cut short, and a person's be the next


def elsewhere(page: str) -> tuple[str, str | None] | None:
    """Page and thread to which the person has gone from `page` and the address; None where they are right here.

    What the page sends by itself names the place of that moment. Where a person has just gone elsewhere, the browser
    may not have heard of it yet: to follow it would bring back what was left.
    """
    here = page, thread()
    sent_by_itself = st.session_state.pop(_BY_ITSELF, "") == thread()
    been: tuple[str, str | None] = st.session_state.get(_HERE, here)
    if sent_by_itself and been != here:
        return been
    went(*here)
    return None


def address(thread_id: str | None) -> dict[str, str]:
    """What the address of the chat says when it shows this thread."""
    return {**({"live": "poll"} if polling() else {}), **({"thread": thread_id} if thread_id else {})}


def polling() -> bool:
    """True when the reader asked for the page without event stream (`?live=poll`)."""
    return st.query_params.get("live") == "poll"


def sent_run() -> dict[str, Any] | None:
    """The run that this page sent last, so that it is drawn before the list of runs is fetched."""
    return st.session_state.get(_SENT)


def ask(
    question: str, graph: str, meanwhile: str = "enqueue", review_plan: bool = False, key: str | None = None
) -> None:
    """Send `question` to the thread in the address, or to a new one. A refusal is kept for `problem`.

    `meanwhile` says what happens while a run of the thread is going: `enqueue`, `interrupt` or `branch`;
    `review_plan`, that a person looks at the plan before it runs. `key`: of the same message when it was sent before.
    """
    st.session_state.pop(_PROBLEM, None)
    key = key or uuid4().hex
    try:
        thread_id = thread() or api().create_thread(graph)
        show_thread(thread_id)
        run = api().start_run(thread_id, graph, question, meanwhile, review_plan, key)
    except ApiProblem as problem:
        # with all that was chosen for it: it may have arrived, and only the answer was lost
        report(problem, question, {"graph": graph, "meanwhile": meanwhile, "review_plan": review_plan, "key": key})
        return
    st.session_state[_SENT] = {"run_id": run["run_id"], "thread_id": thread_id, "question": question}


def ask_again(graph: str) -> None:
    """Send what could not be sent once more, as the same message; `graph` where it had none yet."""
    if told := problem():
        ask(told["question"], **{"graph": graph, **told["sent"]})


def look_at(request_id: str) -> None:
    """Have the run view bring this request to a person into sight."""
    st.session_state[_LOOK_AT] = request_id


def looked_at() -> str | None:
    """The request to bring into sight, once."""
    request_id: str | None = st.session_state.pop(_LOOK_AT, None)
    return request_id


def report(problem: ApiProblem, question: str = "", sent: dict[str, Any] | None = None) -> None:
    """Keep what went wrong until the next success, with what was to be sent and how."""
    st.session_state[_PROBLEM] = {"text": str(problem), "fix": problem.fix, "question": question, "sent": sent or {}}


def problem() -> dict[str, Any] | None:
    """What went wrong last, if it has not been mended."""
    return st.session_state.get(_PROBLEM)


def forget_problem() -> None:
    st.session_state.pop(_PROBLEM, None)
