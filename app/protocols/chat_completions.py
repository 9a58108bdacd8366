"""Every graph as a chat model: `/v1/chat/completions` and `/v1/models`, for any front-end that speaks to OpenAI.

The base URL is `http://HOST:PORT/v1`, or `/api/v1` of the same. What is not the same, because a team is no model:

- A request is a run of its own, which stays like any other: `chatcmpl-ID` is run ID, and its page shows the work. The
  last message is the question; those before it are turns of the conversation, as in a thread that went on. System
  messages come first, as the person's words: agents have prompts of their own, and many templates take only one.
- Citations stay in the text as [1], and what they stand for is a list at its end. Usage is that of the whole run.
- Text is streamed where one node of the graph speaks; where several do, an answer may still be taken back, so it comes
  once it is final. What an agent says before it calls a tool is a paragraph of the stream, and not of the answer.
- A picture in an answer is written out, since a front-end would fetch it, and who hosts it learn what was asked.
- A run that asks a person says so and ends the answer; the person answers on the page.
- A client that goes away stops its run, unless it sent an `Idempotency-Key`: then it means to come back for the answer.
- Sampling (`temperature`, `max_tokens`, `seed` ...) is set on the server and ignored. What would silently not happen
  (`tools`, `n`, `stop`, JSON formats ...) is refused with its name.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from app.activities import Activity
from app.agent_protocol.given import checked_messages
from app.agent_protocol.runs import Key
from app.agent_protocol.stream import ended
from app.borders import NotFound, Rejected, checked_id, checked_json
from app.compose import App
from app.gate import Owner, Refused
from app.outcome import numbered
from app.projection import RunView
from app.protocols import openai_words as words
from app.protocols.unfetched import without_pictures_so_far
from app.queue import DATABASE_GONE
from app.replies import STILL_HERE, Streams

log = logging.getLogger(__name__)

SYSTEM = ("system", "developer")
MAX_TURNS = 1_000
"""Messages of one request: a front-end sends the whole conversation each time."""
ROLES = (*SYSTEM, "user", "assistant")
REFUSED = (
    "tools", "functions", "tool_choice", "function_call", "stop", "logprobs", "top_logprobs", "audio", "prediction",
    "web_search_options",
)  # fmt: skip
"""Fields that would change the answer, and would not here."""
HARMLESS: tuple[Any, ...] = (None, False, 0, "none", "auto", [], {})
"""Values with which they ask for nothing."""

Row = Mapping[str, Any]


class StreamOptions(BaseModel):
    """What a stream ends with."""

    include_usage: bool = False


class ResponseFormat(BaseModel):
    """Text is all there is."""

    type: Literal["text"] = "text"


class ChatBody(BaseModel):
    """A chat completion."""

    model_config = ConfigDict(extra="allow")

    model: str = Field(description="name of a graph")
    messages: list[dict[str, Any]] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None
    response_format: ResponseFormat | None = None
    modalities: list[Literal["text"]] | None = None

    def refuse_unoffered(self) -> None:
        """Raise Rejected for what would silently not happen."""
        for name in REFUSED:
            if (given := (self.model_extra or {}).get(name)) not in HARMLESS:
                raise Rejected("unsupported_parameter", f"{name}: a graph has its own tools and its own end",
                               field=name, actual=checked_json(given, name), fix="leave it out")  # fmt: skip


def chat_completions_router(get_app: Callable[[], App], streams: Streams) -> APIRouter:
    """Routes under `/v1`."""
    router = APIRouter(prefix=words.PREFIX, tags=["chat completions"])

    @router.get("/models")
    async def models() -> dict[str, Any]:
        """Graphs that hold a conversation."""
        return {"object": "list", "data": [words.model(it) for it in _models(get_app()).values()]}

    @router.get("/models/{model}")
    async def model(model: str) -> dict[str, Any]:
        """One of them."""
        return words.model(_model(get_app(), model))

    @router.post("/chat/completions")
    async def completions(body: ChatBody, request: Request, owner: Owner, key: Key = None) -> Response:
        """Ask a graph. The same `Idempotency-Key` with the same body is the same run."""
        app = get_app()
        # first the place: a client that is told to try again must not have begun a run each time
        run = await streams.within(owner, lambda: _admitted(app, owner, body, key))
        if run is None:
            return streams.refusal(owner)
        on_cut = None if key else lambda: app.runs.cancel(run["run_id"], owner)
        if body.stream:
            usage = bool(body.stream_options and body.stream_options.include_usage)
            return streams.response(owner, _streamed(app, run, usage=usage), on_cut=on_cut, held=True)
        try:
            return await _whole(app, run, request, on_cut)
        finally:
            streams.give_back(owner)

    return router


# -- what is asked ---------------------------------------------------------------------------------------------------


def _models(app: App) -> dict[str, Activity]:
    return {
        name: activity
        for name, activity in app.activities.items()
        if "messages" in activity.builder.schemas[activity.builder.state_schema]
    }


def _model(app: App, name: str) -> Activity:
    if activity := _models(app).get(name):
        return activity
    raise Refused(404, "model_not_found", f"model: there is no {name[:100]!r}", field="model", actual=name,
                  fix=f"choose one of {', '.join(sorted(_models(app)))}")  # fmt: skip


async def _admitted(app: App, owner: str, body: ChatBody, key: str | None) -> Row:
    """The run of a request, in a thread of its own; of the same key and owner always in the same."""
    activity = _model(app, body.model)
    body.refuse_unoffered()
    messages = conversation(body.messages, app.settings.max_question_chars)
    thread_id = None
    if key:
        said = f"{owner}\n{checked_id(key, 'idempotency_key')}"
        thread_id = f"chat-{hashlib.sha256(said.encode()).hexdigest()[:32]}"
    thread = await app.runs.create_thread(activity.name, thread_id, owner)
    return await app.runs.start(
        thread["thread_id"], activity.name, messages[-1]["content"], idempotency_key=key, owner=owner, after="",
        values={"messages": messages} if len(messages) > 1 else None,
    )  # fmt: skip


def conversation(given: list[dict[str, Any]], max_chars: int) -> list[dict[str, Any]]:
    """Messages of a request as a graph reads them, the question last. Raises Rejected with the message's place."""
    for at, message in enumerate(given):
        if message.get("role") not in ROLES:
            raise Rejected("message_invalid", f"messages.{at}.role: {message.get('role')!r}",
                           field=f"messages.{at}.role", actual=str(message.get("role"))[:50],
                           fix=f"choose one of {', '.join(ROLES)}")  # fmt: skip
    checked = checked_messages([{name: it.get(name) for name in ("role", "content")} for it in given], "messages",
                               max_chars, MAX_TURNS)  # fmt: skip
    told = [{**it, "type": "human"} for it in checked if it["type"] == "system"]
    turns = [it for it in checked if it["type"] != "system" and it["content"].strip()]
    if not turns or turns[-1]["type"] != "human":
        raise Rejected("question_missing", "messages: the last one is not the user's", field="messages",
                       fix="end with a message of role 'user'")  # fmt: skip
    return [*told, *turns]


# -- what is answered ------------------------------------------------------------------------------------------------


async def _whole(app: App, run: Row, request: Request, on_cut: Callable[[], Any] | None) -> Response:
    """The answer in one piece, once there is one and the client is still there."""
    gone = asyncio.ensure_future(_left(request))
    end = asyncio.ensure_future(_ended(app, run))
    try:
        await asyncio.wait({gone, end}, return_when=asyncio.FIRST_COMPLETED)
        if not end.done():
            if on_cut:
                await on_cut()
            return Response(status_code=499)  # nobody reads it
        run = end.result()
    finally:
        for waiting in (gone, end):
            waiting.cancel()
        await asyncio.wait({gone, end})
    if failure := words.failure_of(run):
        # whoever tries again starts the work anew: that is for a person to decide
        return JSONResponse({"error": failure.error}, failure.status, {"x-should-retry": "false"})
    return JSONResponse(words.completion(run))


async def _left(request: Request) -> None:
    """Come back when the client has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _ended(app: App, run: Row) -> Row:
    async for _ in ended(app, run, 0):
        pass
    return await _come_to(app, run)


async def _come_to(app: App, run: Row) -> Row:
    """A run's row once it has ended or waits, with what it asks."""
    run = await app.runs.run(run["run_id"], run["owner"])
    asked = await app.steering.questions(run["run_id"], run["owner"]) if run["status"] == "waiting" else []
    return {**run, "asked": [it["value"] for it in asked if not it["answered_at"]]}


async def _streamed(app: App, run: Row, *, usage: bool) -> AsyncIterator[bytes]:
    """The stream of a run. Its status is out by then, so what goes wrong on the way is said in the stream."""
    try:
        async for piece in _pieces(app, run, usage=usage):
            yield piece
    except NotFound:
        yield words.event({"error": words.DELETED})
    except DATABASE_GONE as error:
        log.warning("a chat completion lost the database: %s", error)
        yield words.event({"error": words.NO_DATABASE})


async def _pieces(app: App, run: Row, *, usage: bool) -> AsyncIterator[bytes]:
    yield words.chunk(run, {"role": "assistant", "content": ""}, usage=usage)
    spoken = Spoken(app.activities[run["graph"]])
    async for batch in ended(app, run, 0):
        said = spoken.after(batch)
        if said:
            yield words.chunk(run, {"content": said}, usage=usage)
        elif not batch:
            yield STILL_HERE
    if app.journal.closed:
        yield words.event({"error": words.GOING_DOWN})
        return
    run = await _come_to(app, run)
    if failure := words.failure_of(run):
        yield words.event({"error": failure.error})
        return
    if rest := spoken.rest(words.text_of(run)):
        yield words.chunk(run, {"content": rest}, usage=usage)
    yield words.chunk(run, {}, words.finish_reason(run), usage=usage)
    if usage:
        yield words.last_chunk(run)
    yield words.DONE


class Spoken:
    """Folds a run's log, and says what of its answer can be shown that was not shown before."""

    def __init__(self, activity: Activity) -> None:
        self._view = RunView(activity.shape)
        self._live = sum(node.speaks for node in activity.shape.nodes) == 1
        self._shown = ""

    def after(self, events: list[Any]) -> str:
        """What to show after these events."""
        for event in events:
            self._view.apply(event)
        if not self._live or not self._view.answer:
            return ""
        said = numbered(_complete(self._view.answer), self._view.numbers())
        return self.rest(without_pictures_so_far(said))

    def rest(self, text: str) -> str:
        """What is left to show of `text`; a new paragraph where it is another one than was shown."""
        before, self._shown = self._shown, text
        return text[len(before) :] if text.startswith(before) else f"\n\n{text}"


def _complete(text: str) -> str:
    """Without the beginning of a citation whose end is still to come."""
    opened = text.rfind("[")
    is_cut = opened >= 0 and "]" not in text[opened:] and len(text) - opened < words.CITATION_CHARS
    return text[:opened] if is_cut else text
