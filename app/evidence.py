"""What a run has found, made and cites: passages by citation key, and the numbers that a reader sees. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from app.citations import cited_keys
from app.words import count_of

COMPUTING = frozenset({"calculator", "run_code"})
"""Tools whose numbers hold without a source."""


class Evidence:
    """The sources of one run."""

    def __init__(self) -> None:
        self.sources: dict[str, dict[str, Any]] = {}
        self.artefacts: dict[str, dict[str, Any]] = {}
        """Figures and files that tools made, by id, in order."""
        self.computed: list[str] = []
        """What tools that compute have returned."""
        self._cited: dict[str, None] = {}

    def told(self, outcome: Mapping[str, Any], by: str, tool: str = "") -> str:
        """Take what a tool's end says; what it found, in words, "" for nothing."""
        for made in outcome.get("artefacts", ()):
            self.artefacts.setdefault(made["id"], dict(made))
        if tool in COMPUTING and outcome.get("ok", True):
            self.computed.append(str(outcome.get("text", "")))
        return self.found(outcome.get("sources", ()), by)

    def found(self, sources: Iterable[Mapping[str, Any]], by: str) -> str:
        """Keep what a search returned; what that was, in words, "" for nothing."""
        documents, passages = set(), 0
        for source in sources:
            known = self.sources.setdefault(source["key"], {**source, "found_by": []})
            known["score"] = max(known["score"], source["score"])
            if by not in known["found_by"]:
                known["found_by"].append(by)
            documents.add(source["document_id"])
            passages += 1
        return f"read {count_of(passages, 'passage')} from {count_of(len(documents), 'document')}" if passages else ""

    def cite(self, text: str) -> None:
        """Note what a text cites."""
        for key in cited_keys(text):
            self._cited.setdefault(key)

    def gist(self, text: str) -> str:
        """How much of it has a source, in words."""
        keys = [key for key in cited_keys(text) if key in self.sources]
        if not keys:
            return "found nothing to cite"
        documents = len({self.sources[key]["document_id"] for key in keys})
        return f"{count_of(len(keys), 'finding')} from {count_of(documents, 'source')}"

    def numbers(self, answer: str) -> dict[str, int]:
        """Citation key -> the number its reader sees: in the answer's order, then as findings cited them."""
        keys = dict.fromkeys(key for key in [*cited_keys(answer), *self._cited] if key in self.sources)
        return {key: at for at, key in enumerate(keys, 1)}
