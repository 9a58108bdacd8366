"""Open the app for a command, with a sign of life while that takes a second or two."""

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from app.settings import Settings
from app.terminal_blocks import console

if TYPE_CHECKING:
    from app.compose import App


@contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner on stderr while the block lasts, if somebody watches."""
    err = console(sys.stderr)
    if not err.is_terminal:
        yield
        return
    with err.status(what):
        yield


@asynccontextmanager
async def composed(settings: Settings, *, embed: bool = True) -> AsyncIterator["App"]:
    """The whole app, working on runs. Importing it is most of the wait, so that happens here too."""
    async with AsyncExitStack() as stack:
        with working("Starting"):
            from app.compose import compose

            app = await stack.enter_async_context(compose(settings, embed=embed))
            if embed:
                await app.bundled.wait()
        yield app
