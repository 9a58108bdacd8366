"""Tool calls as calls of services: one policy for all, driven by each tool's contract.

`GuardTools` stands outside of the effect ledger, and inside of approvals, which are no part of an attempt: rate,
deadline, retries within the service's budget, the size of a result, an old answer where a read fails, the fallback.
`CallService` stands inside, where a call is really made: the breaker, the service's places, a thread of ours for a tool
that blocks. So a result that the ledger knows is returned whatever the breaker says, and a call that the breaker
refused is known not to have happened.

A thread cannot be stopped. One that outlives its deadline is left behind and counted until it ends; when
`MAX_THREADS` are at work or left behind, further calls of blocking tools are refused.
"""

import asyncio
import functools
import json
import logging
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import copy_context
from dataclasses import asdict, dataclass, field
from typing import Any

from langchain.agents.middleware import AgentMiddleware
from langchain.tools.tool_node import ToolCallRequest
from langchain_core.callbacks import adispatch_custom_event
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from langgraph.errors import GraphBubbleUp
from langgraph.types import Command

from agents.breaker import Breakers, Open, Pass
from agents.effects import NotMade
from agents.errors import RunError, RunLost, ToolFailed
from agents.pacing import Turns
from agents.tools.contract import DEFAULT, Contract, contract_of

log = logging.getLogger(__name__)

MAX_OBSERVATION_CHARS = DEFAULT.max_result_chars
MAX_THREADS = 32
WAITING_SHARE = 0.9
"""Of a call's deadline: how long it may wait for a place."""
MAX_STALE_KEPT = 256
MAX_SHOWN_CHARS = 200
RETRY_BASE_S = 0.2
RETRY_MAX_S = 2.0
STALE = "[stale:"
"""What an old answer begins with."""

Result = ToolMessage | Command[Any]
ToolHandler = Callable[[ToolCallRequest], Awaitable[Result]]


class Threads:
    """Threads for tools that block: bounded, and none is waited for once its deadline has passed."""

    def __init__(self, limit: int = MAX_THREADS) -> None:
        self.busy, self._limit = 0, limit
        self._lock = threading.Lock()

    def wrapped(self, act: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        """`act`, to be awaited."""

        @functools.wraps(act)
        async def it(*args: Any, **kwargs: Any) -> Any:
            return await self.run(functools.partial(act, *args, **kwargs))

        return it

    async def run(self, act: Callable[[], Any]) -> Any:
        """What `act` returns. Raises NotMade when too many are stuck."""
        with self._lock:
            if self.busy >= self._limit:
                raise NotMade(f"{self.busy} of {self._limit} threads for blocking tools are stuck; try it later")
            self.busy += 1
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        context = copy_context()

        def work() -> None:
            try:
                outcome, error = context.run(act), None
            except BaseException as raised:
                outcome, error = None, raised
            with self._lock:
                self.busy -= 1
            with suppress(RuntimeError):  # the loop is closed, and nobody is left to be told
                loop.call_soon_threadsafe(_settle, done, outcome, error)

        threading.Thread(target=work, name="blocking tool", daemon=True).start()
        return await done


def _settle(done: asyncio.Future[Any], outcome: Any, error: BaseException | None) -> None:
    if done.done():
        return
    if isinstance(error, StopIteration):  # no future can hold one
        error = RuntimeError(f"StopIteration: {error}")
    if error is None:
        done.set_result(outcome)
    else:
        done.set_exception(error)


@dataclass(slots=True)
class Calling:
    """What all agents of a process share when they call services."""

    turns: Turns = field(default_factory=Turns)
    breakers: Breakers = field(default_factory=Breakers)
    threads: Threads = field(default_factory=Threads)
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    cut: dict[int, Pass] = field(default_factory=dict)
    """Runtime -> its call that was cancelled. Whoever set the deadline knows whether that was the reason."""
    _places: dict[str, asyncio.Semaphore] = field(default_factory=dict)
    _answers: OrderedDict[bytes, tuple[float, ToolMessage]] = field(default_factory=OrderedDict)
    _awaited: dict[int, tuple[BaseTool, BaseTool]] = field(default_factory=dict)

    def places(self, service: str, limit: int) -> asyncio.Semaphore:
        """The places at a service; the first contract that names it decides how many."""
        return self._places.setdefault(service, asyncio.Semaphore(limit))

    def awaitable(self, tool: BaseTool) -> BaseTool:
        """The tool, or its twin on our threads when it blocks."""
        if not isinstance(tool, StructuredTool) or tool.coroutine is not None or tool.func is None:
            return tool
        known = self._awaited.get(id(tool))
        if known is None or known[0] is not tool:
            twin = tool.model_copy(update={"coroutine": self.threads.wrapped(tool.func)})
            known = self._awaited[id(tool)] = (tool, twin)
        return known[1]

    def remember(self, key: bytes, answer: ToolMessage) -> None:
        """Keep a read's answer for the time when its service fails."""
        self._answers[key] = (self.clock(), answer)
        self._answers.move_to_end(key)
        while len(self._answers) > MAX_STALE_KEPT:
            self._answers.popitem(last=False)

    def recalled(self, key: bytes, within_s: float) -> tuple[float, ToolMessage] | None:
        """The last answer and its age in seconds, if it is young enough."""
        at, answer = self._answers.get(key, (0.0, None))
        age_s = self.clock() - at
        return (age_s, answer) if answer is not None and age_s <= within_s else None


def service_of(name: str, contract: Contract) -> str:
    """Key of the breaker, the budget and the places of a tool."""
    return contract.service or name


async def tell_open(shut: Open) -> None:
    """Say in the run's log that a breaker refused a call."""
    told = {
        "service": shut.service,
        "text": f"breaker open: {shut.service}",
        "why": shut.standing.why,
        "retry_in_s": round(shut.standing.retry_in_s, 1),
    }
    await adispatch_custom_event("breaker.open", told)


class GuardTools(AgentMiddleware[Any, Any]):
    """A tool's contract enforced; a failure is an observation that the agent can act on."""

    def __init__(self, calling: Calling | None = None) -> None:
        super().__init__()
        self._calling = calling or Calling()

    async def awrap_tool_call(self, request: ToolCallRequest, handler: ToolHandler) -> Result:
        contract, name = contract_of(request.tool), request.tool_call["name"]
        problem, passing, attempt = "", False, 1
        while True:
            try:
                async with asyncio.timeout(contract.timeout_s) as deadline:
                    await self._calling.turns.take(name, contract.rate_per_s, contract.timeout_s)
                    result = await handler(request)
                return await self._told(request, contract, result)
            except (GraphBubbleUp, RunLost):
                raise
            except asyncio.CancelledError:
                await self._called_off(request)
                if (current := asyncio.current_task()) is None or current.cancelling():
                    raise
                problem = "something that it waited for was cancelled"
                break
            except Exception as error:
                late = deadline.expired()
                await self._called_off(request, f"no answer within {contract.timeout_s:g} s" if late else "")
                problem, passing = await self._why(request, contract, error, late, attempt)
            if not passing or attempt > contract.retries:
                break
            if not self._calling.breakers.may_retry(service_of(name, contract)):
                break
            ceiling_s = min(RETRY_MAX_S, RETRY_BASE_S * 2 ** (attempt - 1))
            await self._calling.pause(random.uniform(0, ceiling_s))  # noqa: S311 - spreads load, guards nothing
            attempt += 1
        return await self._stale(request, contract, problem) or _failed(request, contract, problem)

    async def _called_off(self, request: ToolCallRequest, late: str = "") -> None:
        """Tell the breaker of a call that was cut: by its deadline, which is a failure, or by whoever waited for it."""
        if not (given := self._calling.cut.pop(id(request.runtime), None)):
            return
        if late:
            await self._calling.breakers.leave(given, ok=False, why=late)
        else:
            await self._calling.breakers.give_back(given)

    async def _why(
        self, request: ToolCallRequest, contract: Contract, error: Exception, late: bool, attempt: int
    ) -> tuple[str, bool]:
        """What went wrong, in words, and whether it may pass."""
        name = request.tool_call["name"]
        if isinstance(error, RunError | ToolException):
            return str(error), bool(getattr(error, "retriable", False))
        if not late:
            # a tool is somebody else's code: whatever it raises, the agent and its siblings go on
            log.warning("tool %s failed", name, exc_info=error)
            return f"{type(error).__name__}: {error}", False
        problem = f"no answer within {contract.timeout_s:g} s (attempt {attempt} of {contract.retries + 1})"
        if contract.effect == "at_most_once":
            problem += "; it may have happened all the same, so it must not be repeated"
        await adispatch_custom_event("tool.timeout", {"tool": name, "call_id": request.tool_call["id"]})
        return problem, True

    async def _told(self, request: ToolCallRequest, contract: Contract, result: Result) -> Result:
        if not isinstance(result, ToolMessage):
            return result
        answer = await _bounded(request, contract, result)
        if contract.stale_for_s and answer.status != "error":
            self._calling.remember(_read_key(request), answer)
        return answer

    async def _stale(self, request: ToolCallRequest, contract: Contract, problem: str) -> ToolMessage | None:
        found = self._calling.recalled(_read_key(request), contract.stale_for_s) if contract.stale_for_s else None
        if found is None:
            return None
        age_s, answer = found
        note = f"{STALE} this answer is {age_s:,.0f} s old; now {request.tool_call['name']} failed: {problem}]\n"
        call_id = request.tool_call["id"] or ""
        told = answer.model_copy(update={"content": note + str(answer.text), "tool_call_id": call_id, "id": None})
        await _show("last answer", request, told)
        return told


def _read_key(request: ToolCallRequest) -> bytes:
    """Equal for the same question of the same person."""
    owner = getattr(getattr(request.runtime, "context", None), "owner", "")
    asked = [owner, request.tool_call["name"], request.tool_call["args"]]
    return json.dumps(asked, sort_keys=True, default=str).encode()  # also for half a character, which is no UTF-8


def _failed(request: ToolCallRequest, contract: Contract, problem: str) -> ToolMessage:
    name, limit = request.tool_call["name"], contract.max_result_chars
    short = problem if len(problem) <= limit else f"{problem[:limit]} [cut: {len(problem):,} characters]"
    told = f"{name} failed: {short}. {contract.fallback}"
    return ToolMessage(content=told, tool_call_id=request.tool_call["id"] or "", name=name, status="error")


async def _bounded(request: ToolCallRequest, contract: Contract, result: ToolMessage) -> ToolMessage:
    """Cut what no context window should hold, and say so; all of it is kept where the run keeps things."""
    limit, text = contract.max_result_chars, str(result.text)
    if (size := len(text) + _beside_text(result)) <= limit:
        return result
    if len(text) <= limit:
        return result.model_copy(update={"content": f"{text}\n[left out: {size - len(text):,} characters, not text]"})
    note, update = f"[cut: {len(text):,} characters, {limit:,} shown]", dict[str, Any]()
    if artefacts := getattr(getattr(request.runtime, "context", None), "artefacts", None):
        try:
            kept = await artefacts.keep(f"{result.name or 'result'}.txt", "text/plain", text.encode(errors="replace"))
        except ToolFailed as error:
            log.warning("a long result is not kept: %s", error)
        else:
            note = f"[cut: {len(text):,} characters, {limit:,} shown; all of it is kept as {kept.name}]"
            before = result.artifact if isinstance(result.artifact, dict) else {}
            update["artifact"] = {**before, "artefacts": [*before.get("artefacts", ()), asdict(kept)]}
    cut = result.model_copy(update={**update, "content": f"{text[:limit]}\n{note}"})
    if update:
        await _show("whole result", request, cut)
    return cut


async def _show(what: str, request: ToolCallRequest, message: ToolMessage) -> None:
    """Let whoever watches the run see what a message holds that no tool itself returned: sources, artefacts.

    As a call of its own, which is what it is to them; else a citation of it would be one of nothing.
    """

    async def shown() -> tuple[str, Any]:
        return str(message.text)[:MAX_SHOWN_CHARS], message.artifact

    name = f"{what} of {request.tool_call['name']}"
    it = StructuredTool.from_function(
        coroutine=shown, name=name, description=name, response_format="content_and_artifact"
    )
    await it.ainvoke({"type": "tool_call", "name": name, "args": {}, "id": f"{request.tool_call['id']}/{what}"})


async def _wait_for(places: asyncio.Semaphore, service: str, contract: Contract) -> None:
    """Have a place at a service. Raises NotMade while there is still time to say so: waiting is no call."""
    if not places.locked():
        await places.acquire()
        return
    try:
        async with asyncio.timeout(WAITING_SHARE * contract.timeout_s):
            await places.acquire()
    except TimeoutError:
        taken = f"not called: all {contract.max_parallel} places at {service} were taken until now; try it later"
        raise NotMade(taken) from None


def _beside_text(result: ToolMessage) -> int:
    """Characters of what a result holds that is no text: a picture in it is as long as any."""
    blocks = result.content if isinstance(result.content, list) else ()
    others = (it for it in blocks if isinstance(it, dict) and it.get("type") != "text")
    return sum(len(json.dumps(it, default=str)) for it in others)


class CallService(AgentMiddleware[Any, Any]):
    """One call as it is really made: through the breaker, in one of the service's places, off the loop's thread."""

    def __init__(self, calling: Calling | None = None) -> None:
        super().__init__()
        self._calling = calling or Calling()

    async def awrap_tool_call(self, request: ToolCallRequest, handler: ToolHandler) -> Result:
        if request.tool is None:  # there is no such tool: LangGraph says so
            return await handler(request)
        contract, breakers = contract_of(request.tool), self._calling.breakers
        service = service_of(request.tool_call["name"], contract)
        places = self._calling.places(service, contract.max_parallel)
        await _wait_for(places, service, contract)
        try:
            given = await breakers.enter(service)
            if (tool := self._calling.awaitable(request.tool)) is not request.tool:
                request = request.override(tool=tool)
            return await self._counted(request, handler, given)
        except Open as shut:
            await tell_open(shut)
            raise NotMade(str(shut)) from shut
        finally:
            places.release()

    async def _counted(self, request: ToolCallRequest, handler: ToolHandler, given: Pass) -> Result:
        """The call, and its end told to the breaker. A refusal in the tool's own words is an answer of its service."""
        breakers, counts = self._calling.breakers, not contract_of(request.tool).many_hosts
        try:
            result = await handler(request)
        except (GraphBubbleUp, RunLost):
            await breakers.give_back(given)
            raise
        except asyncio.CancelledError:
            if counts:
                self._calling.cut[id(request.runtime)] = given
            raise
        except Exception as error:
            answered = isinstance(error, RunError | ToolException) and not getattr(error, "retriable", False)
            if counts or answered:
                await breakers.leave(given, ok=answered, why=str(error) or type(error).__name__)
            raise
        await breakers.leave(given, ok=True)
        return result
