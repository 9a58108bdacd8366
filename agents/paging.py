"""Paging: what does not fit into a model's context goes out to memory, and comes back by search (after MemGPT).

A request holds a system prompt, the conversation and the newest question with its tool calls. When it would pass `high`
tokens, the oldest turns leave it until it has `low`, half of that; long results of earlier tool calls follow. So paging
happens seldom and in large steps, and between two of them each request begins with the bytes of the one before it: a
serving fleet's prefix cache goes on hitting. Where to cut follows from the messages alone, so every call of a loop, and
another worker after a crash, cuts at the same place.

The scenario that the field guide tells (500 tokens, and 300 more with each of 40 calls) reads 254,000 tokens without a
cap and 75,500 with a cap of 2,000 that slides, of which a prefix cache holds 19,100. Paging in steps reads 54,500 under
the same cap, and the cache holds 41,600 of them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain.agents.middleware.types import ExtendedModelResponse
from langchain_core.callbacks import adispatch_custom_event
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

from agents.context import Context
from agents.counting import DEFAULT_WINDOW, OVERHEAD, Counter, estimated, text_of, tools_text
from agents.memory import MAX_INJECTED_CHARS, Item, Page, as_evidence, key_for

PAGE_CHARS = 1_000
"""About what an embedder reads of a text; several pages fit into what memory may add to a request."""
ABOUT_CHARS = 300
LEAST_WINDOW = 4_096
"""Smaller ones are not served to agents."""
STUB_CHARS, STUB_TOKENS = 400, 150
"""What stays of a paged-out result: enough to know what it was."""
LEAST_EMPTIED_TOKENS = 2 * STUB_TOKENS
MOST_CARRIED = 24
CARRIED = 12
"""Messages of a conversation with which a run may begin, and how many of them stay when there are more. They also
bound what a turn stores: to LangGraph each run is a thread of its own, so without a bound the n-th turn would store the
n - 1 before it once more."""
MOST_CARRIED_CHARS = 64_000
RECALLED = 5
PERSON = "You"

Answer = ModelResponse[Any] | AIMessage | ExtendedModelResponse[Any]
ModelHandler = Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]


class PageOut(AgentMiddleware[Any, Any]):
    """Every request fits into its model's context; who `recalls` finds what memory knows beside the question."""

    def __init__(self, role: str = "large", *, recalls: bool = False) -> None:
        """`role`: of the model, whose context it is."""
        super().__init__()
        self.role, self.recalls = role, recalls
        self._tools: tuple[tuple[int, ...], str] = ((), "")

    async def awrap_model_call(self, request: ModelRequest[Any], handler: ModelHandler) -> Answer:
        context = getattr(request.runtime, "context", None)
        if not isinstance(context, Context):
            return await handler(request)
        fixed = f"{request.system_prompt or ''}\n{self._told(request.tools)}"
        messages = await within(context, self.role, request.messages, fixed)
        if self.recalls:
            messages = await _with_memory(context, messages)
        return await handler(request if messages is request.messages else request.override(messages=list(messages)))

    def _told(self, tools: Sequence[Any]) -> str:
        """What the server is told of the tools: written once, since an agent's tools stay the same."""
        known = tuple(map(id, tools))
        if self._tools[0] != known:
            self._tools = known, tools_text(tools)
        return self._tools[1]


async def _with_memory(context: Context, messages: Sequence[AnyMessage]) -> Sequence[AnyMessage]:
    at = next((at for at in reversed(range(len(messages))) if isinstance(messages[at], HumanMessage)), None)
    if at is None or not (block := await recalled(context, str(messages[at].text))):
        return messages
    asked = messages[at]
    assert isinstance(asked, HumanMessage)
    return [*messages[:at], beside(asked, block), *messages[at + 1 :]]


@dataclass(frozen=True, slots=True)
class Room:
    """Tokens that a request may have, and how many are left of one that had more."""

    high: int
    low: int


def room_in(window: int) -> Room:
    """A quarter of the window is the answer's, which also takes up what an estimate is wrong by."""
    high = window - window // 4
    return Room(high, high // 2)


@dataclass(frozen=True, slots=True)
class Cut:
    """What leaves a request: all messages before `first`, and the contents of tool results."""

    first: int = 0
    emptied: frozenset[int] = frozenset()


def cut(messages: Sequence[AnyMessage], sizes: Sequence[int], fixed: int, room: Room) -> Cut:
    """Go through the conversation as it happened, and page out wherever a call would have been too large.

    `fixed`: tokens of what is always sent. The newest question stays, and so do results that no call has seen yet.
    """
    first, left, emptied = 0, list(sizes), set[int]()
    for end in range(len(messages) + 1):
        asks = end == len(messages) or isinstance(messages[end], AIMessage)
        if asks and fixed + sum(left[first:end]) > room.high:
            first = _after_turns(messages, left, first, end, room.low - fixed)
            emptied |= _empty(messages, left, first, end, room.low - fixed)
    return Cut(first, frozenset(at for at in emptied if at >= first))


def _after_turns(messages: Sequence[AnyMessage], sizes: Sequence[int], first: int, end: int, low: int) -> int:
    """Where what is kept begins: whole turns go, oldest first, as far as the newest question."""
    for start in (at for at in range(first + 1, end) if isinstance(messages[at], HumanMessage)):
        if sum(sizes[first:end]) <= low:
            break
        first = start
    return first


def _empty(messages: Sequence[AnyMessage], sizes: list[int], first: int, end: int, low: int) -> set[int]:
    """Results of earlier calls that lose their contents, oldest first; their sizes become what stays of them."""
    emptied: set[int] = set()
    seen = max((at for at in range(first, end) if isinstance(messages[at], AIMessage)), default=first)
    for at in range(first, seen):
        if sum(sizes[first:end]) <= low:
            break
        if isinstance(messages[at], ToolMessage) and sizes[at] > LEAST_EMPTIED_TOKENS:
            sizes[at] = STUB_TOKENS
            emptied.add(at)
    return emptied


# -- one request -------------------------------------------------------------------------------------------------------


async def within(context: Context, role: str, messages: Sequence[AnyMessage], fixed_text: str) -> Sequence[AnyMessage]:
    """The messages as they fit into a request to the model of `role`, beside `fixed_text`; what leaves is kept."""
    limit, counter = context.limits.context_tokens, context.counters.get(role)
    most = _at_most(fixed_text) + MAX_INJECTED_CHARS // 4 + sum(_at_most(text_of(it)) + OVERHEAD for it in messages)
    if most <= room_in(min(limit or LEAST_WINDOW, LEAST_WINDOW)).high:
        return messages  # fits into any
    told = await counter.window() if counter else None
    room = room_in(min(limit, told) if limit and told else limit or told or DEFAULT_WINDOW)
    if most <= room.high:
        return messages  # nobody has to count
    fixed, *sizes = await _counted(counter, [fixed_text, *(text_of(it) for it in messages)])
    leaves = cut(messages, sizes, fixed + MAX_INJECTED_CHARS // 4, room)
    if leaves == Cut():
        return messages
    gone = [it for at, it in enumerate(messages) if at < leaves.first or at in leaves.emptied]
    if new := await page_out(context, gone, messages):
        await adispatch_custom_event("memory.paged", {"messages": len(gone), "pages": new})
    return [_stub(it) if at in leaves.emptied else it for at, it in enumerate(messages) if at >= leaves.first]


def _at_most(text: str) -> int:
    """As many tokens as a text can have, without looking at it: one for each byte, as digits and rare scripts do."""
    return len(text) if text.isascii() else len(text) * 4


async def _counted(counter: Counter | None, texts: Sequence[str]) -> list[int]:
    counts = await counter.count(texts) if counter else [estimated(text) for text in texts]
    return [count + OVERHEAD for count in counts]


def _stub(message: AnyMessage) -> AnyMessage:
    """A result of which only the beginning is left. A copy: the conversation keeps the whole."""
    text = str(message.text)
    note = f"\n[{len(text):,} characters, of which {STUB_CHARS} are shown; the rest was paged out]"
    return message.model_copy(update={"content": text[:STUB_CHARS] + note})


# -- out to memory, and back -------------------------------------------------------------------------------------------


async def page_out(context: Context, gone: Sequence[AnyMessage], conversation: Sequence[AnyMessage]) -> int:
    """Keep these messages where search finds them, each once; how many new pages they made."""
    if context.memory is None or not context.conversation:
        return 0
    known: set[str] = context.paged.setdefault("out", set())
    fresh = [it for it in gone if (it.id or text_of(it)) not in known]
    pages = [
        page
        for message in fresh
        for page in pages_of(message, _question_before(message, conversation), context.conversation)
    ]
    new = await context.memory.keep_pages(context.owner, context.conversation, pages) if pages else 0
    known.update(it.id or text_of(it) for it in fresh)
    return new


def pages_of(message: AnyMessage, question: str = "", conversation: str = "") -> list[Page]:
    """A message in pages, each of which can be understood beside the question that it answers."""
    text = str(message.text).strip()
    author = PERSON if isinstance(message, HumanMessage) else message.name or "Assistant"
    about = "" if isinstance(message, HumanMessage) else question[:ABOUT_CHARS]
    return [
        Page(key_for("page", conversation, message.id or "", text, str(n)), piece, author, about)
        for n, piece in enumerate(_pieces(text))
    ]


def _pieces(text: str) -> list[str]:
    """Parts of at most `PAGE_CHARS`, cut where a paragraph, a line or a sentence ends."""
    pieces = []
    while text:
        end = len(text)
        if end > PAGE_CHARS:
            ends = (text.rfind(mark, PAGE_CHARS // 2, PAGE_CHARS) + len(mark) for mark in ("\n\n", "\n", ". ", " "))
            end = next((at for at in ends if at > PAGE_CHARS // 2), PAGE_CHARS)
        pieces.append(text[:end].strip())
        text = text[end:].strip()
    return [piece for piece in pieces if piece]


def _question_before(message: AnyMessage, conversation: Sequence[AnyMessage]) -> str:
    question = ""
    for it in conversation:
        if it is message:
            return question
        if isinstance(it, HumanMessage):
            question = str(it.text)
    return ""


def carried(messages: Sequence[AnyMessage]) -> int:
    """From which message on a conversation is carried into its next run: in large steps, so that most runs begin with
    the bytes of the run before."""
    chars = [len(str(message.text)) for message in messages]
    if len(messages) <= MOST_CARRIED and sum(chars) <= MOST_CARRIED_CHARS:
        return 0
    turns = [at for at, message in enumerate(messages) if isinstance(message, HumanMessage)]
    fitting = (at for at in turns if len(messages) - at <= CARRIED and sum(chars[at:]) <= MOST_CARRIED_CHARS // 2)
    return next(fitting, len(messages))


async def recalled(context: Context, question: str) -> str:
    """What memory adds to a question, as a marked block: facts of the owner and pages of the conversation. Once a run.

    The same for every call of a run, so that calls of one loop share their beginning.
    """
    known: dict[str, Any] = context.paged.setdefault("in", {})
    if question not in known:
        items = await _found(context, question)
        known[question] = as_evidence(items)
        if items:
            told = [{"key": it.key, "version": it.version, "author": it.author, "place": it.kind} for it in items]
            await adispatch_custom_event("memory.recalled", {"items": told})
    return str(known[question])


async def _found(context: Context, question: str) -> list[Item]:
    memory, owner = context.memory, context.owner
    if memory is None:
        return []
    looks = [memory.recall(owner, question, RECALLED, kinds=("fact",))]
    if context.conversation:
        looks.append(memory.recall(owner, question, RECALLED, kinds=("page",), scope=context.conversation))
    found = [item for items in await asyncio.gather(*looks) for item in items]
    return sorted(found, key=lambda item: -item.score)


def beside(question: HumanMessage, block: str) -> HumanMessage:
    """A person's message with the block behind it; never in front, so that the message still begins as it did."""
    given = f"\n\nContext:\n{block}"
    content = question.content + given if isinstance(question.content, str) else [*question.content, given]
    return question.model_copy(update={"content": content})
