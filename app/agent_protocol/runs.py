"""Runs: start one, resume one, watch it, wait for it, stop it. What is started here is a run like any other.

A thread that waits for a person takes an answer (`command.resume`) or a new input; the input gives the question up. An
answer goes on with the run that asked: its id stays, and so does its log.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Header, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from app.activities import Activity
from app.agent_protocol import wire
from app.agent_protocol.assistants import activity_of
from app.agent_protocol.given import RunBody, given_of, refuse_unusable, stream_modes
from app.agent_protocol.responses import Admitted, awaited, places, streamed
from app.agent_protocol.rows import Rows
from app.agent_protocol.states import Reader
from app.agent_protocol.stream import Position, ended, finished, protocol_stream
from app.agent_protocol.threads import ThreadBody, checkpoint_in, new_thread
from app.borders import Conflict, NotFound, Rejected
from app.compose import App
from app.gate import Owner
from app.replies import Streams
from app.retention import refuse_pruned
from app.runs import TERMINAL

STOP_S = 30.0
"""A worker that lives stops a run in milliseconds; one that does not is replaced within this time."""

Row = Mapping[str, Any]
Modes = Annotated[list[str] | None, Query()]
Key = Annotated[str | None, Header(alias="Idempotency-Key")]


class CancelMany(BaseModel):
    """Which runs to stop."""

    thread_id: str | None = None
    run_ids: list[str] | None = Field(default=None, max_length=1000)
    status: Literal["pending", "running", "all"] | None = None


def runs_router(get_app: Callable[[], App], streams: Streams) -> APIRouter:
    """Routes under `/threads/{thread_id}/runs`, and `/runs` for runs without a thread."""
    router = APIRouter()
    _started(router, get_app, streams)
    _followed(router, get_app, streams)
    _ended(router, get_app)
    return router


# -- starting --------------------------------------------------------------------------------------------------------


def _started(router: APIRouter, get_app: Callable[[], App], streams: Streams) -> None:
    @router.post("/threads/{thread_id}/runs")
    async def create(thread_id: str, body: RunBody, owner: Owner, key: Key = None) -> Response:
        """Start a run, or answer the question that the thread waits with."""
        run = (await admit(get_app(), owner, thread_id, body, key)).run
        return wire.reply(wire.run(run), places(run))

    @router.post("/threads/{thread_id}/runs/wait")
    async def wait(thread_id: str, body: RunBody, owner: Owner, key: Key = None) -> Response:
        """The same, and the final values once it has ended or waits."""
        app, begin = get_app(), partial(admit, get_app(), owner, thread_id, body, key)
        return await streams.told(owner, begin, lambda it: awaited(app, streams, owner, it, body))

    @router.post("/threads/{thread_id}/runs/stream")
    async def stream(thread_id: str, body: RunBody, owner: Owner, key: Key = None) -> Response:
        """The same, as an event stream."""
        app, modes = get_app(), stream_modes(body.stream_mode)
        begin = partial(admit, app, owner, thread_id, body, key)
        return await streams.told(owner, begin, lambda it: streamed(app, streams, owner, it, body, modes))

    @router.post("/runs")
    async def create_alone(body: RunBody, owner: Owner) -> Response:
        """A run in a thread of its own, which stays: there is no other way to its result."""
        run = (await admit_alone(get_app(), owner, body)).run
        return wire.reply(wire.run(run), places(run))

    @router.post("/runs/batch")
    async def create_many(bodies: Annotated[list[RunBody], Body(max_length=100)], owner: Owner) -> Response:
        """Several runs, each in a thread of its own."""
        app = get_app()
        for it in bodies:  # all of them begin, or none
            refuse_unusable(app, it)
        return wire.reply([wire.run((await admit_alone(app, owner, it)).run) for it in bodies])

    @router.post("/runs/wait")
    async def wait_alone(body: RunBody, owner: Owner) -> Response:
        """Final values of a run in a thread of its own, which is removed unless `on_completion` says keep."""
        app, begin = get_app(), partial(admit_alone, get_app(), owner, body)
        return await streams.told(owner, begin, lambda it: awaited(app, streams, owner, it, body, alone=True))

    @router.post("/runs/stream")
    async def stream_alone(body: RunBody, owner: Owner) -> Response:
        """Event stream of a run in a thread of its own, which is removed unless `on_completion` says keep."""
        app, modes = get_app(), stream_modes(body.stream_mode)
        begin = partial(admit_alone, app, owner, body)
        return await streams.told(owner, begin, lambda it: streamed(app, streams, owner, it, body, modes, alone=True))


async def admit_alone(app: App, owner: str, body: RunBody) -> Admitted:
    """A run in a thread of its own."""
    activity_of(app, body.assistant_id)
    thread_id = await new_thread(app, owner, ThreadBody(metadata={"graph_id": body.assistant_id}))
    return await admit(app, owner, thread_id, body, None)


async def admit(app: App, owner: str, thread_id: str, body: RunBody, key: str | None) -> Admitted:
    """The run that this body starts, answers, resumes or gives up."""
    body.refuse_unoffered()
    activity = activity_of(app, body.assistant_id)
    try:
        await app.runs.thread(thread_id, owner)
    except NotFound:
        if body.if_not_exists != "create":
            raise
        await new_thread(app, owner, ThreadBody(thread_id=thread_id, metadata={"graph_id": activity.name}))
    runs = await app.runs.runs(thread_id, owner)
    if body.command and body.command.goto:
        return await _given_up(app, owner, runs)
    if body.command and "resume" in body.command.model_fields_set:
        return await _answered(app, owner, runs, body.command.resume)
    if body.input is None:
        return await _continued(app, owner, thread_id, runs, body)
    return await _begun(app, owner, thread_id, runs, body, activity, key)


async def _begun(
    app: App, owner: str, thread_id: str, runs: Sequence[Row], body: RunBody, activity: Activity, key: str | None
) -> Admitted:
    """A new run from an input."""
    given = given_of(activity, body.input, app.settings.max_question_chars)
    after, begin = await _start(app, thread_id, runs, body)
    going = [run for run in runs if run["status"] in ("queued", "running", "lost")]
    multitask = body.multitask_strategy
    for run in runs:
        if run["status"] == "waiting":  # nobody has answered; what is said now is something new
            await app.runs.cancel(run["run_id"], owner)
    if multitask == "rollback":
        multitask = "enqueue"
        for run in going:
            await removed(app, owner, run)
    nobodys = {} if given.asked else {"through": "values"}
    run = await app.runs.start(
        thread_id, activity.name, given.question, idempotency_key=key, multitask=multitask, after=after,
        values=given.values, more={"request": body.request()} | nobodys | begin, owner=owner,
    )  # fmt: skip
    return Admitted(run)


async def _start(app: App, thread_id: str, runs: Sequence[Row], body: RunBody) -> tuple[str | None, dict[str, Any]]:
    """(run to go on from, state to begin with where that is not the run's last one), for a checkpoint in the body."""
    if not (checkpoint_id := _checkpoint(body)):
        return None, {}
    reader = Reader(app)
    run = await reader.run_of(thread_id, checkpoint_id, runs)
    newest = await reader.at(run)
    if newest and newest.config["configurable"]["checkpoint_id"] == checkpoint_id and run["status"] in TERMINAL:
        return run["run_id"], {}
    return run["parent_run_id"] or "", {"from": {"run_id": run["run_id"], "checkpoint_id": checkpoint_id}}


async def _continued(app: App, owner: str, thread_id: str, runs: Sequence[Row], body: RunBody) -> Admitted:
    """No input: the state itself says what is to be done next."""
    reader = Reader(app)
    if checkpoint_id := _checkpoint(body):
        run = await reader.run_of(thread_id, checkpoint_id, runs)
        return Admitted(await app.steering.fork(run["run_id"], checkpoint_id, owner=owner))
    latest, snapshot = await reader.current(await app.runs.thread(thread_id, owner), runs)
    if latest is None or snapshot is None:
        raise Rejected("input_missing", "input: none was given, and the thread has no state", field="input",
                       fix='send {"messages": [{"role": "user", "content": "..."}]}')  # fmt: skip
    if latest["status"] in ("cancelled", "failed", "lost"):
        begin = await Rows(app.pool, owner).last_seq(latest["run_id"])
        return Admitted(await app.steering.resume(latest["run_id"], owner=owner), begin)
    if latest["status"] == "succeeded" and snapshot.next:
        id_ = snapshot.config["configurable"]["checkpoint_id"]
        return Admitted(await app.steering.fork(latest["run_id"], id_, owner=owner))
    raise Conflict("nothing_to_do", f"thread: its last run is {latest['status']}", field="input",
                   actual=latest["status"], fix="send an input, or a command for a run that waits")  # fmt: skip


async def _answered(app: App, owner: str, runs: Sequence[Row], resume: Any) -> Admitted:
    """Answer what the waiting run asks: one value for its one question, or an object of answers by interrupt id."""
    run = _waiting(runs)
    asked = [it["interrupt_id"] for it in await app.steering.questions(run["run_id"], owner) if not it["answered_at"]]
    if isinstance(resume, Mapping) and resume and set(resume) <= set(asked):
        answers = dict(resume)
    elif len(asked) == 1:
        answers = {asked[0]: resume}
    else:
        raise Rejected("resume_ambiguous", f"command.resume: {len(asked)} questions are open", field="command.resume",
                       actual=asked, fix="send an object of answers by interrupt id")  # fmt: skip
    begin = await Rows(app.pool, owner).last_seq(run["run_id"])
    for interrupt_id, answer in answers.items():
        await app.steering.answer(run["run_id"], interrupt_id, answer, owner)
    return Admitted(await app.runs.run(run["run_id"], owner), begin)


async def _given_up(app: App, owner: str, runs: Sequence[Row]) -> Admitted:
    run_id = _waiting(runs)["run_id"]
    begin = await Rows(app.pool, owner).last_seq(run_id)
    return Admitted(await app.runs.cancel(run_id, owner), begin)


def _waiting(runs: Sequence[Row]) -> Row:
    if waiting := [run for run in runs if run["status"] == "waiting"]:
        return waiting[-1]
    raise Conflict("nothing_asked", "command: no run of this thread waits for an answer", field="command",
                   fix="send an input instead")  # fmt: skip


def _checkpoint(body: RunBody) -> str | None:
    return body.checkpoint_id or (checkpoint_in(body.checkpoint) if body.checkpoint else None)


# -- watching --------------------------------------------------------------------------------------------------------


def _followed(router: APIRouter, get_app: Callable[[], App], streams: Streams) -> None:
    @router.get("/threads/{thread_id}/runs")
    async def runs(
        thread_id: str,
        owner: Owner,
        limit: Annotated[int, Query(ge=1, le=1000)] = 10,
        offset: Annotated[int, Query(ge=0)] = 0,
        status: str | None = None,
        select: Modes = None,
    ) -> Response:
        """Runs of a thread, newest first."""
        rows = [wire.run(row) for row in reversed(await get_app().runs.runs(thread_id, owner))]
        kept = [row for row in rows if status in (None, row["status"])][offset : offset + limit]
        return wire.reply([{name: row[name] for name in select if name in row} if select else row for row in kept])

    @router.get("/threads/{thread_id}/runs/{run_id}")
    async def run(thread_id: str, run_id: str, owner: Owner) -> Response:
        """One run."""
        return wire.reply(wire.run(await run_in(get_app(), owner, thread_id, run_id)))

    @router.get("/threads/{thread_id}/runs/{run_id}/join")
    async def join(thread_id: str, run_id: str, owner: Owner) -> Response:
        """The final values, once it has ended or waits."""
        found = await run_in(get_app(), owner, thread_id, run_id)
        if await Reader(get_app()).at(found) is None:
            refuse_pruned(found)
        values = finished(get_app(), found, 0)
        return streams.response(owner, values, media_type="application/json", headers=places(found, "join"))

    @router.get("/threads/{thread_id}/runs/{run_id}/stream")
    async def join_stream(
        request: Request,
        thread_id: str,
        run_id: str,
        owner: Owner,
        stream_mode: Modes = None,
        stream_subgraphs: bool = False,
        cancel_on_disconnect: bool = False,
    ) -> Response:
        """The run's stream from after `Last-Event-ID`, or from its beginning."""
        app, found = get_app(), await run_in(get_app(), owner, thread_id, run_id)
        refuse_pruned(found)
        after = Position.read(request.headers.get("last-event-id"))
        events = protocol_stream(app, found, stream_modes(stream_mode), subgraphs=stream_subgraphs, after=after)
        query = f"stream?{request.url.query}" if request.url.query else "stream"
        cut = (lambda: app.runs.cancel(run_id, owner)) if cancel_on_disconnect else None
        return streams.response(owner, events, headers=places(found, query), on_cut=cut)


async def run_in(app: App, owner: str, thread_id: str, run_id: str) -> Row:
    """A run of this thread. Raises NotFound."""
    run = await app.runs.run(run_id, owner)
    if run["thread_id"] != thread_id:
        raise NotFound(f"there is no run {run_id} in thread {thread_id}")
    return run


# -- ending ----------------------------------------------------------------------------------------------------------


def _ended(router: APIRouter, get_app: Callable[[], App]) -> None:
    @router.post("/threads/{thread_id}/runs/{run_id}/cancel")
    async def cancel(
        thread_id: str, run_id: str, owner: Owner, wait: bool = False, action: str = "interrupt"
    ) -> Response:
        """Stop a run; with `action=rollback` it is removed as well."""
        app = get_app()
        await stopped(app, owner, await run_in(app, owner, thread_id, run_id), wait=wait, action=action)
        return Response(status_code=204 if wait else 202)

    @router.post("/runs/cancel", status_code=204)
    async def cancel_many(body: CancelMany, owner: Owner, action: str = "interrupt") -> Response:
        """Stop several: those named, or those of a thread or of all threads in a status."""
        app = get_app()
        if body.run_ids:
            rows = [await app.runs.run(run_id, owner) for run_id in body.run_ids]
        elif body.thread_id:
            rows = await app.runs.runs(body.thread_id, owner)
        else:
            rows = await Rows(app.pool, owner).going()
        wanted = {"pending": ("queued",), "running": ("running", "lost")}.get(body.status or "all")
        for row in rows:
            if row["status"] not in TERMINAL and (wanted is None or row["status"] in wanted):
                await stopped(app, owner, row, wait=False, action=action)
        return Response(status_code=204)

    @router.delete("/threads/{thread_id}/runs/{run_id}", status_code=204)
    async def delete(thread_id: str, run_id: str, owner: Owner) -> None:
        """Stop a run and remove it; what went on from it goes on from what was before it."""
        await removed(get_app(), owner, await run_in(get_app(), owner, thread_id, run_id))


async def stopped(app: App, owner: str, run: Row, *, wait: bool, action: str) -> None:
    """Stop a run, and come back when that has happened if `wait` says so."""
    if action == "rollback":
        await removed(app, owner, run)
        return
    await app.runs.cancel(run["run_id"], owner)
    if not wait:
        return
    try:
        async with asyncio.timeout(STOP_S):
            async for _ in ended(app, run, 0):
                pass
    except TimeoutError as error:
        raise Conflict("run_not_stopped", f"run: its worker has not let go of it in {STOP_S:.0f} s", field="run_id",
                       limit=STOP_S, fix="try again in a moment") from error  # fmt: skip


async def removed(app: App, owner: str, run: Row) -> None:
    """Stop a run, wait until it has, and remove it."""
    await stopped(app, owner, run, wait=True, action="interrupt")
    await Rows(app.pool, owner).remove_run(dict(await app.runs.run(run["run_id"], owner)))
