"""The policy around every tool call, by effect class and against what goes wrong."""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from crew import Ran, run
from flaky import FlakyService
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, ToolException, tool
from langgraph.errors import GraphInterrupt
from scripted import ScriptedModel, Step, calls, says
from virtual import in_no_time

from agents.agent import Agent, assemble
from agents.allowance import Allowance, Budget
from agents.artefacts import Artefact
from agents.breaker import MIN_FAILURES, OPEN_S, RETRIES_KEPT, Breakers
from agents.context import Context, Limits
from agents.errors import BudgetExceeded, ModelUnavailable, ToolFailed
from agents.middleware import PROBED_WITHIN_S, RetryModel, endpoint_of, stack
from agents.policy import Calling, Threads
from agents.tools.contract import Contract, Effect, with_contract

pytestmark = pytest.mark.timeout(60)

LOOK = ("look", {"what": "it"})
Scripted = Callable[[Sequence[Step]], ScriptedModel]


class Nowhere:
    """A corpus without documents."""

    async def search(self, query: str, k: int = 8) -> Sequence[Any]:
        return []


class Kept:
    """Artefacts of a test."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}

    async def keep(self, name: str, media_type: str, data: bytes) -> Artefact:
        self.data[name] = data
        return Artefact("a1", name, media_type, len(data))

    async def read(self, id: str) -> bytes:
        return self.data[id]


async def at_once(seconds: float) -> None:
    """Wait for nothing."""


@pytest.fixture
def calling() -> Calling:
    return Calling(pause=at_once)


@pytest.fixture
def ask(scripted: Scripted, calling: Calling) -> Callable[..., Any]:
    """Runs an agent in the product's stack on a script."""

    async def it(script: Sequence[Step], *tools: BaseTool, **context: Any) -> Ran:
        middleware = stack(12, calling=calling)
        agent = create_agent(scripted(script), list(tools), middleware=middleware, context_schema=Context)
        return await run(agent, Context({}, {}, Nowhere(), **context))

    return it


def acting(act: Callable[[], Any], **contract: Any) -> BaseTool:
    """A tool called `look` that does `act`, under a contract."""

    @tool("look")
    async def it(what: str) -> Any:
        """Look at something."""
        return await act()

    return with_contract(it, replace(Contract(effect="read"), **contract))


def observations(ran: Ran) -> list[ToolMessage]:
    return [message for message in ran.state["messages"] if isinstance(message, ToolMessage)]


async def each_once(ask: Callable[..., Any], look: BaseTool, times: int) -> list[ToolMessage]:
    """What is observed of calls that are made one after the other."""
    return observations(await ask([*[calls(LOOK, first_id=at) for at in range(1, times + 1)], says("Done.")], look))


# -- retries, by effect class ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effect", "retries", "made"), [("read", 2, 3), ("idempotent", 1, 2), ("keyed", 0, 1), ("at_most_once", 0, 1)]
)
async def test_what_may_be_repeated_is_and_what_may_not_is_not(
    ask: Callable[..., Any], effect: Effect, retries: int, made: int
) -> None:
    service = FlakyService((False, False, True))

    (told,) = await each_once(ask, acting(service.answer, effect=effect, retries=retries), 1)

    assert service.calls == made
    assert told.status == ("success" if made == 3 else "error")


async def test_four_of_five_become_all_with_retries(ask: Callable[..., Any]) -> None:
    service = FlakyService((True, True, False, True, True))

    told = await each_once(ask, acting(service.answer, retries=2), 10)

    assert [it.status for it in told] == ["success"] * 10
    assert service.calls == 12


# -- breaker ---------------------------------------------------------------------------------------


async def test_a_service_that_fails_is_left_alone_and_everybody_told(ask: Callable[..., Any]) -> None:
    service = FlakyService((False,))
    look = acting(service.answer, service="shop")

    told = await each_once(ask, look, MIN_FAILURES)
    assert "503" in told[-1].text
    ran = await ask([calls(LOOK), says("Then not.")], look)

    assert service.calls == MIN_FAILURES
    assert "look failed: not called, its breaker is open (service: 503" in observations(ran)[0].text
    (said,) = [it["value"] for it in ran.of("custom") if it.get("name") == "breaker.open"]
    assert said["text"] == "breaker open: shop"


async def test_deadlines_open_a_breaker_and_refusals_of_a_tool_do_not(
    ask: Callable[..., Any], calling: Calling
) -> None:
    async def refuse() -> None:
        raise ToolException("not found")

    async def hang() -> None:
        await asyncio.Event().wait()

    await each_once(ask, acting(refuse, service="a"), MIN_FAILURES)
    await each_once(ask, acting(hang, service="b", timeout_s=0.02), MIN_FAILURES)

    assert calling.breakers.standing("a").state == "closed"
    assert calling.breakers.standing("b").state == "open"


async def test_one_host_that_fails_closes_no_other(ask: Callable[..., Any], calling: Calling) -> None:
    """Whoever can make one page fail would else keep everybody from every page."""
    service = FlakyService((False,))
    look = acting(service.answer, service="web", many_hosts=True, retries=1)

    told = await each_once(ask, look, 2 * MIN_FAILURES)

    assert "503" in told[-1].text
    assert calling.breakers.standing("web").state == "closed"
    assert service.calls == 2 * MIN_FAILURES + RETRIES_KEPT  # and the budget of retries is spent all the same


async def half_open(calling: Calling, service: str, now: list[float]) -> None:
    """Fail often enough, and let the time pass after which one call may try."""
    calling.breakers = Breakers(clock=lambda: now[0])
    for _ in range(MIN_FAILURES):
        await calling.breakers.leave(await calling.breakers.enter(service), ok=False, why="503")
    now[0] += OPEN_S


async def test_a_call_that_is_called_off_while_it_tries_a_service_holds_it_for_nobody(
    scripted: Scripted, calling: Calling
) -> None:
    begun = asyncio.Event()

    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    await half_open(calling, "shop", [0.0])
    model = scripted([calls(LOOK)])
    agent = create_agent(
        model, [acting(hang, service="shop")], middleware=stack(12, calling=calling), context_schema=Context
    )
    running = asyncio.ensure_future(agent.ainvoke({"messages": [("human", "?")]}, context=Context({}, {}, Nowhere())))
    await begun.wait()

    running.cancel()
    with suppress(asyncio.CancelledError):
        await running

    assert calling.cut == {}
    assert (await calling.breakers.enter("shop")).probe


async def test_a_tool_that_asks_a_person_while_it_tries_a_service_holds_it_for_nobody(
    ask: Callable[..., Any], calling: Calling
) -> None:
    async def ask_somebody() -> None:
        raise GraphInterrupt([])

    await half_open(calling, "shop", [0.0])
    await ask([calls(LOOK)], acting(ask_somebody, service="shop"))

    assert (await calling.breakers.enter("shop")).probe


async def test_a_model_call_that_is_never_sent_holds_the_endpoint_for_nobody(calling: Calling) -> None:
    class Served(ScriptedModel):
        openai_api_base: str = "http://127.0.0.1:8000/v1"
        model_name: str = "large"

    model = Served([])
    await half_open(calling, endpoint_of(model), [0.0])
    agent = create_agent(model, [], middleware=stack(4, calling=calling), context_schema=Context)
    spent = Allowance(Budget(steps=1), steps=1)
    with pytest.raises(BudgetExceeded):
        await agent.ainvoke({"messages": [("human", "?")]}, context=Context({}, {}, Nowhere(), allowance=spent))

    assert (await calling.breakers.enter(endpoint_of(model))).probe


async def test_a_model_endpoint_has_a_breaker_too(scripted: Scripted) -> None:
    class Served(ScriptedModel):
        openai_api_base: str = "http://user:secret@127.0.0.1:8000/v1"
        model_name: str = "large"

    gone = ModelUnavailable("large", "connection refused", kind="refused", url="http://127.0.0.1")
    model, breakers, waits = Served([gone] * MIN_FAILURES), Breakers(), list[float]()

    async def pause(seconds: float) -> None:
        waits.append(seconds)

    agent = create_agent(model, [], middleware=[RetryModel(pause, breakers)], context_schema=Context)
    for _ in range(3):
        with pytest.raises(ModelUnavailable):
            await agent.ainvoke({"messages": [HumanMessage("?")]})

    assert endpoint_of(model) == "model large at 127.0.0.1:8000"
    assert breakers.standing(endpoint_of(model)).state == "open"
    assert len(model.asked) == MIN_FAILURES  # the rest was never sent
    model.check_used_up()


async def test_whoever_waits_for_a_probe_leaves_it_time_and_goes_on_when_it_went_well(scripted: Scripted) -> None:
    class Served(ScriptedModel):
        openai_api_base: str = "http://127.0.0.1:8000/v1"
        model_name: str = "large"

    now, waits = [0.0], list[float]()
    model, breakers = Served([says("Back.")]), Breakers(clock=lambda: now[0])
    for _ in range(MIN_FAILURES):
        await breakers.leave(await breakers.enter(endpoint_of(model)), ok=False, why="503")
    now[0] = OPEN_S
    probe = await breakers.enter(endpoint_of(model))

    async def pause(seconds: float) -> None:
        waits.append(seconds)
        await breakers.leave(probe, ok=True)

    agent = create_agent(model, [], middleware=[RetryModel(pause, breakers)], context_schema=Context)
    state = await agent.ainvoke({"messages": [("human", "?")]})

    assert state["messages"][-1].text == "Back."
    assert waits == [PROBED_WITHIN_S]


# -- places, threads, size, old answers ------------------------------------------------------------


async def test_no_more_calls_at_once_than_a_service_has_places(ask: Callable[..., Any]) -> None:
    inside, most = 0, 0

    async def look() -> str:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1
        return "seen"

    ran = await ask([calls(*[LOOK] * 9), says("Done.")], acting(look, max_parallel=2))

    assert most == 2
    assert len(observations(ran)) == 9


def test_a_call_that_found_no_place_was_not_made_and_says_so() -> None:
    """Else a payment that never left would be told as one that may have happened."""
    made: list[str] = []

    async def hang() -> None:
        made.append("it")
        await asyncio.Event().wait()

    async def ask() -> list[ToolMessage]:
        model = ScriptedModel([calls(LOOK, LOOK), says("Well.")])
        look = acting(hang, effect="at_most_once", timeout_s=30, max_parallel=1)
        agent = create_agent(model, [look], middleware=stack(4), context_schema=Context)
        return observations(await run(agent, Context({}, {}, Nowhere())))

    first, second = in_no_time(ask())

    assert made == ["it"]
    assert "it may have happened all the same" in first.text
    assert "not called: all 1 places at look were taken" in second.text and "happened" not in second.text


async def test_a_tool_that_blocks_its_thread_holds_nobody(ask: Callable[..., Any], calling: Calling) -> None:
    let_go, ended = threading.Event(), threading.Event()

    @tool
    def look(what: str) -> str:
        """Look at something."""
        let_go.wait(60)
        ended.set()
        return "too late"

    with_contract(look, Contract(effect="read", timeout_s=0.05))
    (told,) = await each_once(ask, look, 1)

    assert told.text.startswith("look failed: no answer within 0.05 s")
    assert calling.threads.busy == 1
    let_go.set()
    assert await asyncio.to_thread(ended.wait, 60)


async def test_threads_that_are_stuck_are_bounded() -> None:
    threads, let_go = Threads(limit=1), threading.Event()
    stuck = asyncio.create_task(threads.run(lambda: let_go.wait(60)))
    await asyncio.sleep(0)

    with pytest.raises(ToolException, match="1 of 1 threads for blocking tools are stuck"):
        await threads.run(lambda: None)

    let_go.set()
    assert await stuck
    assert await threads.run(lambda: "free again") == "free again"


async def test_a_long_result_is_kept_whole_and_its_beginning_shown(ask: Callable[..., Any]) -> None:
    async def look() -> str:
        return "x" * 1_000

    kept = Kept()
    ran = await ask([calls(LOOK), says("Done.")], acting(look, max_result_chars=100), artefacts=kept)

    (told,) = observations(ran)
    assert told.text == "x" * 100 + "\n[cut: 1,000 characters, 100 shown; all of it is kept as look.txt]"
    assert told.artifact["artefacts"] == [{"id": "a1", "name": "look.txt", "media_type": "text/plain", "size": 1_000}]
    assert kept.data["look.txt"] == b"x" * 1_000
    seen = [made["id"] for end in ran.of("tool.finished") for made in end.get("artefacts", ())]
    assert seen == ["a1"]  # by whoever watches, not by the model alone


async def test_what_is_long_and_no_text_does_not_get_past_the_limit(ask: Callable[..., Any]) -> None:
    async def look() -> Any:
        picture = {"type": "image", "base64": "x" * 1_000, "mime_type": "image/png"}
        return [{"type": "text", "text": "a tide"}, picture]

    (told,) = observations(await ask([calls(LOOK), says("Done.")], acting(look, max_result_chars=100)))
    (whole,) = observations(await ask([calls(LOOK), says("Done.")], acting(look)))

    assert str(told.content).startswith("a tide\n[left out: 1,0") and len(str(told.content)) < 100
    assert isinstance(whole.content, list) and len(whole.content) == 2


@pytest.mark.parametrize("error", [RuntimeError, ToolException])
async def test_the_words_of_an_error_are_bounded_too(ask: Callable[..., Any], error: type[Exception]) -> None:
    async def look() -> Any:
        raise error("x" * 1_000_000)

    (told,) = observations(await ask([calls(LOOK), says("Done.")], acting(look)))

    assert told.status == "error" and len(told.text) < 25_000
    assert "1,000,0" in told.text and told.text.endswith("try it differently once.")


async def test_a_read_that_fails_is_answered_by_its_last_result_of_the_same_person(
    ask: Callable[..., Any], calling: Calling
) -> None:
    service, now = FlakyService((True, False)), [100.0]
    calling.clock = lambda: now[0]
    look = acting(service.answer, stale_for_s=60)
    await ask([calls(LOOK), says("Good.")], look, owner="ada")
    now[0] += 42

    old = observations(await ask([calls(LOOK, first_id=7), says("Old.")], look, owner="ada"))[0]
    assert old.text.startswith("[stale: this answer is 42 s old; now look failed: service: 503")
    assert old.text.endswith("answer")
    assert old.tool_call_id == "call_7"
    service._turns = iter([False, False])
    assert observations(await ask([calls(LOOK), says("No.")], look, owner="eve"))[0].status == "error"
    now[0] += 60
    assert observations(await ask([calls(LOOK), says("No.")], look, owner="ada"))[0].status == "error"


# -- robust calls ----------------------------------------------------------------------------------


async def test_two_hundred_calls_of_one_turn_get_an_answer_each(ask: Callable[..., Any]) -> None:
    async def look() -> str:
        return "seen"

    ran = await ask([calls(*[LOOK] * 200), says("Done.")], acting(look))

    assert sorted(it.tool_call_id for it in observations(ran)) == sorted(f"call_{at}" for at in range(1, 201))


@pytest.mark.parametrize("call", [("nonsense", {}), ("look", {"wat": 1}), ("look", {"what": ["a"]}), ("look", {})])
async def test_a_call_that_no_tool_takes_is_an_observation(
    ask: Callable[..., Any], call: tuple[str, Mapping[str, Any]]
) -> None:
    async def look() -> str:
        raise AssertionError("never called")

    (told,) = observations(await ask([calls(call), says("Sorry.")], acting(look)))

    assert told.status == "error"


def test_two_tools_of_one_name_are_refused_at_the_start(scripted: Scripted) -> None:
    async def look() -> str:
        return ""

    team = {"scout": Agent("You look.", tools=[acting(look), acting(look)])}
    with pytest.raises(ValueError, match="agent scout: 2 tools are called look; rename all but one"):
        assemble(team, {"large": scripted([])}, Limits())


def test_only_reads_have_old_answers() -> None:
    with pytest.raises(ValueError, match="stale_for_s is for reads"):
        Contract(stale_for_s=1)
    with pytest.raises(ValueError, match="at least 1"):
        Contract(max_parallel=0)
    assert ToolFailed("a", "b").retriable is False
