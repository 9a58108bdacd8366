"""One claim of one run: carry the graph from where it stands to an answer, a question for a person, or an error.

To LangGraph each run is a thread of its own, which starts from the last state of the run before it. So a resume can
never meet another run's checkpoint (LangGraph replays finished steps when the checkpoint it is given is not the
newest), branches are rows with one parent, retention is a deletion by run, and what a turn costs does not grow with the
number of turns, because only the newest messages are carried over.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from langgraph.checkpoint.base.id import uuid6
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl
from langgraph.store.base import BaseStore
from langgraph.types import Command, Interrupt, StateSnapshot
from psycopg.types.json import Jsonb

from agents.allowance import WARN_AT, Allowance, Budget
from agents.context import Context
from agents.errors import RunError, RunLost
from agents.paging import carried, page_out
from app.activities import Activity
from app.ancestry import state_before
from app.artefacts import RunArtefacts
from app.auth import BATCH
from app.beginning import before_team, first_state
from app.blackboard import RunBoard
from app.events import ROOT, RunEvent, Translator, json_safe, owner_of
from app.journal import Recorder
from app.ledger import RunLedger
from app.outcome import SUPERSTEPS, answer_in, budget_reached, described, output_of, spent_by, timing_of
from app.postgres import FencedSaver, Pool, checkpointer
from app.projection import RunView
from app.queue import DATABASE_GONE, RunQueue, Stopped
from app.undisturbed import undisturbed

log = logging.getLogger(__name__)

MAX_LOSSES = 5
ANSWER_NOW = "answer_now"
STOP = "stop"
"""What a person may wish of a run at work. It is in the run's row, so it outlives the worker that should do it."""

STOPPED = {"kind": "cancelled", "message": "Stopped.", "fix": "Resume it, or ask again."}

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Writers:
    """What a claim writes through. Each carries the run's epoch, and is refused once the run is somebody else's."""

    recorder: Callable[[Pool, str, int, int], Recorder] = Recorder
    checkpointer: Callable[[Pool, str, int], FencedSaver] = checkpointer
    ledger: Callable[[Pool, str, int, str | None], RunLedger] = RunLedger


WRITERS = Writers()


class Claim:
    """What one worker does for one run it has claimed."""

    def __init__(
        self,
        pool: Pool,
        queue: RunQueue,
        run: Row,
        activity: Activity | None,
        view: RunView,
        recorder: Recorder,
        context: Context,
        allowed_types: set[tuple[str, str]],
        *,
        model_name: str,
        stopped: Stopped,
        writers: Writers = WRITERS,
        store: BaseStore | None = None,
    ) -> None:
        self._pool, self._queue, self._run, self._activity, self._writers = pool, queue, run, activity, writers
        self._view, self._recorder, self._allowed_types = view, recorder, allowed_types
        self._model_name, self._stopped, self._store = model_name, stopped, store
        self._task: asyncio.Task[Any] | None = None
        self._told_to_stop, self._answered = False, ""
        self._redo = bool(run["input"].get("redo"))
        self._teams = [node.id for node in activity.shape.nodes if node.parts] if activity else []
        self.control = RunControl()
        self.allowance = _allowance(context.allowance.budget, run, view)
        forked_from = (run["input"].get("fork") or {}).get("run_id")
        ledger = writers.ledger(pool, run["run_id"], run["epoch"], forked_from)
        thread, owner = run["thread_id"], run["owner"]
        board = RunBoard(pool, thread, owner, fence=(run["run_id"], run["epoch"]))
        artefacts = RunArtefacts(pool, run["run_id"], owner, epoch=run["epoch"])
        self._context = replace(
            context, allowance=self.allowance, ledger=ledger, owner=owner, conversation=thread, board=board, paged={},
            artefacts=artefacts, memory=None if owner == BATCH else context.memory,
            review_plan=bool(run["input"].get("review_plan")), asked=_persons_question(run["input"]),
        )  # fmt: skip

    def emit(self, event: RunEvent) -> None:
        """Take an event: fold it, and have it stored."""
        self._view.apply(event)
        self._recorder.emit(event)

    def grant(self, wish: str) -> None:
        """Do what a person wishes."""
        if wish == ANSWER_NOW:
            self.allowance.hurry.set()
        elif wish == STOP and self._task and not self._task.cancelling():
            self._told_to_stop = True
            self._task.cancel()

    async def carry(self) -> None:
        """Run the graph to whatever end it comes to.

        Raises StaleWriter when another worker has the run, and the database's error when that is gone.
        """
        run, self._task = self._run, asyncio.current_task()
        started = {"graph": run["graph"], "question": run["input"]["question"], "model": self._model_name}
        self.emit(_root("run.started", **started, budget=asdict(self.allowance.budget)))
        try:
            self._refuse_hopeless()
            if run["wish"] == STOP:
                await self._give_up("cancelled", STOPPED)
            else:
                await self._stream()
        except (RunLost, *DATABASE_GONE):
            raise
        except GraphDrained:
            await self._hand_back()
        except asyncio.CancelledError:
            stopped = self._told_to_stop or self._stopped()
            await undisturbed(self._give_up("cancelled", STOPPED) if stopped else self._hand_back())
            raise
        except Exception as failure:
            error = described(failure)
            if error["kind"] == "internal":
                log.exception("run %s failed", run["run_id"])
            await self._give_up("failed", error, spent_by(failure, self.allowance))

    def _refuse_hopeless(self) -> None:
        if self._activity is None:
            fix = "choose another; one that was added since `sextant up` is there when that is started again"
            raise RunError(self._run["graph"], "no graph of this name is installed here", fix)
        if self._run["losses"] >= MAX_LOSSES:
            raise RunError("run", f"it brought down its worker {self._run['losses']} times", "look at the worker's log")

    async def _stream(self) -> None:
        assert self._activity is not None
        translator = Translator(self.emit)
        saver = self._writers.checkpointer(self._pool, self._run["run_id"], self._run["epoch"])
        # or a kill between the two would leave a step done of which no event tells, and no event ever would
        saver.beside = self._recorder.beside
        saver.first = self._run["epoch"] == 1
        graph = self._activity.on(saver, self._store, self._allowed_types)
        config = {**self._config, "callbacks": [translator], "recursion_limit": SUPERSTEPS}
        state = await self._steps(graph, await self._input(graph), config, translator)
        while not state.interrupts and (await self._to_redo(graph, state.next) or state.tasks):
            # a question inside a step that has its result without the answer ends LangGraph's stream, not the graph
            before, state = state, await self._steps(graph, None, config, translator)
            if state.config == before.config:
                raise RunError(self._run["graph"], f"it stopped before {', '.join(state.next)}", "look at its nodes")
        if state.interrupts:
            await self._wait(state.interrupts)
        else:
            await self._succeed(state.values)

    async def _steps(self, graph: Any, given: Any, config: Row, translator: Translator) -> Any:
        """Let the graph take steps until it has no more, or asks; its state then."""
        stream = graph.astream(
            given,
            config,
            context=self._context,
            stream_mode=["tasks", "custom", "checkpoints"],
            subgraphs=True,
            version="v2",
            durability="sync",
            control=self.control,
            interrupt_after=self._teams if self._redo else None,
        )
        last: Row = {}
        async for part in stream:
            translator.part(part)
            if part["type"] == "checkpoints":
                last = last if part["ns"] else part["data"]
                self._answered = answer_in(last.get("values"))
                await self._got_on()
        if last and not last["next"] and isinstance(last["values"], dict):  # stored by now, so nobody has to read it
            return StateSnapshot(last["values"], (), last["config"], last["metadata"], None, None, (), ())
        return await graph.aget_state(config)

    async def _got_on(self) -> None:
        """Forget how often the run was lost before: it is not the run that brings its workers down."""
        if self._run["losses"]:
            self._run["losses"] = 0
            async with self._pool.connection() as connection:
                owned = (self._run["run_id"], self._run["epoch"])
                await connection.execute("update runs set losses = 0 where run_id = %s and epoch = %s", owned)

    @property
    def _config(self) -> Row:
        return {"configurable": {"thread_id": self._run["run_id"]}}

    # -- where it starts ---------------------------------------------------------------------------------------------

    async def _input(self, graph: Any) -> Any:
        """What LangGraph is given: nothing to go on, answers to its questions, or a first state."""
        state = await graph.aget_state(self._config)
        if state.created_at is None:
            return await self._first_input(graph)
        if self._redo and await self._back_to_the_team(graph, state.next):
            return None
        if answers := await self._answers(state.interrupts):
            return Command(resume=answers)
        return None

    async def _first_input(self, graph: Any) -> Any:
        given = self._run["input"]
        if fork := given.get("fork"):
            return await self._forked(graph, fork)
        before = await self._fitting(await state_before(self._pool, graph, self._run))
        return first_state(graph.channels, before, given, self._run["run_id"])

    async def _fitting(self, before: Row) -> Row:
        """The state before without the oldest turns of a long conversation, which go out to memory."""
        if not (first := carried(messages := before.get("messages") or ())):
            return before
        new = await page_out(self._context, messages[:first], messages)
        self.emit(_root("memory.paged", messages=first, pages=new))
        return {**before, "messages": messages[first:]}

    async def _forked(self, graph: Any, fork: Row) -> Any:
        """Put the run into the state of another run's checkpoint, with what was edited, and go on from there."""
        place = {"thread_id": fork["run_id"], "checkpoint_id": fork["checkpoint_id"], "checkpoint_ns": ""}
        state = await graph.aget_state({"configurable": place})
        if state.created_at is None:
            raise RunError("fork", f"checkpoint {fork['checkpoint_id']} is gone", "fork from another one")
        if not fork.get("values"):
            await self._copied(graph.checkpointer, place)
            return None
        values = {**state.values, **fork["values"]}
        ran: Sequence[str] = ()
        if state.parent_config and state.metadata["step"] > 0:
            ran = (await graph.aget_state(state.parent_config)).next
        if len(ran) > 1:
            raise RunError("fork", f"{', '.join(ran)} ran side by side in that step", "fork one step later")
        await graph.aupdate_state(self._config, values, as_node=ran[0] if ran else "__start__")
        return None

    async def _copied(self, saver: Any, place: Row) -> None:
        """Begin with a checkpoint as it is, so that whatever was to come next comes next, several nodes at once too."""
        saved = await saver.aget_tuple({"configurable": place})
        copy = {**saved.checkpoint, "id": str(uuid6())}
        here = {"configurable": {**self._config["configurable"], "checkpoint_ns": ""}}
        await saver.aput(here, copy, {**saved.metadata, "source": "fork"}, copy["channel_versions"])

    async def _to_redo(self, graph: Any, upcoming: Sequence[str]) -> bool:
        """Go back to a team that was at hand when the run went on, and has ended: what it had given up by then is
        stored like any other result of its step."""
        missing = any(lane.state not in ("done", "cached") for lane in self._view.team())
        return self._redo and missing and await self._back_to_the_team(graph, upcoming)

    async def _back_to_the_team(self, graph: Any, upcoming: Sequence[str]) -> bool:
        """Stand again before the team's node, whose finished sub-tasks are known to the state and not done again.

        False when the team is still to come, or at it; then it is tried again once it has ended.
        """
        assert self._activity is not None
        behind = before_team(self._activity.shape, upcoming)
        if behind is None and self._teams:
            return False
        if behind:
            await graph.aupdate_state(self._config, {}, as_node=behind)
        # effects from before this moment belong to the first try, and are not repeated by the second
        since = " || jsonb_build_object('redone_at', now())" if behind else ""
        async with self._pool.connection() as connection:
            update = f"update runs set input = (input - 'redo'){since} where run_id = %s"
            await connection.execute(update, (self._run["run_id"],))
        self._redo = False
        return behind is not None

    async def _answers(self, interrupts: Sequence[Interrupt]) -> Row:
        """Interrupt id -> what a person said, for the questions that are open in the checkpoint."""
        async with self._pool.connection() as connection:
            rows = await connection.execute(
                "select interrupt_id, span_id, value ->> 'ref' as ref, answer, answered_by from interrupts "
                "where run_id = %s and answered_at is not null and interrupt_id = any(%s)",
                (self._run["run_id"], [interrupt.id for interrupt in interrupts]),
            )
            said = await rows.fetchall()
        for row in said:
            data = {"id": row["interrupt_id"], "answer": row["answer"], "by": row["answered_by"]}
            self.emit(RunEvent("interrupt.answered", row["span_id"], ROOT, data, time.time()))
        return {row["interrupt_id"]: _referring(row["answer"], row["ref"]) for row in said}

    # -- how it ends -------------------------------------------------------------------------------------------------

    async def _succeed(self, values: Row) -> None:
        output = output_of(answer_in(values), self._view, values)
        if self.allowance.share()[0] >= 1 or (output["missing"] and self.allowance.share()[0] >= WARN_AT):
            output["budget_reached"] = budget_reached(self.allowance, "retry" if output["missing"] else None)
        await self._finish("run.finished", "succeeded", output)

    async def _wait(self, interrupts: Sequence[Interrupt]) -> None:
        """Ask a person, and let go of the worker: the answer may take days."""
        asked = [
            (it.id, self._run["run_id"], owner_of(str(_value(it).get("ns") or ROOT)), _json(_value(it)))
            for it in interrupts
        ]
        for id_, _, span, value in asked:
            self.emit(RunEvent("interrupt.raised", span, ROOT, {"id": id_, **value.obj}, time.time()))

        async def write_down(connection: Any, run_id: str) -> None:
            insert = (
                "insert into interrupts (interrupt_id, run_id, span_id, value) values (%s, %s, %s, %s) "
                "on conflict do nothing"
            )
            await connection.cursor().executemany(insert, asked)
            await connection.execute("update runs set lease_until = null, worker = null where run_id = %s", (run_id,))
            # somebody may have stopped it, or answered one of them, while this worker was still busy with another
            again = await connection.execute(
                "update runs set status = 'queued' where run_id = %s and (wish = %s or exists (select 1 "
                "from interrupts where run_id = %s and interrupt_id = any(%s) and answered_at is not null))",
                (run_id, STOP, run_id, [id_ for id_, *_ in asked]),
            )
            if again.rowcount:
                await self._queue.defer(connection, run_id)

        end = _root("run.waiting", open=[id_ for id_, *_ in asked])
        await self._recorder.finish(end, "waiting", _json(None), _json(None), write_down)

    async def _give_up(self, status: str, error: Row, reached: Row | None = None) -> None:
        """End a run before its end; the last answer in its graph's state, else what it had found, is kept."""
        output = output_of(self._answered, self._view) | {"budget_reached": reached}
        await self._finish(f"run.{status}", status, output, error)

    async def _finish(self, type_: str, status: str, output: Row, error: Row | None = None) -> None:
        told = {name: output[name] for name in ("answer", "missing", "budget_reached")}
        end = _root(type_, **told, **({} if error is None else {"error": error}))
        self._view.apply(end)
        output["timing"] = timing_of(self._view)
        await self._recorder.finish(end, status, _json(output), _json(error), self._queue.release_children)

    async def _hand_back(self) -> None:
        """Queue the run again, from its checkpoint: this worker is going down."""
        self.emit(_root("run.handed_back", reason="the worker is going down"))
        await self._recorder.flush()
        async with self._pool.connection() as connection, connection.transaction():
            owned = await connection.execute(
                "update runs set status = 'queued', worker = null, lease_until = null where run_id = %s and epoch = %s",
                (self._run["run_id"], self._run["epoch"]),
            )
            if owned.rowcount:
                await self._queue.defer(connection, self._run["run_id"])


def _persons_question(given: Row) -> str:
    """What a person asked; nothing where another program did, whose question a model may have written."""
    return "" if given.get("through") else str(given.get("question") or "")


def _allowance(usual: Budget, run: Row, view: RunView) -> Allowance:
    """The run's budget, the usual one where it names none, with what earlier claims have spent."""
    budget = replace(usual, **(run["input"].get("budget") or {}))
    meters = view.meters
    allowance = Allowance(
        budget,
        steps=meters.calls,
        tokens=meters.tokens_in + meters.tokens_out,
        usd=meters.cost_usd or 0.0,
        before_s=view.worked_s,
    )
    if run["wish"] == ANSWER_NOW:
        allowance.hurry.set()
    return allowance


def _referring(answer: Any, ref: str | None) -> Any:
    """An answer that says which question it is for, where the question has a name to call it by."""
    return {**answer, "ref": ref} if ref and isinstance(answer, dict) else answer


def _value(interrupt: Interrupt) -> Row:
    return (
        dict(interrupt.value) if isinstance(interrupt.value, dict) else {"kind": "question", "value": interrupt.value}
    )


def _root(type_: str, **data: Any) -> RunEvent:
    return RunEvent(type_, ROOT, None, json_safe(data), time.time())


def _json(value: Any) -> Jsonb:
    return Jsonb(json_safe(value))
