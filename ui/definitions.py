"""Definitions of strangers' tools, to be read by a person: as text, whole, and the approved one beside the new one.

Characters that nobody sees (zero width, direction marks, controls) are written out: an instruction may hide in them.
"""

import json
from html import escape

from ui.client import Json


def visible(text: str) -> str:
    """The text with everything in it to be seen."""
    return "".join(char if char.isprintable() or char == "\n" else f"⟨U+{ord(char):04X}⟩" for char in text)


def text_of(definition: Json) -> str:
    """All that a definition says, as lines."""
    schema = json.dumps(definition["schema"], indent=2, sort_keys=True, ensure_ascii=False)
    hints = "\n".join(f"{name}: {value}" for name, value in sorted(definition["hints"].items()))
    parts = (definition["description"], f"Arguments\n{schema}", f"What it says of itself\n{hints}" if hints else "")
    return visible("\n\n".join(part for part in parts if part))


def compared(approved: Json | None, offered: Json | None) -> str:
    """As HTML: both where they differ, what differs marked line by line; else the one there is."""
    if not approved or not offered or approved["sha256"] == offered["sha256"]:
        one = offered or approved
        return f"<pre class='sx-definition'>{escape(text_of(one))}</pre>" if one else ""
    old, new = text_of(approved).split("\n"), text_of(offered).split("\n")
    by = f"Approved by {approved['by']}, {approved['at'][:10]}"
    sides = _side(by, old, set(new)) + _side("What the server says now", new, set(old))
    return f"<div class='sx-sides'>{sides}</div>"


def _side(title: str, lines: list[str], other: set[str]) -> str:
    drawn = "\n".join(escape(line) if line in other else f"<mark>{escape(line)}</mark>" for line in lines)
    return f"<div><h4>{escape(visible(title))}</h4><pre class='sx-definition'>{drawn}</pre></div>"
