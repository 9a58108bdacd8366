"""Whether a value meets a JSON schema, as far as `fill` understands schemas."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from app.demo_model.values import has_format

Plain = Callable[[Any], Mapping[str, Any]]
"""Follows `$ref` and merges `allOf`."""

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "integer": (int,),
    "number": (int, float),
}


def fits(value: Any, schema: Any, plain: Plain) -> bool:
    """True when nothing in the schema speaks against the value."""
    found = plain(schema)
    kinds = found.get("type") or []
    if kinds and not any(_is(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        return False
    if ("const" in found and value != found["const"]) or ("enum" in found and value not in found["enum"]):
        return False
    branches = found.get("anyOf") or found.get("oneOf")
    if branches and not any(fits(value, branch, plain) for branch in branches):
        return False
    match value:
        case bool() | None:
            return True
        case str():
            return _text_fits(value, found)
        case int() | float():
            return _number_fits(value, found)
        case list():
            return _list_fits(value, found, plain)
        case dict():
            return _object_fits(value, found, plain)
    return False


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES.get(kind, ()))


def _text_fits(value: str, schema: Mapping[str, Any]) -> bool:
    pattern = schema.get("pattern")
    within = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
    return (
        within
        and has_format(schema.get("format", ""), value)
        and (pattern is None or re.search(pattern, value) is not None)
    )


def _number_fits(value: float, schema: Mapping[str, Any]) -> bool:
    return (
        schema.get("minimum", value) <= value <= schema.get("maximum", value)
        and schema.get("exclusiveMinimum", value - 1) < value < schema.get("exclusiveMaximum", value + 1)
        and not ("multipleOf" in schema and value % schema["multipleOf"])
    )


def _list_fits(value: list[Any], schema: Mapping[str, Any], plain: Plain) -> bool:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        return False
    items = schema.get("items", True)
    return isinstance(items, bool) or all(fits(item, items, plain) for item in value)


def _object_fits(value: dict[str, Any], schema: Mapping[str, Any], plain: Plain) -> bool:
    properties = schema.get("properties") or {}
    return all(name in value for name in schema.get("required") or ()) and all(
        fits(inner, properties[name], plain) for name, inner in value.items() if name in properties
    )
