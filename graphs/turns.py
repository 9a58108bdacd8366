"""Turns of a debate: who speaks in which round and on what, what stands after it, which proposals are copies."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import TypedDict

from langchain_core.callbacks import adispatch_custom_event

from agents.context import Context
from agents.looking import look_up
from agents.planner import Plan, SubTask
from graphs.evidence import keys_in
from graphs.likeness import likeness
from graphs.scheduling import Finding

AGAIN = "1b"
"""The round of those whose opening proposal was sent back."""
TOO_LIKE = "Your proposal is too like the other one: find other reasons and other evidence for your own stance."
_TITLES = {"1": "", AGAIN: ", again"}


class Came(TypedDict):
    """What one round came to."""

    round: str
    agents: int
    calls: int
    """Model calls that were made in it."""
    agreed: bool


def turn(round_: str, stance: str, question: str, sees: Iterable[str] = ()) -> SubTask:
    """`2.sceptic`: the sceptic's turn in the second round, in which it sees what these turns came to."""
    title = f"{stance.capitalize()}{_TITLES.get(round_, f' {round_}')}"
    return SubTask(id=f"{round_}.{stance}", title=title, question=question, role=stance, depends_on=list(sees))


async def called(before: Sequence[SubTask], turns: Sequence[SubTask], note: str) -> Plan:
    """All turns so far and these, of which whoever draws the run is told."""
    plan = Plan(tasks=[*before, *turns], note=note)
    if turns:
        await adispatch_custom_event("plan.proposed", plan.model_dump())
    return plan


async def briefed(context: Context, sub: SubTask, question: str, regard: str, seen: Sequence[Finding]) -> str:
    """What a proposer reads in its turn: what it and the others proposed, and evidence that nobody else has."""
    own, others = ([it.text for it in seen if (by(it) == sub.role) is mine] for mine in (True, False))
    again = sub.id.startswith(AGAIN)
    used = {*keys_in("\n".join(others))} - {*keys_in("" if again else "\n".join(own))}  # what others cite, they show
    evidence = await look_up(context, f"{question} {regard}", but=used)
    parts = [question, *([TOO_LIKE] if again else []), *(f"Your proposal:\n\n{text}" for text in own)]
    parts += [*(f"Another proposal:\n\n{text}" for text in others), f"Passages:\n\n{evidence}"]
    return "\n\n".join(parts)


def round_of(turns: Iterable[SubTask]) -> tuple[str, int]:
    """The last round that was called, and its number."""
    last = list(turns)[-1].id.partition(".")[0]
    return last, int(last.rstrip("b"))


def rounds_in(plan: Plan) -> str:
    """How many rounds there were, in words."""
    rounds = round_of(plan.tasks)[1]
    return f"{rounds} round{'s' * (rounds > 1)}"


def tally(before: Iterable[Came], turns: Sequence[SubTask], calls: int, agreed: bool) -> list[Came]:
    """All rounds with the last one that was called; `calls` are those of all of them together.

    A round whose failed turns were tried again came to what it comes to now.
    """
    last = round_of(turns)[0]
    earlier = [it for it in before if it["round"] != last]
    agents = sum(it.id.startswith(f"{last}.") for it in turns)
    calls -= sum(it["calls"] for it in earlier)
    return [*earlier, Came(round=last, agents=agents, calls=calls, agreed=agreed)]


def taken(findings: Iterable[Finding], plan: Plan) -> dict[str, Finding]:
    """Turns that are not to be taken again: all that were, or, once every turn was, those that came to something."""
    known = {it.task_id: it for it in findings}
    over = len(known) == len(plan.tasks)
    return {id_: it for id_, it in known.items() if it.state == "done" or not over}


def by(finding: Finding) -> str:
    """Whose turn it was."""
    return finding.task_id.partition(".")[2]


def latest(findings: Iterable[Finding]) -> dict[str, Finding]:
    """Stance -> the last of its turns that came to anything; nothing of those who never proposed."""
    return {by(it): it for it in findings if it.text}


def standing(findings: Iterable[Finding]) -> dict[str, str]:
    """Stance -> its proposal as it stands."""
    return {stance: it.text for stance, it in latest(findings).items()}


def copies(texts: Mapping[str, str], share: float) -> dict[str, str]:
    """Stance -> the earlier one with whose proposal its own shares at least `share` of all word triples."""
    pairs = [(one, other) for one, other in combinations(texts, 2) if likeness(texts[one], texts[other]) >= share]
    return {copy: first for first, copy in reversed(pairs)}
