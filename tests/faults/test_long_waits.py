"""A question may stand open for days: nobody holds anything meanwhile, and the answer finds the run where it was."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from extent import LONGEST_S
from fleet import Field
from patterns import APPROVAL

from app.retention import Retention

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow, pytest.mark.timeout(LONGEST_S)]

AWAY = timedelta(days=9)
KEPT_DAYS = 7
"""Of what has ended; a run that waits has not."""
AN_HOUR = {"seconds": 3_600}
"""A run may be at work for so long, and waits for much longer."""
TIMES = """
select table_name, column_name from information_schema.columns where table_schema = 'public'
and data_type = 'timestamp with time zone' and is_generated = 'NEVER'
"""
JOBS = "select count(*) as n from procrastinate_jobs where status in ('todo', 'doing')"


async def sql(field: Field, text: str, *params: Any) -> list[Any]:
    async with field.pool.connection() as connection:
        cursor = await connection.execute(text.encode(), params)
        return await cursor.fetchall() if cursor.description else []


async def asked(field: Field) -> str:
    """A run that will ask, with a budget of time at work."""
    thread = await field.runs.create_thread(APPROVAL.graph)
    run = await field.runs.start(thread["thread_id"], APPROVAL.graph, "go", budget=AN_HOUR)
    return str(run["run_id"])


async def let_days_pass(field: Field) -> None:
    """Whatever was written, in whichever table, was written so much earlier."""
    for row in await sql(field, TIMES):
        table, column = row["table_name"], row["column_name"]
        await sql(field, f"update {table} set {column} = {column} - %s where {column} is not null", AWAY)


async def test_an_approval_waits_for_days_without_a_worker_and_its_answer_ends_the_run_well(field: Field) -> None:
    run_ids = [await asked(field) for _ in range(3)]
    worker = await field.worker(APPROVAL)  # it has one place, and gets all three there
    before = await field.settle(run_ids, until=["waiting"])
    assert {(row["status"], row["worker"], row["lease_until"]) for row in before} == {("waiting", None, None)}
    await worker.stop()
    assert (await sql(field, JOBS))[0]["n"] == 0

    await let_days_pass(field)
    pruned = await Retention(field.pool, KEPT_DAYS).prune()
    assert (pruned.runs, pruned.rows) == (0, 0)
    worker = await field.worker(APPROVAL)
    [latest] = await field.admit(APPROVAL)
    await field.settle([latest], until=["waiting"])  # it takes what there is to take
    epochs = [row["epoch"] for row in before]
    assert [(row["status"], row["epoch"]) for row in await field.rows(run_ids)] == [("waiting", it) for it in epochs]
    long_ago = datetime.now(UTC) - AWAY
    open_ = await field.steering.open_questions()
    assert {row["run_id"] for row in open_ if row["asked_at"] <= long_ago} == {*run_ids}

    rows = await field.settle([*run_ids, latest])
    verdict = await field.judge(APPROVAL, rows)
    assert not verdict.faults(), f"{verdict.faults()}\n{worker.log()}"
    assert not any(row["output"]["budget_reached"] for row in rows)  # the days were nobody's work
    await worker.stop()
