"""The page: navigation and what every page shares. Thin on purpose, since runs share this interpreter."""

import streamlit as st

from ui import look, session, sidebar, sign_in
from ui.client import ApiProblem, Json
from ui.pages import chat, documents, memory, settings

st.set_page_config(
    page_title="Sextant",
    page_icon=look.ICON,
    layout="wide",
    initial_sidebar_state=272,
    # an entry of our own makes Streamlit show its menu, and with it the choice between light and dark
    menu_items={"About": "Sextant: agents that plan, work side by side and cite what they say."},
)

info: Json | None = None
threads: list[Json] = []
trouble: ApiProblem | None = None
try:
    info, threads = session.api().info(), session.api().threads()
except ApiProblem as error:
    trouble = error
if sign_in.wanted(trouble):
    sign_in.page()

pages = {
    # the default page's path is never shown; `chat` would make AppTest run pages/chat.py in its place
    "chat": st.Page(lambda: chat.page(info or {}, threads), title="Chat", url_path="conversation", default=True),
    "documents": st.Page(lambda: documents.page(info or {}), title="Documents", url_path="documents"),
    "memory": st.Page(memory.page, title="Memory", url_path="memory"),
    "settings": st.Page(settings.page, title="Settings", url_path="settings"),
}
chosen = st.navigation(list(pages.values()), position="hidden")
if gone := session.elsewhere(chosen.url_path):
    there = next(page for page in pages.values() if page.url_path == gone[0])
    st.switch_page(there, query_params=session.address(gone[1]))
in_thread = chosen.url_path not in ("documents", "memory", "settings") and session.thread()
look.apply(look.COLUMN_CHAT_PX if in_thread else look.COLUMN_HOME_PX)
sidebar.draw(pages, info)
if trouble:
    look.out_of_reach(trouble)
else:
    chosen.run()
