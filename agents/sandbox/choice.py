"""Which sandbox this machine can keep: tried by what it must refuse, once, when the first code comes.

Nothing that isolates less is ever taken in the place of what was asked for. `auto` takes bubblewrap, or the small
interpreter, which can do less and keeps apart no less.
"""

import asyncio
import logging
from typing import Literal

from agents.sandbox.box import BOUNDS, Bounds, NoIsolation, Outcome
from agents.sandbox.boxes import Bubblewrap
from agents.sandbox.monty import SmallPython

log = logging.getLogger(__name__)

Mode = Literal["auto", "bubblewrap", "monty", "off"]
PROOF = """\
import os, socket
held = []
try:
    socket.create_connection(("127.0.0.1", 9), timeout=1)
    held.append("reach the network")
except ConnectionRefusedError:
    pass  # a loopback of its own, on which nobody listens
except OSError:
    pass
try:
    children = 0
    while children < LIMIT + 8:
        if os.fork() == 0:
            import time
            time.sleep(60)
            os._exit(0)
        children += 1
    held.append("start any number of processes")
except OSError:
    pass
for path in ("/etc/passwd", "/proc/self/environ"):
    if os.path.exists(path):
        held.append("read " + path)
try:
    open("/written", "w")
    held.append("write to its own root")
except OSError:
    pass
try:
    os.memfd_create("held")
    held.append("hold memory that nobody counts")
except OSError:
    pass
print("; ".join(held) or "holds")
"""
"""Code that tries what it must not be able to do."""


async def prove(sandbox: Bubblewrap) -> None:
    """Raise NoIsolation unless a box can be made here and holds."""
    outcome = await sandbox.run(PROOF.replace("LIMIT", str(sandbox.bounds.processes)))
    said = outcome.printed.strip()
    if outcome.end != "done" or said != "holds":
        wrong = f"code in it can {said}" if outcome.end == "done" else outcome.problem or said
        raise NoIsolation(f"bubblewrap does not isolate here: {wrong}", "use another machine, or SEXTANT_SANDBOX=monty")


class Chosen:
    """The sandbox of this process, found when it is needed for the first time."""

    def __init__(self, mode: Mode = "auto", bounds: Bounds = BOUNDS, bwrap: str = "bwrap") -> None:
        """`mode`: as in SEXTANT_SANDBOX. `bwrap`: name or path of the program."""
        self._mode, self._bounds, self._bwrap = mode, bounds, bwrap
        self._found: Bubblewrap | SmallPython | None = None
        self._turn = asyncio.Lock()

    async def run(self, code: str) -> Outcome:
        """Run it in the one that was found."""
        return await (await self.found()).run(code)

    async def found(self) -> Bubblewrap | SmallPython:
        """The sandbox that this machine can keep. Raises NoIsolation with what is missing."""
        async with self._turn:
            if self._found is None:
                self._found = await self._look()
            return self._found

    async def _look(self) -> Bubblewrap | SmallPython:
        if self._mode == "off":
            raise NoIsolation("SEXTANT_SANDBOX is off", "set it to auto to run code apart from everything else")
        if self._mode == "monty":
            return SmallPython(self._bounds)
        boxes = Bubblewrap(self._bounds, bwrap=self._bwrap)
        try:
            await prove(boxes)
        except NoIsolation as missing:
            await boxes.aclose()
            if self._mode == "bubblewrap":
                raise
            log.warning("code runs in the small interpreter, without numpy and plots: %s", missing)
            return SmallPython(self._bounds)
        except BaseException:
            await boxes.aclose()
            raise
        return boxes

    async def aclose(self) -> None:
        """End whatever waits."""
        if self._found:
            await self._found.aclose()
