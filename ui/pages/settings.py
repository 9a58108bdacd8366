"""Settings: the models, the tools and who may call them, servers and agents of others, and how each of them is.

Each part is asked for by itself, so one that fails leaves the others. Nothing refreshes by itself: a definition that a
person reads must not change under their eyes, and what they approve is the text that was shown, by its hash.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from html import escape

import streamlit as st

from ui import definitions, session
from ui.client import ApiProblem, Json
from ui.sidebar import age_words

EFFECTS = {
    "read": "only reads",
    "idempotent": "may be repeated: the same again changes nothing more",
    "keyed": "takes a key: the service knows a repeat",
    "at_most_once": "happens once: never repeated by itself",
}
ASKS = {
    "always": "asks a person before every call",
    "after_reading": "asks a person once it has read something",
    "never": "never asks",
}
PINS = {
    "approved": ("done", "approved"),
    "new": ("waiting", "new: nobody has approved it, no agent can call it"),
    "changed": ("waiting", "changed since it was approved: no agent can call it"),
    "gone": ("cancelled", "the server does not define it any more"),
    "unfit": ("failed", "cannot be used"),
    "unseen": ("pending", "approved; not seen since the start"),
}
STATES = {"connecting": "running", "connected": "done", "up": "done", "away": "failed", "held": "waiting"}
BREAKERS = {"closed": "done", "open": "failed", "half_open": "retrying", "half-open": "retrying"}
READABLE = ("new", "changed")
ROLES = {
    "large": "large: plans, finds and writes",
    "small": "small: routine roles",
    "embed": "embed: search by meaning",
    "rerank": "rerank: a second look at what search found",
}
TALKS = ("large", "small")
"""Roles whose calls are in runs, and so are counted."""

_TOLD = "settings_told"
_TOLD_OF_PEERS = "settings_told_of_peers"
_MCP = """{"mcpServers": {
  "time": {"command": "uvx", "args": ["mcp-server-time"]},
  "wiki": {"url": "https://mcp.example.org/mcp", "roles": ["assistant"]}
}}"""
_A2A = """SEXTANT_A2A_PEERS='[{"name": "lawyer", "url": "https://agents.example.org/a2a"}]'"""


def page() -> None:
    """Draw all parts, each a fragment, so that none redraws the others or moves the page."""
    with st.container(key="header", horizontal=True, vertical_alignment="center"):
        st.html("<p class='sx-title'>Settings</p>", width="stretch")
    st.html("<h1 class='sx-h1'>What the agents can reach</h1>")
    st.html(
        "<p class='sx-lead'>Models, tools, servers and agents of others: who may use them, and how they are now.</p>"
    )
    st.fragment(_models)()
    st.fragment(_tools)()
    st.fragment(_remotes)()
    st.fragment(_peers)()


def _part(title: str, key: str) -> None:
    with st.container(key=f"part_{key}", horizontal=True, vertical_alignment="center"):
        st.html(f"<h2 class='sx-h2'>{title}</h2>", width="stretch")
        st.button("Refresh", key=f"refresh_{key}", icon=":material/refresh:", type="tertiary")


def _trouble(problem: ApiProblem, what: str) -> None:
    if problem.status == 404:
        st.html(f"<p class='sx-hint'>{what} is not available on this server.</p>")
        return
    st.html(f"<p role='alert'><i class='sx-mark sx-failed'></i><b>{escape(str(problem))}</b> {escape(problem.fix)}</p>")


def _item(title: str, lines: list[str], state: str = "", aside: str = "") -> str:
    """A row; `lines` and `aside` are HTML already, `title` is not."""
    mark = f"<i class='sx-mark sx-{state}'></i>" if state else ""
    rest = "".join(f"<span>{line}</span>" for line in lines if line)
    return f"<div class='sx-item'><p>{mark}<b>{escape(title)}</b>{rest}</p><p class='sx-figures'>{aside}</p></div>"


# ---- models


def _models() -> None:
    _part("Models", "models")
    try:
        with st.spinner("Asking whether the models answer"):
            models = session.api().models()
    except ApiProblem as problem:
        _trouble(problem, "The list of models")
        return
    st.html("".join(_model(row) for row in models) or "<span></span>")


def _model(row: Json) -> str:
    demo = "the demo model: its words are put together by rules" if row["demo"] else ""
    state = f"<b>Does not answer</b> at {escape(row['url'])}: {escape(row['error'])}" if row["error"] else ""
    state = state or (f"Answers at {escape(row['url'])}" if row["url"] else "")
    told = escape(definitions.visible(row["found"]))
    role = str(row["role"])
    lines = [escape(ROLES.get(role, role)), demo, "; ".join(filter(None, (state, told)))]
    mark = "done" if row["answers"] else "failed"
    return _item(definitions.visible(row["model"]), lines, mark, figures(row) if role in TALKS else "")


# ---- tools


def _tools() -> None:
    _part("Tools", "tools")
    try:
        with st.spinner("Asking how the tools are"):
            listed = session.api().tools()
    except ApiProblem as problem:
        _trouble(problem, "The list of tools")
        return
    if not listed["tools"]:
        st.html("<p class='sx-hint'>No agent holds a tool. A role names its tools in its file under agents/.</p>")
    st.html("".join(_tool(row) for row in listed["tools"]) or "<span></span>")
    shared = {row["service"] for row in listed["tools"]}
    others = [row for row in listed.get("services", ()) if row["service"] not in shared]
    if others:
        rows = (_item(it["service"], [breaker_words(it["breaker"])], breaker_mark(it["breaker"])) for it in others)
        st.html("<h3 class='sx-h3'>Other services that were called</h3>" + "".join(rows))


def _tool(row: Json) -> str:
    held = ", ".join(row["roles"]) or "nobody"
    service = "" if row["service"] == row["name"] else f"service {row['service']}: "
    lines = [
        escape(first_sentence(row["description"])),
        escape(f"{EFFECTS.get(row['effect'], row['effect'])}; at most {row['timeout_s']:g} s. Held by {held}."),
        escape(grant_words(row)),
        f"{escape(service)}{breaker_words(row['breaker'])}",
    ]
    return _item(row["name"], lines, breaker_mark(row["breaker"]), figures(row))


def grant_words(row: Json) -> str:
    """When a person is asked about a call of this tool."""
    if row["approval"]:
        return "A person says yes before every call."
    if row["effect"] == "read" and not row["reaches_out"]:
        return "Reads only, so no person is asked."
    if granted := ", ".join(row["granted_to"]):
        return f"Without a person: {granted}. Others ask once they have read something."
    return "Asks a person once its role has read something."


def figures(row: Json) -> str:
    """p95 and errors of the last hour; nothing is said of no calls."""
    if not row["calls"]:
        return "no call in the last hour"
    late = f"p95 {seconds_words(row['p95_ms'])}" if row["p95_ms"] is not None else "p95 unknown"
    rate = f"{100 * row['errors'] / row['calls']:.1f} %"
    calls = "1 call" if row["calls"] == 1 else f"{row['calls']:,} calls"
    return f"<small><b>{late}</b></small><small>{rate} errors</small><small>{calls} in the last hour</small>"


def seconds_words(ms: float) -> str:
    """A duration as short as it can be read."""
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.1f} s"


def breaker_mark(breaker: Json) -> str:
    """The mark of a breaker's state."""
    return BREAKERS.get(breaker["state"], "lost")


def breaker_words(breaker: Json) -> str:
    """How its service stands, as HTML."""
    if breaker["state"] == "closed":
        return "breaker closed: calls go through"
    since = f" since {clock_words(breaker['since'])}" if breaker.get("since") else ""
    why = f" ({escape(breaker['why'])})" if breaker.get("why") else ""
    if breaker["state"] == "open":
        wait = breaker.get("next_try_s") or 0
        return f"<b>breaker open{since}</b>{why}: left alone, next try in {wait:.0f} s"
    return f"<b>breaker half-open{since}</b>{why}: one call tries whether it is back"


def clock_words(stamp: str) -> str:
    """A moment, as long ago."""
    age = age_words(stamp)
    return f"{datetime.fromisoformat(stamp).astimezone(UTC):%H:%M} UTC" + (f", {age} ago" if age != "now" else "")


def first_sentence(text: str, limit: int = 160) -> str:
    """The beginning of a description: tools of others may write a page."""
    line = definitions.visible(" ".join(text.split()))
    end = line.find(". ")
    short = line[: end + 1] if 0 < end < limit else line
    return short if len(short) <= limit else short[: limit - 1] + "…"


# ---- MCP servers


def _remotes() -> None:
    _part("MCP servers", "remotes")
    if told := st.session_state.pop(_TOLD, None):
        st.html(f"<p role='alert'><i class='sx-mark sx-{told[0]}'></i>{escape(told[1])}</p>")
    try:
        with st.spinner("Asking how the servers are"):
            remotes = session.api().remotes()
    except ApiProblem as problem:
        _trouble(problem, "The list of MCP servers")
        return
    for remote in remotes:
        _remote(remote)
    if not remotes:
        st.html(f"<p class='sx-hint'>None yet. Name them in .sextant/mcp.json and start again:</p>{_example(_MCP)}")


def _example(text: str) -> str:
    return f"<pre class='sx-example'>{escape(text)}</pre>"


def _remote(remote: Json) -> None:
    trouble = f"Last error: {escape(definitions.visible(remote['last_error']))}" if remote["last_error"] else ""
    lines = [
        f"{escape(remote['transport'])}, {escape(remote['target'])}",
        f"{escape(remote['state'])} since {clock_words(remote['since'])}. For {escape(', '.join(remote['roles']))}.",
        "Tools are taken as first seen; a change still asks." if remote["trust_on_first_use"] else "",
        trouble,
    ]
    tools = remote["tools"]
    wait = sum(tool["state"] in READABLE for tool in tools)
    aside = f"<small><b>{len(tools)} tools</b></small>" + (f"<small>{wait} to read</small>" if wait else "")
    st.html(_item(remote["name"], lines, STATES.get(remote["state"], "lost"), aside))
    with st.container(key=f"tools_of_{remote['name']}", gap="small"):
        for tool in sorted(tools, key=lambda it: it["state"] not in READABLE):
            _remote_tool(remote["name"], tool)


def _remote_tool(server: str, tool: Json) -> None:
    mark, words = PINS.get(tool["state"], ("lost", tool["state"]))
    facts = "; ".join(it for it in (words, EFFECTS.get(tool["effect"] or ""), ASKS.get(tool["asks"])) if it)
    problem = f"<span>{escape(definitions.visible(tool['problem']))}</span>" if tool["problem"] else ""
    shown = definitions.compared(tool["approved"], tool["offered"])
    head = f"<i class='sx-mark sx-{mark}'></i><b>{escape(tool['name'] or tool['tool'])}</b>"
    st.html(f"<details class='sx-tool'><summary>{head}<span>{escape(facts)}</span>{problem}</summary>{shown}</details>")
    if tool["state"] in READABLE and tool["offered"]:
        # the hash is bound as the text is drawn: a click approves what was on the screen, whatever came since
        args = (server, tool["tool"], tool["offered"]["sha256"])
        label = "Approve" if tool["state"] == "new" else "Approve the new text"
        st.button(label, key=f"approve_{server}_{tool['tool']}", on_click=_approve, args=args)
    if tool["approved"]:
        key = f"withdraw_{server}_{tool['tool']}"
        st.button("Withdraw", key=key, on_click=_withdraw, args=(server, tool["tool"]), type="tertiary")


def _approve(server: str, tool: str, sha256: str) -> None:
    try:
        session.api().approve(server, {tool: sha256})
    except ApiProblem as problem:
        newer = " Below is what it says now; nothing was approved." if problem.status == 409 else ""
        st.session_state[_TOLD] = ("failed", f"{problem} {problem.fix}.{newer}".replace("..", "."))
        return
    st.session_state[_TOLD] = ("done", f"{server}: {tool} is approved as it was shown.")


def _withdraw(server: str, tool: str) -> None:
    try:
        session.api().withdraw(server, tool)
    except ApiProblem as problem:
        st.session_state[_TOLD] = ("failed", f"{problem} {problem.fix}.".replace("..", "."))
        return
    st.session_state[_TOLD] = ("done", f"{server}: no agent can call {tool} any more, until it is approved again.")


# ---- agents of others


def _peers() -> None:
    _part("Agents elsewhere", "peers")
    try:
        with st.spinner("Asking whether they answer"):
            peers = session.api().peers()
    except ApiProblem as problem:
        _trouble(problem, "The list of agents elsewhere")
        return
    if told := st.session_state.pop(_TOLD_OF_PEERS, None):
        st.html(f"<p role='alert'><i class='sx-mark sx-{told[0]}'></i>{escape(told[1])}</p>")
    for peer in peers:
        st.html(_peer(peer))
        _card_of(peer)
    if not peers:
        st.html(f"<p class='sx-hint'>None yet. A plan can give work to agents of others by A2A:</p>{_example(_A2A)}")


def _card_of(peer: Json) -> None:
    """What there is to decide about an agent: its card where that is another than was approved, or a way to hold it."""
    if peer["state"] == "held":
        shown = definitions.compared(_as_definition(peer["approved"]), _as_definition(peer["card"]))
        head = "<b>Its card</b><span>No agent can ask it until a person has read this.</span>"
        st.html(f"<details class='sx-tool'><summary>{head}</summary>{shown}</details>")
        args = (session.api().approve_peer, peer["name"], peer["card"]["sha256"])
        st.button("Approve its card", key=f"approve_peer_{peer['name']}", on_click=_decide, args=args)
    elif peer.get("approved"):
        held = (session.api().withdraw_peer, peer["name"])
        st.button("Withdraw", key=f"withdraw_peer_{peer['name']}", on_click=_decide, args=held, type="tertiary")


def _as_definition(card: Json) -> Json:
    more = {"by": card["by"], "at": card["at"]} if "by" in card else {}
    return {"description": card["description"], "schema": card["whole"], "hints": {}, "sha256": card["sha256"], **more}


def _decide(act: Callable[..., None], *args: str) -> None:
    try:
        act(*args)
    except ApiProblem as problem:
        st.session_state[_TOLD_OF_PEERS] = ("failed", f"{problem} {problem.fix}.".replace("..", "."))


def _peer(peer: Json) -> str:
    card = peer.get("card") or {}
    skills = ", ".join(skill["name"] for skill in card.get("skills", ()))
    trouble = peer.get("last_error") or ""
    lines = [
        escape(f"At {peer['url']}"),
        escape(definitions.visible(peer.get("about") or card.get("description") or "")),
        escape(f"Can: {definitions.visible(skills)}") if skills else "",
        f"At most {peer['deadline_s']:g} s; {'a token is sent' if peer.get('has_token') else 'no token'}.",
        f"Last error: {escape(definitions.visible(trouble))}" if trouble else "",
    ]
    state = str(peer["state"])
    words = {"up": "answers", "away": "does not answer", "held": "held: its card waits for a yes"}.get(state, state)
    return _item(peer["name"], lines, STATES.get(state, "lost"), escape(words))
