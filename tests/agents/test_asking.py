"""What whoever asks an agent is given."""

from crew import crew
from scripted import ScriptedModel, calls, says

from agents.asking import ask


async def test_an_agent_that_was_made_to_stop_has_answered_nothing() -> None:
    stopped = crew(ScriptedModel([calls(("now", {}))]), max_steps=1)
    assert (await ask(stopped, "researcher", "When?")).text == ""


async def test_an_answer_is_given_as_it_is() -> None:
    assert (await ask(crew(ScriptedModel([says("At noon.")])), "researcher", "When?")).text == "At noon."
