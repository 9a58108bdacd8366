"""Failures on demand, so that every failure has a test.

A fault is asked for in one of three ways, and the nearest wins:

- in the request's header `x-demo-faults: {"status": 429, "retry_after_s": 2}`,
- in its body: `"demo_faults": {...}` (`extra_body` of OpenAI's client),
- for all requests: `PUT /v1/demo/faults` with a rule or a list of rules, until `DELETE /v1/demo/faults`.

A rule is a fault with conditions beside it:

    match        text that the system prompt or the last user message holds
    times        how many requests it applies to; then it is spent
    every        only each n-th request that matches, beginning with the n-th
    probability  of applying, 0 to 1, drawn from `seed`

Time
    latency_ms, jitter_ms    wait before the first byte; jitter is drawn from `seed`
    slow_factor              a straggler: all times of this answer, waits and tokens, multiplied
    ttft_ms, tokens_per_s    pace of this answer in place of the server's; 0 is at once
    silence                  accept, never answer
    silence_after            say nothing more after n chunks
    drip_bytes_per_s         the answer, byte by byte
Errors
    status                   answer with this status; with retry_after_s a `Retry-After`, as a date if
                             retry_after_date is true
    reset                    reset the connection before any byte
    cut_stream_after         reset it after n chunks (without streaming: after n bytes of the body)
    missing_done             end a stream without `[DONE]`
    wrong_content_length     promise n bytes more than come (fewer, when negative)
    garbage                  `bytes`, `html`, `json` (of another shape) or `sse` (a broken event), with status 200
    long_line_bytes          an answer whose text is one line of n bytes
Answers
    empty_choices            no choice at all
    tool_arguments           this text in place of the arguments, such as `{"a": `
    cut_tool_arguments_at    arguments cut after n characters, and finish_reason still `tool_calls`
    empty_tool_calls         finish_reason `tool_calls` without a call
    unknown_tool             this name in place of the tool's
    duplicate_tool_ids       the same id for every call
    random_tool_ids          new ids each time, as real servers give them
    tool_calls               n copies of the first call in one turn, each with its own id
What a lesser server cannot do
    refuse_response_format   400 to a request with a response_format
    refuse_tools             400 to a request with tools
    ignore_response_format   answer as if no response_format had been asked for
    ignore_tools             answer as if no tools had been offered
    json_in                  a JSON answer inside `prose` or inside a code `fence`
    cut_json_at              a JSON answer cut after n characters, and finish_reason still `stop`
    lose_json_field          this field left out of a JSON answer
"""

import random
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import orjson

from app.demo_model.wire import Outcome, Refused, ToolCall, error_body

MAX_LONG_LINE_BYTES = 200_000_000
GARBAGE = ("bytes", "html", "json", "sse")
WRAPPINGS = {
    "prose": "Certainly! Here is what you asked for: {json} I hope that {{this}} helps.",
    "fence": "Here it is.\n\n```json\n{json}\n```",
}


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong with one answer. The module says what each field does."""

    latency_ms: float | None = None
    jitter_ms: float | None = None
    seed: int | None = None
    slow_factor: float | None = None
    ttft_ms: float | None = None
    tokens_per_s: float | None = None
    silence: bool | None = None
    silence_after: int | None = None
    drip_bytes_per_s: float | None = None
    status: int | None = None
    retry_after_s: float | None = None
    retry_after_date: bool | None = None
    reset: bool | None = None
    cut_stream_after: int | None = None
    missing_done: bool | None = None
    wrong_content_length: int | None = None
    garbage: str | None = None
    long_line_bytes: int | None = None
    empty_choices: bool | None = None
    tool_arguments: str | None = None
    cut_tool_arguments_at: int | None = None
    empty_tool_calls: bool | None = None
    unknown_tool: str | None = None
    duplicate_tool_ids: bool | None = None
    random_tool_ids: bool | None = None
    tool_calls: int | None = None
    refuse_response_format: bool | None = None
    refuse_tools: bool | None = None
    ignore_response_format: bool | None = None
    ignore_tools: bool | None = None
    json_in: str | None = None
    cut_json_at: int | None = None
    lose_json_field: str | None = None

    def over(self, other: "Faults") -> "Faults":
        """Both, mine first."""
        own = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}
        return replace(other, **own)

    def wait_s(self, ttft_ms: float, number: int) -> float:
        """Seconds before the first byte of the `number`-th answer."""
        jitter = random.Random(f"{self.seed or 0}:{number}").random() * (self.jitter_ms or 0)  # noqa: S311 - repeatable
        first = self.ttft_ms if self.ttft_ms is not None else ttft_ms
        return (first + (self.latency_ms or 0) + jitter) / 1000 * (self.slow_factor or 1)

    def pace(self, tokens_per_s: float) -> float:
        """Tokens per second of this answer, 0 for all at once."""
        rate = self.tokens_per_s if self.tokens_per_s is not None else tokens_per_s
        return rate / (self.slow_factor or 1)

    def retry_after(self) -> str | None:
        if self.retry_after_s is None:
            return None
        if self.retry_after_date:
            return format_datetime(datetime.now(UTC) + timedelta(seconds=self.retry_after_s), usegmt=True)
        return f"{self.retry_after_s:g}"

    def error(self) -> dict[str, Any]:
        return error_body(f"asked for: status {self.status}", self.status or 500, code="demo_fault")

    def limit(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The request as a lesser server understands it. Raises Refused for what it does not take at all."""
        for name, refused, ignored in (
            ("response_format", self.refuse_response_format, self.ignore_response_format),
            ("tools", self.refuse_tools, self.ignore_tools),
        ):
            if body.get(name) and refused:
                raise Refused(f"{name}: this server does not take it", name)
            if ignored:
                body = {key: value for key, value in body.items() if key not in (name, _GOES_WITH.get(name))}
        return body

    def bend(self, made: Outcome) -> Outcome:
        """The answer with what is to be wrong in it."""
        if self.empty_tool_calls:
            return replace(made, calls=(), finish="tool_calls", text="")
        if not made.calls:
            return replace(made, text=self._bent_json(made.text)) if made.text.startswith("{") else made
        calls = made.calls
        if self.tool_calls is not None:
            calls = tuple(replace(calls[0], id=f"{calls[0].id}{at}") for at in range(self.tool_calls))
        bent = tuple(self._bent(call, calls[0].id) for call in calls)
        return replace(made, calls=bent, finish="tool_calls")

    def _bent_json(self, text: str) -> str:
        if self.lose_json_field is not None:
            text = orjson.dumps({k: v for k, v in orjson.loads(text).items() if k != self.lose_json_field}).decode()
        if self.cut_json_at is not None:
            text = text[: self.cut_json_at]
        return WRAPPINGS[self.json_in].format(json=text) if self.json_in else text

    def _bent(self, call: ToolCall, first_id: str) -> ToolCall:
        id, name, arguments = call.id, call.name, call.arguments
        if self.tool_arguments is not None:
            arguments = self.tool_arguments
        if self.cut_tool_arguments_at is not None:
            arguments = arguments[: self.cut_tool_arguments_at]
        if self.unknown_tool is not None:
            name = self.unknown_tool
        if self.random_tool_ids:
            id = f"call_{secrets.token_hex(12)}"
        if self.duplicate_tool_ids:
            id = first_id
        return ToolCall(id, name, arguments)


NOTHING = Faults()
_WANTED = {f.name: str(f.type).split(" | ")[0] for f in fields(Faults)}
_BELOW_ZERO = ("wrong_content_length", "seed")
_GOES_WITH = {"tools": "tool_choice"}
_CHOICES = {"garbage": GARBAGE, "json_in": tuple(WRAPPINGS)}


def read_faults(raw: Any, where: str = "demo_faults") -> Faults:
    """Faults from JSON. Raises Refused naming the field that is wrong."""
    if raw is None:
        return NOTHING
    if not isinstance(raw, dict):
        raise Refused(f"{where}: an object is wanted", where)
    for name, value in raw.items():
        _check(name, value, where)
    return Faults(**raw)


def _check(name: str, value: Any, where: str) -> None:
    wanted = _WANTED.get(name)
    at = f"{where}.{name}"
    if wanted is None:
        raise Refused(f"{at}: no such fault; there are {', '.join(_WANTED)}", at)
    kinds = {"float": (int, float), "int": (int,), "bool": (bool,), "str": (str,)}[wanted]
    if not isinstance(value, kinds) or (wanted != "bool" and isinstance(value, bool)):
        raise Refused(f"{at}: {value!r} where {wanted} is wanted", at)
    if isinstance(value, int | float):
        _check_number(name, value, at)
    if name in _CHOICES and value not in _CHOICES[name]:
        raise Refused(f"{at}: {value!r} is not one of {', '.join(_CHOICES[name])}", at)


def _check_number(name: str, value: float, at: str) -> None:
    if value < 0 and name not in _BELOW_ZERO:
        raise Refused(f"{at}: {value} of at least 0", at)
    if name == "status" and not 400 <= value <= 599:
        raise Refused(f"{at}: {value} is not an error status, 400 to 599", at)
    if name == "long_line_bytes" and value > MAX_LONG_LINE_BYTES:
        raise Refused(f"{at}: {value} of at most {MAX_LONG_LINE_BYTES}", at)


@dataclass(slots=True)
class Rule:
    """Faults for the requests that meet its conditions."""

    faults: Faults
    match: str = ""
    times: int | None = None
    every: int = 1
    probability: float = 1.0
    matched: int = 0
    applied: int = 0
    chance: random.Random = field(default_factory=random.Random)

    def applies(self, text: str) -> bool:
        """Decide on one request, and count it."""
        if self.match not in text or (self.times is not None and self.applied >= self.times):
            return False
        self.matched += 1
        if self.matched % self.every or self.chance.random() >= self.probability:
            return False
        self.applied += 1
        return True

    def told(self) -> dict[str, Any]:
        own = {f.name: value for f in fields(Faults) if (value := getattr(self.faults, f.name)) is not None}
        kept = {"match": self.match, "times": self.times, "every": self.every, "probability": self.probability}
        return {**own, **kept, "matched": self.matched, "applied": self.applied}


_CONDITIONS = ("match", "times", "every", "probability")


def read_rule(raw: Any) -> Rule:
    if not isinstance(raw, dict):
        raise Refused("rule: an object is wanted", "rule")
    faults = read_faults({k: v for k, v in raw.items() if k not in _CONDITIONS}, "rule")
    match, times, every, probability = (raw.get(name) for name in _CONDITIONS)
    if not isinstance(match, str | None):
        raise Refused("rule.match: text is wanted", "rule.match")
    for name, value in (("times", times), ("every", every)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise Refused(f"rule.{name}: {value!r} where a whole number of at least 1 is wanted", f"rule.{name}")
    if probability is not None and (not isinstance(probability, int | float) or not 0 <= probability <= 1):
        raise Refused(f"rule.probability: {probability!r} is not between 0 and 1", "rule.probability")
    chance = random.Random(faults.seed or 0)  # noqa: S311 - repeatable on purpose
    share = 1.0 if probability is None else float(probability)
    return Rule(faults, match or "", times, every or 1, share, chance=chance)


@dataclass(slots=True)
class FaultBook:
    """The rules in force for all requests."""

    rules: list[Rule] = field(default_factory=list)

    def replace_with(self, raw: Any) -> None:
        self.rules = [read_rule(item) for item in (raw if isinstance(raw, list) else [raw])]

    def for_request(self, text: str, own: Mapping[str, Any] | None, header: Any) -> Faults:
        """All that applies to one request: rules, then the body's, then the header's on top."""
        found = NOTHING
        for rule in self.rules:
            if rule.applies(text):
                found = rule.faults.over(found)
        found = read_faults(own).over(found)
        return read_faults(header, "x-demo-faults").over(found)
