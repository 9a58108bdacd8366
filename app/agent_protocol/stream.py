"""A run's log as the protocol's event stream. States are no part of the log: they are read where they are stored.

An event id is the position in the log, `17`; where one row becomes several events, all but the last carry `17.1`,
`17.2` ... So a client that says what it saw last gets exactly the rest. What a row becomes can depend on rows before it
(the model a token is from, the text so far), so a stream always folds the log from its beginning.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.utils.utils import LC_ID_PREFIX
from langgraph.types import StateSnapshot

from app.agent_protocol.states import Reader
from app.agent_protocol.wire import encoded
from app.borders import NotFound
from app.compose import App
from app.events import ROOT, RunEvent
from app.replies import STILL_HERE
from app.runs import TERMINAL as ENDED

NOT_STORED_YET_S = (0.02, 0.05, 0.1, 0.3, 1.0)
"""Pauses before a state is read again that its event ran ahead of."""

WOKEN_S = 0.05
"""Between two looks at a run that was woken, and has not said anything yet."""
AT_REST = (*ENDED, "waiting")

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where in a log a client is: after this many events of row `seq`, 0 for all of them."""

    seq: int = 0
    part: int = 0

    @classmethod
    def read(cls, text: str | None) -> "Position | None":
        """Of a `Last-Event-ID`; None when it names none, which is the beginning."""
        seq, _, part = (text or "").partition(".")
        if not seq.isdigit() or (part and not part.isdigit()) or len(seq + part) > 15:
            return None
        return cls(int(seq), int(part or 0))


@dataclass(frozen=True, slots=True)
class Frame:
    """One event of the stream."""

    event: str
    data: Any


@dataclass(slots=True)
class Call:
    """A model or a tool at work."""

    owner: str
    name: str
    call_id: str = ""
    text: str = ""


@dataclass(slots=True)
class Frames:
    """Folds a run's log and says what each row is in the modes that were asked for."""

    reader: Reader
    run: Row
    modes: tuple[str, ...]
    subgraphs: bool = False
    calls: dict[str, Call] = field(default_factory=dict)
    last_checkpoint: str = ""
    step: int = 0

    def fold(self, event: RunEvent) -> None:
        """Keep what later rows need."""
        data = event.data
        if event.type in ("llm.started", "tool.started"):
            name = str(data.get("model" if event.type == "llm.started" else "name") or "")
            self.calls[event.span_id] = Call(event.parent_id or ROOT, name, str(data.get("call_id") or ""))
        elif event.type == "llm.token" and (call := self.calls.get(event.span_id)):
            call.text += data["text"]
        elif event.type == "checkpoint":
            self.last_checkpoint, self.step = data["checkpoint_id"], data["step"]

    async def of(self, event: RunEvent) -> list[Frame]:
        """The events that a row becomes; called before the row is folded."""
        match event.type:
            case "checkpoint":
                return await self._state(event)
            case "run.waiting":
                return await self._interrupted(event)
            case "llm.token":
                return self._token(event)
            case "llm.finished":
                return self._said(event)
            case "tool.finished":
                return self._tool(event)
            case "custom" if "custom" in self.modes and "name" not in event.data and self._seen(event.span_id):
                return [Frame("custom" + self._suffix(event.span_id), event.data["value"])]
            case "run.failed":
                error = event.data["error"]
                return [Frame("error", {"error": error["kind"], "message": error["message"]})]
        return []

    # -- states ------------------------------------------------------------------------------------------------------

    async def _state(self, event: RunEvent) -> list[Frame]:
        id_ = event.data["checkpoint_id"]
        if event.data["step"] < 0 or not {"values", "updates", "checkpoints"} & set(self.modes):
            return []
        if (snapshot := await self._stored(id_)) is None:
            return []
        frames = await self._updates(snapshot) if "updates" in self.modes and id_ != self.last_checkpoint else []
        if "values" in self.modes:
            frames.append(Frame("values", snapshot.values))
        if "checkpoints" in self.modes:
            data = {"config": snapshot.config, "parent_config": snapshot.parent_config, "metadata": snapshot.metadata,
                    "values": snapshot.values, "next": snapshot.next}  # fmt: skip
            frames.append(Frame("checkpoints", data))
        return frames

    async def _updates(self, snapshot: StateSnapshot) -> list[Frame]:
        """What the nodes of the super-step wrote that ended in this state."""
        if snapshot.parent_config is None:
            return []
        before = await self._stored(snapshot.parent_config["configurable"]["checkpoint_id"], written=True)
        tasks = [task for task in (before.tasks if before else ()) if not task.name.startswith("__")]
        return [Frame("updates", {task.name: task.result}) for task in tasks]

    async def _interrupted(self, event: RunEvent) -> list[Frame]:
        snapshot = await self._stored(self.last_checkpoint)
        asked = set(event.data["open"])
        open_ = [it for it in snapshot.interrupts if it.id in asked] if snapshot else []
        frames = [Frame("updates", {"__interrupt__": open_})] if "updates" in self.modes else []
        if "values" in self.modes:
            frames.append(Frame("values", {**(snapshot.values if snapshot else {}), "__interrupt__": open_}))
        return frames

    async def _stored(self, checkpoint_id: str, *, written: bool = False) -> StateSnapshot | None:
        """A state once it is stored; `written`: with what its tasks wrote, which is stored on the side."""
        for pause_s in (*NOT_STORED_YET_S, None):
            snapshot = await self.reader.at(self.run, checkpoint_id)
            complete = snapshot is not None and not (written and any(task.result is None for task in snapshot.tasks))
            if complete or pause_s is None:
                return snapshot
            await asyncio.sleep(pause_s)
        return None

    # -- messages ----------------------------------------------------------------------------------------------------

    def _token(self, event: RunEvent) -> list[Frame]:
        if (call := self.calls.get(event.span_id)) is None or not self._seen(call.owner):
            return []
        id_, text, suffix = message_id(event.span_id), event.data["text"], self._suffix(call.owner)
        if "messages-tuple" in self.modes:
            return [Frame("messages" + suffix, [_dumped(AIMessageChunk(content=text, id=id_)), self._about(call)])]
        if "messages" not in self.modes:
            return []
        new = [] if call.text else [Frame("messages/metadata" + suffix, {id_: {"metadata": self._about(call)}})]
        return [*new, Frame("messages/partial" + suffix, [_dumped(AIMessage(call.text + text, id=id_))])]

    def _said(self, event: RunEvent) -> list[Frame]:
        call = self.calls.get(event.span_id)
        if call is None or not self._seen(call.owner) or event.data.get("error"):
            return []
        usage = _usage(event.data.get("usage"))
        id_, suffix = message_id(event.span_id), self._suffix(call.owner)
        if "messages-tuple" in self.modes:
            last = AIMessageChunk(content="", id=id_, usage_metadata=usage, chunk_position="last")
            return [Frame("messages" + suffix, [_dumped(last), self._about(call)])]
        if "messages" not in self.modes:
            return []
        whole = AIMessage(str(event.data.get("text") or call.text), id=id_, usage_metadata=usage)
        return [Frame("messages/complete" + suffix, [_dumped(whole)])]

    def _tool(self, event: RunEvent) -> list[Frame]:
        call = self.calls.get(event.span_id)
        if call is None or not call.call_id or not self._seen(call.owner):
            return []
        status = "success" if event.data["ok"] else "error"
        said = ToolMessage(event.data["text"], tool_call_id=call.call_id, name=call.name, status=status)
        suffix = self._suffix(call.owner)
        if "messages-tuple" in self.modes:
            return [Frame("messages" + suffix, [_dumped(said), self._about(call)])]
        return [Frame("messages/complete" + suffix, [_dumped(said)])] if "messages" in self.modes else []

    def _seen(self, owner: str) -> bool:
        """A node of the graph itself is always shown, what works inside it when subgraphs are asked for."""
        return self.subgraphs or "|" not in owner

    def _suffix(self, owner: str) -> str:
        return f"|{owner}" if self.subgraphs and owner != ROOT else ""

    def _about(self, call: Call) -> dict[str, Any]:
        return {
            "run_id": self.run["run_id"],
            "thread_id": self.run["thread_id"],
            "graph_id": self.run["graph"],
            "langgraph_node": call.owner.rpartition("|")[2].partition(":")[0],
            "langgraph_step": self.step + 1,
            "langgraph_checkpoint_ns": call.owner,
            "ls_model_name": call.name,
        }


def message_id(span: str) -> str:
    """The id that LangChain gives the message of a model call, so that a stream's message is the state's."""
    return f"{LC_ID_PREFIX}-{span}"


def _dumped(message: BaseMessage) -> dict[str, Any]:
    return message.model_dump()


def _usage(usage: Mapping[str, Any] | None) -> Any:
    if not usage:
        return None
    return {"input_tokens": usage["in"], "output_tokens": usage["out"], "total_tokens": usage["in"] + usage["out"],
            "input_token_details": {"cache_read": usage["cached"]}}  # fmt: skip


# -- following -------------------------------------------------------------------------------------------------------


async def ended(app: App, run: Row, after: int) -> AsyncIterator[list[RunEvent]]:
    """Batches of a run's log until it ends or waits for a person; an empty one while nothing happens.

    A run that was answered or resumed goes on in the same log, so the end is where its row says so and nothing follows.
    """
    while not app.journal.closed:
        async for batch in app.journal.follow(run["run_id"], after):
            yield batch
            after = batch[-1].seq if batch else after
            if (not batch or batch[-1].type == "run.waiting") and await _rests(app, run, after):
                return
        if await _rests(app, run, after):
            return
        await asyncio.sleep(WOKEN_S)


async def _rests(app: App, run: Row, after: int) -> bool:
    try:
        status = (await app.runs.run(run["run_id"], run["owner"]))["status"]
    except NotFound:
        return True
    return status in AT_REST and not await app.journal.read(run["run_id"], after)


async def protocol_stream(
    app: App, run: Row, modes: tuple[str, ...], *, subgraphs: bool, after: Position | None, begin: int = 0
) -> AsyncIterator[bytes]:
    """The stream of a run from where the client is, or from row `begin` on for one that comes for the first time."""
    frames, last = Frames(Reader(app), run, modes, subgraphs), begin
    if after is None:
        after = Position(begin)
        yield _sse("metadata", {"run_id": run["run_id"], "attempt": 1}, str(begin))
    async for batch in ended(app, run, 0):
        for event in batch:
            if event.seq > after.seq or (event.seq == after.seq and after.part):
                out = await frames.of(event)
                for part, frame in enumerate(out, 1):
                    if event.seq == after.seq and part <= after.part:
                        continue
                    id_ = str(event.seq) if part == len(out) else f"{event.seq}.{part}"
                    yield _sse(frame.event, frame.data, id_)
            frames.fold(event)
            last = event.seq
        if not batch:
            yield STILL_HERE
    if not app.journal.closed:
        yield _sse("end", None, str(last))


def _sse(event: str, data: Any, id_: str) -> bytes:
    return f"id: {id_}\nevent: {event}\ndata: ".encode() + encoded(data) + b"\n\n"


async def finished(app: App, run: Row, after: int) -> AsyncIterator[bytes]:
    """The final values of a run as one JSON text; spaces before it keep the connection alive while it works."""
    async for batch in ended(app, run, after):
        if not batch:
            yield b" "
    if app.journal.closed:
        return
    try:
        values = await final_values(app, run)
    except NotFound:  # the status is out: what became of it has to be said here
        values = {"__error__": {"error": "NotFound", "message": "The thread was deleted."}}
    yield encoded(values)


async def final_values(app: App, run: Row) -> Any:
    """What a run has come to: its state, its open questions with it, or its error."""
    snapshot = await Reader(app).at(run)
    run = await app.runs.run(run["run_id"], run["owner"])  # after its state: that of a deleted run would be empty
    if run["status"] == "failed":
        return {"__error__": {"error": run["error"]["kind"], "message": run["error"]["message"]}}
    values = snapshot.values if snapshot else {}
    if run["status"] == "waiting" and snapshot:
        return {**values, "__interrupt__": list(snapshot.interrupts)}
    return values
