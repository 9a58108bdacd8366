"""What a person may do to a run beside starting and stopping it: answer it, hurry it, retry a part, fork it.

Every command is one compare-and-set on the run's row, so that of two tabs exactly one wins and the other is told.
"""

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from agents.guard import without_marks
from app.activities import Activity
from app.borders import NotFound, Rejected, checked_answer, checked_budget, checked_json
from app.claim import ANSWER_NOW
from app.journal import CHANNEL, COMMANDS
from app.plan_answers import checked_plan_answer
from app.postgres import Pool, checkpointer
from app.queue import RunQueue
from app.retention import refuse_pruned
from app.runs import Row, Runs
from graphs.reviewing import KIND

MAX_HISTORY = 200
_RESUMED = """
insert into run_events (run_id, seq, type, span_id)
select %s, coalesce(max(seq), 0) + 1, 'run.resumed', 'run' from run_events where run_id = %s
"""


class Steering:
    """Commands on the runs of one database."""

    def __init__(self, pool: Pool, queue: RunQueue, runs: Runs, activities: Mapping[str, Activity]) -> None:
        self._pool, self._queue, self._runs, self._activities = pool, queue, runs, activities

    # -- questions to a person ---------------------------------------------------------------------------------------

    async def open_questions(self, owner: str = "local") -> list[Row]:
        """What waits for a person, oldest first, over all conversations."""
        return await self._all(
            "select i.interrupt_id, i.run_id, i.span_id, i.value, i.asked_at, r.thread_id, t.title from interrupts i "
            "join runs r using (run_id) join threads t on t.thread_id = r.thread_id "
            "where r.owner = %s and r.status = 'waiting' and i.answered_at is null order by i.asked_at",
            owner,
        )

    async def questions(self, run_id: str, owner: str = "local") -> list[Row]:
        """A run's questions, answered or not."""
        await self._runs.run(run_id, owner)
        return await self._all("select * from interrupts where run_id = %s order by asked_at, interrupt_id", run_id)

    async def answer(self, run_id: str, interrupt_id: str, answer: Any, owner: str = "local") -> Row:
        """Answer one question of a waiting run, which then goes on. Rejected when it was answered before."""
        run = await self._runs.run(run_id, owner)
        asked = next((row for row in await self.questions(run_id, owner) if row["interrupt_id"] == interrupt_id), None)
        if asked is None:
            raise NotFound(f"there is no question {interrupt_id} in run {run_id}")
        is_plan = asked["value"].get("kind") == KIND
        answer = checked_json((checked_plan_answer if is_plan else checked_answer)(asked["value"], answer), "answer")
        async with self._pool.connection() as connection, connection.transaction():
            taken = await connection.execute(
                "update interrupts set answer = %s, answered_by = %s, answered_at = now() "
                "where run_id = %s and interrupt_id = %s and answered_at is null",
                (Jsonb(answer), owner, run_id, interrupt_id),
            )
            if not taken.rowcount:
                raise Rejected(
                    "answered_before", f"answer: it was answered by {asked['answered_by'] or 'somebody'} before",
                    field="answer", fix="look at the run; the first answer counts",
                )  # fmt: skip
            if await self._wake(connection, run_id, "status = 'waiting'"):
                pass
            elif run["status"] in ("succeeded", "failed", "cancelled"):
                raise Rejected("run_ended", f"run: it is {run['status']}", field="run_id", fix="resume it first")
        return await self._runs.run(run_id, owner)

    # -- how it goes on ----------------------------------------------------------------------------------------------

    async def answer_now(self, run_id: str, owner: str = "local") -> Row:
        """Stop looking, and answer from what has returned; what is missing is named."""
        run = await self._runs.run(run_id, owner)
        if run["status"] not in ("queued", "running"):
            raise Rejected("run_not_going", f"run: it is {run['status']}", field="run_id", actual=run["status"],
                           fix="only a run at work can be hurried")  # fmt: skip
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute("update runs set wish = %s where run_id = %s", (ANSWER_NOW, run_id))
            await connection.execute("select pg_notify(%s, %s)", (COMMANDS, run_id))
        return await self._runs.run(run_id, owner)

    async def retry(self, run_id: str, budget: Any = None, owner: str = "local") -> Row:
        """Try again what failed or is missing, and write the answer anew; finished sub-tasks are not done again."""
        run = await self._runs.run(run_id, owner)
        if run["status"] != "succeeded":
            return await self.resume(run_id, budget, owner)
        activity = self._activities.get(run["graph"])
        if not activity or not any(node.parts for node in activity.shape.nodes) or not run["output"]["missing"]:
            raise Rejected("nothing_to_retry", "run: nothing in it is missing", field="run_id", fix="ask anew instead")
        change: Row = {"redo": True} | ({"budget": checked_budget(budget)} if budget is not None else {})
        return await self._again(run, "status = 'succeeded'", change, owner)

    async def resume(self, run_id: str, budget: Any = None, owner: str = "local") -> Row:
        """Go on with a stopped, failed or lost run from its last step, with another budget if one is given.

        Parts that failed with the run, or for want of the budget that is now raised, are tried again on the way.
        """
        run = await self._runs.run(run_id, owner)
        if run["status"] not in ("cancelled", "failed", "lost"):
            raise Rejected(
                "run_not_resumable", f"run: it is {run['status']}", field="run_id", actual=run["status"],
                fix="only a stopped, failed or lost run can be resumed",
            )  # fmt: skip
        change: Row = {"budget": checked_budget(budget)} if budget is not None else {}
        if (run["output"] or {}).get("missing") and (change or run["status"] == "failed"):
            change["redo"] = True
        condition = "(status in ('cancelled', 'failed') or (status = 'running' and lease_until < now()))"
        return await self._again(run, condition, change, owner)

    async def _again(self, run: Row, condition: str, change: Row, owner: str) -> Row:
        condition = f"pruned_at is null and {condition}"
        async with self._pool.connection() as connection, connection.transaction():
            if change:
                merge = f"update runs set input = input || %s where run_id = %s and {condition}"
                await connection.execute(merge, (Jsonb(change), run["run_id"]))
            await self._wake(connection, run["run_id"], condition)
        run = await self._runs.run(run["run_id"], owner)
        refuse_pruned(run)
        return run

    async def _wake(self, connection: Any, run_id: str, condition: str) -> bool:
        """Queue a run that stands still. The raised epoch fences whoever may still hold it."""
        woken = await connection.execute(
            "update runs set status = 'queued', epoch = epoch + 1, error = null, finished_at = null, losses = 0, "
            f"wish = null, lease_until = null where run_id = %s and {condition}",
            (run_id,),
        )
        if woken.rowcount:
            # nobody writes to the log of a run that stands still, so the next number is free
            await connection.execute(_RESUMED, (run_id, run_id))
            await connection.execute("select pg_notify(%s, %s)", (CHANNEL, run_id))
            await self._queue.defer(connection, run_id)
        return bool(woken.rowcount)

    # -- forks -------------------------------------------------------------------------------------------------------

    async def history(self, run_id: str, owner: str = "local") -> list[Row]:
        """Checkpoints of a run, newest first: where it can be forked from."""
        run = await self._runs.run(run_id, owner)
        return [
            {
                "checkpoint_id": state.config["configurable"]["checkpoint_id"],
                "step": state.metadata["step"],
                "next": list(state.next),
                "created_at": state.created_at,
                "fields": sorted(state.values),
            }
            async for state in self._graph(run).aget_state_history(_place(run_id), limit=MAX_HISTORY)
        ]

    async def fork(
        self, run_id: str, checkpoint_id: str, values: Any = None, question: Any = None, owner: str = "local"
    ) -> Row:
        """A new run from a checkpoint of this one, with fields of the state or the question changed."""
        run = await self._runs.run(run_id, owner)
        refuse_pruned(run)
        state = await self._graph(run).aget_state(_place(run_id, checkpoint_id))
        if state.created_at is None:
            raise NotFound(f"there is no checkpoint {checkpoint_id} in run {run_id}")
        values = values or {}
        if not isinstance(values, Mapping) or (strange := sorted(set(values) - set(state.values))):
            raise Rejected(
                "fields_unknown", f"values: {strange if isinstance(values, Mapping) else 'not an object'}",
                field="values", fix=f"change any of {', '.join(sorted(state.values))}",
            )  # fmt: skip
        values = without_marks(checked_json(values, "values"))
        return await self._runs.start_fork(run, checkpoint_id, values, question, owner)

    async def effects(self, run_id: str, owner: str = "local") -> list[Row]:
        """What has left Sextant in this run; a fork does not repeat it."""
        await self._runs.run(run_id, owner)
        return await self._all(
            "select tool, args, effect, call_id, begun_at, ended_at, ended_at is not null as known from effects "
            "where run_id = %s order by begun_at",
            run_id,
        )

    def _graph(self, run: Row) -> Any:
        if not (activity := self._activities.get(run["graph"])):
            raise NotFound(f"the graph {run['graph']} is not installed any more")
        return activity.builder.compile(checkpointer=checkpointer(self._pool, run["run_id"], run["epoch"]))

    async def _all(self, sql: str, *params: Any) -> list[Row]:
        async with self._pool.connection() as connection:
            return list(await (await connection.execute(sql, params)).fetchall())


def _place(run_id: str, checkpoint_id: str | None = None) -> Any:
    place = {"thread_id": run_id} | ({"checkpoint_id": checkpoint_id, "checkpoint_ns": ""} if checkpoint_id else {})
    return {"configurable": place}
