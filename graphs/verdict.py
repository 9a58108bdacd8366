"""Which of several proposals stands: the one all agree on, the one a judge chooses, or the one that most support."""

import hashlib
import re
from collections.abc import Mapping
from string import ascii_uppercase

from agents.asking import ask_for
from agents.context import Context
from agents.errors import Unreadable
from agents.judge import Verdict
from agents.looking import look_up
from graphs.gaps import Gap, spared
from graphs.likeness import all_agree, voted


async def decided(
    context: Context, question: str, texts: Mapping[str, str], agreed: float, *, judged: bool
) -> tuple[str, str, list[Gap]]:
    """Name of the proposal that stands, how that was decided in a sentence, and the judge if it is missing.

    `texts` are proposals by name, at least one. A judge is asked only where there is something to decide, and a vote
    decides when it cannot: the answer does not hang on one call.
    """
    lost: list[Gap] = []
    if judged and len(texts) > 1 and not all_agree(texts.values(), agreed):
        chosen, lost = await spared("Judge", context, _chosen(context, question, texts))
        if chosen:
            return *chosen, []
    winner = voted(texts, agreed)
    if len(texts) == 1:
        how = f"Only the {winner} proposed anything."
    elif all_agree(texts.values(), agreed):
        how = f"All {len(texts)} take this position."
    else:
        how = f"By vote the {winner}'s proposal stands, as the nearest to the others."
    return winner, how, lost


async def _chosen(context: Context, question: str, texts: Mapping[str, str]) -> tuple[str, str]:
    """What the judge chooses, who sees letters in an order that has nothing to do with names or places."""
    names = dict(zip(ascii_uppercase, sorted(texts, key=lambda name: _shuffle(question, name)), strict=False))
    proposals = (f"Proposal {letter}:\n\n{texts[name]}" for letter, name in names.items())
    parts = [f"Question: {question}", *proposals, f"Passages:\n\n{await look_up(context, question)}"]
    verdict = await ask_for(context, "judge", Verdict, "\n\n".join(parts))
    named = {letter for letter in re.findall("[A-Z]+", verdict.best.upper()) if letter in names}
    if len(named) != 1:
        raise Unreadable.of("judge", "Verdict", f"no proposal is called {verdict.best[:40]!r}")
    winner = names[named.pop()]
    return winner, f"The judge chose the {winner}'s proposal: {verdict.reason.strip()}"


def _shuffle(question: str, name: str) -> str:
    # the same in every try, so that a resumed run asks what the first one asked
    return hashlib.sha256(f"{question}\n{name}".encode()).hexdigest()
