"""A conversation as the demo model reads it: who asked what, which tools were called, what they returned."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

from app.demo_model.demands import without_demands
from app.demo_model.words import content_words

MAX_QUESTION_CHARS = 2_000
"""Of the question that is taken apart; the whole message stays available for reading values and passages from it."""

_COMPLAINT = re.compile(
    r"\b(could not be (used|parsed|read|run)|cannot be (run|used|parsed)|not valid|is invalid|invalid json|"
    r"did not (match|validate)|does not (match|validate)|validation error|again with (complete|valid))\b",
    re.IGNORECASE,
)
_ABOUT_OUTPUT = re.compile(r"\b(tool calls?|plan|json|schema|output|response|answer|arguments)\b", re.I)
_AGAIN = re.compile(r"\bagain:\s*(\S.*)", re.DOTALL | re.IGNORECASE)
_LABEL = re.compile(r"^\s*(?:question|task|goal|user|query)\s*:\s*", re.IGNORECASE)
_GIVEN = re.compile(
    r"^(?:##? .*|results? of [^\n]*:|context:|passages:|findings?:|missing:|"
    r"(?:(?:the|your|another) )?(?:draft|answer|response|proposal|hand-over)\b[^\n:]{0,30}:.*|"
    r"\[[0-9a-z]{6,64}\] \S.*)\s*$",
    re.I | re.M,
)
_ASKED_LAST = re.compile(r"^\s*(?:question|task|query)\s*:\s*(\S.*)\Z|\n\s*\n([^\n]{3,500}\?)\s*\Z", re.I | re.M | re.S)
_POINTING = re.compile(
    r"^(?:and|or|but|what about|how about|also)\b|"
    r"\b(?:its|they|them|their|ones?|former|latter|same|both|he|she|his|her)\b|"
    r"\bit\b(?! (?:safe|possible|true|better|necessary|allowed|ok|okay|legal|normal|good|bad|worth)\b)|"
    r"\b(?:this|that|these|those)(?=\s*(?:$|[?.!,]|is\b|are\b|do\b|does\b|works?\b|happens?\b|means?\b|costs?\b|one\b))",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call of an earlier turn, with its result when there is one."""

    name: str
    arguments: Mapping[str, Any]
    result: str | None
    turn: int
    """Which assistant message of this question made it, from 0."""


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    text: str
    calls: tuple[tuple[str, str, str], ...] = ()
    """(id, name, arguments) of an assistant's tool calls."""
    answers: str = ""
    """Id of the call that a tool message answers."""


def read_messages(raw: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Messages from OpenAI's JSON, already checked to be objects with a role."""
    return [
        Message(
            role=str(item["role"]),
            text=_text(item.get("content")),
            calls=tuple(_call(call) for call in item.get("tool_calls") or ()),
            answers=str(item.get("tool_call_id") or ""),
        )
        for item in raw
    ]


def _text(content: Any) -> str:
    if isinstance(content, list):
        content = "\n".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    if not isinstance(content, str):
        return ""
    # endless blanks say nothing, and would make patterns that look past blanks slow
    return re.sub(r"(?:[ \t\r]*\n){3,}", "\n\n", re.sub(r"[^\S\n]{9,}", " " * 8, content))


def _call(call: Mapping[str, Any]) -> tuple[str, str, str]:
    function = call.get("function") or {}
    return str(call.get("id") or ""), str(function.get("name") or ""), str(function.get("arguments") or "{}")


class Conversation:
    """Messages, and what can be asked of them."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = list(messages)

    @cached_property
    def system(self) -> str:
        return "\n\n".join(m.text for m in self.messages if m.role in ("system", "developer"))

    @cached_property
    def _asked_at(self) -> int:
        """Index of the message that asked; a complaint about an answer is no question."""
        at = [i for i, message in enumerate(self.messages) if message.role == "user"]
        for index in reversed(at):
            if not _is_complaint(self.messages[index].text):
                return index
        return at[-1] if at else len(self.messages) - 1

    @cached_property
    def request(self) -> str:
        """All that the person wrote last, with whatever text came along."""
        return self.messages[self._asked_at].text.strip()

    @cached_property
    def question(self) -> str:
        """The question in it: without its label and without the results or sections that follow it."""
        text = self.request
        if _is_complaint(text) and (again := _AGAIN.search(text)):
            text = again[1]
        given = _GIVEN.search(text)
        head = text[: given.start()].strip() if given else text
        if not head and (last := _ASKED_LAST.search(text[-3000:])):
            head = last[1] or last[2]
        return _bounded(without_demands(_LABEL.sub("", head or text)))

    @cached_property
    def given(self) -> str:
        """Text that came along with the question: results of others, sections, passages."""
        found = _GIVEN.search(self.request)
        return self.request[found.start() :] if found and found.start() > 0 else ""

    @cached_property
    def earlier_questions(self) -> list[str]:
        """What the person asked before, newest first."""
        asked = [m.text.strip() for m in self.messages[: self._asked_at] if m.role == "user"]
        return [_bounded(_LABEL.sub("", text)) for text in reversed(asked) if not _is_complaint(text)]

    @cached_property
    def background(self) -> str:
        """The earlier question that a short follow-up leans on, or nothing."""
        short = len(content_words(self.question)) <= 5
        leans = _POINTING.search(self.question) or not content_words(self.question)
        return self.earlier_questions[0] if self.earlier_questions and short and leans else ""

    @cached_property
    def calls(self) -> list[Call]:
        """Tool calls made for this question, in order."""
        after = self.messages[self._asked_at + 1 :]
        results = {m.answers: m.text for m in after if m.role in ("tool", "function")}
        turns = [m for m in after if m.role == "assistant" and m.calls]
        return [
            Call(name, _arguments(raw), results.get(call_id), turn)
            for turn, message in enumerate(turns)
            for call_id, name, raw in message.calls
        ]

    @cached_property
    def turns(self) -> int:
        return 1 + max((call.turn for call in self.calls), default=-1)

    @cached_property
    def said(self) -> str:
        """The assistant's last words, when it said any."""
        return next((m.text for m in reversed(self.messages) if m.role == "assistant" and m.text.strip()), "")


def _bounded(question: str) -> str:
    """A question of a length that can be taken apart: of a longer one its beginning and its end."""
    if len(question) <= MAX_QUESTION_CHARS:
        return question
    half = MAX_QUESTION_CHARS // 2
    return f"{question[:half]} … {question[-half:]}"


def _is_complaint(text: str) -> bool:
    """True for what a program says about an unusable answer, as in `Your tool call could not be used: ...`."""
    return bool(_ABOUT_OUTPUT.search(text[:80]) and _COMPLAINT.search(text[:2000]))


def _arguments(raw: str) -> Mapping[str, Any]:
    try:
        parsed = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
