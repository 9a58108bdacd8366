"""A2A's operations on tasks, done on runs. Nothing is kept here: what is told of a task is read from its rows.

- A message without a task starts a run, in the conversation of its context. The same message id is the same task, so a
  client that heard no answer may send it again. While the conversation is at work the run waits for its turn.
- A message to a task that asks is the answer: a word of the choices and a reason (`reject: too expensive`), any text
  where nothing is to choose, or data. To a task at work or over there is nothing to say: that is refused.
- What is asked are an agent's words, so to the guard they are read and no person's: effects wait for a yes.
- A client that goes away stops nothing; it can subscribe again, from the task as it is then.
- `metadata` of a request may carry `sextant.budget` and `sextant.review_plan`, as the API takes them.
"""

import functools
import hashlib
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from a2a.server.context import ServerCallContext
from a2a.server.request_handlers.request_handler import RequestHandler, validate_request_params
from a2a.types import (
    AgentCard,
    CancelTaskRequest,
    DeleteTaskPushNotificationConfigRequest,
    GetExtendedAgentCardRequest,
    GetTaskPushNotificationConfigRequest,
    GetTaskRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTaskPushNotificationConfigsResponse,
    ListTasksRequest,
    ListTasksResponse,
    Message,
    SendMessageRequest,
    SubscribeToTaskRequest,
    Task,
    TaskArtifactUpdateEvent,
    TaskPushNotificationConfig,
    TaskStatusUpdateEvent,
)  # fmt: skip
from a2a.utils.errors import (
    A2AError,
    ContentTypeNotSupportedError,
    ExtendedAgentCardNotConfiguredError,
    InternalError,
    InvalidParamsError,
    TaskNotCancelableError,
    TaskNotFoundError,
    UnsupportedOperationError,
)  # fmt: skip
from a2a.utils.task import apply_history_length, validate_history_length

from app.agent_protocol.runs import stopped
from app.agent_protocol.stream import ended
from app.borders import Conflict, NotFound, Rejected, checked_id
from app.compose import App
from app.protocols import a2a_words as words
from app.protocols.a2a_heard import Heard, moved
from app.protocols.a2a_push import Pushes
from app.protocols.a2a_rows import last_seq, listed
from app.queue import DATABASE_GONE
from app.replies import Streams
from app.runs import TERMINAL

log = logging.getLogger(__name__)

Row = Mapping[str, Any]
Update = Task | Message | TaskStatusUpdateEvent | TaskArtifactUpdateEvent


def told(method: Callable[..., Any]) -> Callable[..., Any]:
    """An operation whose refusals are A2A's errors; what nobody foresaw is in the log and not in the answer."""
    if inspect.isasyncgenfunction(inspect.unwrap(method)):

        @functools.wraps(method)
        async def stream(*args: Any, **more: Any) -> AsyncIterator[Any]:
            try:
                async for update in method(*args, **more):
                    yield update
            except Exception as error:
                raise _in_their_words(error) from error

        return stream

    @functools.wraps(method)
    async def whole(*args: Any, **more: Any) -> Any:
        try:
            return await method(*args, **more)
        except Exception as error:
            raise _in_their_words(error) from error

    return whole


def _in_their_words(error: Exception) -> A2AError:
    match error:
        case A2AError():
            return error
        case NotFound():
            return TaskNotFoundError(str(error))
        case Rejected():
            said = "; ".join(it for it in (error.message, error.fix) if it)
            usual: type[A2AError] = UnsupportedOperationError if isinstance(error, Conflict) else InvalidParamsError
            kind = ContentTypeNotSupportedError if error.code == "content_not_text" else usual
            return kind(said, data={"field": error.field, "code": error.code})
        case _ if isinstance(error, DATABASE_GONE):
            return InternalError("The database does not answer; try again in a moment.")
    log.exception("an A2A request failed", exc_info=error)
    return InternalError(f"Something unforeseen happened: {type(error).__name__}.")


class Tasks(RequestHandler):
    """Runs of all graphs as tasks; which graph and whose is in the call's context."""

    def __init__(self, get_app: Callable[[], App], streams: Streams) -> None:
        self._get_app, self._streams = get_app, streams

    # -- messages ----------------------------------------------------------------------------------------------------

    @told
    @validate_request_params
    async def on_message_send(self, params: SendMessageRequest, context: ServerCallContext) -> Task:
        """Start or answer a task; come back when it ends or asks, unless that is not waited for."""
        if params.configuration.return_immediately:
            run, _ = await self._admitted(params, context)
        else:
            async with self._counted(context):
                run, begin = await self._admitted(params, context)
                async for _ in ended(self._get_app(), run, begin):
                    pass
        return apply_history_length(await self._task(run["run_id"], context), params.configuration)

    @told
    @validate_request_params
    async def on_message_send_stream(
        self, params: SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[Update]:
        """The same, told as it happens."""
        async with self._counted(context):  # first: what is refused must not have begun a task
            run, begin = await self._admitted(params, context)
            async for update in self._followed(run, begin, context):
                yield apply_history_length(update, params.configuration) if isinstance(update, Task) else update

    @told
    @validate_request_params
    async def on_subscribe_to_task(
        self, params: SubscribeToTaskRequest, context: ServerCallContext
    ) -> AsyncGenerator[Update]:
        """The task as it is, then what happens."""
        run = await self._run(params.id, context)
        if run["status"] in TERMINAL:
            raise UnsupportedOperationError(f"task {params.id} is over; get it instead")
        async with self._counted(context):
            async for update in self._followed(run, await last_seq(self._get_app().pool, run["run_id"]), context):
                yield update

    async def _admitted(self, params: SendMessageRequest, context: ServerCallContext) -> tuple[Row, int]:
        """The run that a message starts or answers, and the row of its log after which it is this request's."""
        validate_history_length(params.configuration)
        _refuse_unreadable(params.configuration.accepted_output_modes)
        message = params.message
        if message.task_id:
            run, begin = await self._answered(message, context)
        else:
            run, begin = await self._begun(params, context), 0
        if params.configuration.HasField("task_push_notification_config"):
            wish = params.configuration.task_push_notification_config
            await self._pushes().set(_owner(context), run["run_id"], wish)
        return run, begin

    async def _begun(self, params: SendMessageRequest, context: ServerCallContext) -> Row:
        app, owner, graph, message = self._get_app(), _owner(context), _graph(context), params.message
        key = _digest(owner, graph, message.message_id)
        thread_id = checked_id(message.context_id, "message.contextId") if message.context_id else f"a2a-{key}"
        asked, given = words.question_in(message), words.as_json(params.metadata)
        thread = await app.runs.create_thread(graph, thread_id, owner)
        waits = any(run["status"] == "waiting" for run in await app.runs.runs(thread["thread_id"], owner))
        more = {"a2a": {"message_id": message.message_id}, "through": "a2a"}
        return await app.runs.start(
            thread["thread_id"], graph, asked, idempotency_key=f"a2a-{key}", owner=owner,
            multitask="branch" if waits else "enqueue", budget=given.get("sextant.budget"),
            more=more | ({"review_plan": True} if given.get("sextant.review_plan") is True else {}),
        )  # fmt: skip

    async def _answered(self, message: Message, context: ServerCallContext) -> tuple[Row, int]:
        app, owner = self._get_app(), _owner(context)
        run = await self._run(message.task_id, context)
        if message.context_id not in ("", run["thread_id"]):
            raise InvalidParamsError(f"task {run['run_id']} is of another context than {message.context_id[:100]}")
        if run["status"] != "waiting":
            raise UnsupportedOperationError(f"task {run['run_id']} is {run['status']}: it asks nothing")
        answers = words.answers_in(message, {it["id"]: it for it in await self._asked(run)})
        begin = await last_seq(app.pool, run["run_id"])
        for interrupt_id, answer in answers.items():
            await app.steering.answer(run["run_id"], interrupt_id, answer, owner)
        return await app.runs.run(run["run_id"], owner), begin

    # -- following ---------------------------------------------------------------------------------------------------

    async def _followed(self, run: Row, begin: int, context: ServerCallContext) -> AsyncIterator[Update]:
        """The task as it is after row `begin` of its log, then updates until it ends or asks."""
        app = self._get_app()
        heard = Heard(app.activities[run["graph"]], run)
        heard.fold([event for event in await app.journal.read(run["run_id"]) if event.seq <= begin])
        run = await app.runs.run(run["run_id"], run["owner"])
        yield words.task({**run, "output": None}, await self._asked(run), heard.text)
        status = run["status"]
        if status in TERMINAL:
            yield await self._task(run["run_id"], context)
            return
        async for batch in ended(app, run, begin):
            heard.fold(batch)
            if update := heard.news():
                yield update
            run = await app.runs.run(run["run_id"], run["owner"])
            if run["status"] == "running" != status:
                yield moved(run)
            status = run["status"]
        run = await app.runs.run(run["run_id"], run["owner"])
        if run["output"] and (final := words.answer(run["output"])):
            yield heard.whole(final)
        if run["status"] in (*TERMINAL, "waiting"):  # else the server is going down, and the client subscribes again
            yield moved(run, await self._asked(run))

    # -- tasks -------------------------------------------------------------------------------------------------------

    @told
    @validate_request_params
    async def on_get_task(self, params: GetTaskRequest, context: ServerCallContext) -> Task:
        """One task."""
        validate_history_length(params)
        return apply_history_length(await self._task(params.id, context), params)

    @told
    @validate_request_params
    async def on_list_tasks(self, params: ListTasksRequest, context: ServerCallContext) -> ListTasksResponse:
        """Tasks of this agent, the one that changed last first."""
        validate_history_length(params)
        rows, total, more = await listed(self._get_app().pool, _owner(context), _graph(context), params)
        tasks = [apply_history_length(words.task(run, await self._asked(run)), params) for run in rows]
        for task in tasks:
            if not params.include_artifacts:
                task.ClearField("artifacts")
        return ListTasksResponse(tasks=tasks, next_page_token=more, page_size=len(tasks), total_size=total)

    @told
    @validate_request_params
    async def on_cancel_task(self, params: CancelTaskRequest, context: ServerCallContext) -> Task:
        """Stop a task."""
        run = await self._run(params.id, context)
        if run["status"] in TERMINAL:
            raise TaskNotCancelableError(f"task {params.id} is {run['status']}")
        await stopped(self._get_app(), run["owner"], run, wait=True, action="interrupt")
        return await self._task(params.id, context)

    async def _task(self, run_id: str, context: ServerCallContext) -> Task:
        run = await self._run(run_id, context)
        return words.task(run, await self._asked(run))

    async def _run(self, run_id: str, context: ServerCallContext) -> Row:
        """A run of this owner and of this agent; anybody else's is not there."""
        run = await self._get_app().runs.run(_known(run_id), _owner(context))
        if run["graph"] != _graph(context):
            raise NotFound(f"there is no task {run_id}")
        return run

    async def _asked(self, run: Row) -> list[Row]:
        """What a run waits for."""
        if run["status"] != "waiting":
            return []
        rows = await self._get_app().steering.questions(run["run_id"], run["owner"])
        return [{"id": it["interrupt_id"], **it["value"]} for it in rows if not it["answered_at"]]

    # -- push notifications ------------------------------------------------------------------------------------------

    @told
    @validate_request_params
    async def on_create_task_push_notification_config(
        self, params: TaskPushNotificationConfig, context: ServerCallContext
    ) -> TaskPushNotificationConfig:
        """Tell an address of a task."""
        run = await self._run(params.task_id, context)
        return await self._pushes().set(_owner(context), run["run_id"], params)

    @told
    @validate_request_params
    async def on_get_task_push_notification_config(
        self, params: GetTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> TaskPushNotificationConfig:
        """One wish."""
        await self._run(params.task_id, context)
        return await self._pushes().one(_owner(context), params.task_id, params.id)

    @told
    @validate_request_params
    async def on_list_task_push_notification_configs(
        self, params: ListTaskPushNotificationConfigsRequest, context: ServerCallContext
    ) -> ListTaskPushNotificationConfigsResponse:
        """All wishes of a task."""
        await self._run(params.task_id, context)
        return ListTaskPushNotificationConfigsResponse(
            configs=await self._pushes().all(_owner(context), params.task_id)
        )

    @told
    @validate_request_params
    async def on_delete_task_push_notification_config(
        self, params: DeleteTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> None:
        """Tell it nothing more."""
        await self._run(params.task_id, context)
        await self._pushes().delete(_owner(context), params.task_id, params.id)

    @told
    async def on_get_extended_agent_card(
        self, params: GetExtendedAgentCardRequest, context: ServerCallContext
    ) -> AgentCard:
        """None: whoever may see the card sees all of it."""
        raise ExtendedAgentCardNotConfiguredError

    def _pushes(self) -> Pushes:
        app = self._get_app()
        return Pushes(app.pool, app.settings.web_allowed)

    @asynccontextmanager
    async def _counted(self, context: ServerCallContext) -> AsyncIterator[None]:
        """What waits and what streams is counted with the other streams of its owner."""
        owner = _owner(context)
        if not self._streams.take(owner):
            raise UnsupportedOperationError(f"{self._streams.of(owner)} streams are open; close some")
        try:
            yield
        finally:
            self._streams.give_back(owner)


def _owner(context: ServerCallContext) -> str:
    return str(context.state["owner"])


def _graph(context: ServerCallContext) -> str:
    return str(context.state["graph"])


def _known(id_: str) -> str:
    """An id that could be one of ours; one that could not is as little there as one that is not."""
    try:
        return checked_id(id_, "id")
    except Rejected as rejected:
        raise NotFound("there is no such task") from rejected


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _refuse_unreadable(modes: Any) -> None:
    if modes and not any(mode in (*words.OUTPUT_MODES, "text/*", "text/plain", "*/*") for mode in modes):
        raise ContentTypeNotSupportedError(f"an answer is {' and '.join(words.OUTPUT_MODES)}")
