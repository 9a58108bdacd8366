"""THE WAIST: start, claim, stream, stop one run of one graph. Chat, batch and terminal all come through here.

A run is admitted before it starts: its row and its queue job are one transaction. Whoever takes the job claims the run,
which raises its epoch; everything that a worker writes (events, checkpoints, result) carries the epoch and is refused
once somebody else has claimed the run.
"""

import asyncio
import hashlib
import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import orjson
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.errors import GraphRecursionError
from langgraph.graph import StateGraph
from psycopg.types.json import Jsonb

from agents.agent import discover_agents
from agents.context import Context
from agents.errors import RunError
from app.events import ROOT, RunEvent, Translator, json_safe
from app.journal import Journal, Recorder
from app.postgres import Pool, StaleWriter, checkpointer
from app.projection import RunView, cited_keys
from app.queue import RunQueue
from app.shapes import Shape

log = logging.getLogger(__name__)

MAX_TITLE_CHARS = 60
MAX_ID_CHARS = 100
SUPERSTEPS = 200
"""Root super-steps of one run; agents bound themselves, so only a graph that loops for ever meets this."""
_ID = re.compile(r"[A-Za-z0-9._:-]+")
_TERMINAL = ("succeeded", "failed", "cancelled")

Row = dict[str, Any]


class Rejected(ValueError):
    """A request that cannot be taken: which field, what limit, what was given, what to do."""

    def __init__(
        self, code: str, message: str, *, field: str, limit: Any = None, actual: Any = None, fix: str = ""
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.field = code, message, field
        self.limit, self.actual, self.fix = limit, actual, fix


class NotFound(LookupError):
    """No such thread or run, or somebody else's."""


@dataclass(frozen=True, slots=True)
class Activity:
    """A graph that can be run. Compiled for each run (3 ms), because each run has a checkpointer of its own."""

    name: str
    description: str
    builder: StateGraph[Any, Any, Any, Any]
    shape: Shape
    examples: Mapping[str, str]


def checked_question(text: Any, max_chars: int) -> str:
    """A question that can be asked, or Rejected with what is wrong and what to do."""
    if not isinstance(text, str):
        raise Rejected("question_not_text", f"question: {type(text).__name__} given, text needed", field="question",
                       fix="send the question as a string")  # fmt: skip
    if not text.strip():
        raise Rejected("question_empty", "question: it is empty", field="question", fix="write a question")
    if len(text) > max_chars:
        raise Rejected(
            "question_too_long", f"question: {len(text):,} characters of at most {max_chars:,}", field="question",
            limit=max_chars, actual=len(text), fix="upload the long part as a document and ask about it",
        )  # fmt: skip
    if found := re.search("[\x00\ud800-\udfff]", text):
        raise Rejected(
            "question_not_text", f"question: character {found.start() + 1} is U+{ord(found[0]):04X}, which is not text",
            field="question", actual=f"U+{ord(found[0]):04X}", fix="remove that character and send it again",
        )  # fmt: skip
    return text


def checked_id(value: str, field: str) -> str:
    """An id that is safe everywhere ids go."""
    if not (0 < len(value) <= MAX_ID_CHARS and _ID.fullmatch(value)):
        raise Rejected(
            f"{field}_malformed", f"{field}: 1 to {MAX_ID_CHARS} of A-Z a-z 0-9 . _ : - are allowed", field=field,
            limit=MAX_ID_CHARS, actual=len(value), fix="leave it out to get a new one",
        )  # fmt: skip
    return value


class Runs:
    """Threads and runs of one database."""

    def __init__(
        self,
        pool: Pool,
        journal: Journal,
        activities: Mapping[str, Activity],
        context: Context,
        *,
        max_question_chars: int,
        model_name: str,
    ) -> None:
        self._pool, self.journal, self.activities, self._context = pool, journal, activities, context
        self._max_question_chars, self._model_name = max_question_chars, model_name
        self.queue = RunQueue(self.execute)
        # strict deserialisation knows the types of a graph's own state, not those of the agents inside it
        outputs = (agent.output for agent in discover_agents().values() if agent.output)
        self._agent_outputs = {(output.__module__, output.__name__) for output in outputs}
        self._worker = f"worker-{uuid4().hex[:8]}"

    # -- threads -----------------------------------------------------------------------------------------------------

    async def create_thread(self, graph: str, thread_id: str | None = None, owner: str = "local") -> Row:
        """A new conversation, or the existing one of that id."""
        self._activity(graph)
        thread_id = checked_id(thread_id, "thread_id") if thread_id else str(uuid4())
        await self._execute(
            "insert into threads (thread_id, owner, title, graph) values (%s, %s, '', %s) on conflict do nothing",
            thread_id, owner, graph,
        )  # fmt: skip
        return await self.thread(thread_id, owner)

    async def thread(self, thread_id: str, owner: str = "local") -> Row:
        """One conversation. Raises NotFound."""
        return await self._one("select * from threads where thread_id = %s and owner = %s", thread_id, owner)

    async def threads(self, owner: str = "local", limit: int = 100) -> list[Row]:
        """Conversations with the status of their last run, newest first; those never used are left out."""
        return await self._all(
            "select t.thread_id, t.title, t.graph, t.updated_at, r.run_id, r.status from threads t "
            "join lateral (select run_id, status from runs where runs.thread_id = t.thread_id "
            "order by created_at desc limit 1) r on true where t.owner = %s order by t.updated_at desc limit %s",
            owner, limit,
        )  # fmt: skip

    async def rename_thread(self, thread_id: str, title: str, owner: str = "local") -> Row:
        """Give a conversation another title."""
        title = checked_question(title, 200).strip()
        await self.thread(thread_id, owner)
        await self._execute(
            "update threads set title = %s where thread_id = %s and owner = %s", title, thread_id, owner
        )
        return await self.thread(thread_id, owner)

    async def delete_thread(self, thread_id: str, owner: str = "local") -> None:
        """Stop what runs in it, then remove the conversation, its runs, events and checkpoints."""
        await self.thread(thread_id, owner)
        for run in await self.runs(thread_id, owner):
            if run["status"] not in _TERMINAL:
                await self.cancel(run["run_id"], owner)
        async with self._pool.connection() as connection, connection.transaction():
            for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes"):
                await connection.execute(f"delete from {table} where thread_id = %s", (thread_id,))
            await connection.execute("delete from threads where thread_id = %s and owner = %s", (thread_id, owner))

    # -- runs --------------------------------------------------------------------------------------------------------

    async def start(
        self,
        thread_id: str,
        graph: str,
        question: Any,
        *,
        idempotency_key: str | None = None,
        owner: str = "local",
    ) -> Row:
        """Admit a run: when this returns, the run will happen, whatever dies.

        The same `idempotency_key` with the same request returns the first run; with another request it is Rejected.
        """
        self._activity(graph)
        question = checked_question(question, self._max_question_chars)
        thread = await self.thread(thread_id, owner)
        key = checked_id(idempotency_key, "idempotency_key") if idempotency_key else None
        digest = hashlib.sha256(orjson.dumps([thread_id, graph, question])).hexdigest()
        run_id = str(uuid4())
        async with self._pool.connection() as connection, connection.transaction():
            inserted = await connection.execute(
                "insert into runs (run_id, thread_id, owner, graph, status, input, idempotency_key, request_hash) "
                "values (%s, %s, %s, %s, 'queued', %s, %s, %s) on conflict (owner, idempotency_key) do nothing",
                (run_id, thread_id, owner, graph, Jsonb({"question": question}), key, digest),
            )
            if inserted.rowcount:
                job_id = await self.queue.defer(connection, run_id, thread_id)
                await connection.execute("update runs set job_id = %s where run_id = %s", (job_id, run_id))
                await connection.execute(
                    "update threads set updated_at = now(), graph = %s, title = %s where thread_id = %s",
                    (graph, thread["title"] or title_of(question), thread_id),
                )
                return await self.run(run_id, owner, connection=connection)
        first = await self._one("select * from runs where owner = %s and idempotency_key = %s", owner, key)
        if first["request_hash"] != digest:
            raise Rejected(
                "idempotency_key_reused", "idempotency_key: it was used with another request", field="idempotency_key",
                fix="use a new key for a new request",
            )  # fmt: skip
        return _with_question(first)

    async def run(self, run_id: str, owner: str = "local", *, connection: Any = None) -> Row:
        """One run's row. Raises NotFound."""
        row = await self._one(
            "select * from runs where run_id = %s and owner = %s", run_id, owner, connection=connection
        )
        return _with_question(row)

    async def runs(self, thread_id: str, owner: str = "local") -> list[Row]:
        """A conversation's runs, oldest first."""
        await self.thread(thread_id, owner)
        rows = await self._all("select * from runs where thread_id = %s order by created_at, run_id", thread_id)
        return [_with_question(row) for row in rows]

    async def cancel(self, run_id: str, owner: str = "local") -> Row:
        """Stop a run: one that waits never starts, one that runs is cancelled where it is. A finished one stays as it is."""
        run = await self.run(run_id, owner)
        if run["status"] in _TERMINAL:
            return run
        stopped = await self._execute(
            "update runs set status = 'cancelled', finished_at = now() where run_id = %s and status = 'queued'", run_id
        )
        if run["job_id"] is not None:
            await self.queue.abort(run["job_id"])
        if stopped:
            await self._log_cancelled(run_id)
        return await self.run(run_id, owner)

    async def _log_cancelled(self, run_id: str) -> None:
        error = {"kind": "cancelled", "message": "Stopped before it began.", "fix": "Ask again."}
        async with Recorder(self._pool, run_id, 0, 0) as recorder:
            await recorder.finish(_root("run.cancelled", error=error), "cancelled", _json(None), _json(error))

    # -- the worker's side -------------------------------------------------------------------------------------------

    async def execute(self, run_id: str) -> None:
        """Claim a run and carry it to its end. What happens is in its events; nothing is raised for a failed run."""
        run = await self._claim(run_id)
        if run is None:
            return
        activity = self.activities.get(run["graph"])
        view = RunView(activity.shape if activity else Shape((), ()))
        for event in await self.journal.read(run_id):
            view.apply(event)
        try:
            async with Recorder(self._pool, run_id, run["epoch"], view.seq) as recorder:
                await self._carry(run, activity, view, recorder)
        except StaleWriter:
            log.warning("run %s was claimed by another worker; this one stops", run_id)

    async def _claim(self, run_id: str) -> Row | None:
        """Take the run: from here on only this claim's writes count. None when there is nothing left to do."""
        rows = await self._all(
            "update runs set status = 'running', epoch = epoch + 1, worker = %s, started_at = coalesce(started_at, now()) "
            "where run_id = %s and status not in ('succeeded', 'failed', 'cancelled') returning *",
            self._worker, run_id,
        )  # fmt: skip
        return rows[0] if rows else None

    async def _carry(self, run: Row, activity: Activity | None, view: RunView, recorder: Recorder) -> None:
        def emit(event: RunEvent) -> None:
            view.apply(event)
            recorder.emit(event)

        question = run["input"]["question"]
        emit(_root("run.started", graph=run["graph"], question=question, model=self._model_name))
        try:
            if activity is None:
                raise RunError(run["graph"], "no graph of this name is installed", "choose another graph")
            answer = await self._stream(run, activity, question, emit)
            output = _output(answer, view)
            end = _root("run.finished", answer=output["answer"], missing=output["missing"])
            await recorder.finish(end, "succeeded", _json(output), _json(None))
        except StaleWriter:
            raise
        except asyncio.CancelledError:
            error = {"kind": "cancelled", "message": "Stopped.", "fix": "Ask again to go on with the conversation."}
            await self._give_up("cancelled", error, view, recorder)
            raise
        except Exception as failure:
            error = described(failure)
            if error["kind"] == "internal":
                log.exception("run %s failed", run["run_id"])
            await self._give_up("failed", error, view, recorder)

    async def _give_up(self, status: str, error: Row, view: RunView, recorder: Recorder) -> None:
        """End a run without an answer of its own; what it had found is kept."""
        end = _root(f"run.{status}", answer=view.answer, error=error)
        await recorder.finish(end, status, _json(_output("", view)), _json(error))

    async def _stream(self, run: Row, activity: Activity, question: str, emit: Any) -> str:
        translator = Translator(emit)
        saver = checkpointer(self._pool, run["run_id"], run["epoch"]).with_allowlist(self._agent_outputs)
        graph = activity.builder.compile(checkpointer=saver, name=activity.name)
        config = {
            "configurable": {"thread_id": run["thread_id"]},
            "metadata": {"sextant_run": run["run_id"]},
            "callbacks": [translator],
            "recursion_limit": SUPERSTEPS,
        }
        stream = graph.astream(
            await self._input(graph, config, run, question),
            config,
            context=self._context,
            stream_mode=["tasks", "custom"],
            subgraphs=True,
            version="v2",
            durability="sync",
        )
        async for part in stream:
            translator.part(part)
        state = await graph.aget_state(config)
        return _answer_in(state.values)

    async def _input(self, graph: Any, config: Any, run: Row, question: str) -> Any:
        """None to go on from this run's own checkpoint; the stored question when it never got that far."""
        state = await graph.aget_state(config)
        if state.next and (state.metadata or {}).get("sextant_run") == run["run_id"]:
            return None
        return {"messages": [HumanMessage(question, id=run["run_id"])]}

    # -- small ones --------------------------------------------------------------------------------------------------

    def _activity(self, graph: str) -> Activity:
        if graph not in self.activities:
            raise Rejected(
                "graph_unknown", f"graph: there is no {graph!r}", field="graph", actual=graph,
                fix=f"choose one of {', '.join(sorted(self.activities))}",
            )  # fmt: skip
        return self.activities[graph]

    async def _all(self, sql: str, *params: Any, connection: Any = None) -> list[Row]:
        if connection is not None:
            return list(await (await connection.execute(sql, params)).fetchall())
        async with self._pool.connection() as own:
            return list(await (await own.execute(sql, params)).fetchall())

    async def _one(self, sql: str, *params: Any, connection: Any = None) -> Row:
        if rows := await self._all(sql, *params, connection=connection):
            return rows[0]
        raise NotFound(f"there is no {'thread' if 'from threads' in sql else 'run'} {params[0]}")

    async def _execute(self, sql: str, *params: Any) -> int:
        async with self._pool.connection() as connection:
            return (await connection.execute(sql, params)).rowcount


def title_of(question: str) -> str:
    """First line of a question, short enough for a list."""
    line = " ".join(question.split())
    return line if len(line) <= MAX_TITLE_CHARS else line[: MAX_TITLE_CHARS - 1].rsplit(" ", 1)[0] + "…"


def described(failure: BaseException) -> dict[str, str]:
    """An error for a person: what, and what to do. Never a traceback."""
    if isinstance(failure, RunError):
        return {
            "kind": type(failure).__name__,
            "message": f"{failure.thing}: {failure.problem}",
            "fix": failure.next_move,
        }
    if isinstance(failure, GraphRecursionError):
        message = f"The graph took more than {SUPERSTEPS} steps without coming to an end."
        return {
            "kind": "BudgetExceeded",
            "message": message,
            "fix": "Ask something narrower, or bound the graph's loop.",
        }
    message = f"Something unforeseen happened: {type(failure).__name__}: {failure}"[:500]
    return {"kind": "internal", "message": message, "fix": "Try again; the server's log has the details."}


def numbered(text: str, numbers: Mapping[str, int]) -> str:
    """`[3f9a1c]` -> `[1]`; a key that no search returned was invented, and disappears."""

    def replaced(match: re.Match[str]) -> str:
        keys = cited_keys(match[0])
        if not keys:
            return match[0]
        return "".join(f"[{numbers[key]}]" for key in keys if key in numbers)

    return re.sub(r"\[[^\[\]]{1,80}\]", replaced, text)


def _output(answer: str, view: RunView) -> Row:
    """What a run leaves behind: the answer as written, the answer as read, its sources, what is missing."""
    answer = answer or view.answer
    view.answer = answer
    numbers = view.numbers()
    cited = [key for key in cited_keys(answer) if key in view.sources]
    missing = [
        {"title": lane.title, "reason": lane.reason or lane.state.replace("_", " ")}
        for lane in view.team()
        if lane.state not in ("done", "cached")
    ]
    meters = {name: getattr(view.meters, name) for name in view.meters.__slots__}
    return {
        "answer": answer,
        "text": numbered(answer, numbers),
        "sources": [{"n": numbers[key], **view.sources[key]} for key in cited],
        "missing": missing,
        "meters": meters,
    }


def _answer_in(values: Mapping[str, Any]) -> str:
    messages: Sequence[Any] = values.get("messages", ())
    return str(messages[-1].text) if messages and isinstance(messages[-1], AIMessage) else ""


def _root(type_: str, **data: Any) -> RunEvent:
    return RunEvent(type_, ROOT, None, json_safe(data), time.time())


def _json(value: Any) -> Jsonb:
    return Jsonb(json_safe(value))


def _with_question(row: Row) -> Row:
    return {**row, "question": row["input"].get("question", "")}
