"""Breakers: a service that fails is left alone for a while, by every process, and tried by one call at a time.

Closed: calls pass, and their ends are counted in a window of this process, without a round trip. Open: calls are
refused at once. After `OPEN_S` it is half-open: one call of all processes is the probe, and its end decides. What
opened is told to a `Switch`, which other processes read every second; who cannot reach it decides for itself alone.

Beside it stands the retry budget. A success earns half a retry, up to ten; so a service that answers four times of
five can be asked three times, and one that answers nothing is asked ten times more in all, not three times as often.

Libraries, by their own documentation in November 2026: purgatory is typed and asynchronous and shares through Redis;
aiobreaker and pybreaker can share through Redis too, pybreaker's asynchronous calls being Tornado's. None that we found
shares through a Postgres, says that one caller of all processes is the probe, or keeps a budget of retries. Of the
limiters, pyrate-limiter shares through Redis or Postgres and limits through Redis and others, at a round trip a call.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

log = logging.getLogger(__name__)

WINDOW_S = 10.0
MIN_FAILURES = 5
FAILED_SHARE = 0.5
OPEN_S = 5.0
PROBE_S = 30.0
"""A probe whose process died is nobody's after this; one that was called off is handed on at once."""
LOOK_EVERY_S = 1.0
RETRIES_KEPT = 10.0
RETRIES_PER_SUCCESS = 0.5
MAX_WHY_CHARS = 200
MAX_COUNTED = 1_000

State = Literal["closed", "open", "half-open"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a service stands."""

    state: State = "closed"
    retry_in_s: float = 0.0
    """Seconds until it may be tried; 0 where it may be now."""
    why: str = ""


CLOSED = Standing()


class Switch(Protocol):
    """What all processes know. Its clock decides, and no method raises: who cannot be reached knows nothing."""

    async def trip(self, service: str, why: str, wait_s: float) -> None:
        """Open it for `wait_s`."""
        ...

    async def probe(self, service: str, lease_s: float) -> bool:
        """True for the one caller who may try it now."""
        ...

    async def release(self, service: str) -> None:
        """The probe came to no end: whoever asks next may try."""
        ...

    async def close(self, service: str) -> None:
        """It works again."""
        ...

    async def standings(self) -> Mapping[str, Standing] | None:
        """Every service that is not closed; None when nobody knows."""
        ...


class LocalSwitch:
    """The switch of one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: dict[str, tuple[float, str]] = {}
        self._probed_until: dict[str, float] = {}

    async def trip(self, service: str, why: str, wait_s: float) -> None:
        self._open[service] = (self._clock() + wait_s, why)
        self._probed_until.pop(service, None)

    async def probe(self, service: str, lease_s: float) -> bool:
        now = self._clock()
        until, _ = self._open.get(service, (now, ""))
        if until > now or self._probed_until.get(service, now) > now:
            return False
        self._probed_until[service] = now + lease_s
        return True

    async def release(self, service: str) -> None:
        self._probed_until.pop(service, None)

    async def close(self, service: str) -> None:
        self._open.pop(service, None)
        self._probed_until.pop(service, None)

    async def standings(self) -> Mapping[str, Standing]:
        now = self._clock()
        return {
            service: Standing("open" if until > now else "half-open", max(0.0, until - now), why)
            for service, (until, why) in self._open.items()
        }


@dataclass(slots=True)
class _Service:
    """What this process knows of one service."""

    retries: float
    ends: deque[tuple[float, bool]] = field(default_factory=lambda: deque(maxlen=MAX_COUNTED))
    open_until: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Pass:
    """Leave for one call; hand it back with its end."""

    service: str
    probe: bool = False


class Open(Exception):
    """The breaker is open: the call was not made."""

    def __init__(self, service: str, standing: Standing) -> None:
        super().__init__(service, standing)
        self.service, self.standing = service, standing

    def __str__(self) -> str:
        wait = (
            f"it may be tried in {self.standing.retry_in_s:.0f} s" if self.standing.retry_in_s else "it is being tried"
        )
        return f"not called, its breaker is open ({self.standing.why}); {wait}"


class Breakers:
    """All breakers and retry budgets of one process."""

    def __init__(
        self,
        switch: Switch | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        min_failures: int = MIN_FAILURES,
        retries_kept: float = RETRIES_KEPT,
    ) -> None:
        """`clock`: the time, in seconds. `min_failures`: in the window, before it opens."""
        self._clock, self._min_failures, self._retries_kept = clock, min_failures, retries_kept
        self._switch: Switch = switch or LocalSwitch(clock)
        self._services: dict[str, _Service] = {}

    def _of(self, service: str) -> _Service:
        return self._services.setdefault(service, _Service(self._retries_kept))

    def standing(self, service: str) -> Standing:
        """How it stands, as far as this process knows."""
        known = self._services.get(service)
        if known is None or known.open_until is None:
            return CLOSED
        left_s = known.open_until - self._clock()
        return Standing("open" if left_s > 0 else "half-open", max(0.0, left_s), known.why)

    def standings(self) -> dict[str, Standing]:
        """Every service that was called from here or is open anywhere."""
        return {service: self.standing(service) for service in self._services}

    async def enter(self, service: str) -> Pass:
        """Ask for leave to call it. Raises Open."""
        if self._of(service).open_until is None:
            return Pass(service)
        standing = self.standing(service)
        if standing.state == "half-open" and await self._switch.probe(service, PROBE_S):
            return Pass(service, probe=True)
        raise Open(service, standing)

    async def leave(self, given: Pass, ok: bool, why: str = "") -> bool:
        """Count how the call ended; True when this opened the breaker."""
        known, now = self._of(given.service), self._clock()
        if ok:
            known.retries = min(self._retries_kept, known.retries + RETRIES_PER_SUCCESS)
            if given.probe:
                await self._close(given.service)
        known.ends.append((now, ok))
        if given.probe and not ok:
            await self._trip(given.service, why)
            return True
        if ok or known.open_until is not None or not self._too_many(known, now):
            return False
        await self._trip(given.service, why)
        return True

    async def give_back(self, given: Pass) -> None:
        """The call was called off, which says nothing of the service: another may be the probe at once."""
        if given.probe:
            await self._switch.release(given.service)

    def may_retry(self, service: str) -> bool:
        """Take a retry from the budget, if there is one left and the breaker is closed."""
        known = self._of(service)
        if known.retries < 1 or known.open_until is not None:
            return False
        known.retries -= 1
        return True

    def _too_many(self, known: _Service, now: float) -> bool:
        while known.ends and known.ends[0][0] < now - WINDOW_S:
            known.ends.popleft()
        failed = sum(not ok for _, ok in known.ends)
        return failed >= self._min_failures and failed >= FAILED_SHARE * len(known.ends)

    async def _trip(self, service: str, why: str) -> None:
        known = self._of(service)
        known.open_until, known.why = self._clock() + OPEN_S, why[:MAX_WHY_CHARS]
        known.ends.clear()
        log.warning("breaker of %s opens for %g s: %s", service, OPEN_S, known.why)
        await self._switch.trip(service, known.why, OPEN_S)

    async def _close(self, service: str) -> None:
        known = self._of(service)
        known.open_until, known.why = None, ""
        known.ends.clear()
        log.warning("breaker of %s closes", service)
        await self._switch.close(service)

    async def look(self) -> None:
        """Take over what other processes found."""
        if (said := await self._switch.standings()) is None:
            return
        now = self._clock()
        for service, standing in said.items():
            known = self._of(service)
            known.open_until, known.why = now + standing.retry_in_s, standing.why
        for service, known in self._services.items():
            if service not in said and known.open_until is not None:
                known.open_until, known.why = None, ""
                known.ends.clear()

    async def follow(self) -> None:
        """Look for as long as the process lives."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)
