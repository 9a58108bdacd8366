"""Four more shapes to be killed, each a graph of the product: leads with workers, a debate, a floor, a help desk.

What they have beside the five patterns: a plan inside a plan, rounds in which each sees the others, a loop whose turns
are counted in the state, and a text that is mended until it passes. Their roles are asked in the same words, so a
script names the role first.
"""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from patterns import Pattern, Turn, effects, plan

from agents.agent import discover_agents

PROMPTS = {name: agent.prompt for name, agent in discover_agents().items()}


class Cast(Pattern):
    """Its script says `role: opening`."""

    def opening(self, messages: Sequence[Mapping[str, Any]], asked: int) -> str:
        told = str(messages[0]["content"])
        role = next(name for name, prompt in PROMPTS.items() if told.startswith(prompt))
        return f"{role}: {messages[asked]['content']}"


class Counting(Cast):
    """Its answer says how many model calls it took: none of those that a crash has eaten up is left out."""

    def is_answer(self, text: str) -> bool:
        (least,), counted = _CALLS.findall(self.answer), _CALLS.findall(text)
        return _CALLS.sub("", text) == _CALLS.sub("", self.answer) and int(counted[0]) >= int(least)


_CALLS = re.compile(r"\d+(?= model calls)")


def sends(to: str, *then: Turn) -> list[Turn]:
    """Turns in which something is sent first."""
    return [[("send", {"to": to})], *then]


def hands(to: str) -> Turn:
    """The floor goes to somebody else."""
    return [("hand_over", {"to": to, "reason": "Theirs.", "brief": ""})]


def came(*names: str) -> str:
    """What a specialist reads of how the floor came to them."""
    return "go" + "".join(f"\n\nHand-over from {by} to {to}: Theirs. " for by, to in pairwise(names))


TEAM = Cast(
    "team", "team",
    {
        "manager: go": [plan(("a", ()), ("b", ()), ("c", ("a",)), role="lead")],
        "lead: do a": [plan(("ax", ()), ("ay", ("ax",)))],
        "lead: do b": [plan(("bx", ()), ("by", ()))],
        "lead: do c": [plan(("cx", ()))],
        "researcher: do ax": sends("ax", "Ax is done."),
        "researcher: do ay": [[("wire", {"to": "ay"})], "Ay is done."],
        "researcher: do bx": sends("bx0", *sends("bx1", "Bx is done.")),
        "researcher: do by": sends("by", "By is done."),
        "researcher: do cx": [[("wire", {"to": "cx"})], "Cx is done."],
        "summariser: Question: do a": ["A is done."],
        "summariser: Question: do b": ["B is done."],
        "writer: Question: go": ["All leads are done."],
    },
    "All leads are done.",
    effects("send ax", "wire ay", "send bx0", "send bx1", "send by", "wire cx"),
)  # fmt: skip
DEBATE = Counting(
    "debate", "debate",
    {
        "advocate: go\n\nYour proposal:": sends("advocate 2", "Always. A second pair of eyes sees more."),
        "sceptic: go\n\nYour proposal:": sends("sceptic 2", "Never. It multiplies the price of everything."),
        "pragmatist: go\n\nYour proposal is too like": sends("pragmatist 1b", "Measure. Try both, keep the cheaper."),
        "pragmatist: go\n\nYour proposal:": sends("pragmatist 2", "Measure. Figures beat opinions every time."),
        "advocate: go": sends("advocate 1", "Always. Two heads know more than one."),
        "sceptic: go": sends("sceptic 1", "Never. It costs more than it brings."),
        "pragmatist: go": sends("pragmatist 1", "Never. It costs more than it brings."),
        "judge: Question: go": [json.dumps({"best": "A", "reason": "It is the first."})],
    },
    "Measure. Figures beat opinions every time.\n\n"
    "*The judge chose the pragmatist's proposal: It is the first. 3 agents, 2 rounds, 15 model calls.*",
    effects(*(f"send {it}" for it in ("advocate 1", "sceptic 1", "pragmatist 1", "pragmatist 1b")),
            *(f"send {it} 2" for it in ("advocate", "sceptic", "pragmatist"))),
)  # fmt: skip
ROUND = ("architect", "engineer", "guardian", "architect", "engineer")
"""The floor goes round until it cannot be handed on: how often it was is in the state."""
SWARM = Cast(
    "swarm", "swarm",
    {
        f"engineer: {came(*ROUND)}": sends("fifth", "Answered at last."),
        f"architect: {came(*ROUND[:4])}": sends("fourth", hands("engineer")),
        f"guardian: {came(*ROUND[:3])}": sends("third", hands("architect")),
        f"engineer: {came(*ROUND[:2])}": sends("second", hands("guardian")),
        "architect: go": sends("first", hands("engineer")),
    },
    "Answered at last.\n\n*The floor changed hands 4 times (architect → engineer → guardian → architect → engineer), "
    "as often as it may for one message, so the engineer answered.*",
    effects(*(f"send {it}" for it in ("first", "second", "third", "fourth", "fifth"))),
)  # fmt: skip
SUPPORT = Cast(
    "support", "support",
    {
        "router: go": [json.dumps({"kind": "billing", "reason": "Money."})],
        "librarian: go, with regard to costs": sends("costs", "Costs found."),
        "librarian: go, with regard to budgets": sends("limits", "Limits found."),
        "librarian: go": sends("question", "Question found."),
        "clerk: Question: go": sends("draft 1", "We promise it."),
        "clerk: go\n\nDraft:\nWe promise": sends("draft 2", "Second reply."),
        "clerk: go\n\nDraft:\nSecond": sends("draft 3", "Third reply."),
        "policy_critic: Question: go\n\nDraft:\nSecond": [json.dumps({"passed": False, "issues": ["Too short."]})],
        "policy_critic: Question: go\n\nDraft:\nThird": [json.dumps({"passed": True, "issues": []})],
    },
    "Third reply.",
    effects(*(f"send {it}" for it in ("costs", "limits", "question", "draft 1", "draft 2", "draft 3"))),
)  # fmt: skip
SHAPES = {shape.name: shape for shape in (TEAM, DEBATE, SWARM, SUPPORT)}
