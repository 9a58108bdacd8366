"""Conversations and their runs over HTTP: start, watch, steer. Every route answers for the owner of the request."""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import orjson
from fastapi import APIRouter, Header
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from app.borders import NotFound
from app.compose import App
from app.gate import Owner
from app.live import LiveView
from app.replies import STILL_HERE, Streams, sse
from app.retention import pruned_words
from app.shapes import Shape
from app.watching import Watching

TERMINAL = ("succeeded", "failed", "cancelled")
MAX_LISTED = 1_000
_SEQ = re.compile(r"[0-9]{1,18}")

GetApp = Callable[[], App]


class Message(BaseModel):
    """One message of the Agent Protocol."""

    role: str = Field(default="user", description="user")
    content: Any


class RunInput(BaseModel):
    """What a run is given."""

    messages: list[Message] = Field(min_length=1, max_length=100)


class RunBody(BaseModel):
    """Start a run of one graph."""

    model_config = ConfigDict(extra="ignore")

    assistant_id: str = Field(description="name of the graph")
    input: RunInput
    multitask_strategy: str = Field(default="enqueue", description="enqueue, interrupt or branch")
    after: str | None = Field(default=None, description="run to go on from; empty for the beginning")
    budget: dict[str, Any] | None = Field(default=None, description="any of steps, tokens, usd, seconds, width")
    review_plan: bool = Field(default=False, description="ask a person before a plan runs")


class ThreadBody(BaseModel):
    """Create a conversation."""

    graph: str = "chat"
    thread_id: str | None = None


class ThreadChange(BaseModel):
    """Rename a conversation, or read another branch of it."""

    title: str | None = None
    head_run_id: str | None = None


class BudgetBody(BaseModel):
    """Limits of a run: any of steps, tokens, usd, seconds."""

    budget: dict[str, Any] | None = None


class AnswerBody(BaseModel):
    """What a person says to a question: for an approval, a decision with args or a reason."""

    answer: Any


class ForkBody(BaseModel):
    """Where to fork from, and what to change."""

    checkpoint_id: str
    values: dict[str, Any] | None = None
    question: str | None = None


def threads_router(get_app: GetApp) -> APIRouter:
    """Routes under `/threads`."""
    router = APIRouter(tags=["conversations"])

    @router.get("/threads")
    async def threads(owner: Owner) -> dict[str, Any]:
        """Conversations, newest first; at most a thousand."""
        return {"threads": await get_app().runs.threads(owner, MAX_LISTED)}

    @router.post("/threads")
    async def create_thread(body: ThreadBody, owner: Owner) -> dict[str, Any]:
        """A new conversation."""
        return await get_app().runs.create_thread(body.graph, body.thread_id, owner)

    @router.get("/threads/{thread_id}")
    async def thread(thread_id: str, owner: Owner) -> dict[str, Any]:
        """One conversation."""
        return await get_app().runs.thread(thread_id, owner)

    @router.patch("/threads/{thread_id}")
    async def change(thread_id: str, body: ThreadChange, owner: Owner) -> dict[str, Any]:
        """Rename a conversation, or read another branch of it."""
        runs = get_app().runs
        if body.title is not None:
            await runs.rename_thread(thread_id, body.title, owner)
        if body.head_run_id is not None:
            await runs.choose_branch(thread_id, body.head_run_id, owner)
        return await runs.thread(thread_id, owner)

    @router.delete("/threads/{thread_id}", status_code=204)
    async def delete_thread(thread_id: str, owner: Owner) -> None:
        """Stop and remove a conversation."""
        await get_app().runs.delete_thread(thread_id, owner)

    _runs_of_thread(router, get_app)
    return router


def _runs_of_thread(router: APIRouter, get_app: GetApp) -> None:
    @router.get("/threads/{thread_id}/runs")
    async def thread_runs(thread_id: str, owner: Owner) -> dict[str, Any]:
        """Runs of the branch that is being read, oldest first, each with the branches beside it.

        Without their outputs, so that a page can look often; `/runs/{run_id}` has each.
        """
        line = await get_app().runs.branch(thread_id, owner)
        rows = [{**public(run), "siblings": run["siblings"]} for run in line]
        return {"runs": [{name: value for name, value in row.items() if name != "output"} for row in rows]}

    @router.post("/threads/{thread_id}/runs")
    async def start(
        thread_id: str, body: RunBody, owner: Owner, idempotency_key: str | None = Header(default=None)
    ) -> dict[str, Any]:
        """Admit a run. The same `Idempotency-Key` with the same body returns the same run."""
        question = body.input.messages[-1].content
        run = await get_app().runs.start(
            thread_id,
            body.assistant_id,
            question,
            idempotency_key=idempotency_key,
            multitask=body.multitask_strategy,
            after=body.after,
            budget=body.budget,
            more={"review_plan": True} if body.review_plan else None,
            owner=owner,
        )
        return public(run)


def public(run: Mapping[str, Any]) -> dict[str, Any]:
    """A run's row as strangers see it."""
    names = (
        "run_id",
        "thread_id",
        "parent_run_id",
        "graph",
        "status",
        "question",
        "output",
        "error",
        "created_at",
        "started_at",
        "finished_at",
        "pruned_at",
    )
    return {name: run[name] for name in names}


def runs_router(get_app: GetApp, streams: Streams) -> APIRouter:
    """Routes under `/runs`, and the questions that runs ask."""
    router = APIRouter(tags=["runs"])

    @router.get("/runs/{run_id}")
    async def run(run_id: str, owner: Owner) -> dict[str, Any]:
        """One run, with its output once it has one."""
        return public(await get_app().runs.run(run_id, owner))

    @router.get("/runs/{run_id}/history")
    async def history(run_id: str, owner: Owner) -> dict[str, Any]:
        """Checkpoints of the run, newest first; `pruned` says why there are none any more."""
        found = await get_app().runs.run(run_id, owner)
        checkpoints = [] if found["pruned_at"] else await get_app().steering.history(run_id, owner)
        return {"checkpoints": checkpoints, "pruned": pruned_words(found)}

    @router.get("/runs/{run_id}/effects")
    async def effects(run_id: str, owner: Owner) -> dict[str, Any]:
        """What has left Sextant in this run; `pruned` says why nothing is known of it any more."""
        found = await get_app().runs.run(run_id, owner)
        return {"effects": await get_app().steering.effects(run_id, owner), "pruned": pruned_words(found)}

    @router.post("/runs/{run_id}/fork")
    async def fork(run_id: str, body: ForkBody, owner: Owner) -> dict[str, Any]:
        """A new run from a checkpoint of this one, with its state or its question changed."""
        return public(await get_app().steering.fork(run_id, body.checkpoint_id, body.values, body.question, owner))

    _steering(router, get_app)
    _looking(router, get_app, streams)
    return router


def _steering(router: APIRouter, get_app: GetApp) -> None:
    """Routes of what a person does to a run, and of what it asks."""

    @router.post("/runs/{run_id}/cancel", status_code=202)
    async def cancel(run_id: str, owner: Owner) -> dict[str, Any]:
        """Stop a run."""
        return public(await get_app().runs.cancel(run_id, owner))

    @router.post("/runs/{run_id}/resume", status_code=202)
    async def resume(run_id: str, owner: Owner, body: BudgetBody | None = None) -> dict[str, Any]:
        """Go on with a stopped, failed or lost run, with another budget if one is given."""
        return public(await get_app().steering.resume(run_id, body and body.budget, owner))

    @router.post("/runs/{run_id}/retry", status_code=202)
    async def retry(run_id: str, owner: Owner, body: BudgetBody | None = None) -> dict[str, Any]:
        """Try again what failed or is missing; what is finished is not done again."""
        return public(await get_app().steering.retry(run_id, body and body.budget, owner))

    @router.post("/runs/{run_id}/answer-now", status_code=202)
    async def answer_now(run_id: str, owner: Owner) -> dict[str, Any]:
        """Stop looking, and answer from what has returned."""
        return public(await get_app().steering.answer_now(run_id, owner))

    @router.get("/questions")
    async def questions(owner: Owner) -> dict[str, Any]:
        """What waits for a person, over all conversations."""
        return {"questions": await get_app().steering.open_questions(owner)}

    @router.post("/runs/{run_id}/questions/{interrupt_id}", status_code=202)
    async def answer(run_id: str, interrupt_id: str, body: AnswerBody, owner: Owner) -> dict[str, Any]:
        """Answer one question of a waiting run. The first answer counts; a later one is told so."""
        return public(await get_app().steering.answer(run_id, interrupt_id, body.answer, owner))


def _looking(router: APIRouter, get_app: GetApp, streams: Streams) -> None:
    """Routes that show a run while it goes on."""
    watching = watching_of(get_app)

    @router.get("/runs/{run_id}/view")
    async def view(run_id: str, owner: Owner) -> Response:
        """What the run looks like at this moment."""
        live = await _live_view(get_app(), run_id, owner)
        return Response(orjson.dumps(live.whole()), media_type="application/json")

    @router.get("/runs/{run_id}/events")
    async def events(
        run_id: str, owner: Owner, after: int = 0, last_event_id: str | None = Header(default=None)
    ) -> Response:
        """The run's raw log as an event stream, from after `after`, or after what a client that was cut has heard."""
        found = await get_app().runs.run(run_id, owner)
        heard = int(last_event_id) if last_event_id and _SEQ.fullmatch(last_event_id) else 0
        log = _pruned(found) if found["pruned_at"] else _raw(get_app(), run_id, owner, max(after, heard))
        return streams.response(owner, log)

    @router.get("/runs/{run_id}/live")
    async def live(run_id: str, owner: Owner) -> Response:
        """The run as a view, then what changes in it."""
        await get_app().runs.run(run_id, owner)
        return streams.response(owner, watching.read(run_id, owner))


def watching_of(get_app: GetApp) -> Watching:
    """What looks at runs for all readers of this process."""

    async def load(run_id: str, owner: str) -> LiveView:
        return await _live_view(get_app(), run_id, owner)

    async def status(run_id: str, owner: str) -> str:
        return str((await get_app().runs.run(run_id, owner))["status"])

    return Watching(lambda: get_app().journal, load, status)


async def _live_view(sextant: App, run_id: str, owner: str) -> LiveView:
    run = await sextant.runs.run(run_id, owner)
    activity = sextant.activities.get(run["graph"])
    live = LiveView(run, activity.shape if activity else Shape((), ()))
    if not run["pruned_at"]:
        live.apply(await sextant.journal.read(run_id))
        live.status(run["status"])
    if run["status"] in TERMINAL and live.view.ended is None:  # its end is gone, maybe since a moment ago
        run = await sextant.runs.run(run_id, owner)
        live = LiveView(run, live.view.shape)
        live.from_row(run, pruned_words(run))
    return live


async def _pruned(run: Mapping[str, Any]) -> AsyncIterator[bytes]:
    yield sse("run.pruned", {"at": run["pruned_at"].timestamp(), "message": pruned_words(run)})
    yield sse("end", {"status": run["status"]})


async def _raw(sextant: App, run_id: str, owner: str, after: int) -> AsyncIterator[bytes]:
    async for batch in sextant.journal.follow(run_id, after):
        for it in batch:
            data = {"seq": it.seq, "at": it.at, "span_id": it.span_id, "parent_id": it.parent_id, "attempt": it.attempt,
                    "data": it.data}  # fmt: skip
            yield sse(it.type, data, it.seq)
        if not batch:
            try:
                await sextant.runs.run(run_id, owner)
            except NotFound:
                break  # deleted meanwhile: no end of it will ever be stored
            yield STILL_HERE
    yield sse("bye" if sextant.journal.closed else "end", {})
