"""Keep notes: written only with a person's consent, each once, and found again in later conversations."""

from typing import Any

from langchain_core.tools import ToolException, tool
from langgraph.prebuilt import ToolRuntime

from agents.effects import key_of
from agents.tools.contract import Contract, with_contract

MAX_TITLE_CHARS = 120
MAX_TEXT_CHARS = 8_000
LISTED = 20


@tool
async def save_note(title: str, text: str, runtime: ToolRuntime[Any, Any]) -> str:
    """Save a note for the person.

    Only when they ask for it; they confirm it before it is written.

    Args:
        title: a few words
        text: what the note says
    """
    for name, value, limit in (("title", title, MAX_TITLE_CHARS), ("text", text, MAX_TEXT_CHARS)):
        if not value.strip() or len(value) > limit:
            raise ToolException(f"{name}: {len(value)} characters of 1 to {limit}; write another one")
    if runtime.store is None:
        raise ToolException("there is no store in this run; nothing was saved")
    # the key is the same when the call is repeated after a crash, so a note is never there twice
    await runtime.store.aput(_notebook(runtime), key_of(runtime).text(), {"title": title, "text": text}, index=False)
    return f"Saved the note {title!r}."


@tool
async def list_notes(runtime: ToolRuntime[Any, Any]) -> str:
    """List the notes that were saved, newest first."""
    found = await runtime.store.asearch(_notebook(runtime), limit=LISTED) if runtime.store else []
    newest = sorted(found, key=lambda item: item.updated_at, reverse=True)
    lines = [f"- {item.value['title']}: {item.value['text']}" for item in newest]
    return "\n".join(lines) or "There are no notes."


def _notebook(runtime: ToolRuntime[Any, Any]) -> tuple[str, str]:
    return ("notes", runtime.context.owner)


_SAVES = "Saves the note “{title}” in your notebook."
with_contract(save_note, Contract(timeout_s=10, effect="keyed", approval=True, trusted=True, sentence=_SAVES))
with_contract(list_notes, Contract(timeout_s=10, retries=1, effect="read"))
