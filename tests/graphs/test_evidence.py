"""What an agent that looks things up came to, and what one that was made to stop did not come to."""

from crew import crew
from scripted import ScriptedModel, calls

from agents.context import Context
from agents.middleware import NO_ANSWER
from graphs.evidence import looked_up, needed
from graphs.rounds import mended


def stopped() -> Context:
    """Whoever is asked wants to look up, and has no call left for it."""
    return crew(ScriptedModel([calls(("now", {}))]), max_steps=1)


async def test_one_that_was_made_to_stop_found_nothing() -> None:
    assert (await looked_up(stopped(), "researcher", "When?")).text == ""


async def test_what_was_stopped_is_no_revision_but_a_gap() -> None:
    made, gaps = await mended(stopped(), "researcher", "Mend it.")
    assert made.text == ""
    assert [gap["title"] for gap in gaps] == ["Revision"]


async def test_a_step_that_cannot_do_without_says_that_it_was_stopped() -> None:
    assert (await needed(stopped(), "researcher", "When?")).text == NO_ANSWER
