"""Files on their way into the index: counted, named, and a refusal said in words. The script never waits for them.

A question that came along with files is held back until their text can be searched, then sent by itself.
"""

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import streamlit as st

from ui import session
from ui.client import ApiProblem, Json, UploadPart, sentence

_KEY = "uploads"
_POLL_S = 0.5


def start(files: Sequence[UploadPart], question: str = "") -> None:
    """Send `files`; `question`, if any, goes out once they can be searched."""
    session.forget_problem()
    try:
        ingest_id = session.api().upload(files)
    except ApiProblem as problem:
        session.report(problem, question)
        return
    waiting = {"ingest_id": ingest_id, "question": question, "files": len(files), "seen": None}
    st.session_state[_KEY] = [upload for upload in _all() if not _over(upload)] + [waiting]


def progress(on_ready: Callable[[str], None]) -> None:
    """One line per upload; asks the server only while one is running."""
    uploads = _all()
    if not uploads:
        return
    running = any(not _over(upload) for upload in uploads)
    st.fragment(_lines, run_every=_POLL_S if running else None)(on_ready)


def _lines(on_ready: Callable[[str], None]) -> None:
    ended = False
    for upload in _all():
        if not _over(upload):
            ended |= _refresh(upload)
        _line(upload)
        if _over(upload) and upload["question"]:
            question, upload["question"] = upload["question"], ""
            on_ready(question)
    if ended:
        st.rerun()  # stops the polling, and shows the new number of documents


def _refresh(upload: Json) -> bool:
    """Ask how far it is; True when it has just ended."""
    try:
        upload["seen"] = session.api().ingest(upload["ingest_id"])
    except ApiProblem as problem:
        if problem.status == 404:  # the server was restarted: what it had indexed is in the list of documents
            upload["seen"] = {"state": "failed", "files_done": 0, "files_total": upload["files"], "failed": []}
    return _over(upload)


def _line(upload: Json) -> None:
    seen = upload["seen"] or {}
    failed = seen.get("failed") or []
    done, total = seen.get("files_done", 0), seen.get("files_total") or upload["files"]
    state = (
        "running" if not _over(upload) else "failed" if seen["state"] == "failed" else "partial" if failed else "done"
    )
    indexed = max(0, done - len(failed)) if _over(upload) else done  # an ingest that failed as a whole has done none
    words = f"<b>{indexed} of {total} indexed</b>" + _rest(upload, seen)
    rows = "".join(
        f"<li><b>{escape(str(row['name']))}</b>: {escape(_sentences(row['reason'], row.get('fix')))}</li>"
        for row in failed
    )
    st.html(
        f"<div class='sx-upload' role='status'><i class='sx-mark sx-{state}'></i><p>{words}</p>"
        f"{f'<ul>{rows}</ul>' if rows else ''}</div>"
    )


def _rest(upload: Json, seen: Json) -> str:
    if _over(upload):
        count = seen.get("chunks") or 0
        passages = f", {count:,} passage{'' if count == 1 else 's'}" if count else ""
        later = "; vectors are catching up" if seen.get("pending_vectors") else ""
        return f"{passages}{later}."
    current = f" · reading {escape(str(seen['current']))}" if seen.get("current") else ""
    question = " · your question goes out when they are in" if upload["question"] else ""
    return current + question


def _sentences(*parts: object) -> str:
    """Reasons and fixes as sentences: `a damaged PDF` -> `A damaged PDF.`"""
    return " ".join(sentence(str(part)) for part in parts if part)


def _all() -> list[dict[str, Any]]:
    return list(st.session_state.get(_KEY, []))


def _over(upload: Json) -> bool:
    return bool(upload["seen"]) and upload["seen"].get("state") in ("done", "failed")


def clear_finished() -> None:
    """Forget uploads that have ended; their result has been read."""
    st.session_state[_KEY] = [upload for upload in _all() if not _over(upload)]
