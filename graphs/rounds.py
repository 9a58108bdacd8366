"""Rounds of a loop that mends a text: what each came to, told as it happens, and when to stop."""

from collections.abc import Sequence
from typing import TypedDict

from langchain_core.callbacks import adispatch_custom_event
from langchain_core.messages import AIMessage

from agents.context import Context
from graphs.evidence import LookedUp, looked_up
from graphs.gaps import Gap, spared

ROUNDS = 3
"""Texts that are judged in one run, the first one included: the later ones gain the least."""
MAX_DEFECTS = 6


class Round(TypedDict):
    """What one text came to."""

    round: int
    score: float
    """Share of the rules that it keeps, 0 to 1."""
    defects: list[str]


async def judged(before: Sequence[Round], score: float, defects: Sequence[str]) -> list[Round]:
    """All rounds with this one, of which an event tells."""
    this = Round(round=len(before) + 1, score=score, defects=list(defects)[:MAX_DEFECTS])
    said = f"round {this['round']}: {score:.0%}, " + (f"{len(this['defects'])} to mend" if defects else "passed")
    await adispatch_custom_event("round.scored", {**this, "text": said})
    return [*before, this]


def goes_on(rounds: Sequence[Round], context: Context) -> bool:
    """True while something can be mended; not for ever, and not when the last try changed nothing."""
    stuck = len(rounds) > 1 and rounds[-1]["defects"] == rounds[-2]["defects"]
    return bool(rounds[-1]["defects"]) and not stuck and len(rounds) < ROUNDS and not context.allowance.concluding()


def best_of(rounds: Sequence[Round]) -> Round:
    """The best round, and of two as good the later."""
    return max(rounds, key=lambda it: (it["score"], it["round"]))


def quality(rounds: Sequence[Round]) -> str:
    """How the score changed, for a person to read."""
    scores = " → ".join(f"{it['score']:.0%}" for it in rounds)
    return f"*Checked by rule, round by round: {scores}.*"


async def mended(context: Context, name: str, asked: str) -> tuple[LookedUp, list[Gap]]:
    """What agent `name` makes of a draft that is to be mended; an empty text when it failed, and why."""
    made, gaps = await spared("Revision", context, looked_up(context, name, asked))
    if made and not made.text:
        gaps = [Gap(title="Revision", reason=f"the answer of {name} was blank")]
    return made or LookedUp("", [], AIMessage("")), gaps
