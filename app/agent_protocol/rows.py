"""What the protocol asks of conversations beyond the waist: search, count, metadata, copies, one run removed."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from psycopg.types.json import Jsonb

from app.borders import NotFound, Rejected, checked_id
from app.postgres import Pool

Row = dict[str, Any]

CHECKPOINT_TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
SORTABLE = {
    "thread_id": "t.thread_id", "status": "state", "created_at": "t.created_at", "updated_at": "t.updated_at",
    "state_updated_at": "state_updated_at",
}  # fmt: skip

_IN = "exists (select 1 from runs r where r.thread_id = t.thread_id and r.status = '{}')"
_THREAD = f"""
select * from (
    select t.*, coalesce(h.finished_at, h.started_at, t.created_at) as state_updated_at,
        case when {_IN.format("running")} then 'busy' when {_IN.format("waiting")} then 'interrupted'
             when {_IN.format("queued")} then 'busy' when h.status = 'failed' then 'error' else 'idle' end as state
    from threads t left join runs h on h.run_id = t.head_run_id where t.owner = %(owner)s
) t where true
"""
_COPIED_RUNS = """
insert into runs (run_id, thread_id, owner, graph, status, input, output, error, created_at, started_at, finished_at,
                  parent_run_id, pruned_at, left_behind)
select %(new)s, %(thread_id)s, owner, graph, status, input, output, error, created_at, started_at, finished_at,
       %(parent)s, pruned_at, case when pruned_at is not null then 'rows' end
from runs where run_id = %(old)s
"""
_COPIED_EVENTS = """
insert into run_events (run_id, seq, at, type, span_id, parent_id, attempt, data)
select %(new)s, seq, at, type, span_id, parent_id, attempt, data from run_events where run_id = %(old)s
"""
_COPIED_QUESTIONS = """
insert into interrupts (interrupt_id, run_id, span_id, value, asked_at, answer, answered_by, answered_at, taken_at)
select interrupt_id, %(new)s, span_id, value, asked_at, answer, answered_by, answered_at, taken_at
from interrupts where run_id = %(old)s
"""


class Rows:
    """Conversations of one owner, as rows."""

    def __init__(self, pool: Pool, owner: str) -> None:
        self._pool, self._owner = pool, owner

    async def thread(self, thread_id: str) -> Row:
        """One conversation with its state in the protocol's words. Raises NotFound."""
        if rows := await self._all(f"{_THREAD} and thread_id = %(thread_id)s", thread_id=thread_id):
            return rows[0]
        raise NotFound(f"there is no thread {thread_id}")

    async def create(self, thread_id: str | None, graph: str, metadata: Row) -> bool:
        """Insert a conversation; False when there is one of that id, whoever's."""
        insert = (
            "insert into threads (thread_id, owner, title, graph, metadata) "
            "values (%(thread_id)s, %(owner)s, '', %(graph)s, %(metadata)s) on conflict do nothing returning 1"
        )
        return bool(await self._all(insert, thread_id=thread_id, graph=graph, metadata=Jsonb(metadata)))

    async def describe(self, thread_id: str, metadata: Row) -> None:
        """Merge `metadata` into what the conversation has."""
        await self.thread(thread_id)
        update = (
            "update threads set metadata = metadata || %(metadata)s, updated_at = now() "
            "where thread_id = %(thread_id)s and owner = %(owner)s returning 1"
        )
        await self._all(update, thread_id=thread_id, metadata=Jsonb(metadata))

    async def point(self, thread_id: str, run_id: str) -> None:
        """Go on from this run."""
        update = (
            "update threads set head_run_id = %(run)s where thread_id = %(thread_id)s and owner = %(owner)s returning 1"
        )
        await self._all(update, thread_id=thread_id, run=run_id)

    async def search(
        self, where: Mapping[str, Any], *, limit: int, offset: int, sort_by: str, sort_order: str
    ) -> list[Row]:
        """Conversations that match."""
        if sort_by not in SORTABLE:
            raise Rejected("sort_unknown", f"sort_by: there is no {sort_by!r}", field="sort_by", actual=sort_by,
                           fix=f"choose one of {', '.join(SORTABLE)}")  # fmt: skip
        direction = "asc" if sort_order == "asc" else "desc"
        order = f"order by {SORTABLE[sort_by]} {direction}, t.thread_id limit %(limit)s offset %(offset)s"
        return await self._all(f"{_THREAD} {_conditions(where)} {order}", **where, limit=limit, offset=offset)

    async def count(self, where: Mapping[str, Any]) -> int:
        """How many match."""
        rows = await self._all(f"select count(*) as n from ({_THREAD} {_conditions(where)}) found", **where)
        return int(rows[0]["n"])

    async def going(self) -> list[Row]:
        """Runs of all conversations that have not ended."""
        query = "select * from runs where owner = %(owner)s and status in ('queued', 'running', 'waiting')"
        return await self._all(query)

    async def last_seq(self, run_id: str) -> int:
        """Position of a run's newest event."""
        rows = await self._all("select coalesce(max(seq), 0) as n from run_events where run_id = %(run)s", run=run_id)
        return int(rows[0]["n"])

    async def remove_run(self, run: Row) -> None:
        """Remove an ended run with its checkpoints; what went on from it then goes on from its parent."""
        values = {"run": run["run_id"], "parent": run["parent_run_id"]}
        async with self._pool.connection() as connection, connection.transaction():
            relink = "update runs set parent_run_id = %(parent)s where parent_run_id = %(run)s"
            await connection.execute(relink, values)
            back = "update threads set head_run_id = %(parent)s where head_run_id = %(run)s"
            await connection.execute(back, values)
            for table in CHECKPOINT_TABLES:
                await connection.execute(f"delete from {table} where thread_id = %(run)s", values)
            await connection.execute("delete from runs where run_id = %(run)s", values)

    async def copy(self, thread: Row, runs: Sequence[Row]) -> str:
        """A conversation equal to this one, without what is at work in it; its id."""
        thread_id = str(uuid4())
        still = [run for run in runs if run["status"] not in ("queued", "running", "lost")]
        new = {run["run_id"]: str(uuid4()) for run in still}
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(
                "insert into threads (thread_id, owner, title, graph, metadata) values (%s, %s, %s, %s, %s)",
                (thread_id, self._owner, thread["title"], thread["graph"], Jsonb(thread["metadata"])),
            )
            for run in still:
                values = {"new": new[run["run_id"]], "old": run["run_id"], "thread_id": thread_id,
                          "parent": _standing(run["parent_run_id"], runs, new)}  # fmt: skip
                for statement in (_COPIED_RUNS, _COPIED_EVENTS, _COPIED_QUESTIONS):
                    await connection.execute(statement, values)
                for table in CHECKPOINT_TABLES:
                    await connection.execute(await _copied(connection, table), values)
            head = _standing(thread["head_run_id"], runs, new)
            await connection.execute("update threads set head_run_id = %s where thread_id = %s", (head, thread_id))
        return thread_id

    async def _all(self, sql: str, **params: Any) -> list[Row]:
        async with self._pool.connection() as connection:
            return list(await (await connection.execute(sql, {"owner": self._owner, **params})).fetchall())


def _conditions(where: Mapping[str, Any]) -> str:
    known = {
        "ids": "and t.thread_id = any(%(ids)s)",
        "graph": "and t.graph = %(graph)s",
        "status": "and t.state = %(status)s",
        "metadata": "and t.metadata @> %(metadata)s",
    }
    return " ".join(known[name] for name in where)


def _standing(run_id: str | None, runs: Sequence[Row], new: Mapping[str, str]) -> str | None:
    """The copy of a run, or of the nearest one above it that was copied."""
    by_id = {run["run_id"]: run for run in runs}
    while run_id in by_id and run_id not in new:
        run_id = by_id[run_id]["parent_run_id"]
    return new.get(run_id) if run_id else None


async def _copied(connection: Any, table: str) -> str:
    """Copy statement for one of LangGraph's tables, whose columns are its own business."""
    query = (
        "select column_name from information_schema.columns "
        "where table_name = %s and table_schema = any(current_schemas(false))"
    )
    rows = await (await connection.execute(query, (table,))).fetchall()
    others = ", ".join(row["column_name"] for row in rows if row["column_name"] != "thread_id")
    return f"insert into {table} (thread_id, {others}) select %(new)s, {others} from {table} where thread_id = %(old)s"


def checked_thread_id(given: str | None) -> str:
    """The id of a new conversation."""
    return checked_id(given, "thread_id") if given else str(uuid4())
