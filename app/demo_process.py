"""The demo model beside the app, in a process of its own: started, started again when it dies, stopped with the app."""

import asyncio
import logging
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import orjson

log = logging.getLogger(__name__)

START_TIMEOUT_S = 20
STOP_TIMEOUT_S = 5
AGAIN_S = (0.1, 1.0, 5.0, 30.0)
"""Pauses before it is started again; the last one for as long as it does not come up."""


@asynccontextmanager
async def demo_model(arguments: Sequence[str] = ("--tokens-per-s", "140")) -> AsyncIterator[str]:
    """Base URL of a demo model of our own, on a free port. It ends with us, also when we are killed."""
    demo = _Demo(arguments)
    url = await demo.start()
    keeper = asyncio.create_task(demo.keep(urlsplit(url).port or 0), name="demo model")
    try:
        yield url
    finally:
        keeper.cancel()
        await asyncio.wait([keeper])
        await demo.stop()


class _Demo:
    """The process, whichever it is by now."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = arguments
        self._process: Process | None = None

    async def start(self, port: int = 0) -> str:
        """Its URL, once it answers there. Raises RuntimeError when it does not come up."""
        # in a session of its own, Ctrl-C reaches us alone: runs at work end as stopped, not over a model that is gone
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app.demo_model", "--port", str(port), "--parent-pid", str(os.getpid()),
            *self._arguments, stdout=asyncio.subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), START_TIMEOUT_S)
            return str(orjson.loads(line)["url"])
        except BaseException as error:
            await self.stop()
            if not isinstance(error, TimeoutError | orjson.JSONDecodeError | KeyError):
                raise
            raise RuntimeError(
                f"the demo model did not start within {START_TIMEOUT_S} s; set SEXTANT_MODEL_URL to a model of your "
                "own, or run `python -m app.demo_model` to see why"
            ) from error

    async def keep(self, port: int) -> None:
        """Start it again where it was whenever it dies; the kernel's memory killer may take it."""
        failed = 0
        while self._process is not None:
            await self._process.wait()
            log.warning("the demo model died; starting it again")
            await asyncio.sleep(AGAIN_S[min(failed, len(AGAIN_S) - 1)])
            try:
                await self.start(port)
                failed = 0
            except (OSError, RuntimeError) as error:
                failed += 1
                log.warning("%s", error)

    async def stop(self) -> None:
        """End it, by force if need be."""
        process = self._process
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            process.kill()
            await process.wait()
