"""Objects whose meaning is known by the names of their fields: a plan, a critique.

A plan splits the question into the things it names; one more sub-task compares them, after the others, when the
question asks to compare. A critique checks what can be checked: whether every statement carries a citation, and
whether the question's words are addressed. Everything else is filled field by field (`fill`).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from app.demo_model.arithmetic import expression_in
from app.demo_model.choices import choice
from app.demo_model.conversation import Conversation
from app.demo_model.demands import with_deed
from app.demo_model.evidence import CITED
from app.demo_model.fill import Filler
from app.demo_model.followup import on_its_own
from app.demo_model.parts import Parts, take_apart
from app.demo_model.readings import described
from app.demo_model.titles import title_of
from app.demo_model.words import clipped, content_stems, content_words, joined, sentences, stem, stems, word_set

_LISTS = word_set("tasks subtasks sub_tasks subtask steps plan questions subquestions sub_questions jobs items")
_ASKS = word_set("question goal task instruction instructions query prompt description objective request text")
_TITLES = word_set("title name label headline short_title")
_NEEDS = word_set("depends_on dependencies depends requires after needs prerequisites")
_IDS = word_set("id key number index task_id step_id")
_UNTOLD: Mapping[str, Any] = {"estimate_s": 0, "quorum": 0, "look_again": False}
"""What a plan says when nothing in particular is known: figures in the question are not meant for these fields."""
_STILL_NEEDED = re.compile(r"\bplan only what is still needed\b", re.I)
_ROLES = word_set("role agent assignee worker assigned_to who owner")
_VERDICTS = word_set("verdict passed pass approved approve accepted accept ok good satisfied sufficient decision")
_ISSUES = word_set("issues problems errors weaknesses missing gaps comments findings")
_GOOD = word_set("pass passed accept accepted approve approved ok good yes done satisfied sufficient final publish")
_BAD = word_set("fail failed reject rejected revise retry redo bad no insufficient incomplete")


_MISS = re.compile(r"\b(?:found nothing|nothing was found|no passage|missing from this)\b", re.IGNORECASE)
"""An honest miss has nothing to cite."""
_DRAFT = re.compile(
    r"^[^\w\n]{0,10}(?:the )?(?:draft|answer|response|report|text)[^\n:]{0,30}:\s*(.+)\Z", re.I | re.M | re.S
)


class Shapes:
    """Fills plans and critiques from one conversation; anything else it leaves alone."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation

    def all(self) -> Sequence[Callable[[Filler, Mapping[str, Any]], Any]]:
        return (self.plan, self.critique, partial(choice, self.conversation))

    # -- a plan

    def plan(self, filler: Filler, schema: Mapping[str, Any]) -> dict[str, Any] | None:
        """An object with a list of sub-tasks, each with a text to work on."""
        for name, inner in (schema.get("properties") or {}).items():
            listed = filler.plain(inner)
            item = filler.plain(listed.get("items"))
            fields = item.get("properties") or {}
            if name.lower() in _LISTS and (_field(fields, _ASKS) or _field(fields, _TITLES)):
                asked, deed = with_deed(on_its_own(self.conversation))
                parts = take_apart(asked or deed)
                most = min(int(listed.get("maxItems", 6)), 6)
                work = _work(parts, most - 1 if asked and deed else most)
                work += [(deed, title_of(deed), 0)] if asked and deed else []
                tasks = [self._task(filler, item, one, at, most) for at, one in enumerate(work, start=1)]
                if _STILL_NEEDED.search(self.conversation.request):
                    tasks = []  # what the first plan asked for is there
                least = int(listed.get("minItems", 0))
                while len(tasks) < least:
                    tasks.append(
                        self._task(filler, item, (parts.question, title_of(parts.question), 0), len(tasks) + 1, most)
                    )
                return {name: tasks, **_untold(schema), **_notes(schema, parts)}
        return None

    def _task(
        self, filler: Filler, item: Mapping[str, Any], work: tuple[str, str, int], number: int, most: int
    ) -> dict[str, Any]:
        question, title, needs = work
        fields: Mapping[str, Any] = item.get("properties") or {}
        made = _untold(item)
        for name, inner in fields.items():
            schema = filler.plain(inner)
            lower = name.lower()
            if lower in _IDS:
                made[name] = number if schema.get("type") == "integer" else str(number)
            elif lower in _TITLES:
                made[name] = title
            elif lower in _NEEDS:
                before = range(1, needs + 1)
                whole = filler.plain(schema.get("items")).get("type") == "integer"
                made[name] = [n if whole else str(n) for n in before]
            elif lower in _ROLES:
                made[name] = self._role(schema, question, last=needs > 0)
            elif lower in _ASKS and schema.get("type", "string") == "string":
                made[name] = question
        return filler.completed(item, made, 1)

    def _role(self, schema: Mapping[str, Any], question: str, *, last: bool) -> str:
        """A role that exists: from the schema's enum, else from the system prompt's list."""
        roles = [str(role) for role in schema.get("enum") or _roles_in(self.conversation.system)]
        if not roles:
            return "researcher"
        cues = (
            "compare critic review analyse analyst judge write" if last else "research search find look facts documents"
        )
        if with_deed(question)[0] == "":
            cues = ""  # who is to do it, says its own description
        elif expression_in(question):
            cues = "calculate compute code coder analyst numbers math"
        asked, hints = content_stems(question), stems(cues)

        def fit(role: str) -> float:
            own = stems(role.replace("_", " ")) | content_stems(described(role, self.conversation.system))
            # of equal ones, who looks things up
            return 2 * len(own & asked) + 3 * len(own & hints) + 0.5 * bool(own & stems("research facts documents"))

        return max(roles, key=lambda role: (fit(role), -roles.index(role)))

    # -- a critique

    def critique(self, filler: Filler, schema: Mapping[str, Any]) -> dict[str, Any] | None:
        """An object with a verdict, and a score or a list of issues."""
        fields: Mapping[str, Any] = schema.get("properties") or {}
        verdict, issues_field = _field(fields, _VERDICTS), _field(fields, _ISSUES)
        score = _field(fields, word_set("score rating grade quality"))
        if not (verdict and (issues_field or score or _field(fields, word_set("feedback critique reason")))) and not (
            issues_field and score
        ):
            return None
        draft = self._draft()
        issues, share = check(self.conversation.question, draft)
        made: dict[str, Any] = {}
        if verdict:
            made[verdict] = _verdict(filler.plain(fields[verdict]), not issues)
        if score:
            made[score] = _scaled(filler.plain(fields[score]), share)
        if issues_field:
            made[issues_field] = _issue_list(filler, filler.plain(fields[issues_field]), issues)
        told = " ".join(issues) or "Every statement carries a citation and the question is addressed."
        for name in fields:
            if name.lower() in word_set("feedback critique reason reasoning rationale explanation suggestion advice"):
                made[name] = told
        return made

    def _draft(self) -> str:
        """The text to judge: after `Draft:` or `Answer:`, else the rest of the message, else what was said last."""
        text = self.conversation.request
        if found := _DRAFT.search(text):
            return found[1]
        return self.conversation.given or self.conversation.said or text


def _field(fields: Mapping[str, Any], names: frozenset[str]) -> str:
    return next((name for name in fields if name.lower() in names), "")


def _work(parts: Parts, most: int) -> list[tuple[str, str, int]]:
    """(question, title, how many of the earlier ones it needs) of each sub-task."""
    if not parts.several or most < 2:
        return [(parts.questions[0] if not parts.several else parts.question, title_of(parts.question), 0)]
    room = most - 1 if parts.compared else most
    asked = parts.questions[:room]
    work = [
        (q, title_of(parts.things[at] if parts.compared else _labelled(parts, at)), 0) for at, q in enumerate(asked)
    ]
    if parts.compared:
        work.append((parts.comparing_question, "Differences and trade-offs", len(asked)))
    return _distinct_titles(work)


def _labelled(parts: Parts, at: int) -> str:
    """The thing with its tail, as in `duties of a tenant`, else the question."""
    if not parts.things:
        asked = parts.questions[at]
        return content_words(asked)[0] if take_apart(asked).several else asked  # it is about several sides of one thing
    tail = parts.tail if re.match(r" (?:of|for|in|on) ", parts.tail) else ""
    return re.sub(r"^the\s+", "", parts.things[at]) + tail


def _distinct_titles(work: Sequence[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    seen: dict[str, int] = {}
    named = []
    for question, title, needs in work:
        seen[title] = seen.get(title, 0) + 1
        named.append((question, f"{title} ({seen[title]})" if seen[title] > 1 else title, needs))
    return named


def _untold(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _UNTOLD[name] for name in schema.get("properties") or {} if name in _UNTOLD}


def _notes(schema: Mapping[str, Any], parts: Parts) -> dict[str, str]:
    """Why the plan is as it is, for a field that asks."""
    if not parts.several:
        told = "One question about one thing, so one sub-task does it."
    elif parts.compared:
        told = f"One sub-task for each of {joined(parts.things)}, and one that compares them when these are done."
    else:
        told = f"The question has {len(parts.questions)} parts that need nothing of each other."
    names = word_set("note notes reason reasoning rationale explanation thought thinking why summary")
    return {name: told for name in schema.get("properties") or {} if name.lower() in names}


def _roles_in(system: str) -> list[str]:
    """Role names that a system prompt lists after `Roles:`, in a line or as bullets."""
    found = re.search(r"\broles?\b[^:\n]{0,80}:\s*(.+?)(?:\n\s*\n|\Z)", system, re.I | re.S)
    if not found:
        return []
    bare = re.sub(r"\([^)]*\)", "", found[1])
    listed = re.split(r"[;\n]|,\s*(?=\w+(?:\s|,|$))", bare)
    names = (re.match(r"[\s\-*•`'\"]*([A-Za-z][\w-]*)", item) for item in listed)
    return [name[1] for name in names if name]


def check(question: str, draft: str) -> tuple[list[str], float]:
    """What is wrong with a draft, and the share of checks it passes, 0 to 1."""
    inside = re.sub(rf"([.!?][*_]*)({CITED.pattern})", r"\2\1", draft)  # a citation behind the stop belongs before it
    said = [s for s in sentences(inside) if len(content_words(s)) > 1]
    bare = [s for s in said if not CITED.search(s) and not _MISS.search(s)]
    asked = content_words(question)
    held = stems(draft)
    missed = [word for word in asked if stem(word) not in held]
    issues = [f"This statement carries no citation: “{clipped(s, 160)}”" for s in bare[:5]]
    if asked and len(missed) * 2 > len(asked):
        issues.append(f"The draft does not address {joined(missed[:6])}.")
    if not said:
        issues.append("The draft is empty.")
    share = (1 - len(bare) / len(said) if said else 0.0) * (1 - len(missed) / (len(asked) or 1) / 2)
    return issues, max(0.0, share)


def _verdict(schema: Mapping[str, Any], good: bool) -> Any:
    options = schema.get("enum")
    if options:
        wanted, other = (_GOOD, _BAD) if good else (_BAD, _GOOD)
        fitting = [o for o in options if str(o).lower().replace("-", "_") in wanted]
        neutral = [o for o in options if str(o).lower() not in other]
        return (fitting or neutral or list(options))[0]
    if schema.get("type") == "boolean":
        return good
    return "pass" if good else "revise"


def _scaled(schema: Mapping[str, Any], share: float) -> float | int:
    whole = schema.get("type") == "integer"
    low = float(schema.get("minimum", 0))
    high = float(schema.get("maximum", 10 if whole else 1))
    value = low + (high - low) * share
    return round(value) if whole else round(value, 3)


def _issue_list(filler: Filler, schema: Mapping[str, Any], issues: Sequence[str]) -> Any:
    """Issues as strings, or as objects whose text field holds them."""
    if schema.get("type") == "string":
        return " ".join(issues)
    item = filler.plain(schema.get("items"))
    most = int(schema.get("maxItems", 10))
    if item.get("type") == "object":
        fields: Mapping[str, Any] = item.get("properties") or {}
        text = next((n for n in fields if filler.plain(fields[n]).get("type") == "string"), "")
        return [filler.completed(item, {text: issue} if text else {}, 1) for issue in issues[:most]]
    return list(issues[:most])
