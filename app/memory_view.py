"""What a run did with memory, from its events: who wrote what, as which version; what was used; what left. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MOST = 200
"""Entries of a view, the newest; all are in the events."""
MAX_SAID_CHARS = 80
_DOES = {"board": "wrote on the board", "fact": "remembered", "lesson": "kept a lesson", "page": "paged out"}


@dataclass(slots=True)
class MemoryView:
    """Entries in order: {did: written | recalled | paged, at, lane, place, key, version, author, text}."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    _known: set[tuple[Any, ...]] = field(default_factory=set)

    def written(self, data: Mapping[str, Any], at: float, lane: str) -> str:
        """Take a write; what the lane is doing, in words. A write that a resumed run tells again is one."""
        entry = {name: data.get(name) for name in ("place", "key", "version", "author", "text")}
        if (same := tuple(entry.values())) not in self._known:
            self._known.add(same)
            self._add({"did": "written", "at": at, "lane": lane, **entry})
        said = str(entry["text"] or entry["key"])
        return f"{_DOES.get(str(entry['place']), 'wrote')}, version {entry['version']}: {said[:MAX_SAID_CHARS]}"

    def recalled(self, data: Mapping[str, Any], at: float, lane: str) -> None:
        """Take what was put beside a question."""
        for item in data.get("items", ()):
            self._add({"did": "recalled", "at": at, "lane": lane, **item})

    def paged(self, data: Mapping[str, Any], at: float, lane: str) -> None:
        """Take what left the context."""
        self._add(
            {"did": "paged", "at": at, "lane": lane, "messages": data.get("messages"), "pages": data.get("pages")}
        )

    def _add(self, entry: dict[str, Any]) -> None:
        self.entries = [*self.entries[-MOST + 1 :], entry]
