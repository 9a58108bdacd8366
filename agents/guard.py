"""Who shaped a call: the person alone, or also something that was read; and so whether a person must say yes to it.

Instructions hide in documents, web pages, tool results, remote agents' answers and memory, and no prompt makes a model
deaf to them. So nothing here asks the model. Every request is looked at as it is sent: it is clean when all of it comes
from the system prompt, the person's own words, tools whose results hold nothing new, and answers to clean requests.
Whatever is not known to be clean is tainted: a brief that another agent wrote, memory beside a question, an earlier
answer without a mark, the description of a tool that somebody else wrote. The answer carries the mark, in the
checkpoint too, so that a crash or a later turn forgets nothing.

A tool that changes something may be called freely by an answer to a clean request, by a role that holds a grant for it,
or when what it is told is the person's own words. Else a person is asked, and told what was read before. With a model
that obeys every instruction it finds, all that is won is a question to the person.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain.tools.tool_node import ToolCallRequest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool

from agents.tools.contract import Contract, contract_of

ModelHandler = Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]

SAID_BY = "said_by"
PERSON = "person"
SHAPED_BY = "shaped_by"
"""In an answer's metadata: what was in its request beside the person's words; an empty list for nothing."""
UNKNOWN = "an earlier step"
MOST_NAMED = 3
_PREFIX_CHARS = 4
_SMALL = frozenset(
    ("a", "an", "the", "is", "are", "was", "be", "of", "in", "on", "at", "to", "and", "for", "has", "have",
     "they", "their", "user", "person")
)  # fmt: skip
"""What retelling somebody's words adds. No negation, and no name, is among them."""
_NOT = frozenset(
    ("not", "no", "never", "none", "nor", "neither", "without", "nicht", "kein", "keine", "keinen", "nie", "ohne",
     "pas", "jamais", "sans", "non", "nunca")
)  # fmt: skip
_SENTENCE_END = re.compile(r"[.!?]+(?=\s|$)|\n")
_LETTERS = re.compile(r"[^\W\d_]+")
_MARKS = ".,;:!?\"'()[]<>{}“”‘’«»*_`"


def person_says(text: str, **more: Any) -> HumanMessage:
    """A message in the person's own words."""
    return HumanMessage(text, additional_kwargs={SAID_BY: PERSON}, **more)


class MarkOrigins(AgentMiddleware[Any, Any]):
    """Writes on every answer what its request held beside the person's own words."""

    async def awrap_model_call(self, request: ModelRequest[Any], handler: ModelHandler) -> ModelResponse[Any]:
        response = await handler(request)
        asked = getattr(getattr(request.runtime, "context", None), "asked", None)
        tools = {tool.name: tool for tool in request.tools if isinstance(tool, BaseTool)}
        by = dict.fromkeys(filter(None, (contract_of(tool).origin for tool in tools.values())))
        read = [*origins_of(request.messages, tools, asked), *(f"what {name} says of its tools" for name in by)]
        origins = dict.fromkeys(read)
        return replace(response, result=[_marked(message, origins) for message in response.result])


def _marked(message: Any, origins: Iterable[str]) -> Any:
    if not isinstance(message, AIMessage):
        return message
    return message.model_copy(update={"response_metadata": {**message.response_metadata, SHAPED_BY: list(origins)}})


def origins_of(messages: Iterable[AnyMessage], tools: Mapping[str, BaseTool], asked: str | None) -> list[str]:
    """What a request holds beside the person's own words, each once, in order.

    `asked`: what the person asked in this run, which is theirs also where a graph hands it on.
    """
    found: dict[str, None] = {}
    called: dict[str | None, set[str]] = {}
    for message in messages:
        if isinstance(message, AIMessage):
            called = _called(message)
        found.update(dict.fromkeys(_origins(message, tools, asked, called)))
    return list(found)


def _called(message: AIMessage) -> dict[str | None, set[str]]:
    """Call id -> the tools that were called under it: a model can give two calls one id."""
    called: dict[str | None, set[str]] = {}
    for call in message.tool_calls:
        called.setdefault(call["id"], set()).add(call["name"])
    return called


def _origins(
    message: AnyMessage, tools: Mapping[str, BaseTool], asked: str | None, called: Mapping[str | None, set[str]]
) -> Sequence[str]:
    if isinstance(message, AIMessage):
        marked = message.response_metadata.get(SHAPED_BY)
        return marked if isinstance(marked, list) else [UNKNOWN]
    if isinstance(message, ToolMessage):
        # what nobody called in the turn before it was put there by somebody, whatever it is called
        names = {message.name or "", *called.get(message.tool_call_id, {""})}
        return [] if all(contract_of(tools.get(name)).trusted for name in names) else [message.name or UNKNOWN]
    if isinstance(message, HumanMessage) and _is_persons(message, asked):
        return []
    return [UNKNOWN]


def _is_persons(message: HumanMessage, asked: str | None) -> bool:
    # what memory adds stands in the same message: then it is not the person's message any more
    text = str(message.text)
    said = message.additional_kwargs.get(SAID_BY) == PERSON and "\n\nContext:\n" not in text
    return said or (bool(asked) and text == asked)


def why_ask(request: ToolCallRequest, contract: Contract, grants: frozenset[str]) -> str:
    """Why a person must say yes to this call, as a sentence; "" when nothing asks for it."""
    call, asked = request.tool_call, getattr(request.runtime.context, "asked", None)
    harmless = contract.effect == "read" and not contract.reaches_out
    if asked is None or harmless or contract.internal or call["name"] in grants:
        return ""
    origins = _marks_of(request)
    if not origins or _dictated(call["args"], contract, asked):
        return ""
    named = ", ".join(origins[:MOST_NAMED]) + (" and more" if len(origins) > MOST_NAMED else "")
    return f"Before it chose this step it had read others' words ({named}), and a text in there may have asked for it."


def _marks_of(request: ToolCallRequest) -> Sequence[str]:
    """The marks of the answer that this call stands in; an answer without marks is one that nobody vouches for."""
    state: Any = request.state
    messages = state.get("messages", []) if isinstance(state, Mapping) else getattr(state, "messages", [])
    for message in reversed(messages):
        if isinstance(message, AIMessage) and any(it["id"] == request.tool_call["id"] for it in message.tool_calls):
            marked = message.response_metadata.get(SHAPED_BY)
            return marked if isinstance(marked, list) else [UNKNOWN]
    return [UNKNOWN]


def _dictated(args: Mapping[str, Any], contract: Contract, asked: str) -> bool:
    """True when every argument that matters is in the person's own words.

    What leaves the house must be there to the letter: a capital or a mark too many can tell something. What stays must
    be of one sentence, in its order; of a longer word its beginning is enough.
    """
    if not contract.own_words:
        return False
    told = [str(args.get(name, "")).strip() for name in contract.own_words]
    if contract.reaches_out:
        written = {it for piece in asked.split() for it in (piece, piece.strip(_MARKS))}
        return any(told) and all(it in written for it in told if it)
    words = [piece.strip(_MARKS).casefold() for piece in " ".join(told).split()]
    return bool(words) and any(_said_in(words, sentence) for sentence in _SENTENCE_END.split(asked))


def _said_in(words: Sequence[str], sentence: str) -> bool:
    """True when the words are of this sentence, in its order, and no "not" of it is left out."""
    said = [piece.strip(_MARKS).casefold() for piece in sentence.split()]
    left = iter(said)
    told = all(word in _SMALL or not word or any(_same(word, it) for it in left) for word in words)
    return told and all(it in words for it in said if it in _NOT or it.endswith(("n't", "n’t")))


def _same(word: str, said: str) -> bool:
    if word == said:
        return True
    begun = word[:_PREFIX_CHARS]
    return word.isalpha() and len(begun) == _PREFIX_CHARS and any(it.startswith(begun) for it in _LETTERS.findall(said))


def without_marks(value: Any) -> Any:
    """Data of a client without whatever would say of itself where it came from: nobody vouches for that."""
    if isinstance(value, Mapping):
        return {name: without_marks(it) for name, it in value.items() if name not in (SAID_BY, SHAPED_BY)}
    return [without_marks(it) for it in value] if isinstance(value, list) else value
