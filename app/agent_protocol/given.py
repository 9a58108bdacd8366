"""What a client may hand in: run bodies, messages, fields of a state. Checked here, converted here, nowhere else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from langchain_core.messages import convert_to_messages
from pydantic import BaseModel, ConfigDict, Field

from app.activities import Activity
from app.agent_protocol.assistants import activity_of
from app.borders import Rejected, checked_json, checked_question
from app.compose import App

MAX_MESSAGES = 100
MAX_TITLE_OF_VALUES = 200
STREAM_MODES = ("values", "updates", "messages", "messages-tuple", "custom", "checkpoints")
STRATEGIES = ("enqueue", "interrupt", "rollback", "reject")
END = "__end__"

_TYPES = {
    "user": "human", "human": "human", "HumanMessageChunk": "human",
    "assistant": "ai", "ai": "ai", "AIMessageChunk": "ai",
    "system": "system", "developer": "system", "tool": "tool", "remove": "remove",
}  # fmt: skip
_KEPT = {"ai": ("tool_calls",), "tool": ("tool_call_id", "status")}


class CommandBody(BaseModel):
    """How an interrupted thread goes on."""

    model_config = ConfigDict(extra="ignore")

    resume: Any = Field(default=None, description="answer to the open question, or answers by interrupt id")
    update: Any = None
    goto: Any = Field(default=None, description="`__end__` gives an interrupted run up")


class RunBody(BaseModel):
    """A run of the Agent Protocol. What is not offered is refused, not ignored, where ignoring would change the run."""

    model_config = ConfigDict(extra="ignore")

    assistant_id: str = Field(description="id of an assistant, or the name of a graph")
    input: Any = Field(default=None, description="`{messages: [...]}`, or fields of the graph's state")
    command: CommandBody | None = None
    checkpoint: dict[str, Any] | None = None
    checkpoint_id: str | None = None
    metadata: dict[str, Any] | None = None
    config: dict[str, Any] | None = Field(default=None, description="kept with the run; graphs are set up here")
    context: Any = Field(default=None, description="kept with the run; graphs are set up here")
    stream_mode: str | list[str] | None = None
    stream_subgraphs: bool = False
    multitask_strategy: str = "enqueue"
    if_not_exists: str = "reject"
    on_disconnect: str = "continue"
    on_completion: str = "delete"
    interrupt_before: Any = None
    interrupt_after: Any = None
    webhook: str | None = None
    after_seconds: float | None = None

    def refuse_unoffered(self) -> None:
        """Raise Rejected for what would silently not happen."""
        for name in ("interrupt_before", "interrupt_after", "webhook", "after_seconds"):
            if getattr(self, name):
                raise Rejected("not_offered", f"{name}: not offered here", field=name, actual=getattr(self, name),
                               fix="leave it out; a node can call interrupt() itself")  # fmt: skip
        if self.multitask_strategy not in STRATEGIES:
            raise Rejected(
                "multitask_unknown", f"multitask_strategy: there is no {self.multitask_strategy!r}",
                field="multitask_strategy", actual=self.multitask_strategy,
                fix=f"choose one of {', '.join(STRATEGIES)}",
            )  # fmt: skip
        if self.command and (self.command.update is not None or self.command.goto not in (None, END, [END])):
            raise Rejected("not_offered", "command: only resume, and goto __end__", field="command",
                           fix="change the state with update_state, then start a run")  # fmt: skip

    def request(self) -> dict[str, Any]:
        """What is kept with the run for whoever reads it back."""
        names = ("input", "config", "context", "metadata", "stream_mode", "multitask_strategy")
        said = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        said |= {"command": {"resume": self.command.resume}} if self.command else {}
        return dict(checked_json(said, "request"))


def stream_modes(asked: str | Sequence[str] | None) -> tuple[str, ...]:
    """The modes of a stream; `values` when none is named."""
    modes = [asked] if isinstance(asked, str) else list(asked or ())
    modes = [mode for mode in modes if mode] or ["values"]
    for mode in modes:
        if mode not in STREAM_MODES:
            raise Rejected("stream_mode_unknown", f"stream_mode: {mode!r} is not offered", field="stream_mode",
                           actual=mode, fix=f"choose any of {', '.join(STREAM_MODES)}")  # fmt: skip
    return tuple(dict.fromkeys(modes))


@dataclass(frozen=True, slots=True)
class Given:
    """What a run is to do: a question, or fields of the graph's state and words that stand for them in a list."""

    question: str
    values: Mapping[str, Any] | None = None
    asked: bool = True
    """Whether the question is somebody's; else it only names values, and nothing in it is a person's word."""


def refuse_unusable(app: App, body: RunBody) -> None:
    """Raise for a body that no run can begin with."""
    body.refuse_unoffered()
    activity = activity_of(app, body.assistant_id)
    if body.input is not None:
        given_of(activity, body.input, app.settings.max_question_chars)


def given_of(activity: Activity, data: Any, max_chars: int) -> Given:
    """A run's input. Raises Rejected for what the graph would not understand."""
    values = checked_values(activity, data, "input", max_chars)
    messages = values.get("messages", [])
    asked = [text_of(message) for message in messages if message["type"] == "human"]
    if len(values) == len(messages) == len(asked) == 1 and messages[0].keys() == {"type", "content"}:
        return Given(checked_question(asked[0], max_chars))
    if asked:
        return Given(checked_question(asked[-1], max_chars), values)
    return Given(orjson.dumps(values).decode()[:MAX_TITLE_OF_VALUES], values, asked=False)


def checked_values(activity: Activity, data: Any, field: str, max_chars: int) -> dict[str, Any]:
    """Fields of the graph's state, messages converted. Fields that it does not have are left out, as LangGraph does."""
    if not isinstance(data, Mapping):
        raise Rejected(f"{field}_invalid", f"{field}: {type(data).__name__} given, an object needed", field=field,
                       fix='send {"messages": [{"role": "user", "content": "..."}]}')  # fmt: skip
    fields = set(activity.builder.schemas[activity.builder.state_schema])
    values = {name: checked_json(value, f"{field}.{name}") for name, value in data.items() if name in fields}
    if not values:
        raise Rejected(f"{field}_invalid", f"{field}: no field of the graph {activity.name} is in it", field=field,
                       actual=sorted(data)[:20], fix=f"send any of {', '.join(sorted(fields))}")  # fmt: skip
    if "messages" in values:
        values["messages"] = checked_messages(values["messages"], f"{field}.messages", max_chars)
    return values


def checked_messages(data: Any, field: str, max_chars: int, most: int = MAX_MESSAGES) -> list[dict[str, Any]]:
    """Messages as LangChain reads them: `type` for what a client may call `role`, content as text."""
    messages = data if isinstance(data, list) else [data]
    if not 0 < len(messages) <= most:
        raise Rejected("messages_invalid", f"{field}: {len(messages)} messages", field=field, limit=most,
                       actual=len(messages), fix=f"send 1 to {most:,}")  # fmt: skip
    return [_message(message, f"{field}.{at}", max_chars) for at, message in enumerate(messages)]


def _message(data: Any, field: str, max_chars: int) -> dict[str, Any]:
    if isinstance(data, str):
        data = {"type": "human", "content": data}
    kind = (data.get("role") or data.get("type")) if isinstance(data, Mapping) else None
    if kind not in _TYPES:
        raise Rejected("message_invalid", f"{field}: its role is {kind!r}", field=field, actual=kind,
                       fix=f"choose one of {', '.join(_TYPES)}")  # fmt: skip
    message = {"type": _TYPES[kind], "content": _content(data.get("content") or "", field, max_chars)}
    for name in ("id", "name", *_KEPT.get(message["type"], ())):
        if data.get(name) is not None:
            message[name] = data[name]
    try:
        convert_to_messages([message])
    except (ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise Rejected("message_invalid", f"{field}: {error}"[:300], field=field,
                       fix="see /api/docs, and the messages of a thread's state") from error  # fmt: skip
    return message


def _content(content: Any, field: str, max_chars: int) -> str:
    if isinstance(content, list):
        strange = [block for block in content if not _is_text(block)]
        if strange:
            kind = strange[0].get("type") if isinstance(strange[0], Mapping) else type(strange[0]).__name__
            raise Rejected("content_not_text", f"{field}.content: a block of type {kind!r}", field=f"{field}.content",
                           actual=kind, fix="send text; upload files as documents")  # fmt: skip
        content = "".join(block if isinstance(block, str) else block["text"] for block in content)
    if not isinstance(content, str):
        raise Rejected("content_not_text", f"{field}.content: {type(content).__name__} given", field=f"{field}.content",
                       fix="send text, or a list of text blocks")  # fmt: skip
    if len(content) > max_chars:
        raise Rejected(
            "question_too_long", f"{field}.content: {len(content):,} characters of at most {max_chars:,}",
            field=f"{field}.content", limit=max_chars, actual=len(content),
            fix="upload the long part as a document and ask about it",
        )  # fmt: skip
    checked_json(content, f"{field}.content")
    return content


def _is_text(block: Any) -> bool:
    return isinstance(block, str) or (
        isinstance(block, Mapping) and block.get("type") == "text" and isinstance(block.get("text"), str)
    )


def text_of(message: Mapping[str, Any]) -> str:
    """Text of a converted message."""
    return str(message["content"])
