"""Boxes of bubblewrap: each runs one piece of code and is gone; the next one is warm before anybody asks for it.

A box is started by the event loop's own thread, because what dies with its parent dies with the thread that started it.
"""

import asyncio
import json
import os
import signal
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from agents.sandbox.box import BOUNDS, MOST_AT_ONCE, Bounds, End, Made, NoIsolation, Outcome
from agents.sandbox.bubblewrap import command
from agents.sandbox.syscalls import filter_program
from agents.sandbox.tree import children, descendants, memory_bytes

START_S = 60.0
LOOK_S = 0.05
GRACE_S = 1.0
"""For the keeper of a box to see that it is empty."""
PIECE_BYTES = 65_536


class Box:
    """One box: it waits until it is given code, runs it, and is gone."""

    def __init__(
        self, bounds: Bounds, process: asyncio.subprocess.Process, report: asyncio.StreamReader, pipe: Any
    ) -> None:
        """Made by `Box.started`."""
        self._bounds, self._process, self._report, self._pipe = bounds, process, report, pipe
        self._printed = bytearray()
        self._written = 0
        self._stopped: tuple[End, str] | None = None

    @classmethod
    async def started(cls, bounds: Bounds, bwrap: str = "bwrap") -> "Box":
        """A box that is ready for code. Raises NoIsolation with what bubblewrap said."""
        program = filter_program()
        ours, theirs = os.pipe()
        rules, written = os.pipe()
        try:
            os.write(written, program)
            os.close(written)
            process = await asyncio.create_subprocess_exec(
                *command(bounds, theirs, rules, bwrap), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT, pass_fds=[theirs, rules], env={}, cwd="/",
            )  # fmt: skip
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
            os.close(rules)
        report = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(report)
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(ours, "rb"))
        box = cls(bounds, process, report, pipe)
        try:
            await box._ready()
        except BaseException:
            await box.close()
            raise
        return box

    async def _ready(self) -> None:
        try:
            async with asyncio.timeout(START_S):
                if await self._report.readline() == b"ready\n":
                    return self._refuse_unseen()
                assert self._process.stdout is not None
                said = (await self._process.stdout.read(2_000)).decode("utf-8", "replace").strip()
        except TimeoutError:
            raise NoIsolation(f"a box was not ready within {START_S:.0f} s", "look at this machine's load") from None
        last = said.splitlines()[-1] if said else "bubblewrap said nothing"
        raise NoIsolation(f"a box cannot be made: {last}", "allow this user to make user namespaces")

    def _refuse_unseen(self) -> None:
        """What nobody sees, nobody can count or end."""
        if not children(self.pid):
            reason = "this system does not tell which processes are in a box, so they cannot be bounded"
            raise NoIsolation(reason, "use a kernel that lists children in /proc")

    @property
    def alive(self) -> bool:
        """Whether it still waits, or works."""
        return self._process.returncode is None

    @property
    def pid(self) -> int:
        """Of the process whose end is the end of all that is in the box."""
        return self._process.pid

    async def run(self, code: str) -> Outcome:
        """Run the code; afterwards the box is gone, with whatever it had started."""
        request = json.dumps({"code": code, "bounds": asdict(self._bounds)}).encode()
        told = asyncio.create_task(self._told())
        work = [told, *map(asyncio.create_task, (self._give(request), self._listen(), self._watch()))]
        try:
            if (await asyncio.wait(work, timeout=self._bounds.wall_s))[1]:
                self._stop("timed_out", f"it was not done within {self._bounds.wall_s:g} s")
        finally:
            self.kill()
            await asyncio.wait(work, timeout=GRACE_S)  # their pipes have ended, and so do they
            await self.close()
            for it in work:
                it.cancel()
        return self._outcome(told.result() if told.done() and not told.cancelled() else None)

    async def _give(self, request: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(ConnectionError):  # it died while it waited, which is seen by what does not come back
            self._process.stdin.write(request)
            await self._process.stdin.drain()
            self._process.stdin.close()

    async def _told(self) -> tuple[dict[str, Any], tuple[Made, ...]] | None:
        """What the box reports. The code could have written it, so nothing of it is believed but what is checked."""
        try:
            head = json.loads(await self._report.readline())
            sizes = [(_text(name), int(size)) for name, size in head["files"]][: self._bounds.files]
            if any(not 0 <= size <= self._bounds.file_bytes for _, size in sizes):
                return None
            files = [Made(name, await self._report.readexactly(size)) for name, size in sizes]
            return {"end": str(head["end"]), "left_out": [_text(it) for it in head["left_out"][:20]]}, tuple(files)
        except (ValueError, TypeError, KeyError, asyncio.IncompleteReadError):
            return None

    async def _listen(self) -> None:
        """Take what it prints, the beginning of it."""
        assert self._process.stdout is not None
        while piece := await self._process.stdout.read(PIECE_BYTES):
            self._written += len(piece)
            self._printed += piece[: max(0, self._bounds.output_bytes - len(self._printed))]
            if self._written > self._bounds.flood_bytes:
                self._stop("flood", f"it printed more than {self._bounds.flood_bytes:,} bytes")

    async def _watch(self) -> None:
        """Stop it when all of its processes together hold too much."""
        ended = asyncio.ensure_future(self._process.wait())
        while not (await asyncio.wait([ended], timeout=LOOK_S))[0]:
            if (held := memory_bytes(descendants(self.pid))) > self._bounds.memory_bytes:
                most = self._bounds.memory_bytes
                self._stop("memory", f"it held {held / 1e6:,.0f} MB of memory of {most / 1e6:,.0f} MB")

    def _stop(self, end: End, problem: str) -> None:
        """It went past a bound. Whoever reads from it reads on to the end: a full pipe would keep it from ending."""
        self._stopped = self._stopped or (end, problem)
        self.kill()

    def kill(self) -> None:
        """End it, with all that is in it: by the first process of its world, so that its keeper can bury it."""
        for pid in children(self.pid) if self.alive else ():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def close(self) -> None:
        """End it and let go of what it held."""
        self.kill()
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await self._process.wait()
        if self.alive:
            self._process.kill()
            await self._process.wait()
        self._pipe.close()

    def _outcome(self, told: tuple[dict[str, Any], tuple[Made, ...]] | None) -> Outcome:
        printed = self._printed.decode("utf-8", "replace")
        if (more := self._written - len(self._printed)) > 0:
            printed += f"\n[{more:,} bytes more were printed, and dropped]"
        if self._stopped:
            return Outcome(self._stopped[0], printed, problem=self._stopped[1])
        if told is None:
            return Outcome("died", printed, problem="its process died")
        head, files = told
        if head["end"] in ("done", "failed"):
            return Outcome(head["end"], printed, files, tuple(head["left_out"]))
        if head["end"] == "entries":
            return Outcome("entries", printed, problem=f"it made more than {self._bounds.entries:,} files")
        over = head["end"] in ("SIGXCPU", "SIGKILL")
        spent = f"it used more than {self._bounds.cpu_s} s of processor time" if over else f"it died of {head['end']}"
        return Outcome("timed_out" if over else "died", printed, files, tuple(head["left_out"]), spent)


def _text(it: Any) -> str:
    """A name as text: a file may be called by bytes that are none."""
    return str(it).encode(errors="replace").decode()


class Bubblewrap:
    """Runs code in boxes, one each; after the first, one is always warm."""

    name = "bubblewrap"

    def __init__(self, bounds: Bounds = BOUNDS, warm: int = 1, bwrap: str = "bwrap") -> None:
        """`warm`: boxes that wait for code while none runs. `bwrap`: name or path of the program."""
        self.bounds, self._most_warm, self._bwrap = bounds, warm, bwrap
        self._warm: list[asyncio.Task[Box]] = []
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)
        self._closed = False

    async def run(self, code: str) -> Outcome:
        """Run it in a box of its own."""
        async with self._turns:
            box = await self._taken()
            self._refill()
            return await box.run(code)

    async def prepare(self) -> None:
        """Have a box warm. Raises NoIsolation when none can be made."""
        self._refill()
        await asyncio.gather(*self._warm)

    async def _taken(self) -> Box:
        while self._warm:
            task = self._warm.pop(0)
            box = await task  # cancelled while it waits, it cancels the start, which ends what it has
            if box.alive:
                return box
            await box.close()
        return await Box.started(self.bounds, self._bwrap)

    def _refill(self) -> None:
        while not self._closed and len(self._warm) < self._most_warm:
            self._warm.append(asyncio.create_task(Box.started(self.bounds, self._bwrap), name="a warm box"))

    async def aclose(self) -> None:
        """End the boxes that wait."""
        self._closed = True
        for task in self._warm:
            task.cancel()  # one that is being started ends what it has
        for box in await asyncio.gather(*self._warm, return_exceptions=True):
            if isinstance(box, Box):
                await box.close()
        self._warm.clear()
