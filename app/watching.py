"""Runs as their readers see them: folded once in a process, however many look, and forgotten when the last one leaves.

A page is sent the whole view first, then what changes. To fold the events and to find out what changed costs tens of
milliseconds for a team of hundreds, so it is done once for all readers of a run: every one is sent the same bytes. Who
comes later, or is too slow to keep up, gets a whole view and goes on from there.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable

from app.journal import Journal
from app.live import LiveView
from app.replies import STILL_HERE, sse

log = logging.getLogger(__name__)

PATCH_S = 0.06
"""Least time between two patches of one run; what happens in between travels together."""
KEPT = 64
"""Patches kept for readers that lag; one that lags further is sent a whole view."""

Load = Callable[[str, str], Awaitable[LiveView]]
"""(run id, owner) -> the run's view as it is now, folded."""
Status = Callable[[str, str], Awaitable[str]]
"""(run id, owner) -> what the run's row says, where no event can: that it is queued, or lost."""
Key = tuple[str, str]


class _Watch:
    """One run, and what was said of it."""

    def __init__(self) -> None:
        self.readers = 0
        self.view: LiveView | None = None
        self.task: asyncio.Task[None] | None = None
        self.said: deque[bytes] = deque(maxlen=KEPT)
        self.count = 0
        """Pieces said so far, of which `said` holds the newest."""
        self.last: bytes | None = None
        """The end, once there is one."""
        self.over = False
        self.news = asyncio.Event()

    def say(self, piece: bytes) -> None:
        self.said.append(piece)
        self.count += 1
        self.wake()

    def wake(self) -> None:
        news, self.news = self.news, asyncio.Event()
        news.set()

    def since(self, place: int) -> bytes | None:
        """All that was said from `place` on; None when not all of it is there any more."""
        late = self.count - place
        return None if late > len(self.said) else b"".join(list(self.said)[len(self.said) - late :])


class Watching:
    """The runs that somebody in this process looks at."""

    def __init__(self, journal: Callable[[], Journal], load: Load, status: Status) -> None:
        self._journal, self._load, self._status = journal, load, status
        self._watches: dict[Key, _Watch] = {}

    def __len__(self) -> int:
        return len(self._watches)

    async def read(self, run_id: str, owner: str) -> AsyncIterator[bytes]:
        """The owner's run as server-sent events: a whole view, patches, and its end or `bye`."""
        key = (run_id, owner)
        watch = self._joined(key)
        place: int | None = None
        try:
            while True:
                news = watch.news
                if watch.view is not None:
                    pieces = None if place is None else watch.since(place)
                    place = watch.count
                    if pieces is None:
                        pieces = _whole(watch.view)
                    if pieces:
                        yield pieces
                        continue  # more may have been said while these were on their way
                if watch.over:
                    break
                await news.wait()
            if watch.last is not None:
                yield watch.last
        finally:
            watch.readers -= 1
            if not watch.readers and watch.task is not None:
                self._forget(key, watch)
                watch.task.cancel()

    def _joined(self, key: Key) -> _Watch:
        watch = self._watches.get(key)
        if watch is None:
            watch = self._watches[key] = _Watch()
            watch.task = asyncio.create_task(self._follow(key, watch), name=f"watch {key[0]}")
        watch.readers += 1
        return watch

    def _forget(self, key: Key, watch: _Watch) -> None:
        """From here on, who asks for the run begins anew: it may have been resumed since."""
        if self._watches.get(key) is watch:
            del self._watches[key]

    async def _follow(self, key: Key, watch: _Watch) -> None:
        try:
            view = await self._load(*key)
            view.whole()
            watch.view = view
            watch.wake()
            if view.view.ended is None:
                await self._patches(key, watch, view)
            ended = view.view.ended is not None
            watch.last = sse("end", {"status": view.view.status}) if ended else sse("bye", {})
        except Exception as failure:
            # without an end the readers' connections close, and they ask again
            log.warning("run %s cannot be watched any more: %s", key[0], failure)
        finally:
            self._forget(key, watch)
            watch.over = True
            watch.wake()

    async def _patches(self, key: Key, watch: _Watch, view: LiveView) -> None:
        async for batch in self._journal().follow(key[0], view.view.seq):
            view.apply(batch)
            if not batch:
                view.status(await self._status(*key))
            if patch := view.patch():
                watch.say(sse("patch", {"seq": view.view.seq, **patch}, view.view.seq))
            elif not batch:
                watch.say(STILL_HERE)
            if view.view.ended is not None:
                return
            await asyncio.sleep(PATCH_S)


def _whole(view: LiveView) -> bytes:
    """What was last said of the run, all of it: the next patch fits to it."""
    seq, sent = view.sent
    return sse("view", {"seq": seq, "whole": True, "view": {**sent, "now": time.time()}}, seq)
