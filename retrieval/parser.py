"""Read strangers' files in processes that may die: parse, chunk and cut into terms, under a deadline and a memory cap.

A hostile PDF can loop, swell or crash its reader; here that costs one worker and one file. This is the parent's end,
`parser_process` the child's. They speak lines of JSON, never pickle, and the parent checks what it is told. The child
starts with an empty environment.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from retrieval.documents import Digested, IngestError, Piece

MEMORY_BYTES = 2_000_000_000
MAX_LINE_BYTES = 1_000_000
BASE_TIMEOUT_S = 60.0
TIMEOUT_S_PER_MB = 15.0
"""pypdf reads some 60 pages a second, and a megabyte can hold a thousand."""
_BROKEN = (ConnectionError, ValueError, KeyError, TypeError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)


class ParserPool:
    """As many workers as `size`, started when first needed, replaced when they die."""

    def __init__(self, size: int = 2, *, memory_bytes: int = MEMORY_BYTES, timeout_s: float | None = None) -> None:
        self._idle: asyncio.Queue[_Worker | None] = asyncio.Queue()
        for _ in range(size):
            self._idle.put_nowait(None)
        self._size = size
        self._memory_bytes = memory_bytes
        self._timeout_s = timeout_s

    async def digest(self, path: Path, name: str, size_bytes: int) -> Digested:
        """Read one file. Raises IngestError, whatever the file does to its reader."""
        timeout_s = self._timeout_s or BASE_TIMEOUT_S + TIMEOUT_S_PER_MB * size_bytes / 1e6
        worker = await self._idle.get()
        try:
            if worker is not None:
                with suppress(_Died):  # perhaps long ago and not by this file: a fresh one will tell
                    return await worker.digest(path, name, timeout_s)
            worker = await _Worker.start(self._memory_bytes)
            return await worker.digest(path, name, timeout_s)
        except _Died as error:
            fix = "open it in its own program, save it anew, and try again"
            raise IngestError(name, "its reader crashed or ran out of memory", fix) from error
        except TimeoutError as error:
            await _end(worker)
            fix = "split it, or save it anew as plain PDF or text"
            raise IngestError(name, f"reading it took longer than {timeout_s:.0f} s", fix) from error
        except asyncio.CancelledError:
            await _end(worker)
            raise
        finally:
            self._idle.put_nowait(worker if worker is not None and worker.alive else None)

    async def close(self) -> None:
        for _ in range(self._size):
            await _end(await self._idle.get())


async def _end(worker: _Worker | None) -> None:
    if worker is not None:
        await worker.kill()


class _Died(Exception):
    """The child is gone, or says what it never would."""


class _Worker:
    """The parent's end of one child."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, memory_bytes: int) -> _Worker:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-X", "utf8", "-m", "retrieval.parser_process", str(memory_bytes)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PYTHONPATH": str(Path(__file__).parent.parent)},
            limit=MAX_LINE_BYTES,
            start_new_session=True,  # Ctrl-C is the parent's business
        )
        return cls(process)

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def digest(self, path: Path, name: str, timeout_s: float) -> Digested:
        assert self._process.stdin is not None
        request = {"path": str(path), "name": name, "timeout_s": timeout_s}
        try:
            async with asyncio.timeout(timeout_s):
                self._process.stdin.write(json.dumps(request).encode() + b"\n")
                await self._process.stdin.drain()
                return await self._answer(name)
        except _BROKEN as error:
            await self.kill()
            raise _Died from error

    async def _answer(self, name: str) -> Digested:
        head = await self._line()
        if "error" in head:
            raise IngestError(name, str(head["error"]), str(head["fix"]))
        pieces = []
        while "end" not in (line := await self._line()):
            pieces.append(_piece(line))
        if not pieces:
            raise IngestError(name, "no text in it", "check that it opens and holds text")
        pages = None if head["pages"] is None else int(head["pages"])
        notes = tuple(str(note) for note in head["notes"])
        return Digested(str(head["title"]), str(head["media_type"]), pages, tuple(pieces), notes)

    async def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        found = json.loads(await self._process.stdout.readuntil(b"\n"))
        if not isinstance(found, dict):
            raise ValueError("a line that is no object")
        return found

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


def _piece(line: dict[str, Any]) -> Piece:
    page = None if line["page"] is None else int(line["page"])
    return Piece(str(line["heading"]), page, str(line["text"]), tuple(str(term) for term in line["terms"]))
