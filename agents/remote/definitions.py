"""What a remote tool says of itself, made fit to be shown: bounded, without hidden characters, its schema in one piece.

A definition is text by a stranger that stands among an agent's instructions. So it is hashed as it came (name, title,
description, schema, hints), and shown as a person can have read it: characters that no screen shows are taken out.
Of its schema nothing points outside, nothing expands without end, and no pattern is kept: a regular expression of
somebody else's can take hours, and the server checks its arguments itself.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_TOOL_CHARS = 128
MAX_DESCRIPTION_CHARS = 8_000
MAX_DEFINITION_BYTES = 64_000
MAX_SCHEMA_PARTS = 2_000
"""Objects and lists of a schema once its references are replaced by what they stand for."""
MAX_SCHEMA_DEPTH = 20
MAX_OFFERED_CHARS = 64
"""Of a tool's name, which is what model endpoints take."""
HASHED = ("name", "title", "description", "inputSchema", "annotations")
_NAMED_PARTS = frozenset({"properties", "$defs", "definitions", "dependentSchemas"})
"""Keywords below which keys are names and no keywords."""
_LEFT_OUT = frozenset({"$defs", "definitions", "pattern", "patternProperties", "$schema", "$id", "$anchor"})
_SLUG = re.compile(r"[^a-z0-9]+")
_ARGUMENT = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


class Unfit(ValueError):
    """A definition that no model is shown: why."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One tool, as its server defines it."""

    tool: str
    """The server's own name for it."""
    sha256: str
    raw: Mapping[str, Any] = field(repr=False)
    """What was hashed."""
    description: str = ""
    schema: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def hint(self, name: str) -> bool:
        """Whether the tool claims this of itself."""
        hints = self.raw.get("annotations")
        return isinstance(hints, Mapping) and hints.get(name) is True

    def required(self) -> list[str]:
        """Arguments that every call has, and whose names can stand in a sentence."""
        names = self.schema.get("required")
        return [it for it in names if _ARGUMENT.fullmatch(str(it))] if isinstance(names, list) else []


def definition_of(given: Mapping[str, Any]) -> Definition:
    """The definition in a server's words. Raises Unfit."""
    raw = {key: given[key] for key in HASHED if given.get(key) is not None}
    text = json.dumps(raw, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    tool = raw.get("name")
    if not isinstance(tool, str) or not 0 < len(tool) <= MAX_TOOL_CHARS or not tool.isprintable():
        raise Unfit(f"its name is not 1 to {MAX_TOOL_CHARS} printable characters")
    if len(text) > MAX_DEFINITION_BYTES:
        raise Unfit(f"its definition has {len(text):,} bytes of at most {MAX_DEFINITION_BYTES:,}")
    if "\\u0000" in text:
        raise Unfit("its definition holds NUL")
    said = visible(str(raw.get("description") or raw.get("title") or ""))
    if len(said) > MAX_DESCRIPTION_CHARS:
        raise Unfit(f"its description has {len(said):,} characters of at most {MAX_DESCRIPTION_CHARS:,}")
    schema = raw.get("inputSchema")
    if not isinstance(schema, Mapping) or schema.get("type") != "object":
        raise Unfit("its arguments are no object")
    shown = {"properties": {}, **_Flat(schema).part(schema, MAX_SCHEMA_DEPTH)}
    return Definition(tool, hashlib.sha256(text.encode()).hexdigest(), raw, said, shown)


def visible(text: str) -> str:
    """Without what no screen shows: controls, direction marks, tag characters, private and unassigned ones."""
    return "".join(it for it in text if it in "\n\t" or unicodedata.category(it)[0] != "C")


class _Flat:
    """Replaces a schema's references by what they stand for, within a bound."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root, self._left = root, MAX_SCHEMA_PARTS

    def part(self, node: Any, depth: int, *, named: bool = False) -> Any:
        """A part of the schema; of `named` ones the keys are names."""
        if isinstance(node, str):
            return visible(node)
        if not isinstance(node, Mapping | list):
            return node
        self._left -= 1
        if self._left < 0 or not depth:
            raise Unfit(
                f"its schema has over {MAX_SCHEMA_PARTS:,} parts or {MAX_SCHEMA_DEPTH} levels, or refers to itself"
            )
        if isinstance(node, list):
            return [self.part(it, depth - 1) for it in node]
        if not named and isinstance(ref := node.get("$ref"), str):
            node = {**self._target(ref), **{key: value for key, value in node.items() if key != "$ref"}}
            return self.part(node, depth - 1)
        left = {key: value for key, value in node.items() if named or key not in _LEFT_OUT}
        return {visible(key): self.part(value, depth - 1, named=not named and key in _NAMED_PARTS)
                for key, value in left.items()}  # fmt: skip

    def _target(self, ref: str) -> Mapping[str, Any]:
        if not ref.startswith("#/"):
            raise Unfit(f"its schema refers to another document ({ref[:80]})")
        at: Any = self._root
        for step in ref[2:].split("/"):
            at = at.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(at, Mapping) else None
        if not isinstance(at, Mapping):
            raise Unfit(f"its schema refers to nothing ({ref[:80]})")
        return at


# -- names -----------------------------------------------------------------------------------------------------------


def slug(text: str) -> str:
    """Lower-case words joined by single underscores, so that two of them, joined by two, come apart again."""
    return _SLUG.sub("_", text.lower()).strip("_")


def offered_names(server: str, tools: Iterable[str]) -> dict[str, str]:
    """Tool -> `server__tool`. What would not fit, or be the same for two, ends in a hash of the tool's own name."""
    tools = list(tools)
    plain = [slug(tool) for tool in tools]
    return {
        tool: _offered(slug(server), tool, it, twice=plain.count(it) > 1) for tool, it in zip(tools, plain, strict=True)
    }


def _offered(server: str, tool: str, plain: str, *, twice: bool) -> str:
    room = MAX_OFFERED_CHARS - len(server) - 2
    if plain and not twice and len(plain) <= room:
        return f"{server}__{plain}"
    mark = hashlib.sha256(tool.encode()).hexdigest()[:8]
    return f"{server}__{slug(f'{plain[: room - 9]}_{mark}')}"
