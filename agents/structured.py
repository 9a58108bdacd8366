"""An answer of a declared shape from any model: schema, then tool call, then JSON in the text, then one repair.

A rung is left for the next one when the server refuses it (400), or when its answer holds no JSON object. An object
that does not fit the shape shows that the rung works and the model does not know what is wanted: it is told, once. So
one answer takes four model calls at most, and each of them passes the budget, the retries and the deadlines like any
other, because this stands outside of those middlewares.

What a server refused is remembered for its model object, which is one per endpoint, for as long as the process lives;
but only once a later rung was taken: a request that is refused on all of them was not refused for its rung.
"""

import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.callbacks import adispatch_custom_event
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from pydantic import BaseModel, ValidationError

from agents.errors import ModelRefusedRequest, ModelUnavailable, Unreadable

log = logging.getLogger(__name__)

Rung = Literal["json_schema", "tool_call", "text"]
RUNGS: tuple[Rung, ...] = ("json_schema", "tool_call", "text")
_FORM = re.compile(r"response_format|json_schema|json schema|grammar|\btools?\b|tool_choice", re.IGNORECASE)
MAX_READ_CHARS = 200_000
MAX_STARTS = 64
"""Braces at which an object may be looked for: a text of nothing but braces must not take for ever."""
MAX_PROBLEM_CHARS = 400
MAX_SHOWN_CHARS = 4_000
"""Of an answer that is sent back to be mended."""

Handler = Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]


@dataclass(slots=True)
class Refusals:
    """Which rungs the server behind a model has refused; shared by all agents of a process."""

    _known: list[tuple[Any, set[Rung]]] = field(default_factory=list)

    def of(self, model: Any) -> set[Rung]:
        """Rungs not to be tried with `model`; to be added to."""
        for known, rungs in self._known:
            if known is model:
                return rungs
        self._known.append((model, set()))
        return self._known[-1][1]


class FillShape(AgentMiddleware[Any, Any]):
    """Ends an agent's loop with `structured_response`, a value of `shape`, or with Unreadable."""

    def __init__(self, role: str, shape: type[BaseModel], refusals: Refusals) -> None:
        super().__init__()
        self._role, self._form, self._refusals = role, Form(shape), refusals

    async def awrap_model_call(self, request: ModelRequest[Any], handler: Handler) -> ModelResponse[Any]:
        """Go down the ladder until an answer can be read."""
        known, refused, problem = self._refusals.of(request.model), set[Rung](), ""
        for rung in [rung for rung in RUNGS if rung not in known]:
            try:
                response = await handler(self._form.asked(request, rung))
            except (ModelRefusedRequest, ModelUnavailable) as error:
                if rung == RUNGS[-1] or not _refuses_form(error):
                    raise
                log.info("%s: a %s is refused (%s)", self._role, rung, error.problem)
                refused.add(rung)
                continue
            known |= refused
            answer = self._form.read(response)
            if answer is None or answer.value is not None:
                return response if answer is None else answer.response
            problem = await self._note(rung, answer.problem)
            if answer.is_object or rung == RUNGS[-1]:
                return await self._repaired(request, response, handler, problem)
        raise AssertionError("unreachable: the last rung returns or raises")

    async def _repaired(
        self, request: ModelRequest[Any], response: ModelResponse[Any], handler: Handler, problem: str
    ) -> ModelResponse[Any]:
        """Show the model its answer and what is wrong with it, once."""
        answer = self._form.read(await handler(self._form.complaint(request, response, problem)))
        if answer is not None and answer.value is not None:
            return answer.response
        told = answer.problem if answer else "it called a tool instead"
        await self._note("text", told)
        raise Unreadable.of(self._role, self._form.shape.__name__, told)

    async def _note(self, rung: Rung, problem: str) -> str:
        told = {"role": self._role, "shape": self._form.shape.__name__, "rung": rung, "problem": problem}
        await adispatch_custom_event("llm.unreadable", told)
        return problem


def _refuses_form(error: ModelRefusedRequest | ModelUnavailable) -> bool:
    """True where asking in another form may help. Some servers say 500 for what they were not started with."""
    if isinstance(error, ModelRefusedRequest):
        return error.kind == "bad_request"
    return error.kind == "server_error" and bool(_FORM.search(error.problem))


@dataclass(frozen=True, slots=True)
class Answer:
    """What one model call came to."""

    response: ModelResponse[Any]
    value: BaseModel | None = None
    problem: str = ""
    is_object: bool = False
    """There was a whole JSON object, which did not fit."""


@dataclass(frozen=True)
class Form:
    """One shape, as it is asked for on each rung and read from whatever comes back."""

    shape: type[BaseModel]

    @cached_property
    def schema(self) -> dict[str, Any]:
        """Its JSON schema."""
        return self.shape.model_json_schema()

    @cached_property
    def tool(self) -> dict[str, Any]:
        """A tool whose arguments are the answer."""
        does = f"Give the answer: {(self.shape.__doc__ or self.shape.__name__).strip()}"
        function = {"name": f"answer_{self.shape.__name__.lower()}", "description": does, "parameters": self.schema}
        return {"type": "function", "function": function}

    @cached_property
    def in_words(self) -> str:
        """The demand as a sentence, for models that know of no other way."""
        schema = json.dumps(self.schema, ensure_ascii=False, separators=(",", ":"))
        return (
            f"Answer with one JSON object and nothing else, no prose around it. It follows this JSON schema:\n{schema}"
        )

    def asked(self, request: ModelRequest[Any], rung: Rung) -> ModelRequest[Any]:
        """The request as it is made on this rung. What it begins with stays, so that prefix caches still hit."""
        if rung == "json_schema":
            named = {"name": self.shape.__name__, "schema": self.schema}
            form = {"response_format": {"type": "json_schema", "json_schema": named}}
            return request.override(model_settings={**request.model_settings, **form})
        if rung == "tool_call":
            own = {"type": "function", "function": {"name": self.tool["function"]["name"]}}
            free = bool(request.tools) and request.tool_choice != "none"
            return request.override(tools=[*request.tools, self.tool], tool_choice="any" if free else own)
        return request.override(messages=_demanding(request.messages, self.in_words))

    def complaint(self, request: ModelRequest[Any], response: ModelResponse[Any], problem: str) -> ModelRequest[Any]:
        """The request for another try."""
        said = _text_of(_last(response))[:MAX_SHOWN_CHARS] or "(nothing)"
        wrong = f"That is no {self.shape.__name__}: {problem}."
        return request.override(
            messages=[*request.messages, AIMessage(said), HumanMessage(f"{wrong}\n\n{self.in_words}")]
        )

    # -- reading -----------------------------------------------------------------------------------------------------

    def read(self, response: ModelResponse[Any]) -> Answer | None:
        """The answer in a response; None when the agent goes on: it called its tools, or tried to."""
        message = _last(response)
        own = self.tool["function"]["name"]
        calls = [call for call in message.tool_calls if call["name"] == own]
        if not calls and (message.tool_calls or any(call["name"] != own for call in message.invalid_tool_calls)):
            return None
        given = [call["args"] for call in calls]
        torn = [call["error"] or "unreadable arguments" for call in message.invalid_tool_calls]
        found = given or list(objects_in(_text_of(message)))
        problem = _short(torn[0]) if torn and not found else "no JSON object in it"
        for candidate in found:
            try:
                value = self.shape.model_validate(candidate)
            except ValidationError as error:
                problem = _short(in_one_line(error))
            else:
                return Answer(self._settled(response, message, value), value)
        return Answer(response, problem=problem, is_object=bool(found))

    def _settled(self, response: ModelResponse[Any], message: AIMessage, value: BaseModel) -> ModelResponse[Any]:
        """The answer as plain text, whichever way it came: a call of our own tool would never get a result."""
        if not message.tool_calls:
            return replace(response, structured_response=value)
        more = {name: kept for name, kept in message.additional_kwargs.items() if name != "tool_calls"}
        plain = message.model_copy(
            update={"content": value.model_dump_json(), "tool_calls": [], "invalid_tool_calls": [],
                    "additional_kwargs": more}
        )  # fmt: skip
        return replace(response, result=[*response.result[:-1], plain], structured_response=value)


def _last(response: ModelResponse[Any]) -> AIMessage:
    message = response.result[-1] if response.result else None
    return message if isinstance(message, AIMessage) else AIMessage("")


def _text_of(message: AIMessage) -> str:
    """What it said, or the arguments that it gave."""
    if text := str(message.text).strip():
        return text
    calls: Sequence[Any] = [*message.tool_calls, *message.invalid_tool_calls]
    if not calls:
        return ""
    args = calls[0]["args"]
    return args if isinstance(args, str) else json.dumps(args, ensure_ascii=False)


def _demanding(messages: Sequence[AnyMessage], demand: str) -> list[AnyMessage]:
    """The demand inside the last message of the person: many chat templates refuse two of those in a row."""
    last = messages[-1] if messages else None
    if isinstance(last, HumanMessage) and isinstance(last.content, str):
        return [*messages[:-1], last.model_copy(update={"content": f"{last.content}\n\n{demand}"})]
    return [*messages, HumanMessage(demand)]


_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_DECODER = json.JSONDecoder(strict=False)


def objects_in(text: str) -> Iterator[dict[str, Any]]:
    """Whole JSON objects in a text, the last one first: what models say before an answer is seldom the answer."""
    text = _THOUGHT.sub("", text)[:MAX_READ_CHARS]
    found, at = [], text.find("{")
    for _ in range(MAX_STARTS):
        if at < 0:
            break
        try:
            value, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            found.append(value)
        at = text.find("{", end)
    yield from reversed([value for value in found if isinstance(value, dict)])


def in_one_line(error: ValidationError) -> str:
    """`tasks.0.id: Field required; note: Field required`."""
    parts = (f"{'.'.join(map(str, it['loc'])) or 'it'}: {it['msg']}" for it in error.errors(include_url=False))
    return "; ".join(list(parts)[:5])


def _short(problem: str) -> str:
    return " ".join(problem.split())[:MAX_PROBLEM_CHARS]
