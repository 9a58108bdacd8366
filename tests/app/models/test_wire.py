"""What is sent: messages encoded once, strict schemas that mean the same, arguments no template can choke on."""

import gc
import json
from typing import Any, Literal

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from app.models import Endpoint, chat_model
from app.models.wire import Memo, message_json, response_format, strict_format, strict_schema, wire_tool


def sent(messages: list[Any], **options: Any) -> dict[str, Any]:
    body, _ = chat_model(Endpoint("http://127.0.0.1:1/v1", "m"))._ask(messages, None, options)
    wire = json.loads(body)
    assert isinstance(wire, dict)
    return wire


# -- messages


def test_a_message_changed_in_place_is_encoded_again() -> None:
    question = HumanMessage("first")
    call = {"name": "add", "args": {"numbers": [1, 2]}, "id": "c1"}
    asks = AIMessage("", tool_calls=[call])
    history = [question, asks, ToolMessage("3", tool_call_id="c1")]
    assert sent(history)["messages"][0]["content"] == "first"

    question.content = "second"
    asks.tool_calls[0]["args"]["numbers"].append(3)

    again = sent(history)["messages"]
    assert again[0]["content"] == "second"
    assert json.loads(again[1]["tool_calls"][0]["function"]["arguments"]) == {"numbers": [1, 2, 3]}


def test_an_unchanged_message_is_encoded_once() -> None:
    memo = Memo(lambda message: (message.content,))
    message = HumanMessage("hi")
    memo.keep(message, b"encoded")
    assert memo.get(message) == b"encoded"
    assert memo.get(HumanMessage("hi")) is None


def test_encoded_messages_are_forgotten_with_their_messages() -> None:
    memo = Memo(lambda message: (message.content,))
    messages = [HumanMessage(str(n)) for n in range(100)]
    for message in messages:
        memo.keep(message, b"x")
    assert len(memo) == 100
    del messages, message
    gc.collect()
    assert len(memo) == 0


def test_unusable_arguments_go_back_as_json() -> None:
    broken = {"name": None, "args": '{"a": 1, "b', "id": "c1", "error": "cut"}
    message = AIMessage("", invalid_tool_calls=[broken])
    (wire,) = sent([message])["messages"]
    assert wire["tool_calls"][0]["function"]["name"] == "unknown"
    assert json.loads(wire["tool_calls"][0]["function"]["arguments"]) == {"unusable": '{"a": 1, "b'}


def test_text_that_utf8_cannot_carry_is_sent_anyway() -> None:
    assert (
        message_json(HumanMessage("a"), {"role": "user", "content": "a\ud800b"})
        == b'{"role": "user", "content": "a?b"}'
    )
    assert sent([HumanMessage("null \x00 and \U0001f600")])["messages"][0]["content"] == "null \x00 and \U0001f600"


def test_parameters_are_as_servers_take_them() -> None:
    extra = {"chat_template_kwargs": {"enable_thinking": False}, "top_k": 5}
    wire = sent([HumanMessage("hi")], extra_body=extra, tools=[], tool_choice="auto", parallel_tool_calls=False)
    assert wire["chat_template_kwargs"] == {"enable_thinking": False} and wire["top_k"] == 5
    assert not {"extra_body", "tools", "tool_choice", "parallel_tool_calls"} & wire.keys()
    assert (wire["model"], wire["temperature"]) == ("m", 0.0)


# -- tools


class Address(BaseModel):
    street: str
    number: int | None = None


class Order(BaseModel):
    items: list[Address]
    urgency: Literal["low", "high"] = "low"


class FreeForm(BaseModel):
    labels: dict[str, str]


def test_a_strict_schema_closes_every_object_and_keeps_defaults_as_words() -> None:
    strict = strict_schema(Order.model_json_schema())
    assert strict is not None
    assert (strict["additionalProperties"], strict["required"]) == (False, ["items", "urgency"])
    assert strict["$defs"]["Address"]["required"] == ["street", "number"]
    assert "default" not in strict["properties"]["urgency"]
    assert strict["properties"]["urgency"]["description"] == 'Default: "low".'


@pytest.mark.parametrize(
    "schema",
    [
        FreeForm.model_json_schema(),
        {"type": "object", "properties": {"anything": {}}},
        {"type": "object", "properties": {"free": {"type": "object"}}},
        {"type": "object", "properties": {}, "additionalProperties": True},
        {"type": "object", "properties": {"x": {"oneOf": [{"type": "string"}]}}},
        {"type": "object", "properties": {"list": {"type": "array"}}},
    ],
)
def test_a_schema_that_strict_mode_would_change_is_left_alone(schema: dict[str, Any]) -> None:
    before = json.dumps(schema)
    assert strict_schema(schema) is None
    assert json.dumps(schema) == before


def test_a_schema_nested_without_end_is_left_alone() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(5_000):
        schema = {"type": "array", "items": schema}
    assert strict_schema({"type": "object", "properties": {"deep": schema}}) is None


@tool
def greet(name: str, greeting: str = "hello") -> str:
    """Greet somebody."""
    return f"{greeting}, {name}"


@tool
def label(labels: dict[str, str]) -> str:
    """Put labels on something."""
    return str(labels)


@tool
def tick() -> str:
    """Move the clock."""
    return "tock"


def test_tools_are_strict_where_they_can_be() -> None:
    assert wire_tool(greet, strict=True)["function"]["strict"] is True
    assert wire_tool(greet, strict=True)["function"]["parameters"]["required"] == ["name", "greeting"]
    assert wire_tool(tick, strict=True)["function"]["parameters"]["additionalProperties"] is False
    assert "strict" not in wire_tool(label, strict=True)["function"]
    assert "strict" not in wire_tool(greet, strict=False)["function"]


def test_binding_takes_the_models_word_or_the_callers() -> None:
    strict, loose = (chat_model(Endpoint("http://127.0.0.1:1/v1", "m"), strict_tools=each) for each in (True, False))

    def bound(model: Any, **options: Any) -> bool:
        return "strict" in model.bind_tools([greet], **options).kwargs["tools"][0]["function"]

    assert (bound(strict), bound(loose)) == (True, False)
    assert (bound(strict, strict=False), bound(loose, strict=True)) == (False, True)


def test_a_tool_described_anew_is_bound_anew() -> None:
    model = chat_model(Endpoint("http://127.0.0.1:1/v1", "m"))
    renamed = greet.model_copy()
    bound = [model.bind_tools([renamed]).kwargs["tools"][0]["function"]["description"]]
    renamed.description = "Another sentence."
    bound.append(model.bind_tools([renamed]).kwargs["tools"][0]["function"]["description"])
    assert bound[0] != bound[1]


def test_a_class_becomes_a_named_response_format() -> None:
    strict, loose = response_format(Order), response_format(FreeForm)
    assert (strict["json_schema"]["name"], strict["json_schema"]["strict"]) == ("Order", True)
    assert loose["json_schema"]["strict"] is False
    assert loose["json_schema"]["schema"]["properties"]["labels"]["additionalProperties"] == {"type": "string"}


def test_a_ready_made_format_becomes_strict_where_its_schema_can_be() -> None:
    def form(schema: Any, **more: Any) -> Any:
        return {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, **more}}

    closed = strict_format(form(Order.model_json_schema()))["json_schema"]
    assert closed["strict"] is True and closed["schema"]["additionalProperties"] is False
    for as_it_is in (form(FreeForm.model_json_schema()), form({}, strict=False), {"type": "json_schema"}):
        assert strict_format(as_it_is) is as_it_is
