"""Turns of a debate: who speaks in which round, what stands after it, and which proposals are copies. Pure."""

from collections.abc import Iterable, Mapping
from itertools import combinations

from agents.planner import SubTask
from graphs.likeness import likeness
from graphs.scheduling import Finding

AGAIN = "1b"
"""The round of those whose opening proposal was sent back."""
_TITLES = {"1": "", AGAIN: ", again"}


def turn(round_: str, stance: str, question: str, sees: Iterable[str] = ()) -> SubTask:
    """`2.sceptic`: the sceptic's turn in the second round, in which it sees what these turns came to."""
    title = f"{stance.capitalize()}{_TITLES.get(round_, f' {round_}')}"
    return SubTask(id=f"{round_}.{stance}", title=title, question=question, role=stance, depends_on=list(sees))


def round_of(turns: Iterable[SubTask]) -> tuple[str, int]:
    """The last round that was called, and its number."""
    last = list(turns)[-1].id.partition(".")[0]
    return last, int(last[0])


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
