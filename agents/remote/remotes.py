"""The MCP servers of an installation: connected in the background, watched, and called with approved definitions only.

One that hangs, dies or lies costs nobody else anything: each has a task of its own, and starting waits for none. What
agents are offered comes from the pins, so it does not depend on who happens to be up. Before every call the server's
definitions are read again: one that is not what a person approved is not called, nor is a server whose tools are new.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from agents.errors import ToolFailed
from agents.remote.definitions import Definition, Unfit, definition_of
from agents.remote.pins import Pin, Pins
from agents.remote.servers import Server

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
LOOK_EVERY_S = 30.0
"""Between two looks at a server that nobody calls, and at what was approved meanwhile."""

State = Literal["connecting", "connected", "away"]
PinState = Literal["approved", "new", "changed", "gone", "unfit", "unseen"]


class Lost(Exception):
    """A connection ended under a call: why."""


class NotCalled(ToolFailed):
    """Nothing was sent to the server."""


@dataclass(frozen=True, slots=True)
class Attached:
    """A picture, a sound or a file in an answer."""

    media_type: str
    """By the server's word."""
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool answered."""

    text: str
    failed: bool = False
    attached: tuple[Attached, ...] = ()


class Connection(Protocol):
    """A session with a server."""

    over: asyncio.Future[str]
    about: str

    async def tools(self) -> list[dict[str, Any]]:
        """Its definitions."""
        ...

    async def call(self, tool: str, args: Mapping[str, Any], key: str = "") -> Result:
        """Call a tool; the same `key` is the same wish, for a server that looks at it."""
        ...


Connect = Callable[[Server], AbstractAsyncContextManager[Connection]]


@dataclass(slots=True)
class Health:
    """How a server is, for people."""

    state: State = "connecting"
    since: float = field(default_factory=time.time)
    """Seconds since the epoch."""
    last_error: str = ""
    about: str = ""


class Remote:
    """One server."""

    def __init__(self, server: Server, pins: Pins, connect: Connect) -> None:
        self.server, self.health = server, Health()
        self.pinned: Mapping[str, Pin] = {}
        self.defined: Mapping[str, Definition] | None = None
        """What it defines now, by its own names; None while it was never seen."""
        self.unfit: Mapping[str, str] = {}
        """Tools that are shown to nobody -> why."""
        self.made: dict[tuple[str, str], Any] = {}
        """(offered name, hash) -> the tool that agents are given: always the same, so its schema is read once."""
        self._pins, self._connect = pins, connect
        self._connection: Connection | None = None
        self._news, self._wanted = asyncio.Event(), asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    # -- its connection ----------------------------------------------------------------------------------------------

    async def keep(self) -> None:
        """Connect, and connect again whenever that ends: after a pause, or as soon as somebody calls."""
        pause_s = FIRST_PAUSE_S
        while True:
            self._became("connecting")
            problem = await self._once()
            pause_s = FIRST_PAUSE_S if self.health.state == "connected" else min(2 * pause_s, LONGEST_PAUSE_S)
            # a server that stays away is told of once
            log.log(logging.INFO if problem == self.health.last_error else logging.WARNING,
                    "mcp %s: %s", self.server.name, problem)  # fmt: skip
            self._wanted.clear()
            self._became("away", problem)
            await _waited(self._wanted.wait(), pause_s)

    async def _once(self) -> str:
        """Be connected for as long as that lasts; why it ended."""
        try:
            await self._read_pins()
            async with self._connect(self.server) as connection:
                self.health.about = connection.about
                await self._timely_look(connection)
                self._connection = connection
                self._became("connected")
                while not await _waited(asyncio.shield(connection.over), LOOK_EVERY_S):
                    await self._look(connection)
                return connection.over.result()
        except (ToolFailed, Lost) as error:
            return getattr(error, "problem", str(error))
        except Exception as error:
            # whatever a stranger's server makes of a protocol: it is away, and we are not
            log.info("mcp %s", self.server.name, exc_info=error)
            return f"{type(error).__name__}: {error}"[:300]
        finally:
            self._connection = None

    def _became(self, state: State, problem: str = "") -> None:
        self.health.state, self.health.since = state, time.time()
        self.health.last_error = problem or self.health.last_error
        self._news.set()
        self._news = asyncio.Event()

    async def reached(self) -> Connection:
        """The connection; one that is away is tried once more, now. Raises ToolFailed."""
        tried = False
        while self._connection is None or self._connection.over.done():
            if self.health.state == "away":
                if tried:
                    raise self._away()
                tried = True
                self._wanted.set()
            await self._news.wait()
        return self._connection

    def _away(self) -> NotCalled:
        return NotCalled(self.server.name, f"the server is away: {self.health.last_error}", "go on without it",
                          retriable=True)  # fmt: skip

    # -- its definitions ---------------------------------------------------------------------------------------------

    async def look(self) -> None:
        """See what it defines at this moment, and what is approved. Raises ToolFailed."""
        for last in (False, True):
            connection = await self.reached()
            try:
                return await self._look(connection)
            except Lost:
                if last:
                    raise self._away() from None

    async def _look(self, connection: Connection) -> None:
        """One look at a time, which all who want one share."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._timely_look(connection))
            self._looking.add_done_callback(lambda it: it.cancelled() or it.exception())  # its callers may have gone
        looking = self._looking
        await asyncio.wait({looking})
        looking.result()

    async def _timely_look(self, connection: Connection) -> None:
        try:
            async with asyncio.timeout(self.server.connect_timeout_s):
                await self._see(connection)
        except TimeoutError:
            reason = f"no answer within {self.server.connect_timeout_s:g} s"
            if not connection.over.done():
                connection.over.set_result(reason)
            raise Lost(reason) from None

    async def _see(self, connection: Connection) -> None:
        defined: dict[str, Definition] = {}
        unfit: dict[str, str] = {}
        for given in await connection.tools():
            name = str(given.get("name", ""))[:200]
            if name in defined or name in unfit:
                defined.pop(name, None)
                unfit[name] = "it is defined twice"
                continue
            try:
                defined[name] = definition_of(given)
            except Unfit as error:
                unfit[name] = str(error)
        self.defined, self.unfit = defined, unfit
        if self.server.trust_on_first_use:
            await self._pins.trust_first(self.server.name, list(defined.values()))
        await self._read_pins()

    async def _read_pins(self) -> None:
        self.pinned = await self._pins.of(self.server.name)

    def pin_state(self, tool: str) -> PinState:
        """How what is defined stands to what was approved."""
        pin, now = self.pinned.get(tool), (self.defined or {}).get(tool)
        if tool in self.unfit:
            return "unfit"
        if now is None:
            return "unseen" if self.defined is None else "gone"
        if pin is None:
            return "new"
        return "approved" if pin.definition.sha256 == now.sha256 else "changed"

    def offered(self) -> dict[str, Pin]:
        """Approved tools of which nothing else is known."""
        return {tool: pin for tool, pin in self.pinned.items() if self.pin_state(tool) in ("approved", "unseen")}

    async def approve(self, hashes: Mapping[str, str], by: str) -> dict[str, str]:
        """Pin the definitions of these hashes, all or none; tool -> the hash that it has instead, where it has another.

        Raises ToolFailed when the server cannot be asked.
        """
        await self.look()
        defined = self.defined or {}
        others = {tool: defined[tool].sha256 if tool in defined else "" for tool, sha256 in hashes.items()
                  if tool not in defined or defined[tool].sha256 != sha256}  # fmt: skip
        if not others:
            await self._pins.approve(self.server.name, [defined[tool] for tool in hashes], by)
            await self._read_pins()
        return others

    async def withdraw(self, tools: Sequence[str]) -> list[str]:
        """Take the yes to these tools back, all or none; those that nobody had approved."""
        await self._read_pins()
        unknown = [tool for tool in tools if tool not in self.pinned]
        if not unknown:
            await self._pins.withdraw(self.server.name, tools)
            await self._read_pins()
        return unknown

    # -- calls -------------------------------------------------------------------------------------------------------

    async def call(self, tool: str, sha256: str, args: Mapping[str, Any], key: str = "") -> Result:
        """Call a tool by the definition that the caller was shown. Raises ToolFailed, and nothing was called or
        nobody knows: the words say which."""
        await self.look()
        self._refuse_unapproved(tool, sha256)
        connection = await self.reached()
        try:
            return await connection.call(tool, args, key)
        except Lost as error:
            raise ToolFailed(
                self.server.name, f"the connection ended in the middle of the call: {error}; it may have happened",
                "do not repeat what must not happen twice", retriable=True,
            ) from None  # fmt: skip

    def _refuse_unapproved(self, tool: str, sha256: str) -> None:
        state, pin = self.pin_state(tool), self.pinned.get(tool)
        if state == "approved" and pin and pin.definition.sha256 == sha256:
            return
        problem = {
            "changed": "its definition is not the one that a person approved",
            "new": "no person has approved its definition",
            "gone": "the server does not define it any more",
            "unfit": self.unfit.get(tool, ""),
        }.get(state, "its definition was approved anew since it was chosen")
        raise NotCalled(f"{self.server.name}/{tool}", f"not called: {problem}",
                         "go on without it; a person can approve it on the Settings page")  # fmt: skip


async def _waited(what: Any, timeout_s: float) -> bool:
    """Whether it happened in time."""
    try:
        async with asyncio.timeout(timeout_s):
            await what
    except TimeoutError:
        return False
    return True


class Remotes:
    """All servers."""

    def __init__(self, servers: Iterable[Server], pins: Pins, connect: Connect) -> None:
        self.remotes = {it.name: Remote(it, pins, connect) for it in servers}

    @asynccontextmanager
    async def kept(self) -> AsyncIterator["Remotes"]:
        """Keep them connected while the block lasts."""
        tasks = [asyncio.create_task(it.keep(), name=f"mcp {name}") for name, it in self.remotes.items()]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    def of_role(self, role: str) -> Sequence[Remote]:
        """Those whose tools this agent may call."""
        return [it for it in self.remotes.values() if role in it.server.roles]
