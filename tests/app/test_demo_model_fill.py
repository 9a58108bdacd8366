"""The demo model fills any JSON schema validly, and reads the values from the text where they stand in it."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.demo_model.reader import think

names = st.sampled_from(["title", "score", "answer", "items", "role", "id", "count", "date", "x", "tasks", "verdict"])
texts = st.sampled_from(["", "What is a lease?", "Compare A1 and B2", "3 items at 4.50", "naïve ✓ \x00", "word " * 400])


def filled(schema: dict[str, Any], text: str = "What is a lease?", system: str = "") -> Any:
    wanted = {"type": "json_schema", "json_schema": {"name": "wanted", "schema": schema, "strict": True}}
    messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    return json.loads(think({"model": "m", "messages": messages, "response_format": wanted}).text)


def between(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(0, 6)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def strings() -> st.SearchStrategy[dict[str, Any]]:
    sized = between(0, 30).map(lambda size: {"type": "string", "minLength": size[0], "maxLength": size[1]})
    formats = ["date", "date-time", "email", "uri", "uuid", "ipv4", "hostname"]
    patterns = [r"^[A-Z]{3}-\d{4}$", r"^(yes|no)$", r"^\w+@\w+\.com$", r"^[^\d\s]{2,}$", r"^a+b?c{2}$", r"\d\d:\d\d"]
    return st.one_of(
        st.just({"type": "string"}),
        sized,
        st.sampled_from(formats).map(lambda name: {"type": "string", "format": name}),
        st.sampled_from(patterns).map(lambda pattern: {"type": "string", "pattern": pattern}),
    )


def numbers() -> st.SearchStrategy[dict[str, Any]]:
    kinds = st.sampled_from(["integer", "number"])
    plain = kinds.map(lambda kind: {"type": kind})
    bounded = st.tuples(kinds, between(-40, 40)).map(
        lambda drawn: {"type": drawn[0], "minimum": drawn[1][0], "maximum": drawn[1][1]}
    )
    open_ended = st.tuples(kinds, between(-40, 40)).map(
        lambda drawn: {"type": drawn[0], "exclusiveMinimum": drawn[1][0] - 1, "exclusiveMaximum": drawn[1][1] + 1}
    )
    multiples = st.tuples(st.sampled_from([1, 2, 5, 7]), st.integers(-30, 30)).map(
        lambda drawn: {"type": "integer", "multipleOf": drawn[0], "minimum": drawn[1]}
    )
    return st.one_of(plain, bounded, open_ended, multiples)


def leaves() -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(
        strings(),
        numbers(),
        st.sampled_from([{"type": "boolean"}, {"type": "null"}, {}, {"type": ["string", "null"]}]),
        st.lists(st.sampled_from(["a", "b", 3, None, True]), min_size=1, unique_by=repr).map(lambda v: {"enum": v}),
        st.sampled_from(["fixed", 5, None]).map(lambda value: {"const": value}),
    )


def branches(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    arrays = st.tuples(inner, between(0, 4)).map(
        lambda drawn: {"type": "array", "items": drawn[0], "minItems": drawn[1][0], "maxItems": drawn[1][1]}
    )
    objects = st.tuples(st.dictionaries(names, inner, max_size=4), st.booleans(), st.booleans()).map(
        lambda drawn: {
            "type": "object",
            "properties": drawn[0],
            "required": list(drawn[0])[:: 1 if drawn[1] else 2],
            "additionalProperties": drawn[2],
        }
    )
    either = st.lists(inner, min_size=1, max_size=3).map(lambda options: {"anyOf": options})
    both = inner.map(lambda one: {"allOf": [one, {"description": "both"}]})
    tuples = st.lists(inner, min_size=1, max_size=3).map(
        lambda items: {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}
    )
    return st.one_of(arrays, objects, either, both, tuples)


schemas = st.recursive(leaves(), branches, max_leaves=8)


@given(schemas, texts)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_schema_is_filled_validly(schema: dict[str, Any], text: str) -> None:
    checker = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    checker.validate(filled(schema, text))


@pytest.mark.parametrize(
    "schema",
    [
        {"$defs": {"node": {"type": "object", "properties": {
            "name": {"type": "string"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}}, "required": ["name", "next", "children"],
            "additionalProperties": False}}, "$ref": "#/$defs/node"},
        {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True, "minItems": 4,
            "items": {"enum": ["w", "x", "y", "z", "q"]}}, "b": {"type": "array", "uniqueItems": True, "minItems": 3,
            "items": {"type": "integer", "minimum": 0}}, "c": {"type": "array", "uniqueItems": True, "minItems": 3,
            "items": {"type": "string", "maxLength": 9}}}, "required": ["a", "b", "c"]},
        {"oneOf": [{"type": "object", "properties": {"kind": {"const": "a"}, "x": {"type": "integer"}},
            "required": ["kind", "x"]}, {"type": "object", "properties": {"kind": {"const": "b"}},
            "required": ["kind"]}]},
        {"type": "object", "minProperties": 2, "additionalProperties": {"type": "number", "minimum": 3}},
        {"type": "object", "properties": {"rate": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            "step": {"type": "number", "multipleOf": 0.25, "minimum": 1.1}}, "required": ["rate", "step"]},
        {"definitions": {"id": {"type": "string", "pattern": "^T-[0-9]{2,4}$"}}, "type": "array", "minItems": 2,
            "items": {"$ref": "#/definitions/id"}},
    ],
)  # fmt: skip
def test_references_unions_and_sets(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(schema).validate(filled(schema))


def test_values_are_read_from_the_text() -> None:
    fields = {
        "invoice_number": {"type": "integer"},
        "email": {"type": "string"},
        "due_date": {"type": "string", "format": "date"},
        "amount": {"type": "number"},
        "customer_name": {"type": "string"},
        "city": {"type": "string"},
        "website": {"type": "string"},
        "priority": {"enum": ["low", "high"]},
        "paid": {"type": "boolean"},
    }
    text = (
        "A customer named Zoë Brontë in San Francisco has an invoice of high priority.\n"
        "Invoice number: 4711\nAmount: 1,250.50\nIt is due on 2024-03-01; write to zoe@example.org, see "
        "https://example.org/i/4711."
    )
    assert filled({"type": "object", "properties": fields, "required": list(fields)}, text) == {
        "invoice_number": 4711,
        "email": "zoe@example.org",
        "due_date": "2024-03-01",
        "amount": 1250.5,
        "customer_name": "Zoë Brontë",
        "city": "San Francisco",
        "website": "https://example.org/i/4711",
        "priority": "high",
        "paid": False,
    }


def test_an_option_is_chosen_by_what_the_system_prompt_says_of_it() -> None:
    schema = {
        "type": "object",
        "properties": {"route": {"enum": ["billing", "technical", "sales"]}, "reason": {"type": "string"}},
        "required": ["route", "reason"],
    }
    system = """\
Choose a route:
- billing: invoices, refunds and payments
- technical: errors, crashes and slow pages
- sales: prices, offers and new licences"""
    routes = {
        "I was charged twice and want a refund": "billing",
        "The page crashes with an error when I log in": "technical",
        "Do you have an offer for fifty licences?": "sales",
    }
    assert {text: filled(schema, text, system)["route"] for text in routes} == routes


def test_json_mode_gives_the_keys_that_the_prompt_names() -> None:
    text = "Tell me about cats. Return a JSON object with 'setup' and 'punchline' keys."
    body = {"messages": [{"role": "user", "content": text}], "response_format": {"type": "json_object"}}
    assert set(json.loads(think({"model": "m", **body}).text)) == {"setup", "punchline"}
