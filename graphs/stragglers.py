"""Who may work, and who is late: places by urgency, and the pace of siblings.

A straggler works while at least half of the siblings that have begun are done, for more than twice their median. What
is done about it is the scheduler's business (`graphs/scheduling.py`). Time is the event loop's, so that a loop whose
time jumps sees the same decisions in no time.
"""

import asyncio
import heapq
from bisect import insort
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Literal

LATE_FACTOR = 2.0

Word = Literal["late", "hurry", "enough", "time"]
"""What one at work may be told: it is late, an answer is wanted now, enough others are done, its time is over."""


class Places:
    """At most `width` at work. A free place goes to the most urgent of those who wait; of equals, to who came first.

    It is given away two turns of the loop later, when those who became ready at the same moment have lined up too: one
    turn for all who leave now, one for whoever waited for them.
    """

    def __init__(self, width: int) -> None:
        self._free = width
        self._line: list[tuple[float, int, asyncio.Future[None]]] = []
        self._came = count()
        self._giving = False

    @asynccontextmanager
    async def place(self, urgency: float) -> AsyncIterator[None]:
        """Hold a place for as long as the context lasts."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._line, (-urgency, next(self._came), turn))
        self._give_soon()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()
            raise
        try:
            yield
        finally:
            self._leave()

    def _leave(self) -> None:
        self._free += 1
        self._give_soon()

    def _give_soon(self) -> None:
        if self._free and self._line and not self._giving:
            self._giving = True
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._give)

    def _give(self) -> None:
        self._giving = False
        while self._free and self._line:
            *_, turn = heapq.heappop(self._line)
            if not turn.done():
                self._free -= 1
                turn.set_result(None)


class Turn:
    """One sub-task at work, and what wakes whoever waits for it."""

    def __init__(self, begun_at: float) -> None:
        self.begun_at = begun_at
        self.is_late = False
        self._word: Word | None = None
        self._news: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def say(self, word: Word) -> None:
        """Tell it. That it is late does not count beside another word."""
        if self._word in (None, "late"):
            self._word = word
        self.wake()

    def wake(self, _: object = None) -> None:
        """There is something to look at; also a callback of whoever works."""
        if not self._news.done():
            self._news.set_result(None)

    async def news(self) -> Word | None:
        """Wait until there is something to look at; a word, once, if there is one."""
        await self._news
        self._news = asyncio.get_running_loop().create_future()
        word, self._word = self._word, None
        return word


class Pace:
    """All that have begun, how long those took that are done, and an alarm for the next one to be late."""

    def __init__(self, least_s: float, late: Callable[[str], None] | None) -> None:
        """`least_s`: nobody is late by less. `late`: called with the id of who is, once; None: nobody ever is."""
        self._least_s, self._late = least_s, late
        self._begun = 0
        self._took: list[float] = []
        self.turns: dict[str, Turn] = {}
        self._alarm: asyncio.TimerHandle | None = None

    def begin(self, id_: str) -> Turn:
        """Somebody begins."""
        self._begun += 1
        self.turns[id_] = turn = Turn(asyncio.get_running_loop().time())
        self._set_alarm()
        return turn

    def end(self, id_: str, good: bool) -> float:
        """Somebody ended: after how many seconds. One that failed says nothing about how long the work takes."""
        seconds = asyncio.get_running_loop().time() - self.turns.pop(id_).begun_at
        self._ended(seconds, good)
        return seconds

    def remember(self, seconds: float) -> None:
        """Somebody was done before this process had the run."""
        self._begun += 1
        self._ended(seconds, good=seconds > 0)

    def _ended(self, seconds: float, good: bool) -> None:
        if good:
            insort(self._took, seconds)
        self._set_alarm()

    def usual_s(self) -> float | None:
        """Median of those that are done, once they are half of the siblings of whoever still works."""
        done = len(self._took)
        if not done or done * 2 < self._begun - 1:
            return None
        return (self._took[(done - 1) // 2] + self._took[done // 2]) / 2

    def _set_alarm(self) -> None:
        if self._late is None:
            return
        if self._alarm:
            self._alarm.cancel()
            self._alarm = None
        usual_s = self.usual_s()
        slow = [turn.begun_at for turn in self.turns.values() if not turn.is_late]
        if usual_s is not None and slow:
            when = min(slow) + self._limit_s(usual_s)
            self._alarm = asyncio.get_running_loop().call_at(when, self._ring, usual_s)

    def _limit_s(self, usual_s: float) -> float:
        return max(LATE_FACTOR * usual_s, usual_s + self._least_s)

    def _ring(self, usual_s: float) -> None:
        before = asyncio.get_running_loop().time() - self._limit_s(usual_s)
        for id_, turn in self.turns.items():
            if not turn.is_late and turn.begun_at <= before + 1e-9:
                turn.is_late = True
                assert self._late is not None
                self._late(id_)
        self._set_alarm()

    def stop(self) -> None:
        """Nobody is watched any more."""
        if self._alarm:
            self._alarm.cancel()
        self._late = None
