"""THE WAIST: start, look at, stop, resume one run of one graph. Page, terminal and batch all come through here.

A run is admitted before it starts: its row and its queue job are one transaction. Carrying it out is `app/work.py`.
"""

import hashlib
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import orjson
from psycopg.types.json import Jsonb

from app.activities import Activity
from app.borders import Conflict, NotFound, Rejected, checked_budget, checked_id, checked_question
from app.claim import STOP, STOPPED
from app.events import json_safe
from app.journal import CHANNEL, COMMANDS, Journal
from app.postgres import Pool
from app.queue import RunQueue
from app.retention import refuse_pruned

MAX_TITLE_CHARS = 60
TERMINAL = ("succeeded", "failed", "cancelled")
MULTITASK = ("enqueue", "interrupt", "branch", "reject")
HEAD = "head"
"""Stands for the newest run of the branch that is being read, looked up under the thread's lock."""

Row = dict[str, Any]

# `lost` is what a reader sees, from the clock of the database: no process has to be alive to write it
_SEEN = "case when status = 'running' and lease_until < now() then 'lost' else status end"
_RUN = f"runs.*, {_SEEN} as seen_status"
_LISTED = (
    "run_id, thread_id, parent_run_id, graph, status, input, null as output, error, created_at, started_at, "
    f"finished_at, pruned_at, {_SEEN} as seen_status"
)
_TOLD = """
insert into run_events (run_id, seq, type, span_id, data)
select %s, coalesce(max(seq), 0) + 1, 'run.cancelled', 'run', %s from run_events where run_id = %s
"""


class Runs:
    """Threads and runs of one database."""

    def __init__(
        self,
        pool: Pool,
        journal: Journal,
        queue: RunQueue,
        activities: Mapping[str, Activity],
        *,
        max_question_chars: int,
    ) -> None:
        self._pool, self.journal, self.queue, self.activities = pool, journal, queue, activities
        self._max_question_chars = max_question_chars

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
            f"join lateral (select run_id, {_SEEN} as status from runs where runs.thread_id = t.thread_id "
            "order by created_at desc limit 1) r on true where t.owner = %s order by t.updated_at desc limit %s",
            owner, limit,
        )  # fmt: skip

    async def rename_thread(self, thread_id: str, title: str, owner: str = "local") -> Row:
        """Give a conversation another title."""
        title = checked_question(title, 200)
        await self.thread(thread_id, owner)
        await self._execute(
            "update threads set title = %s where thread_id = %s and owner = %s", title, thread_id, owner
        )
        return await self.thread(thread_id, owner)

    async def delete_thread(self, thread_id: str, owner: str = "local") -> None:
        """Remove the conversation with its runs, events and checkpoints, and stop what runs in it.

        One transaction: whoever waits for a run of it is told that it is gone, and never first that it was stopped.
        """
        await self.thread(thread_id, owner)
        async with self._pool.connection() as connection, connection.transaction():
            # in the order of admission; a worker that has not heard of its stop writes nothing from here on
            await connection.execute("select 1 from threads where thread_id = %s for update", (thread_id,))
            locked = "select run_id, job_id, status from runs where thread_id = %s for update"
            runs = await (await connection.execute(locked, (thread_id,))).fetchall()
            for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes"):
                await connection.execute(
                    f"delete from {table} where thread_id in (select run_id from runs where thread_id = %s)",
                    (thread_id,),
                )
            await connection.execute("delete from threads where thread_id = %s and owner = %s", (thread_id, owner))
            going = [run for run in runs if run["status"] not in TERMINAL]
            for channel in (CHANNEL, COMMANDS):  # for those who wait, and for the worker
                for run in going:
                    await connection.execute("select pg_notify(%s, %s)", (channel, run["run_id"]))
        for run in going:
            if run["job_id"] is not None:
                await self.queue.abort(run["job_id"])

    # -- runs --------------------------------------------------------------------------------------------------------

    async def start(
        self,
        thread_id: str,
        graph: str,
        question: Any,
        *,
        idempotency_key: str | None = None,
        multitask: str = "enqueue",
        after: str | None = None,
        budget: Mapping[str, Any] | None = None,
        values: Mapping[str, Any] | None = None,
        more: Mapping[str, Any] | None = None,
        owner: str = "local",
    ) -> Row:
        """Admit a run: when this returns, the run will happen, whatever dies.

        The same `idempotency_key` with the same request returns the first run; with another request it is Rejected.
        `multitask` says what happens while another run of the conversation is going: `enqueue` waits for it,
        `interrupt` stops it first, `branch` starts beside it from where it started, `reject` raises Conflict. `after`
        names the run to go on from, `""` the beginning; unset, it is the newest one of the branch that is being read.
        `values` are fields of the graph's state; `more` is kept with the run as it is.
        """
        self._activity(graph)
        question = checked_question(question, self._max_question_chars)
        key = checked_id(idempotency_key, "idempotency_key") if idempotency_key else None
        after = checked_id(after, "after") if after else after
        if multitask not in MULTITASK:
            raise Rejected(
                "multitask_unknown",
                f"multitask_strategy: there is no {multitask!r}",
                field="multitask_strategy",
                actual=multitask,
                fix=f"choose one of {', '.join(MULTITASK)}",
            )
        await self.thread(thread_id, owner)
        given: Row = {"question": question}
        given |= {"budget": checked_budget(budget)} if budget is not None else {}
        given |= {"values": dict(values)} if values else {}
        given |= more or {}
        digest = hashlib.sha256(orjson.dumps([thread_id, graph, given, multitask, after])).hexdigest()
        if key and (first := await self._replayed(owner, key, digest)):
            return first
        parent = await self._parent(thread_id, multitask, after, owner)
        alone = multitask == "reject"
        return await self._admit(thread_id, graph, given, parent, key, digest, owner, alone=alone)

    async def _replayed(self, owner: str, key: str, digest: str) -> Row | None:
        """The run that this key started before. Raises Rejected when it was another request."""
        rows = await self._all(f"select {_RUN} from runs where owner = %s and idempotency_key = %s", owner, key)
        if not rows:
            return None
        if rows[0]["request_hash"] != digest:
            raise Rejected(
                "idempotency_key_reused", "idempotency_key: it was used with another request", field="idempotency_key",
                fix="use a new key for a new request",
            )  # fmt: skip
        return _with_question(rows[0])

    async def _parent(self, thread_id: str, multitask: str, after: str | None, owner: str) -> str | None:
        """Run to go on from: HEAD for the newest of the branch at the time of admission, None for the beginning."""
        if after is not None:
            return (await self.run(after, owner))["run_id"] if after else None
        if multitask not in ("interrupt", "branch"):
            return HEAD
        going = [run for run in await self.runs(thread_id, owner) if run["status"] not in TERMINAL]
        if multitask == "interrupt":
            for run in going:
                await self.cancel(run["run_id"], owner)
        if multitask == "branch" and going:
            parent = going[0]["parent_run_id"]
            return str(parent) if parent else None
        return HEAD

    async def _admit(
        self,
        thread_id: str,
        graph: str,
        given: Row,
        parent: str | None,
        key: str | None,
        digest: str,
        owner: str,
        *,
        alone: bool = False,
    ) -> Row:
        run_id = str(uuid4())
        async with self._pool.connection() as connection, connection.transaction():
            # the thread's row is the turnstile: a hundred posts at once line up behind each other
            locked = await connection.execute("select * from threads where thread_id = %s for update", (thread_id,))
            thread = await locked.fetchone()
            if thread is None:
                raise NotFound(f"there is no thread {thread_id}")
            if alone:
                await self._refuse_if_busy(connection, thread_id, key)
            if parent is HEAD:
                parent = thread["head_run_id"]
            if inside := given.get("fork") or given.get("from"):
                # holds off the pruning of what this run will begin with
                source = "select pruned_at from runs where run_id = %s for key share"
                refuse_pruned(await self._one(source, inside["run_id"], connection=connection))
            inserted = await connection.execute(
                "insert into runs (run_id, thread_id, owner, graph, status, input, idempotency_key, request_hash, "
                "parent_run_id) values (%s, %s, %s, %s, 'queued', %s, %s, %s, %s) "
                "on conflict (owner, idempotency_key) do nothing",
                (run_id, thread_id, owner, graph, Jsonb(json_safe(given)), key, digest, parent),
            )
            if inserted.rowcount:
                await self._queue_when_due(connection, run_id, parent)
                await connection.execute(
                    "update threads set updated_at = now(), graph = %s, title = %s, head_run_id = %s "
                    "where thread_id = %s",
                    (graph, thread["title"] or title_of(given["question"]), run_id, thread_id),
                )
                return await self.run(run_id, owner, connection=connection)
        assert key is not None  # only a key can conflict
        first = await self._replayed(owner, key, digest)
        if first is None:
            raise NotFound(f"there is no run of key {key}")
        return first

    async def _refuse_if_busy(self, connection: Any, thread_id: str, key: str | None) -> None:
        """Raise Conflict when another request's run is going; the same request's is no conflict."""
        query = (
            "select run_id from runs where thread_id = %s and status in ('queued', 'running') "
            "and (%s::text is null or idempotency_key is distinct from %s) limit 1"
        )
        if row := await (await connection.execute(query, (thread_id, key, key))).fetchone():
            raise Conflict("thread_busy", f"thread: run {row['run_id']} is going", field="multitask_strategy",
                           actual=row["run_id"], fix="wait for it, or choose enqueue or interrupt")  # fmt: skip

    async def _queue_when_due(self, connection: Any, run_id: str, parent: str | None) -> None:
        """Queue the run now, unless what it goes on from is going: then the end of that queues it."""
        while parent:
            # locks out the parent's end, which looks for children and must not miss this one
            look = "select status, parent_run_id, sx_never_began(r) as skipped from runs r where run_id = %s for update"
            row = await (await connection.execute(look, (parent,))).fetchone()
            if row and row["status"] not in TERMINAL:
                return
            parent = row["parent_run_id"] if row and row["skipped"] else None
        await self.queue.defer(connection, run_id)

    async def run(self, run_id: str, owner: str = "local", *, connection: Any = None) -> Row:
        """One run's row. Raises NotFound."""
        row = await self._one(
            f"select {_RUN} from runs where run_id = %s and owner = %s", run_id, owner, connection=connection
        )
        return _with_question(row)

    async def runs(self, thread_id: str, owner: str = "local") -> list[Row]:
        """A conversation's runs, oldest first."""
        await self.thread(thread_id, owner)
        rows = await self._all(f"select {_RUN} from runs where thread_id = %s order by created_at, run_id", thread_id)
        return [_with_question(row) for row in rows]

    async def cancel(self, run_id: str, owner: str = "local") -> Row:
        """Stop a run: a waiting one never starts, one at work is cancelled where it is, a finished one stays."""
        await self.run(run_id, owner)
        async with self._pool.connection() as connection, connection.transaction():
            # locked: else it could be handed back, or begin to ask, between the look at it and the wish
            locked = f"select job_id, {_SEEN} as status from runs where run_id = %s for update"
            run = await self._one(locked, run_id, connection=connection)
            if run["status"] == "running":
                # for whoever has it next, should its worker die before it hears of the abortion
                await connection.execute("update runs set wish = %s where run_id = %s", (STOP, run_id))
            elif run["status"] not in TERMINAL:
                await self._end_as_stopped(connection, run_id)
        if run["job_id"] is not None and run["status"] not in TERMINAL:
            await self.queue.abort(run["job_id"])
        return await self.run(run_id, owner)

    async def _end_as_stopped(self, connection: Any, run_id: str) -> None:
        """End a run that nobody works on, and tell it, inside the caller's transaction."""
        # the raised epoch fences a worker that is gone and may come back
        await connection.execute(
            "update runs set epoch = epoch + 1, status = 'cancelled', error = %s, finished_at = now() "
            "where run_id = %s",
            (Jsonb(STOPPED), run_id),
        )
        await connection.execute(_TOLD, (run_id, Jsonb({"error": STOPPED}), run_id))
        await connection.execute("select pg_notify(%s, %s)", (CHANNEL, run_id))
        await self.queue.release_children(connection, run_id)

    async def start_fork(self, source: Row, checkpoint_id: str, values: Row, question: Any, owner: str) -> Row:
        """A branch beside `source`: a new run that begins in the state of one of its checkpoints."""
        asked = source["question"] if question is None else checked_question(question, self._max_question_chars)
        if question is not None and question != source["question"]:
            # another question makes all that was found for the first one worthless: begin where the source began
            return await self._admit(
                source["thread_id"], source["graph"], {"question": asked}, source["parent_run_id"], None, "", owner
            )
        given = {
            "question": asked,
            "fork": {"run_id": source["run_id"], "checkpoint_id": checkpoint_id, "values": values},
        }
        given |= {"through": through} if (through := source["input"].get("through")) else {}
        return await self._admit(source["thread_id"], source["graph"], given, source["parent_run_id"], None, "", owner)

    async def choose_branch(self, thread_id: str, run_id: str, owner: str = "local") -> Row:
        """Read, and go on from, the branch that this run is in: its newest run becomes the conversation's head."""
        run = await self.run(run_id, owner)
        if run["thread_id"] != thread_id:
            raise NotFound(f"there is no run {run_id} in thread {thread_id}")
        children: dict[str | None, str] = {}
        for row in await self.runs(thread_id, owner):  # oldest first, so the newest child stays
            children[row["parent_run_id"]] = row["run_id"]
        head = run_id
        while head in children:
            head = children[head]
        await self._execute("update threads set head_run_id = %s where thread_id = %s", head, thread_id)
        return await self.thread(thread_id, owner)

    async def branch(self, thread_id: str, owner: str = "local") -> list[Row]:
        """The runs of the branch that is being read, oldest first, each with the runs beside it; without outputs."""
        thread = await self.thread(thread_id, owner)
        # a page asks every few seconds: a thousand answers with their sources would hold up everybody else's streams
        query = f"select {_LISTED} from runs where thread_id = %s order by created_at, run_id"
        by_id = {row["run_id"]: _with_question(row) for row in await self._all(query, thread_id)}
        beside: dict[str | None, list[str]] = {}
        for run_id, row in by_id.items():
            beside.setdefault(row["parent_run_id"], []).append(run_id)
        line: list[Row] = []
        at = thread["head_run_id"] or next(reversed(by_id), None)
        while at in by_id:
            row = by_id[at]
            line.append({**row, "siblings": beside[row["parent_run_id"]]})
            at = row["parent_run_id"]
        return line[::-1]

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


def _with_question(row: Row) -> Row:
    seen = row.pop("seen_status", row["status"])
    return {**row, "status": seen, "question": row["input"].get("question", "")}


def title_of(question: str) -> str:
    """First line of a question, short enough for a list."""
    line = " ".join(question.split())
    return line if len(line) <= MAX_TITLE_CHARS else line[: MAX_TITLE_CHARS - 1].rsplit(" ", 1)[0] + "…"
