"""What every agent is wrapped in, on agents of LangChain's own making and models that follow a script."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from crew import Ran, run
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from scripted import ScriptedModel, Step, calls, garbles, says

from agents.allowance import Allowance, Budget
from agents.context import Context, Limits
from agents.errors import BudgetExceeded, ModelRefusedRequest, ModelUnavailable, ToolFailed
from agents.middleware import (
    BACKOFF_BASE_S,
    MAX_REPAIRS,
    MAX_RETRY_AFTER_S,
    MODEL_ATTEMPTS,
    NO_ANSWER,
    RetryModel,
    stack,
)
from agents.policy import MAX_OBSERVATION_CHARS
from agents.tools.contract import Contract, with_contract

pytestmark = pytest.mark.timeout(60)

Scripted = Callable[[Sequence[Step]], ScriptedModel]


@pytest.fixture
def pauses() -> list[float]:
    """Seconds that a retry would have waited, instead of waiting."""
    return []


@pytest.fixture
def answer(scripted: Scripted, pauses: list[float]) -> Callable[..., Any]:
    """Runs an agent in the product's stack on a script."""

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async def ask(
        script: Sequence[Step], *tools: BaseTool, max_steps: int = 6, allowance: Allowance | None = None,
        max_usd: float | None = None, **config: Any
    ) -> Ran:  # fmt: skip
        built = stack(max_steps, max_usd=max_usd)
        middleware = [RetryModel(pause) if isinstance(it, RetryModel) else it for it in built]
        agent = create_agent(scripted(script), list(tools), middleware=middleware, context_schema=Context)
        limits = Limits(max_steps=max_steps)
        context = Context({}, {}, Nowhere(), limits, allowance or Allowance())
        return await run(agent, context, **config)

    return ask


class Nowhere:
    """A corpus without documents."""

    async def search(self, query: str, k: int = 8) -> Sequence[Any]:
        return []


@tool
def look(what: str) -> str:
    """Look at something."""
    return f"seen {what}"


LOOK = ("look", {"what": "it"})


def last(ran: Ran) -> str:
    return str(ran.state["messages"][-1].text)


def observations(ran: Ran) -> list[ToolMessage]:
    return [message for message in ran.state["messages"] if isinstance(message, ToolMessage)]


def unavailable(**more: Any) -> ModelUnavailable:
    fields = {"kind": "rate_limited", "url": "http://127.0.0.1", **more}
    return ModelUnavailable("large", "429 Too Many Requests", **fields)


# -- bounded steps ---------------------------------------------------------------------------------


async def test_the_last_step_may_not_call_tools_and_keeps_the_prefix(
    answer: Callable[..., Any], scripted: Scripted
) -> None:
    ran = await answer([calls(LOOK), calls(LOOK), says("Enough seen.")], look, max_steps=3)

    assert last(ran) == "Enough seen."
    assert len(observations(ran)) == 2


async def test_what_the_last_step_is_asked(scripted: Scripted) -> None:
    model = scripted([calls(LOOK), says("Seen.")])
    agent = create_agent(model, [look], middleware=stack(2), system_prompt="You look.")

    await agent.ainvoke({"messages": [HumanMessage("Look!")]})

    first, second = model.asked
    assert (first.tool_choice, second.tool_choice) == (None, "none")
    assert second.tools == first.tools  # they stay in the request: a prefix cache goes on hitting
    assert list(second.messages[: len(first.messages)]) == list(first.messages)


@pytest.mark.parametrize(("text", "told"), [("I think it is blue.", "I think it is blue."), ("", NO_ANSWER)])
async def test_a_model_that_calls_tools_all_the_same_is_taken_at_its_words(
    answer: Callable[..., Any], text: str, told: str
) -> None:
    ran = await answer([calls(LOOK), calls(LOOK, LOOK, text=text)], look, max_steps=2)

    assert last(ran) == told
    assert ran.state["messages"][-1].tool_calls == []
    assert len(observations(ran)) == 1


async def test_a_new_question_gets_new_steps(answer: Callable[..., Any]) -> None:
    earlier = [HumanMessage("a"), AIMessage("b"), AIMessage("c"), AIMessage("d"), HumanMessage("Look!")]

    ran = await answer([calls(LOOK), says("Seen.")], look, max_steps=2, given={"messages": earlier})

    assert last(ran) == "Seen."


@pytest.mark.parametrize(("max_usd", "said"), [(0.1, "So far: blue."), (None, "Seen."), (0.2, "Seen.")])
async def test_an_agent_that_has_nearly_spent_its_money_answers(
    answer: Callable[..., Any], max_usd: float | None, said: str
) -> None:
    paid = AIMessage("", tool_calls=[{"name": "look", "args": {"what": "a"}, "id": "1"}])
    paid.response_metadata["cost_usd"] = 0.09
    given = {"messages": [HumanMessage("Look!"), paid, ToolMessage("seen a", tool_call_id="1")]}
    script = [calls(LOOK, text="So far: blue.")] if max_usd == 0.1 else [calls(LOOK), says("Seen.")]

    assert last(await answer(script, look, max_usd=max_usd, given=given)) == said


async def test_steps_of_a_model_without_tools_are_not_bounded(answer: Callable[..., Any]) -> None:
    assert last(await answer([says("Yes.")], max_steps=1)) == "Yes."


async def test_in_a_run_that_concludes_every_call_must_answer(answer: Callable[..., Any]) -> None:
    hurried = Allowance()
    hurried.hurry.set()

    assert last(await answer([calls(LOOK, text="So far: blue.")], look, allowance=hurried)) == "So far: blue."
    spent = Allowance(Budget(tokens=100), tokens=80)
    assert last(await answer([says("All I know.")], look, allowance=spent)) == "All I know."


async def test_a_budget_that_is_spent_makes_no_call(answer: Callable[..., Any]) -> None:
    with pytest.raises(BudgetExceeded, match="run: 100 tokens spent of 100"):
        await answer([], look, allowance=Allowance(Budget(tokens=100), tokens=100))


async def test_what_calls_cost_is_kept(answer: Callable[..., Any]) -> None:
    allowance = Allowance()

    await answer([calls(LOOK), says("x", response_metadata={"cost_usd": 0.5})], look, allowance=allowance)

    assert (allowance.steps, allowance.tokens, allowance.usd) == (2, 30, 0.5)


# -- retries ---------------------------------------------------------------------------------------


async def test_retries_honour_what_the_server_asks_for(answer: Callable[..., Any], pauses: list[float]) -> None:
    ran = await answer([unavailable(retry_after_s=1.5), unavailable(retry_after_s=0), says("There.")])

    assert last(ran) == "There."
    assert pauses == [1.5, 0]
    assert ran.of("llm.retry") == [
        {"attempt": 2, "reason": "429 Too Many Requests", "pause_s": 1.5},
        {"attempt": 3, "reason": "429 Too Many Requests", "pause_s": 0},
    ]


async def test_three_attempts_and_no_more(answer: Callable[..., Any], pauses: list[float]) -> None:
    with pytest.raises(ModelUnavailable) as gone:
        await answer([unavailable()] * MODEL_ATTEMPTS)

    assert gone.value.attempts == 3
    assert len(pauses) == 2
    assert all(0 <= pause <= BACKOFF_BASE_S * 2**at for at, pause in enumerate(pauses))


async def test_who_asks_for_more_than_a_person_would_wait_is_not_asked_again(
    answer: Callable[..., Any], pauses: list[float]
) -> None:
    with pytest.raises(ModelUnavailable):
        await answer([unavailable(retry_after_s=MAX_RETRY_AFTER_S + 1)])

    assert pauses == []


@pytest.mark.parametrize(
    "error",
    [
        ModelRefusedRequest(
            "large", "unknown model", "choose", kind="unknown_model", url="http://127.0.0.1", status=404
        ),
        ValueError("a bug"),
    ],
)
async def test_what_would_fail_again_is_not_tried_again(answer: Callable[..., Any], error: Exception) -> None:
    with pytest.raises(type(error)):
        await answer([error])


async def test_each_call_has_its_own_attempts(answer: Callable[..., Any], pauses: list[float]) -> None:
    script = [unavailable(), unavailable(), calls(LOOK), unavailable(), unavailable(), says("Seen.")]

    assert last(await answer(script, look)) == "Seen."
    assert len(pauses) == 4


# -- broken tool calls -----------------------------------------------------------------------------


@pytest.fixture
def seen() -> list[str]:
    """What the tool of a test was really called with."""
    return []


@pytest.fixture
def watched(seen: list[str]) -> BaseTool:
    """`look`, watched."""

    @tool("look")
    def watched(what: str) -> str:
        """Look at something."""
        seen.append(what)
        return f"seen {what}"

    return watched


@pytest.mark.parametrize("broken", range(1, MAX_REPAIRS + 1))
async def test_a_call_that_cannot_be_read_is_never_made_and_asked_for_again(
    scripted: Scripted, seen: list[str], watched: BaseTool, broken: int
) -> None:
    model = scripted([*[garbles("look")] * broken, calls(LOOK), says("Seen.")])
    agent = create_agent(model, [watched], middleware=stack(6))

    state = await agent.ainvoke({"messages": [HumanMessage("Look!")]})

    assert seen == ["it"]
    assert "Your tool call could not be used: look: unreadable" in model.asked[1].text
    assert [message.type for message in state["messages"]] == ["human", "ai", "tool", "ai"]


async def test_a_model_that_cannot_write_json_ends_in_a_typed_error(
    answer: Callable[..., Any], seen: list[str], watched: BaseTool
) -> None:
    with pytest.raises(ToolFailed, match="still unusable after 2 repairs: look: unreadable"):
        await answer([garbles("look")] * (MAX_REPAIRS + 1), watched)

    assert seen == []


async def test_of_a_turn_that_is_half_broken_the_broken_call_is_not_made(
    answer: Callable[..., Any], seen: list[str], watched: BaseTool
) -> None:
    half = calls(LOOK).model_copy(
        update={"invalid_tool_calls": [{**garbles("look").invalid_tool_calls[0], "id": "call_broken"}]}
    )

    ran = await answer([half, says("Seen.")], watched)

    assert seen == ["it"]
    assert sorted(message.tool_call_id for message in observations(ran)) == ["call_1", "call_broken"]


async def test_tools_and_arguments_that_do_not_exist_become_observations(
    answer: Callable[..., Any], seen: list[str], watched: BaseTool
) -> None:
    ran = await answer([calls(("nonsense", {}), ("look", {"wat": 1})), says("Sorry.")], watched)

    assert last(ran) == "Sorry."
    assert [message.status for message in observations(ran)] == ["error", "error"]
    assert seen == []


# -- tools that misbehave --------------------------------------------------------------------------


def acting(act: Callable[[], Any], **contract: Any) -> BaseTool:
    """A tool called `look` that does `act`, under a contract."""

    @tool("look")
    async def it(what: str) -> Any:
        """Look at something."""
        return await act()

    return with_contract(it, replace(Contract(effect="read"), **contract))


async def test_a_tool_that_hangs_is_cut_and_the_agent_told(answer: Callable[..., Any]) -> None:
    cut: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cut.append("cut")

    ran = await answer([calls(LOOK), says("Then not.")], acting(hang, timeout_s=0.05, retries=1))

    assert last(ran) == "Then not."
    assert cut == ["cut", "cut"]
    (told,) = observations(ran)
    assert told.status == "error"
    assert told.text.startswith("look failed: no answer within 0.05 s (attempt 2 of 2). Go on without it")
    assert ran.of("tool.timeout") == [{"tool": "look", "call_id": "call_1"}] * 2


async def test_what_to_do_instead_is_the_tools_own_word(answer: Callable[..., Any]) -> None:
    async def fail() -> None:
        raise ToolException("nobody is there")

    ran = await answer([calls(LOOK), says("Then by hand.")], acting(fail, fallback="Ask the person."))

    assert observations(ran)[0].text == "look failed: nobody is there. Ask the person."


async def test_a_call_above_its_rate_is_not_made(answer: Callable[..., Any]) -> None:
    made: list[str] = []

    async def look() -> str:
        made.append("look")
        return "seen"

    ran = await answer([calls(LOOK, LOOK), says("Once.")], acting(look, rate_per_s=0.001, timeout_s=5))

    assert made == ["look"]
    assert sorted(told.status for told in observations(ran)) == ["error", "success"]
    assert any("turn would come in" in told.text for told in observations(ran))


@pytest.mark.parametrize(("effect", "warned"), [("at_most_once", True), ("idempotent", False)])
async def test_a_tool_that_may_have_acted_is_not_to_be_repeated(
    answer: Callable[..., Any], effect: str, warned: bool
) -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    ran = await answer([calls(LOOK), says("Then not.")], acting(hang, timeout_s=0.05, effect=effect))

    assert ("must not be repeated" in observations(ran)[0].text) is warned


async def test_a_timeout_inside_a_tool_is_told_in_its_own_words(answer: Callable[..., Any]) -> None:
    async def refuse() -> None:
        raise TimeoutError("the other end is slow")

    ran = await answer([calls(LOOK), says("Then not.")], acting(refuse))

    assert observations(ran)[0].text.startswith("look failed: TimeoutError: the other end is slow. Go on")
    assert ran.of("tool.timeout") == []


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyError("x"), "look failed: KeyError: 'x'. Go on without it"),
        (ToolException("write it otherwise"), "look failed: write it otherwise. Go on without it"),
        (ToolFailed("page", "404", "try another"), "look failed: page: 404; try another. Go on without it"),
        (asyncio.CancelledError(), "look failed: something that it waited for was cancelled. Go on"),
    ],
)
async def test_whatever_a_tool_raises_the_agent_goes_on(
    answer: Callable[..., Any], error: BaseException, told: str
) -> None:
    async def fail() -> None:
        raise error

    ran = await answer([calls(LOOK), says("Then not.")], acting(fail, retries=2))

    assert last(ran) == "Then not."
    assert observations(ran)[0].text.startswith(told)
    assert len(ran.of("tool.started")) == 1  # none of these is a reason to try again


async def test_only_what_may_pass_is_tried_again(answer: Callable[..., Any]) -> None:
    answers = iter([ToolFailed("page", "503", retriable=True), "seen"])

    async def flicker() -> str:
        result = next(answers)
        if isinstance(result, Exception):
            raise result
        return result

    ran = await answer([calls(LOOK), says("Good.")], acting(flicker, retries=1))

    assert observations(ran)[0].text == "seen"
    assert len(ran.of("tool.started")) == 2


async def test_one_bad_tool_does_not_touch_the_other_calls_of_its_turn(answer: Callable[..., Any]) -> None:
    @tool
    async def fail() -> str:
        """Fail."""
        raise RuntimeError("gone")

    ran = await answer([calls(("fail", {}), LOOK), says("Half.")], fail, look)

    assert [(message.name, message.status) for message in observations(ran)] == [("fail", "error"), ("look", "success")]


@pytest.mark.parametrize("blocks", [False, True])
async def test_a_long_observation_is_cut_and_says_so(answer: Callable[..., Any], blocks: bool) -> None:
    long = "x" * (MAX_OBSERVATION_CHARS + 1)

    async def shout() -> Any:
        return [{"type": "text", "text": long}] if blocks else long

    (told,) = observations(await answer([calls(LOOK), says("Loud.")], acting(shout)))

    assert told.text == long[:-1] + "\n[cut: 24,001 characters, 24,000 shown]"


async def test_an_observation_that_just_fits_is_left_alone(answer: Callable[..., Any]) -> None:
    async def speak() -> str:
        return "x" * MAX_OBSERVATION_CHARS

    (told,) = observations(await answer([calls(LOOK), says("Fine.")], acting(speak)))

    assert told.text == "x" * MAX_OBSERVATION_CHARS


async def test_a_question_to_a_person_passes_through(scripted: Scripted) -> None:
    @tool
    def ask(what: str) -> str:
        """Ask a person."""
        return f"they said {interrupt(what)}"

    model = scripted([calls(("ask", {"what": "may I?"})), says("Thank you.")])
    agent = create_agent(model, [ask], middleware=stack(6), checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}

    first = await agent.ainvoke({"messages": [HumanMessage("Ask!")]}, config)
    assert [question.value for question in first["__interrupt__"]] == ["may I?"]
    second = await agent.ainvoke(Command(resume="yes"), config)

    assert [message.text for message in second["messages"]][-2:] == ["they said yes", "Thank you."]


async def test_a_cancelled_agent_cancels_its_tool(scripted: Scripted) -> None:
    inside, cut = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        inside.set()
        try:
            await asyncio.Event().wait()
        finally:
            cut.set()

    agent = create_agent(scripted([calls(LOOK)]), [acting(hang)], middleware=stack(6))
    asking = asyncio.create_task(agent.ainvoke({"messages": [HumanMessage("Look!")]}))
    await inside.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert cut.is_set()
