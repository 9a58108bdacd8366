"""Open the app for a command, with a sign of life while that takes a second or two."""

import gc
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from app.settings import Settings
from app.terminal_blocks import console

if TYPE_CHECKING:
    from app.compose import App


@contextmanager
def starting(what: str = "Starting") -> Iterator[None]:
    """For imports and what opens: a spinner on stderr, if somebody watches, and no garbage collection.

    What is imported stays, so looking for garbage in it is in vain, now and at exit: it was 40 % of the CPU of a start.
    """
    err = console(sys.stderr)
    gc.disable()
    try:
        with err.status(what) if err.is_terminal else nullcontext():
            yield
    finally:
        gc.freeze()
        gc.enable()


@asynccontextmanager
async def composed(settings: Settings, *, embed: bool = True) -> AsyncIterator["App"]:
    """The whole app, working on runs. Importing it is most of the wait, so that happens here too."""
    async with AsyncExitStack() as stack:
        with starting():
            from app.compose import compose

            app = await stack.enter_async_context(compose(settings, embed=embed))
            if embed:
                await app.bundled.wait()
        yield app
