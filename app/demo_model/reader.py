"""What to do next in a conversation: call tools, fill a schema, or answer. A pure function of the request.

The order of questions: must a tool be called? Did tools return something, and is it enough? Do findings of others
wait to be joined? Does a tool fit? Is there text to read? Otherwise it says plainly what it is and what it can do.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

from app.demo_model.answer import Found, findings_in, in_words, look, summary, synthesis
from app.demo_model.arithmetic import expression_in, shown, value_of
from app.demo_model.conversation import Call, Conversation, read_messages
from app.demo_model.editing import Mending, mended, to_mend
from app.demo_model.evidence import Passage, Sentence, claims_in, passages_in, sentences_of
from app.demo_model.fill import Filler
from app.demo_model.followup import leaned_on, standing_alone
from app.demo_model.papers import Papers
from app.demo_model.parts import to_look_up
from app.demo_model.program import told_of
from app.demo_model.readings import Clues, quoted
from app.demo_model.shapes import Shapes
from app.demo_model.titles import title_of
from app.demo_model.tools import (
    Chooser,
    Tool,
    Wanted,
    brings_text,
    is_creative,
    is_small_talk,
    of_kind,
    read_tools,
    reworded,
)
from app.demo_model.words import clipped, joined

LEAD_SENTENCES = 3
SEARCH_TURNS = 2
"""Rounds of searching for one question: the first, and one in other words."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One assistant message."""

    text: str = ""
    calls: tuple[Wanted, ...] = ()
    reasoning: str = ""


def think(body: Mapping[str, Any]) -> Reply:
    """The next message of a checked request body."""
    return _Reader(body).reply()


class _Reader:
    def __init__(self, body: Mapping[str, Any]) -> None:
        self.conversation = Conversation(read_messages(body["messages"]))
        choice = body.get("tool_choice")
        self.tools = read_tools(body.get("tools") or ()) if choice != "none" else []
        self.offered = read_tools(body.get("tools") or ())
        self.must_call = choice == "required" or isinstance(choice, Mapping)
        self.named = str((choice.get("function") or {}).get("name")) if isinstance(choice, Mapping) else None
        self.single = body.get("parallel_tool_calls") is False
        self.format: Mapping[str, Any] = body.get("response_format") or {"type": "text"}
        papers = Papers(self.conversation, lambda: self._found)
        self.shapes = (papers.brief, papers.outline, *Shapes(self.conversation).all())
        self.chooser = Chooser(self.conversation, self.tools, self.shapes)

    def reply(self) -> Reply:
        if calls := self._calls():
            kept = calls[:1] if self.single else calls
            names = joined(f"`{call.tool.name}`" for call in kept)
            return Reply(calls=tuple(kept), reasoning=f"The question calls for {names}.")
        if self.format.get("type") == "json_schema":
            schema = (self.format.get("json_schema") or {}).get("schema") or {}
            return Reply(self._json(self._filled(schema)), reasoning="The answer is to fill a JSON schema.")
        if self.format.get("type") == "json_object":
            return Reply(self._json(self._free_object()), reasoning="The answer is to be a JSON object.")
        return Reply(self.answer, reasoning=self._why())

    # -- tool calls

    def _calls(self) -> list[Wanted]:
        if not self.tools:
            return []
        if self.named:
            forced = self.chooser.forced(self.named)
            return [forced] if forced else []
        first = not self.conversation.calls
        if self._mending:
            return self._calls_for_missed() if first else []
        if self.must_call:
            fitting = self.chooser.first_calls() if first else []
            forced = None if fitting else self.chooser.forced(None)
            return fitting or ([forced] if forced else [])
        if first:
            return [] if self._sections[0] else self.chooser.first_calls()
        return self._second_try()

    def _calls_for_missed(self) -> list[Wanted]:
        """One search for each thing that a draft does not speak of."""
        search = of_kind(self.tools, "search")
        missed = self._mending.missed if self._mending else []
        return [self.chooser.call(search, point, query=point) for point in missed] if search else []

    def _second_try(self) -> list[Wanted]:
        """After a round of calls: failed ones once more, and one search in other words for what was not found."""
        if self.conversation.turns >= SEARCH_TURNS:
            return []
        by_name = {tool.name: tool for tool in self.tools}
        again = [
            Wanted(by_name[call.name], call.arguments)
            for call in self.conversation.calls
            if call.name in by_name and failed(call) and not by_name[call.name].changes_something()
        ]
        return again + self._search_again()

    def _search_again(self) -> list[Wanted]:
        search = of_kind(self.tools, "search")
        searched = [call for call in self._searches if not failed(call)]
        if of_kind(self.tools, "page") and any(self._kind(call) == "page" for call in searched):
            return []  # the person said where to look
        if not search or not searched or not self._found.unanswered:
            return []
        wanted = []
        for question in self._found.unanswered:
            query = reworded(self.chooser.query(question, single=not self._found.parts.several))
            if query and query not in self._queries:
                wanted.append(self.chooser.call(search, question, query=query))
        return wanted[:3]

    # -- what is known

    @cached_property
    def _kinds(self) -> dict[str, str]:
        return {tool.name: tool.kind for tool in self.offered}

    def _kind(self, call: Call) -> str:
        return self._kinds.get(call.name) or Tool(call.name, "", {}).kind

    @cached_property
    def _searches(self) -> list[Call]:
        return [c for c in self.conversation.calls if self._kind(c) == "search" or passages_in(c.result or "")]

    @cached_property
    def _queries(self) -> list[str]:
        texts = (next((v for v in c.arguments.values() if isinstance(v, str)), "") for c in self._searches)
        return list(dict.fromkeys(text for text in texts if text))

    @cached_property
    def _mending(self) -> Mending | None:
        return to_mend(self.conversation.request)

    def _about(self, thing: str) -> list[Sentence]:
        """What the passages say of a thing, the best first."""
        return [sentence for chosen in look(f"What is {thing}?", "", self._passages).chosen for sentence in chosen]

    @cached_property
    def _passages(self) -> list[Passage]:
        found: dict[str, Passage] = {}
        for text in [
            *(call.result or "" for call in self._searches),
            self.conversation.request,
            self.conversation.system,
        ]:
            for passage in passages_in(text):
                found.setdefault(passage.key, passage)
        return list(found.values())

    @cached_property
    def _given_claims(self) -> list[Sentence]:
        """Cited statements that came along with the question."""
        return claims_in(self.conversation.given) if not passages_in(self.conversation.given) else []

    @cached_property
    def _found(self) -> Found:
        conversation = self.conversation
        return look(self._prose_question, leaned_on(conversation), self._passages, self._given_claims)

    @cached_property
    def _prose_question(self) -> str:
        """The question without a part that is arithmetic, which its own tool answers."""
        question = standing_alone(self.conversation)
        parts = to_look_up(question)
        prose = [part for part in parts.questions if not expression_in(part)]
        return " ".join(prose) if prose and len(prose) < len(parts.questions) else question

    @cached_property
    def _sections(self) -> tuple[list[Any], list[str]]:
        sections, missing = findings_in(self.conversation.given)
        return (sections, missing) if sections or missing else ([], [])

    # -- answers

    @cached_property
    def answer(self) -> str:
        if self._mending:
            return mended(self._mending, self._about)
        sections, missing = self._sections
        if (sections or missing) and not self.conversation.calls:
            return synthesis(self.conversation.question, sections, missing)
        if self.conversation.calls:
            return self._from_results()
        return self._from_text()

    def _from_results(self) -> str:
        """Paragraphs for what was computed, found, returned and refused, in the order of the calls."""
        blocks: list[str] = []
        searched = False
        for call in self._last_of_each():
            if self._kind(call) in ("search", "page") and not failed(call):
                if not searched:
                    lead = self._kind(call) == "page" and not self._found.anything
                    blocks.append(self._lead() if lead else in_words(self._found, self._queries))
                searched = True
            else:
                blocks.append(self._stated(call))
        return "\n\n".join(dict.fromkeys(block for block in blocks if block))

    def _lead(self) -> str:
        """How a page begins, for who asks nothing of it in particular."""
        return " ".join(sentence.cited for sentence in sentences_of(self._passages)[:LEAD_SENTENCES])

    def _last_of_each(self) -> list[Call]:
        """Calls without the failed ones that were made again."""
        calls = self.conversation.calls
        last = self.conversation.turns - 1
        repeated = [(c.name, c.arguments) for c in calls if c.turn == last and last > 0]
        return [c for c in calls if not (failed(c) and c.turn < last and (c.name, c.arguments) in repeated)]

    def _stated(self, call: Call) -> str:
        result = (call.result or "").strip()
        if failed(call):
            return f"`{call.name}` failed and I cannot answer this part: {clipped(reason(result), 300)}"
        if self._kind(call) == "calculator":
            return _figure(call, result)
        if self._kind(call) == "code":
            return told_of(result)
        if self._kind(call) == "clock":
            told = result.removesuffix("+00:00") + " UTC" if result.endswith("+00:00") else result
            return f"It is {told}." if re.match(r"\d", result) else clipped(result, 500)
        return f"`{call.name}` returned: {clipped(_told(result), 1500)}"

    def _from_text(self) -> str:
        """Without tool results: from text in the message, else by saying what this is."""
        conversation = self.conversation
        if self._passages:
            return in_words(self._found, [])
        if asks_for_title(conversation):
            return title_of(_without_title_request(conversation))
        if (
            expression_in(conversation.question)
            and (value := value_of(expression_in(conversation.question) or "")) is not None
        ):
            expression = expression_in(conversation.question) or ""
            return f"{pretty(expression)} = **{shown(value)}**. No calculator was offered, so I worked it out by rule."
        if brings_text(conversation):
            return self._of_pasted()
        return introduction(conversation.question, self.offered)

    def _of_pasted(self) -> str:
        """A summary of text that came in the message."""
        blocks = re.split(r"\n\s*\n|(?<=:)\s*\n", self.conversation.request)
        body = max(blocks, key=len) if len(blocks) < 3 else "\n\n".join(b for b in blocks if len(b) > 80)
        return summary(re.sub(r"^[^:\n]{0,120}:\s+", "", body)) or summary(self.conversation.request)

    def _why(self) -> str:
        if self._passages:
            return f"{len(self._passages)} passages were read for this question."
        return "No passage is at hand for this."

    # -- JSON

    def _clues(self) -> Clues:
        conversation = self.conversation
        return Clues(conversation.request, conversation.system, answer=lambda: self.answer)

    def _filled(self, schema: Mapping[str, Any]) -> Any:
        return Filler(schema, self._clues(), self.shapes).fill()

    def _free_object(self) -> dict[str, Any]:
        """A JSON object with the keys that the prompt names in quotation marks, else one `answer`."""
        text = f"{self.conversation.system}\n{self.conversation.request}"
        names = [name for name in quoted(text) if re.fullmatch(r"[A-Za-z_]\w{0,40}", name)]
        if not names:
            names = re.findall(r"`([A-Za-z_]\w{0,40})`", text)
        wanted = {name: {"type": "string"} for name in dict.fromkeys(names)} or {"answer": {"type": "string"}}
        made = self._filled({"type": "object", "properties": wanted, "required": list(wanted)})
        return dict(made)

    def _json(self, value: Any) -> str:
        return orjson.dumps(value).decode()


_FAILED = re.compile(
    r"^\W*(?:error\b|exception\b|traceback\b|failed\b|timed? ?out\b|timeout\b|\w+ failed:|\w*error:|tool error|"
    r"\{\s*\"error\")|\bis not a valid tool\b",
    re.IGNORECASE,
)


def failed(call: Call) -> bool:
    """True when a tool returned an error, or nothing at all."""
    return call.result is None or bool(_FAILED.search(call.result[:200]))


def reason(result: str) -> str:
    """The error itself, without advice that was meant for the agent."""
    text = re.sub(r"^\W*\w+ failed:\s*|^error:\s*", "", result, flags=re.I)
    text = re.sub(r"\s*(?:Go on without it|Please fix your mistakes|Try again)\b.*", "", text, flags=re.S)
    return text or "it returned nothing"


def _figure(call: Call, result: str) -> str:
    """A calculator's result as a sentence."""
    expression = next((v for v in call.arguments.values() if isinstance(v, str)), "")
    value = _told(result)
    if "=" in value:
        left, value = (part.strip() for part in value.rsplit("=", 1))
        expression = expression or left
    if re.fullmatch(r"-?\d+\.\d{8,}", value) and (rounded := value_of(value.lstrip("-"))) is not None:
        value = ("-" if value.startswith("-") else "") + shown(rounded)
    if not expression:
        return f"The result is **{value}**."
    return f"The result is **{value}**: {pretty(expression)} = {value}."


def pretty(expression: str) -> str:
    """The expression as people write it."""
    text = re.sub(r"\s*\*\*\s*", "^", " ".join(expression.split()))
    return re.sub(r"\s*\*\s*", " × ", text)


def _told(result: str) -> str:
    """What a tool returned, as text: the only value of a JSON object, else the result as it is."""
    try:
        parsed = orjson.loads(result)
    except orjson.JSONDecodeError:
        return result.strip()
    if isinstance(parsed, dict) and len(parsed) == 1:
        parsed = next(iter(parsed.values()))
    if isinstance(parsed, dict):
        return ", ".join(f"{key}: {value}" for key, value in parsed.items())
    if isinstance(parsed, float):
        return f"{parsed:.12g}"
    return str(parsed)


_TITLE = re.compile(
    r"\b(?:title|headline|name) (?:of|for|to)\b|\b(?:give|write|suggest|generate|make)\b.{0,40}\btitle\b", re.I | re.S
)


def asks_for_title(conversation: Conversation) -> bool:
    return bool(_TITLE.search(conversation.system) or _TITLE.search(conversation.request[:200]))


def _without_title_request(conversation: Conversation) -> str:
    """The text that wants a title: the rest of the message, or the first thing that was asked."""
    if _TITLE.search(conversation.request[:200]):
        rest = conversation.request.partition(":")[2].strip() or conversation.request.partition("\n")[2].strip()
        return quoted(rest)[0] if quoted(rest) else rest or (conversation.earlier_questions or [""])[-1]
    return conversation.question


def introduction(question: str, tools: Sequence[Tool]) -> str:
    """What this is, what it can do here, and what it cannot."""
    can = {"search": "search the documents and quote the sentences that answer a question, each with its source",
           "calculator": "work out sums", "code": "run a program that plots or simulates",
           "clock": "tell the date and the time"}  # fmt: skip
    offers = [can[kind] for kind in can if of_kind(tools, kind)]
    others = [f"`{tool.name}`" for tool in tools if tool.kind == "other"]
    if others:
        offers.append(f"call {joined(others, 'or')} when asked to")
    what = "I am the demo model: a small program that reads and quotes, not a language model."
    if is_creative(question):
        what += " I cannot write, translate or invent text."
    elif not is_small_talk(question) and question:
        what += (
            f" I know nothing by heart, so I cannot answer this ({clipped(' '.join(question.split()), 80)}) on my own."
        )
    here = (
        f" Here I can {joined(offers)}."
        if offers
        else " No tool was offered, and I can only read what is in the message."
    )
    return what + here
