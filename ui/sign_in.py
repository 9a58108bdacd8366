"""The page for somebody who has not said who they are: a key goes in, a cookie that no script can read comes back.

The form is sent by the browser itself and not by Streamlit, which cannot set cookies and has no need to see the key.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import streamlit as st

from ui import look
from ui.client import ApiProblem

COOKIE = "sextant_key"
UNAUTHORIZED = 401

_STYLE = """
form { display: grid; gap: 8px; max-width: 360px; margin: 18vh auto 0; font: 16px/24px var(--st-font); }
label { font-weight: 600; color: var(--sx-ink); }
input { font: inherit; padding: 9px 12px; color: var(--sx-ink); background: var(--sx-surface);
  border: 1px solid var(--sx-line-strong); border-radius: 6px; }
button { font: inherit; font-weight: 600; min-height: 44px; color: var(--sx-fill-text); background: var(--sx-fill);
  border: 0; border-radius: 6px; cursor: pointer; }
form.out { margin: 0; padding: 0 16px; }
.out button { justify-self: start; font-size: 12px; font-weight: 400; min-height: 32px; padding: 0; background: none;
  color: var(--sx-ink3); text-decoration: underline; }
input:focus-visible, button:focus-visible { outline: 2px solid var(--sx-brass); outline-offset: 2px; }
p { margin: 0; font-size: 14px; line-height: 20px; color: var(--sx-ink2); }
.wrong { font-weight: 600; color: var(--sx-red); }
"""
_IN = """
<form method="post" action="/api/login">
<input name="username" autocomplete="username" value="Sextant" hidden>
<label for="key">Your key</label>
<input id="key" name="key" type="password" autocomplete="current-password" required>
<button type="submit">Sign in</button>
{}
<p>Whoever runs this server makes one with <code>sextant key add NAME</code>.</p>
</form>
"""
_WRONG = '<p class="wrong" role="alert">That key is wrong or was revoked.</p>'
_OUT = '<form class="out" method="post" action="/api/logout"><button type="submit">Sign out</button></form>'
_FORMS = {"in": _IN.format(""), "again": _IN.format(_WRONG), "out": _OUT}


@cache
def _form(name: str) -> Callable[..., Any]:
    # a component, because Streamlit takes forms out of all other HTML
    return st.components.v2.component(f"sextant_sign_{name}", html=_FORMS[name], css=_STYLE)


def key() -> str | None:
    """The key of whoever looks at this page, if they have signed in."""
    return st.context.cookies.get(COOKIE)


def wanted(trouble: ApiProblem | None) -> bool:
    """Whether the API did not answer because it does not know who asks."""
    return trouble is not None and trouble.status == UNAUTHORIZED


def page() -> None:
    """Ask for the key, and nothing else."""
    look.apply(look.COLUMN_HOME_PX)
    _form("again" if st.query_params.get("sign_in") == "failed" else "in")(key="sign_in")
    st.stop()


def out() -> None:
    """A way to sign out, for those who have signed in."""
    if key():
        _form("out")(key="sign_out")
