"""One writer at a time, over all processes that share a corpus: an advisory lock on a file.

The kernel lets go of it when its holder dies, however it dies.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

from retrieval.documents import CorpusError

_POLL_S = 0.02


class FileLock:
    """Blocks a thread, so take it in a worker thread only. Not re-entrant."""

    def __init__(self, path: Path, *, wait_s: float = 120.0) -> None:
        self.path = path
        self.wait_s = wait_s
        self._fd = -1

    def try_acquire(self) -> bool:
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def release(self) -> None:
        os.close(self._fd)
        self._fd = -1

    def __enter__(self) -> FileLock:
        give_up_at = time.monotonic() + self.wait_s
        while not self.try_acquire():
            if time.monotonic() > give_up_at:
                raise CorpusError(
                    str(self.path.parent),
                    f"another process has been writing for {self.wait_s:.0f} s",
                    "end it, or try again when it is done",
                )
            time.sleep(_POLL_S)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()
