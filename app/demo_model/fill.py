"""Fill a JSON schema: for tool arguments and for `response_format`.

Every value is read from the conversation where it can be (quoted strings, numbers, dates, `label: value` lines, the
option whose words fit best), and is otherwise the plainest one that the schema allows. Understands types, enums, const,
required, nesting, arrays, `$ref`, `anyOf`/`oneOf`/`allOf`, bounds, `multipleOf`, lengths, formats and simple patterns.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import Any

from app.demo_model.fits import fits
from app.demo_model.readings import READINGS, USUAL, Clues, described, quoted, words_of
from app.demo_model.values import allowed, bounds, exactly, matching, nearest, numbers, within
from app.demo_model.words import clipped, content_stems, content_words, stems

Schema = Mapping[str, Any]
Shape = Callable[["Filler", Schema], Any]
MAX_DEPTH = 8


class Filler:
    """One schema being filled from one set of clues."""

    def __init__(self, schema: Schema, clues: Clues, shapes: Sequence[Shape] = ()) -> None:
        self.root = schema
        self.clues = clues
        self._shapes = shapes
        self._numbers = numbers(clues.text)
        self._quoted = quoted(clues.text)
        self._fresh = count(1)

    def fill(self) -> Any:
        return self.value(self.root, "", 0)

    # -- any schema

    def value(self, schema: Any, name: str, depth: int = 0) -> Any:
        """A value that `schema` allows. `name` is the field's name, for reading."""
        schema = self.plain(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self.option(schema["enum"], schema, name)
        if name and self._nullable(schema) and not self._known(name):
            return None
        if branches := schema.get("anyOf") or schema.get("oneOf"):
            rest = {k: v for k, v in schema.items() if k not in ("anyOf", "oneOf")}
            return self.value(_merged(rest, self.plain(self._branch(branches, name, depth))), name, depth)
        return self._typed(schema, name, depth)

    def plain(self, schema: Any) -> dict[str, Any]:
        """The schema with its `$ref` followed and its `allOf` merged."""
        if not isinstance(schema, Mapping):
            return {}
        found: dict[str, Any] = dict(schema)
        for _ in range(20):
            if isinstance(ref := found.pop("$ref", None), str):
                found = _merged(self._target(ref), found)
            elif parts := found.pop("allOf", None):
                for part in parts:
                    found = _merged(found, self.plain(part))
            else:
                break
        return found

    def _target(self, ref: str) -> dict[str, Any]:
        node: Any = self.root
        for step in ref.removeprefix("#").strip("/").split("/"):
            if step:
                key = step.replace("~1", "/").replace("~0", "~").replace("%25", "%")
                node = node[int(key)] if isinstance(node, list) else node.get(key, {})
        return dict(node) if isinstance(node, Mapping) else {}

    def _branch(self, branches: Sequence[Any], name: str, depth: int) -> Any:
        """The branch to take: null only when nothing is known and there is no other way out of a recursion."""
        usable = [branch for branch in branches if self._kind(branch) != "null"]
        if not usable or (depth >= MAX_DEPTH - 2 and len(usable) < len(branches)):
            return next((b for b in branches if self._kind(b) == "null"), branches[0])
        if depth >= MAX_DEPTH - 2:
            usable.sort(key=lambda branch: self._kind(branch) in ("object", "array"))
        titles = [stems(f"{self.plain(b).get('title', '')} {self.plain(b).get('description', '')}") for b in usable]
        asked = content_stems(self.clues.text)
        best = max(range(len(usable)), key=lambda i: (len(titles[i] & asked) if depth < MAX_DEPTH - 2 else 0, -i))
        return usable[best]

    def _nullable(self, schema: Mapping[str, Any]) -> bool:
        kinds = schema.get("type")
        branches = [*(schema.get("anyOf") or ()), *(schema.get("oneOf") or ())]
        return (isinstance(kinds, list) and "null" in kinds) or any(self._kind(branch) == "null" for branch in branches)

    def _known(self, name: str) -> bool:
        """True when the text or what is known speaks of the field: else one that may be null is null."""
        about = frozenset(words_of(name))
        read = any(about & names for names, _ in READINGS)
        return name in self.clues.fields or read or bool(stems(" ".join(about)) & content_stems(self.clues.text))

    def _kind(self, schema: Any) -> str:
        plain = self.plain(schema)
        kind = plain.get("type")
        if isinstance(kind, list):
            kind = next((k for k in kind if k != "null"), "null")
        if isinstance(kind, str):
            return kind
        return _implied(plain)

    def _typed(self, schema: dict[str, Any], name: str, depth: int) -> Any:
        match self._kind(schema):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, name, depth)
            case "integer":
                return self._number(schema, name, whole=True)
            case "number":
                return self._number(schema, name, whole=False)
            case "boolean":
                return self._truth(schema, name)
            case "null":
                return None
        return self.string(schema, name)

    # -- objects and arrays

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        for shape in self._shapes:
            if isinstance(made := shape(self, schema), dict):
                return self.completed(schema, made, depth)
        return self.completed(schema, {}, depth)

    def completed(self, schema: Schema, made: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
        """`made`, where it fits, with every other field of the schema filled, in the schema's order."""
        properties: Mapping[str, Any] = schema.get("properties") or {}
        required = list(schema.get("required") or ())
        filled: dict[str, Any] = {}
        for name, inner in properties.items():
            if name in made and fits(made[name], inner, self.plain):
                filled[name] = made[name]
            elif name in required or self._wanted(inner, depth):
                filled[name] = self.value(inner, name, depth + 1)
        extra = schema.get("additionalProperties", True)
        for name in required:
            if name not in filled:
                filled[name] = self.value(extra if isinstance(extra, Mapping) else {}, name, depth + 1)
        names = (f"item_{n}" for n in count(1))
        while len(filled) < schema.get("minProperties", 0) and extra is not False:
            filled[next(names)] = self.value(extra if isinstance(extra, Mapping) else {}, "", depth + 1)
        return filled

    def _wanted(self, schema: Any, depth: int) -> bool:
        """Optional fields are left to their defaults, except plain ones that say nothing of a default."""
        plain = self.plain(schema)
        nullable = any(self._kind(branch) == "null" for branch in plain.get("anyOf") or ())
        return depth < 2 and "default" not in plain and not nullable and self._kind(plain) not in ("object", "array")

    def _array(self, schema: dict[str, Any], name: str, depth: int) -> list[Any]:
        least = int(schema.get("minItems", 0))
        most = int(schema.get("maxItems", max(least, 5)))
        first = list(schema.get("prefixItems") or ())
        items = schema.get("items", {})
        filled = [self.value(inner, name, depth + 1) for inner in first][:most]
        if items is False or depth >= MAX_DEPTH:
            return self._padded(filled, items, name, least, depth, bool(schema.get("uniqueItems")))
        inner = self.plain(items)
        if "enum" in inner:
            filled += self._options(inner, least, most - len(filled), name)
        elif inner.get("type") == "string" and not {"const", "format", "pattern"} & set(inner):
            filled += [self._sized(text, inner) for text in self._texts(name)][: max(0, most - len(filled))]
        elif not filled and most:
            filled.append(self.value(items, name, depth + 1))
        if schema.get("uniqueItems"):
            filled = _distinct(filled)
        return self._padded(filled, items, name, least, depth, bool(schema.get("uniqueItems")))

    def _padded(self, filled: list[Any], items: Any, name: str, least: int, depth: int, unique: bool) -> list[Any]:
        for attempt in count():
            if len(filled) >= least or attempt > 50 * (least + 1):
                return filled
            value = self.value(items, name, depth + 1)
            if unique and _held(value, filled):
                value = self._another(self.plain(items), filled, value)
            filled.append(value)
        return filled

    def _another(self, schema: dict[str, Any], filled: Sequence[Any], value: Any) -> Any:
        """A value not yet in a list of unique ones, by varying the plainest."""
        candidates: Iterable[Any] = ()
        if "enum" in schema:
            candidates = schema["enum"]
        elif isinstance(value, bool):
            candidates = (True, False)
        elif isinstance(value, int | float):
            step = schema.get("multipleOf", 1)
            low, high = bounds(schema, whole=isinstance(value, int))
            steps = (value + sign * n * step for n in range(1, len(filled) + 3) for sign in (1, -1))
            candidates = (v for v in steps if (low is None or v >= low) and (high is None or v <= high))
        elif isinstance(value, str):
            candidates = (self._sized(f"{n} {value}", schema) for n in self._fresh)
        return next((c for c in candidates if not _held(c, filled)), value)

    def _options(self, inner: dict[str, Any], least: int, most: int, name: str) -> list[Any]:
        options = _distinct(list(inner["enum"]))
        scored = [(self._fit(option, inner), -i, option) for i, option in enumerate(options)]
        fitting = [option for fit, _, option in sorted(scored, key=lambda s: s[:2], reverse=True) if fit > 0]
        rest = [option for option in options if option not in fitting]
        return [*fitting, *rest[: max(0, least - len(fitting))]][: max(0, most)]

    def _texts(self, name: str) -> list[str]:
        """Several short texts: what was quoted, else the content words."""
        if made := self.clues.fields.get(name):
            return [made]
        return (self._quoted or content_words(self.clues.text))[:3]

    # -- scalars

    def option(self, options: Sequence[Any], schema: Schema, name: str) -> Any:
        """The option whose words, or whose description's words, are most in the text; the default or first if none."""
        scored = [(self._fit(option, schema), -i) for i, option in enumerate(options)]
        best, at = max(scored, default=(0.0, 0))
        if best <= 0 and "default" in schema and schema["default"] in options:
            return schema["default"]
        return options[-at] if options else None

    def _fit(self, option: Any, schema: Schema) -> float:
        if not isinstance(option, str):
            return 1.0 if str(option).lower() in self.clues.text.lower().split() else 0.0
        asked = content_stems(self.clues.text)
        own = frozenset(stems(re.sub(r"[_\-]", " ", option)))
        told = content_stems(described(option, f"{self.clues.background}\n{schema.get('description', '')}"))
        return 2.0 * len(own & asked) + len((told - own) & asked)

    def _truth(self, schema: Schema, name: str) -> bool:
        if isinstance(schema.get("default"), bool):
            return bool(schema["default"])
        about = content_stems(name.replace("_", " "))
        return bool(about & stems(self.clues.text))

    def _number(self, schema: Schema, name: str, *, whole: bool) -> int | float:
        low, high = bounds(schema, whole=whole)
        default = schema.get("default")
        if isinstance(default, int | float) and within(default, low, high) and not schema.get("multipleOf"):
            return exactly(default, whole)
        labelled = numbers(self.labelled(name) or "")
        if name.lower() in USUAL and not labelled and not schema.get("multipleOf"):
            usual = float(USUAL[name.lower()])
            return exactly(min(max(usual, usual if low is None else low), usual if high is None else high), whole)
        for number in [*labelled, *self._numbers]:
            if allowed(number, low, high, schema.get("multipleOf"), whole):
                if number in self._numbers:
                    self._numbers.remove(number)  # the next field gets the next number
                return exactly(number, whole)
        return nearest(low, high, schema.get("multipleOf"), whole)

    def string(self, schema: Schema, name: str) -> str:
        if made := matching(schema.get("format"), schema.get("pattern"), self._candidates(name)):
            return made if schema.get("pattern") or schema.get("format") else self._sized(made, schema)
        return self._sized(self._text(schema, name), schema)

    def _candidates(self, name: str) -> list[str]:
        found = [self.labelled(name), *self._quoted, *self.clues.text.split()]
        return [text.strip(" ,;?!()") for text in found if text]

    def _text(self, schema: Schema, name: str) -> str:
        """The best reading of a text field, by its name."""
        if name in self.clues.fields:
            return self.clues.fields[name]
        if isinstance(schema.get("default"), str):
            return str(schema["default"])
        about = frozenset(words_of(name))
        for names, read in READINGS:
            if names & about and (found := read(self.clues)):
                return found
        if found := self.labelled(name) or self._taken(name):
            return found
        return self._quoted[0] if self._quoted else self._subject()

    def labelled(self, name: str) -> str:
        """The value of a line such as `Invoice number: 17`."""
        label = r"[\s_-]*".join(map(re.escape, re.split(r"[_\s]+", name)))
        found = re.search(rf"^[^\w\n]{{0,10}}{label}\s*[:=]\s*(\S.*)$", self.clues.text, re.I | re.M) if name else None
        return found[1].strip() if found else ""

    def _taken(self, name: str) -> str:
        """`customer_name` from `a customer named Ann`, `city` from `in San Francisco`."""
        about = set(name.lower().split("_"))
        if about & {"name", "named", "customer", "person"}:
            found = re.search(
                r"\b(?:named|called|name is|for)\s+([A-Z][\w'’.-]*(?:\s+[A-Z][\w'’.-]*)*)", self.clues.text
            )
            return found[1] if found else ""
        if about & {"location", "city", "place", "country", "address", "where"}:
            found = re.search(r"\b(?:in|at|for|to|near)\s+([A-Z][\w'’.-]*(?:,?\s+[A-Z][\w'’.-]*)*)", self.clues.text)
            return found[1].rstrip(".") if found else ""
        return ""

    def _subject(self) -> str:
        """A name in the text, else its content words."""
        named = re.search(r"(?<=[a-z,] )([A-Z][\w-]+(?: [A-Z][\w-]+)*)", self.clues.text)
        return named[1] if named else clipped(" ".join(content_words(self.clues.text)), 200) or "unknown"

    def _sized(self, text: str, schema: Schema) -> str:
        least, most = int(schema.get("minLength", 0)), schema.get("maxLength")
        if most is not None and len(text) > int(most):
            text = text[: int(most)].rstrip() if least < int(most) else text[: int(most)]
        return text + "." * (least - len(text))


def _implied(schema: Mapping[str, Any]) -> str:
    if "properties" in schema or "minProperties" in schema or "additionalProperties" in schema or "required" in schema:
        return "object"
    if "items" in schema or "minItems" in schema or "prefixItems" in schema:
        return "array"
    if {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"} & set(schema):
        return "number"
    return "string"


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Both at once, as `allOf` means it."""
    made = {**one, **other}
    if "properties" in one and "properties" in other:
        made["properties"] = {**one["properties"], **other["properties"]}
    if "required" in one and "required" in other:
        made["required"] = list(dict.fromkeys([*one["required"], *other["required"]]))
    for key, tighter in (("minimum", max), ("maximum", min), ("minLength", max), ("maxLength", min),
                         ("minItems", max), ("maxItems", min)):  # fmt: skip
        if key in one and key in other:
            made[key] = tighter(one[key], other[key])
    return made


def _held(value: Any, values: Iterable[Any]) -> bool:
    """Membership as JSON has it: 1 and true are two values."""
    return any(type(value) is type(other) and value == other for other in values) or (
        not isinstance(value, bool) and any(value == o and not isinstance(o, bool) for o in values)
    )


def _distinct(values: Sequence[Any]) -> list[Any]:
    kept: list[Any] = []
    for value in values:
        if not _held(value, kept):
            kept.append(value)
    return kept
