"""What went wrong last, on whichever page it is read: a sentence, the next move, and the question that was not sent."""

from html import escape

import streamlit as st

from ui import session


def again(graph: str) -> None:
    """On the chat: it stays until the next success, and the question can be sent again."""
    told = session.problem()
    if not told:
        return
    with st.container(key="problem", horizontal=True, vertical_alignment="center", gap="small"):
        question = f"<br><q>{escape(told['question'][:300])}</q>" if told["question"] else ""
        st.html(_words(told["text"], told["fix"], question))
        if told["question"] and st.button("Send again", key="send_again"):
            session.ask_again(graph)
            st.rerun()


def once() -> None:
    """On any other page: said when it is drawn next."""
    if told := session.problem():
        session.forget_problem()
        st.html(_words(told["text"], told["fix"]))


def _words(text: str, fix: str, question: str = "") -> str:
    mark = "<i class='sx-mark sx-failed'></i>"
    return f"<p role='alert'>{mark}<b>{escape(text)}</b> {escape(fix)}{question}</p>"
