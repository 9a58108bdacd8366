"""Offered tools: what each is for, which of them a question calls for, and the arguments.

A tool's kind is read from its name, then its description: calculator, search, clock, or other. Other tools are called
when the question holds the words of their name; a tool whose name begins with a verb that changes something (send,
delete, pay) is called only when the question holds that verb.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

from app.demo_model.arithmetic import expression_in
from app.demo_model.choices import better_placed
from app.demo_model.conversation import Conversation
from app.demo_model.evidence import KEY, passages_in
from app.demo_model.fill import Filler, Shape
from app.demo_model.followup import ORDINAL, leaned_on
from app.demo_model.parts import to_look_up
from app.demo_model.program import program_in
from app.demo_model.readings import Clues, described, dictated
from app.demo_model.words import (
    alike,
    content_stems,
    content_words,
    is_content,
    other_words,
    stem,
    stems,
    word_set,
    words,
)

MOST_CALLS = 6
MOST_QUERY_WORDS = 14

_KINDS = {
    "code": word_set("code python program script"),
    "page": word_set("fetch brows webpag url"),
    "calculator": word_set("calcul comput arithmet math evalu adder sum multipli"),
    "clock": word_set("clock time now date today datetim"),
    "search": word_set("search retriev lookup find queri document corpus passag knowledg wiki ask"),
}
_DESCRIBED = {
    "calculator": re.compile(
        r"\barithmetic|\bcalculat|\bmath(?:s|ematical)?\b|\b(?:add|subtract|multiply|divide|sum)\b.{0,20}\bnumbers?\b",
        re.I,
    ),
    "clock": re.compile(r"\bcurrent (?:date|time)|\btoday's date|\bdate and time", re.I),
    "search": re.compile(
        r"\b(?:search|retrieve|look up|query)\b.{0,60}\b(?:document|passage|corpus|knowledge|web|page)", re.I
    ),
}
_CHANGING = frozenset(
    map(
        stem,
        word_set(
            """send delete remove write create update insert post pay charge refund transfer execute run book order
            cancel buy sell publish deploy move rename drop kill stop start restart submit invite share grant revoke
            save store add append upload remember forget schedule assign"""
        ),
    )
)
_HANDOFF = re.compile(r"^(?:transfer|hand_?off|hand_?over|delegate)_?(?:to)?_?", re.I)
_ADDRESS = re.compile(r"https?://\S+")
_CODE_FIELDS = word_set("code program source script python")
_ADDRESS_FIELDS = word_set("url uri address link page")
_QUESTION_FIELDS = word_set("query q question search text input keywords phrase terms prompt topic")
_EXPRESSION_FIELDS = word_set("expression expr formula equation calculation math input query text")


@dataclass(frozen=True)
class Tool:
    """One offered function."""

    name: str
    description: str
    parameters: Mapping[str, Any]

    @cached_property
    def name_words(self) -> list[str]:
        spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", _HANDOFF.sub("", self.name) or self.name)
        return words(re.sub(r"[_\-.:]+", " ", spaced))

    @cached_property
    def kind(self) -> str:
        own = frozenset(stem(word) for word in self.name_words)
        for kind, marks in _KINDS.items():
            if own & marks and (kind == "code" or not (own & _CHANGING)):
                return kind
        return next((kind for kind, told in _DESCRIBED.items() if told.search(self.description[:300])), "other")

    @property
    def fields(self) -> Mapping[str, Any]:
        return self.parameters.get("properties") or {}

    def changes_something(self) -> bool:
        return bool(self.name_words) and stem(self.name_words[0]) in _CHANGING and self.kind != "code"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A tool call to make."""

    tool: Tool
    arguments: Mapping[str, Any]


def read_tools(raw: Sequence[Mapping[str, Any]]) -> list[Tool]:
    functions = [item.get("function") or {} for item in raw]
    return [Tool(str(f.get("name")), str(f.get("description") or ""), f.get("parameters") or {}) for f in functions]


def of_kind(tools: Sequence[Tool], kind: str) -> Tool | None:
    return next((tool for tool in tools if tool.kind == kind), None)


_SMALL_TALK = re.compile(
    r"^\W*(?:hi|hello|hey|good (?:morning|day|evening|afternoon)|thanks?(?: you)?(?: very much| a lot)?|ok(?:ay)?|"
    r"bye|goodbye|great|cool|yes|no|who are you|what are you|what can you do|how are you(?: doing)?(?: today)?|help|"
    r"are you (?:a bot|an? \w+|real|human)|what is your name|what's your name|test|ping)\W*(?:there|everyone)?\W*$",
    re.IGNORECASE,
)
_CREATIVE = re.compile(
    r"\b(?:write|compose|tell|make|draft|sing|create|give)\b.{0,30}\b(?:poem|joke|story|song|haiku|limerick|rap|lyrics|tale)\b"
    r"|\btranslate\b.{0,200}\b(?:to|into)\b|^\W*translate\b",
    re.IGNORECASE | re.S,
)
_NOW = re.compile(
    r"\bwhat(?:'s| is)?(?: the)? (?:current |exact )?(?:time|date|day)(?: and (?:time|date))?(?: is it| is today)?\s*"
    r"(?:now|today|is it|right now|it is|in utc)?\s*[?.!]*$|\b(?:today's date|current (?:date|time)|time is it|"
    r"date is it|day is it|date today|which year is it|what year is it)\b",
    re.IGNORECASE,
)
_POINTS_BACK = re.compile(r"\b(?:this|that|it|these|the answer|the above|what you (?:found|said|wrote))\b", re.I)
_SUMMARY = re.compile(r"\b(?:summari[sz]e|shorten|rephrase|extract|proofread|condense|tl;?dr)\b", re.I)


def is_small_talk(text: str) -> bool:
    return bool(_SMALL_TALK.match(text)) or not words(text)


def is_creative(text: str) -> bool:
    return bool(_CREATIVE.search(text))


def asks_for_now(text: str) -> bool:
    return bool(_NOW.search(text))


def brings_text(conversation: Conversation) -> bool:
    """The person asks about text in the message itself, or passages came with it."""
    text = conversation.request
    return bool(passages_in(text)) or (len(text) > 500 and bool(_SUMMARY.search(text[:200] + text[-200:])))


class Chooser:
    """Decides on the first tool calls for a question."""

    def __init__(self, conversation: Conversation, tools: Sequence[Tool], shapes: Sequence[Shape]) -> None:
        self.conversation = conversation
        self.tools = tools
        self.shapes = shapes

    def first_calls(self) -> list[Wanted]:
        """What to call before anything has been returned; empty when no tool fits."""
        text = self.conversation.question
        if named := [tool for tool in self.tools if self._named(tool, text)]:
            return [self.call(tool, text) for tool in named[:MOST_CALLS]]
        if is_small_talk(text) or is_creative(text) or brings_text(self.conversation):
            return []
        if passed := self._passed_on(text):
            return [passed]
        if (coder := of_kind(self.tools, "code")) and (program := program_in(text)):
            return [Wanted(coder, _into([n for n, it in coder.fields.items() if _is_text(it)], _CODE_FIELDS, program))]
        if acting := [tool for tool in self.tools if tool.changes_something() and self._fits(tool, text)]:
            return [self.call(max(acting, key=lambda tool: self._overlap(tool, text)), text)]
        if (page := of_kind(self.tools, "page")) and (addresses := _ADDRESS.findall(text)):
            return _distinct([self.call(page, text, query=it.rstrip(".,;:!?)")) for it in addresses])[:MOST_CALLS]
        parts = to_look_up(text)
        wanted: list[Wanted] = []
        for part in parts.questions:
            wanted += self._for_part(part, single=not parts.several)
        return _distinct(wanted)[:MOST_CALLS]

    def _passed_on(self, text: str) -> Wanted | None:
        """A hand-over to the peer whose field holds more of the question's words than one's own."""
        for tool in self.tools:
            choices = {n: s["enum"] for n, s in tool.fields.items() if isinstance(s, Mapping) and s.get("enum")}
            if not (choices and _HANDOFF.match(tool.name)):
                continue
            name, peers = next(iter(choices.items()))
            fields = {str(peer): described(str(peer), tool.description) for peer in peers}
            if peer := better_placed(text, described("your field", self.conversation.system), fields):
                clues = Clues(text, fields={"reason": f"The question belongs to the field of the {peer}."})
                return Wanted(tool, Filler(tool.parameters, clues).completed(tool.parameters, {name: peer}))
        return None

    def _for_part(self, part: str, *, single: bool) -> list[Wanted]:
        calculator = of_kind(self.tools, "calculator")
        if calculator and (expression := expression_in(part)):
            return [self.call(calculator, part, expression=expression)]
        clock = of_kind(self.tools, "clock")
        if clock and asks_for_now(part):
            return [self.call(clock, part)]
        others = [tool for tool in self.tools if tool.kind == "other" and self._fits(tool, part)]
        if others:
            return [self.call(max(others, key=lambda tool: self._overlap(tool, part)), part)]
        search = of_kind(self.tools, "search")
        if search and (query := self.query(part, single=single)):
            return [self.call(search, part, query=query)]
        return []

    def query(self, part: str, *, single: bool) -> str:
        """Content words of the part, and those of the earlier question that a follow-up leans on."""
        found = content_words(re.sub(KEY, "", part))
        if re.match(r"(?:when|why|how)\b", part, re.I) and len(found) <= 2:
            # so few words say little: a search by meaning can use what kind of question it is
            manner = (word.lower() if word.lower() in _MANNER else word for word in words(part))
            found = [word for word in manner if is_content(word) or word in _MANNER]
        if single and (background := leaned_on(self.conversation)):
            found = content_words(f"{background} {ORDINAL.sub(' ', part)}")
        return " ".join(found[:MOST_QUERY_WORDS])

    def forced(self, name: str | None) -> Wanted | None:
        """A call that the request insists on: of the tool named, or of the one that fits best."""
        text = self.conversation.question
        if name is not None:
            tool = next((tool for tool in self.tools if tool.name == name), None)
            return self.call(tool, text) if tool else None
        called = {call.name for call in self.conversation.calls}
        fresh = [tool for tool in self.tools if tool.name not in called] or list(self.tools)
        if called and (rest := [tool for tool in fresh if tool.kind == "other"]):
            fresh = rest  # what is left to do after looking things up
        return self.call(max(fresh, key=lambda tool: self._overlap(tool, text)), text) if fresh else None

    def call(self, tool: Tool, text: str, *, query: str = "", expression: str = "") -> Wanted:
        """Arguments by the tool's schema."""
        known: dict[str, str] = {}
        strings = [name for name, schema in tool.fields.items() if _is_text(schema)]
        if tool.kind == "calculator":
            expression = expression or expression_in(text) or expression_in(self.conversation.question) or "0"
            known = _into(strings, _EXPRESSION_FIELDS, expression)
        elif tool.kind == "page" and query:
            return Wanted(tool, _into(strings, _ADDRESS_FIELDS, query))  # numbers in an address are no arguments
        elif tool.kind == "search":
            known = _into(strings, _QUESTION_FIELDS, query or self.query(text, single=True) or text)
        clues = Clues(_without_tool(text, tool), self.conversation.system, lambda: self._pointed_text(text), known)
        filler = Filler(tool.parameters, clues, self.shapes)
        made = filler.fill() if tool.parameters else {}
        return Wanted(tool, made if isinstance(made, dict) else {})

    def _pointed_text(self, text: str) -> str:
        """What `save this as a note` means: the last answer, without its citations."""
        points = _POINTS_BACK.search(text) and not dictated(text)
        return re.sub(rf"\s*{KEY}", "", self.conversation.said) if points else ""

    def _named(self, tool: Tool, text: str) -> bool:
        """The tool is asked for by name: `use the weather tool`, `magic_function(3)`."""
        call = "" if "_" in tool.name else r"\s*\("
        if re.search(rf"(?<![\w-]){re.escape(tool.name)}(?![\w-]){call}", text):
            return True
        spoken = r"[\s_-]+".join(map(re.escape, tool.name_words or [tool.name]))
        asked = rf"\b(?:use|call|run|using|with|try|invoke)\b[^.?!]{{0,30}}\b{spoken}\b"
        return bool(re.search(asked, text, re.I) and re.search(r"\b(?:tool|function)\b", text, re.I))

    def _fits(self, tool: Tool, text: str) -> bool:
        """The question holds at least half of the words of the tool's name, and its verb if it changes something."""
        asked = content_stems(text)
        name = [stem(word) for word in tool.name_words]
        verb = bool(name) and bool(({name[0]} | alike(name[0])) & stems(text))
        if tool.changes_something() and (not verb or _ASKS_ONLY.match(text)):
            return False
        telling = [word for word in name if word not in _EMPTY]
        if name and name[0] in _SHOWING and len(telling) > 1:
            telling = telling[1:]
            if not verb and not re.search(
                rf"\b(?:my|our|all|saved|those|what|which)\s+{re.escape(telling[0][:4])}", text, re.I
            ):
                return False
        if not telling:
            return False
        held = [word for word in telling if word in asked or alike(word) & asked]
        return len(held) * 2 >= len(telling) and (len(held) > 1 or len(telling) <= 2)

    def _overlap(self, tool: Tool, text: str) -> tuple[int, int]:
        asked = stems(text)
        fields = stems(" ".join(tool.fields).replace("_", " "))
        kind = {
            "calculator": bool(expression_in(text)), "clock": asks_for_now(text),
            "search": "?" in text or (bool(content_stems(text)) and not is_small_talk(text)),
        }.get(tool.kind, False)  # fmt: skip
        name = frozenset(stem(word) for word in tool.name_words)
        told = content_stems(tool.description)
        return 4 * len(name & asked) + 3 * kind, len((told | fields) & asked)


_MANNER = word_set("when why how use used using work works")
_SHOWING = frozenset(map(stem, word_set("list show read view open load display")))
_ASKS_ONLY = re.compile(r"(?:how|what|why|when|where|who|which|should|is|are|does|do|did|can i|may i)\b", re.I)
_EMPTY = frozenset(map(stem, word_set("get set make do fetch tool function my the a run call")))


def _is_text(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return False
    kinds = schema.get("type") or [
        branch.get("type") for branch in schema.get("anyOf") or () if isinstance(branch, dict)
    ]
    return "enum" not in schema and "string" in (kinds if isinstance(kinds, list) else [kinds])


def _into(names: Sequence[str], likely: frozenset[str], value: str) -> dict[str, str]:
    """The value under the likeliest of the text fields."""
    best = next((name for name in names if name.lower() in likely), names[0] if names else None)
    return {best: value} if best else {}


def _without_tool(text: str, tool: Tool) -> str:
    """The words for the arguments, without those that only name the tool."""
    text = re.sub(
        rf"\b(?:(?:please )?(?:use|using|call|invoke) )?(?:the )?{re.escape(tool.name)}(?: tool)?\b", " ", text
    )
    text = re.sub(r"\b(?:using|use|with|call) (?:the|this|your) (?:tool|function)\b[,.]?", " ", text, flags=re.I)
    return " ".join(text.split()).strip(" ,") or text


def _distinct(wanted: Sequence[Wanted]) -> list[Wanted]:
    seen: dict[bytes, Wanted] = {}
    for item in wanted:
        seen.setdefault(item.tool.name.encode() + orjson.dumps(item.arguments, option=orjson.OPT_SORT_KEYS), item)
    return list(seen.values())


def reworded(query: str) -> str:
    """Another query for the same thing: other words of about the same meaning, without the least telling ones."""
    asked = content_words(query)
    swapped = [other for word in asked for other in (other_words(word)[:2] or [word])]
    if swapped != asked:
        return " ".join(dict.fromkeys(swapped))
    if len(asked) < 3:
        return ""
    return " ".join(sorted(asked, key=len, reverse=True)[: max(2, len(asked) // 2)])
