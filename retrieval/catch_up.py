"""Give every chunk its vector, in the background: resumable, committed batch by batch, one process at a time.

Begins by publishing what a killed process left unpublished. A batch is 64 chunks of like length, which is what an
embeddings server pads; vectors become searchable every few seconds and at the end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

from retrieval.documents import EmbedProgress
from retrieval.embed import Embedder
from retrieval.home import Home
from retrieval.lock import FileLock
from retrieval.store import Pending

BATCH = 64
WINDOW = 512
"""Chunks looked at together, so that batches can be of like length."""
PUBLISH_EVERY_S = 15.0
PUBLISH_SHARE = 20
"""Publishing may take one part in so many of the time: it writes every vector anew."""
_WAIT_S = 0.5


class CatchUp:
    def __init__(
        self,
        home: Home,
        embedder: Embedder,
        progress: Callable[[EmbedProgress], None] | None,
        stop: asyncio.Event | None,
    ) -> None:
        self._home, self._embedder, self._progress = home, embedder, progress
        self._stop = stop or asyncio.Event()
        self._started = self._published = time.monotonic()
        self._pause_s = PUBLISH_EVERY_S
        self._done, self._total = 0, 0

    async def run(self) -> int:
        """Embed until nothing is pending or `stop` is set; say how many chunks this call embedded."""
        await self._publish()
        lock = self._home.embed_lock()
        while not await self._home.read(lock.try_acquire):
            if self._stop.is_set() or not await self._watch():
                return 0
            await asyncio.sleep(_WAIT_S)
        return await self._holding(lock)

    async def _watch(self) -> int:
        """Another process embeds: show its progress as ours."""
        left = (await self._home.read(self._home.store.counts, self._embedder.name)).pending
        self._total = max(self._total, left)
        self._tell(self._total - left)
        return left

    async def _holding(self, lock: FileLock) -> int:
        try:
            self._total = (await self._home.read(self._home.store.counts, self._embedder.name)).pending
            self._tell(0)
            while not self._stop.is_set() and await self._pass():
                continue
        finally:
            if self._done:
                await self._publish()
            lock.release()
        return self._done

    async def _pass(self) -> int:
        """Go once over what is pending; documents that came meanwhile are for the next pass."""
        after, embedded = 0, 0
        while not self._stop.is_set():
            window = await self._home.read(self._home.store.pending, self._embedder.name, WINDOW, after)
            if not window:
                break
            after = window[-1].row_id
            for batch in _batches(window):
                embedded += await self._embed(batch)
        return embedded

    async def _embed(self, batch: list[Pending]) -> int:
        if self._stop.is_set():
            return 0
        unique = {each.digest: each.text for each in batch}
        vectors = await self._embedder.embed(list(unique.values()))
        await self._home.write(self._home.store.put_vectors, self._embedder.name, list(unique), vectors)
        self._done += len(batch)
        self._tell(self._done)
        if time.monotonic() - self._published > self._pause_s:
            await self._publish()
        return len(batch)

    async def _publish(self) -> None:
        began = time.monotonic()
        await self._home.write(self._home.publish, self._embedder.name)
        self._published = time.monotonic()
        self._pause_s = max(PUBLISH_EVERY_S, PUBLISH_SHARE * (self._published - began))

    def _tell(self, done: int) -> None:
        if self._progress is not None:
            total = max(self._total, done)
            self._progress(EmbedProgress(done, total, time.monotonic() - self._started))


def _batches(window: list[Pending]) -> Iterator[list[Pending]]:
    by_length = sorted(window, key=lambda each: len(each.text))
    for start in range(0, len(by_length), BATCH):
        yield by_length[start : start + BATCH]
