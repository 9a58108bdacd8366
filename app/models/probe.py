"""Ask an endpoint for each thing that the product needs of it, by real calls: what works, how fast, and what to do.

A check that fails does not stop the next one; the error is one sentence and so is the remedy.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from agents.errors import ModelRefusedRequest, RunError
from app.models.faults import to_json
from app.models.http import Deadlines, Endpoint, post_json

VLLM_TOOLS = "start vLLM with --enable-auto-tool-choice and --tool-call-parser, or use a model that calls tools"
VLLM_JSON = (
    "start vLLM with --structured-outputs-config "
    '\'{"backend":"xgrammar","disable_any_whitespace":true}\', or use another model'
)


@dataclass(slots=True)
class Check:
    """One thing asked of an endpoint."""

    name: str
    ok: bool = True
    seconds: float = 0.0
    found: str = ""
    """What came, in a few words."""
    error: str = ""
    fix: str = ""


@dataclass(slots=True)
class Probe:
    """All checks of one role."""

    role: str
    url: str
    model: str
    checks: list[Check] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)


class _Disappointed(Exception):
    """The call worked and brought the wrong thing: what it brought, and the remedy."""


@tool
def add(a: int, b: int) -> int:
    """Add two whole numbers."""
    return a + b


class Sum(BaseModel):
    """The sum of two whole numbers."""

    total: int


async def probe(role: str, endpoint: Endpoint, deadlines: Deadlines, model: BaseChatModel | None) -> Probe:
    """Check a chat endpoint, or with no `model` that of the role `embed` or `rerank`."""
    done = Probe(role, endpoint.url, endpoint.model)

    async def ask(path: str, **body: Any) -> dict[str, Any]:
        return (await post_json(endpoint, path, to_json({"model": endpoint.model} | body), deadlines))[1]

    if model is None:
        if role == "embed":
            await _run(done, "embeddings", partial(_embeds, ask))
        else:
            await _run(done, "reranking", partial(_reranks, ask))
        return done
    await _run(done, "answer", partial(_answers, model))
    await _run(done, "tools", partial(_calls_tools, model))
    await _run(done, "structured", partial(_fills, model))
    await _run(done, "stream", partial(_streams, model))
    await _run(done, "tokenize", partial(_tokenizes, endpoint, deadlines))
    return done


async def _run(done: Probe, name: str, check: Callable[[], Awaitable[str]]) -> None:
    outcome = Check(name)
    done.checks.append(outcome)
    started = time.perf_counter()
    async with _noting(outcome):
        outcome.found = await check()
    outcome.seconds = time.perf_counter() - started


@asynccontextmanager
async def _noting(outcome: Check) -> AsyncIterator[None]:
    try:
        yield
    except RunError as error:
        outcome.ok, outcome.error, outcome.fix = False, f"{error.thing}: {error.problem}", error.next_move
    except _Disappointed as error:
        outcome.ok, (outcome.error, outcome.fix) = False, error.args
    except ValueError as error:  # the parsers of structured answers
        outcome.ok, outcome.error, outcome.fix = False, " ".join(str(error).split())[:300], VLLM_JSON


async def _answers(model: BaseChatModel) -> str:
    answer = await model.ainvoke("Say hello in one word.")
    if not answer.usage_metadata:
        raise _Disappointed("it answers without usage figures", "tokens and cost cannot be counted; use another server")
    return f"{answer.usage_metadata['output_tokens']} tokens"


async def _calls_tools(model: BaseChatModel) -> str:
    answer = await model.bind_tools([add], tool_choice="add").ainvoke("What is 17 plus 25? Use the tool.")
    if not answer.tool_calls:
        why = "; ".join(str(call["error"]) for call in answer.invalid_tool_calls) or "it answered in text"
        raise _Disappointed(f"no usable tool call: {why}", VLLM_TOOLS)
    return f"add({', '.join(f'{k}={v}' for k, v in answer.tool_calls[0]['args'].items())})"


async def _fills(model: BaseChatModel) -> str:
    filled = await model.with_structured_output(Sum, method="json_schema").ainvoke("What is 17 plus 25?")
    if not isinstance(filled, Sum):
        raise _Disappointed("it did not fill the requested schema", VLLM_JSON)
    return f"total={filled.total}"


async def _streams(model: BaseChatModel) -> str:
    chunks = [chunk async for chunk in model.astream("Count from one to five in words.")]
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    if not isinstance(whole, AIMessage) or not whole.usage_metadata:
        raise _Disappointed("a stream brings no usage figures", "use a server that knows stream_options.include_usage")
    return f"{len(chunks)} chunks, {whole.usage_metadata['output_tokens']} tokens"


async def _tokenizes(endpoint: Endpoint, deadlines: Deadlines) -> str:
    """vLLM's own route beside `/v1`: absent elsewhere, which is no fault."""
    root = Endpoint(endpoint.url.rstrip("/").removesuffix("/v1"), endpoint.model, endpoint.api_key)
    body = to_json({"model": endpoint.model, "prompt": "Say hello in one word."})
    try:
        _, answer = await post_json(root, "/tokenize", body, deadlines)
    except ModelRefusedRequest as error:
        if error.status not in (404, 405):
            raise
        return "absent; tokens are estimated"
    return f"{answer.get('count')} tokens of {answer.get('max_model_len')}"


Ask = Callable[..., Awaitable[dict[str, Any]]]


async def _embeds(ask: Ask) -> str:
    answer = await ask("/embeddings", input=["a first text", "a second text"])
    try:
        dimensions = [len(item["embedding"]) for item in answer["data"]]
    except (KeyError, TypeError):
        dimensions = []
    if len(dimensions) != 2 or len(set(dimensions)) != 1:
        raise _Disappointed(f"two texts gave vectors of sizes {dimensions}", "serve an embedding model at this URL")
    return f"{dimensions[0]} dimensions"


async def _reranks(ask: Ask) -> str:
    answer = await ask("/rerank", query="capital of France", documents=["Paris is the capital.", "Bread is food."])
    try:
        scores = {item["index"]: float(item["relevance_score"]) for item in answer["results"]}
    except (KeyError, TypeError, ValueError):
        scores = {}
    if set(scores) != {0, 1}:
        raise _Disappointed("two documents did not give two scores", "serve a reranking model at this URL")
    return f"scores {scores[0]:.2f} and {scores[1]:.2f}"
