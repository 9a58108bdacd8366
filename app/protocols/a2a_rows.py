"""Tasks as rows: a page of them, and how far a task's log has come."""

from collections.abc import Mapping
from typing import Any

from a2a.types import ListTasksRequest, TaskState

from app.borders import Rejected, checked_id
from app.postgres import Pool
from app.protocols.a2a_words import STATES

USUAL_PAGE, MAX_PAGE = 50, 100

_PAGE = """
select *, input ->> 'question' as question, count(*) over () as total from runs
where owner = %(owner)s and graph = %(graph)s and (%(thread_id)s = '' or thread_id = %(thread_id)s)
    and (%(status)s::text[] is null or status = any(%(status)s))
    and coalesce(finished_at, started_at, created_at) >= coalesce(%(since)s, '-infinity'::timestamptz)
order by coalesce(finished_at, started_at, created_at) desc, run_id limit %(limit)s offset %(offset)s
"""


async def listed(
    pool: Pool, owner: str, graph: str, asked: ListTasksRequest
) -> tuple[list[Mapping[str, Any]], int, str]:
    """Runs of a page, how many there are on all, and the token of the next page."""
    size = asked.page_size if asked.HasField("page_size") else USUAL_PAGE
    if not 1 <= size <= MAX_PAGE:
        raise Rejected("page_size_invalid", f"pageSize: {size}", field="pageSize", limit=MAX_PAGE, actual=size,
                       fix=f"ask for 1 to {MAX_PAGE}")  # fmt: skip
    if asked.page_token and not (asked.page_token.isdigit() and len(asked.page_token) < 10):
        raise Rejected("page_token_invalid", "pageToken: it is none of ours", field="pageToken",
                       fix="send the nextPageToken of the page before")  # fmt: skip
    if asked.context_id:
        checked_id(asked.context_id, "contextId")
    offset = int(asked.page_token or 0)
    states = [name for name, state in STATES.items() if state == asked.status]
    since = asked.status_timestamp_after.ToJsonString() if asked.HasField("status_timestamp_after") else None
    values = {
        "owner": owner, "graph": graph, "thread_id": asked.context_id, "since": since, "limit": size, "offset": offset,
        "status": None if asked.status == TaskState.TASK_STATE_UNSPECIFIED else states,
    }  # fmt: skip
    async with pool.connection() as connection:
        rows = await (await connection.execute(_PAGE, values)).fetchall()
    total = rows[0]["total"] if rows else offset
    return list(rows), total, str(offset + size) if offset + len(rows) < total else ""


async def last_seq(pool: Pool, run_id: str) -> int:
    """Number of the last row of a run's log, 0 when it has none."""
    async with pool.connection() as connection:
        query = "select coalesce(max(seq), 0) as seq from run_events where run_id = %s"
        row = await (await connection.execute(query, (run_id,))).fetchone()
    return int(row["seq"]) if row else 0
