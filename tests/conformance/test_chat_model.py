"""LangChain's standard suite for chat models, on the lean model, against the demo model in a process of its own.

Skipped are only media that a text model does not take (PDF, audio, images), Anthropic's message blocks, serialisation
(a saved model would be loaded as the stock one) and recorded cassettes.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from agents.errors import RunError
from app.models import Deadlines, Endpoint, LeanChatModel, Models, chat_model


@pytest.fixture(scope="module")
def demo_url() -> Iterator[str]:
    command = [sys.executable, "-m", "app.demo_model", "--port", "0", "--ttft-ms", "0", "--tokens-per-s", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield json.loads(process.stdout.readline())["url"]
        process.terminate()


class TestStandardUnit(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return LeanChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"base_url": "http://127.0.0.1:9/v1", "model": "demo-large"}


class TestStandardIntegration(ChatModelIntegrationTests):
    url = ""

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _served(cls, demo_url: str) -> Iterator[None]:
        cls.url = demo_url
        yield
        asyncio.run(Models({}).aclose())

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return LeanChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"base_url": self.url, "model": "demo-large"}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str | None:
        return "demo-small"


# -- the demo model's faults: the client and the server that tests of failure use agree on what each one is


@tool
def calculator(expression: str) -> str:
    """Evaluate an arithmetic expression."""
    return expression


IMPATIENT = {
    "first_token_timeout": Deadlines(first_token_s=0.5),
    "between_tokens_timeout": Deadlines(between_tokens_s=0.3),
    "total_timeout": Deadlines(total_s=0.8),
}

# fault -> what becomes of it, whole and streamed; a stream whose finish reason came is a whole answer
OUTCOMES = {
    "status 500": ({"status": 500}, "server_error", "server_error"),
    "status 429": ({"status": 429, "retry_after_s": 3}, "rate_limited", "rate_limited"),
    "status 429 with a date": ({"status": 429, "retry_after_s": 90, "retry_after_date": True},) + ("rate_limited",) * 2,
    "status 400": ({"status": 400}, "bad_request", "bad_request"),
    "reset": ({"reset": True}, "refused", "refused"),
    "silence": ({"silence": True}, "total_timeout", "first_token_timeout"),
    "silence in the middle": ({"silence_after": 2}, "total_timeout", "between_tokens_timeout"),
    "slower than the deadline": ({"latency_ms": 60_000}, "total_timeout", "first_token_timeout"),
    "cut": ({"cut_stream_after": 3}, "cut_stream", "cut_stream"),
    "no [DONE]": ({"missing_done": True}, "ok", "ok"),
    "too few bytes": ({"wrong_content_length": 50}, "cut_stream", "ok"),
    "bytes": ({"garbage": "bytes"}, "bad_response", "bad_response"),
    "html": ({"garbage": "html"}, "bad_response", "bad_response"),
    "json": ({"garbage": "json"}, "bad_response", "bad_response"),
    "sse": ({"garbage": "sse"}, "bad_response", "bad_response"),
    "long line": ({"long_line_bytes": 100_000_000}, "bad_response", "bad_response"),
    "drip": ({"drip_bytes_per_s": 5}, "total_timeout", "first_token_timeout"),
    "no choices": ({"empty_choices": True}, "bad_response", "bad_response"),
    "no call": ({"empty_tool_calls": True}, "invalid", "invalid"),
    "cut arguments": ({"cut_tool_arguments_at": 6}, "invalid", "invalid"),
    "broken arguments": ({"tool_arguments": "{'a': 1}"}, "invalid", "invalid"),
    "unknown tool": ({"unknown_tool": "abracadabra"}, "called abracadabra", "called abracadabra"),
    "one id for all": ({"tool_calls": 5, "duplicate_tool_ids": True}, "ok", "ok"),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", OUTCOMES)
async def test_each_fault_has_its_outcome(demo_url: str, name: str, stream: bool) -> None:
    faults, *expected = OUTCOMES[name]
    deadlines = IMPATIENT.get(expected[stream], Deadlines())
    model = chat_model(Endpoint(demo_url, "demo-large"), deadlines).bind_tools([calculator])
    try:
        answer = await model.ainvoke("What is 17 * 23?", stream=stream, extra_body={"demo_faults": faults})
        outcome = "invalid" if answer.invalid_tool_calls else _called(answer)
    except RunError as error:
        outcome = str(getattr(error, "kind", error))
    finally:
        await Models({}).aclose()
    assert outcome == expected[stream]


def _called(answer: AIMessage) -> str:
    names, ids = {call["name"] for call in answer.tool_calls}, {call["id"] for call in answer.tool_calls}
    assert len(ids) == len(answer.tool_calls) > 0
    return "ok" if names == {"calculator"} else f"called {names.pop()}"
