"""Start the demo model beside the app, in a process of its own, and stop it with the app."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import orjson

START_TIMEOUT_S = 20
STOP_TIMEOUT_S = 5


@asynccontextmanager
async def demo_model(arguments: Sequence[str] = ("--tokens-per-s", "140")) -> AsyncIterator[str]:
    """Base URL of a demo model of our own, on a free port. It ends with us, also when we are killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.demo_model", "--port", "0", "--parent-pid", str(os.getpid()), *arguments,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches us alone: runs at work end as stopped, not over a model that is gone
    )  # fmt: skip
    try:
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), START_TIMEOUT_S)
            url = orjson.loads(line)["url"]
        except (TimeoutError, orjson.JSONDecodeError, KeyError) as error:
            raise RuntimeError(
                f"the demo model did not start within {START_TIMEOUT_S} s; set SEXTANT_MODEL_URL to a model of your "
                "own, or run `python -m app.demo_model` to see why"
            ) from error
        yield url
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            process.kill()
            await process.wait()
