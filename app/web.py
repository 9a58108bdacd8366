"""Pages of the web as agents read them: fetched, parsed where a hostile file costs one worker, and kept for a while."""

import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import NamedTemporaryFile

from agents.context import Page, Passage
from agents.errors import ToolFailed
from agents.fetching import Fetched, fetch_url, permitted
from retrieval.documents import IngestError
from retrieval.parser import ParserPool

FRESH_S = 900.0
"""A page read again within this time is not fetched again."""
KEPT = 64
"""Pages that a process keeps; the oldest goes first."""
KEPT_CHARS = 20_000_000
"""Of all of them together: a page can be as long as a book."""
PARSE_S = 9.0
"""Of one page: what is fetched and parsed ends before the deadline of whoever asked."""
READERS = 2
"""A page that hangs its reader holds up one of them."""
_ENDINGS = {"text/html": ".html", "application/xhtml+xml": ".html", "text/markdown": ".md", "application/pdf": ".pdf"}


@dataclass(frozen=True, slots=True)
class _Kept:
    page: Page
    at: float

    @property
    def chars(self) -> int:
        """How long it is."""
        return sum(len(it.text) for it in self.page.passages)


class Web:
    """Reads pages, and gives an older copy, marked as such, of one that cannot be reached now."""

    def __init__(
        self, inside: Collection[str] = (), *, clock: Callable[[], float] = time.monotonic, kept_chars: int = KEPT_CHARS
    ) -> None:
        """`inside`: `host:port` of servers of this network that may be read all the same. `clock`: in seconds."""
        self._inside, self._clock, self._kept_chars = frozenset(inside), clock, kept_chars
        self._parsers = ParserPool(READERS, timeout_s=PARSE_S)
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    async def read(self, url: str) -> Page:
        """The page. Raises Refused for an address that may not be fetched, ToolFailed for what cannot be read."""
        key = str(permitted(url.strip(), self._inside))
        kept = self._kept.get(key)
        if kept and self._clock() - kept.at < FRESH_S:
            return replace(kept.page, age_s=self._clock() - kept.at)
        try:
            page = await self._parsed(await fetch_url(key, inside=self._inside))
        except ToolFailed:
            if kept is None:
                raise
            return replace(kept.page, age_s=self._clock() - kept.at, stale=True)
        self._keep(key, _Kept(page, self._clock()))
        return page

    def _keep(self, key: str, kept: _Kept) -> None:
        self._kept.pop(key, None)
        self._kept[key] = kept
        while len(self._kept) > KEPT or sum(it.chars for it in self._kept.values()) > self._kept_chars:
            self._kept.popitem(last=False)

    async def _parsed(self, got: Fetched) -> Page:
        name = "page" + _ENDINGS.get(got.media_type, ".txt")
        with NamedTemporaryFile(prefix="sextant-page-") as file:
            file.write(got.body)
            file.flush()
            try:
                digested = await self._parsers.digest(Path(file.name), name, len(got.body))
            except IngestError as error:
                raise ToolFailed(got.url, str(error), "try another address") from error
        title = "" if digested.title in ("page", name) else digested.title
        return Page(got.url, title, tuple(Passage(it.text, it.heading, it.page) for it in digested.pieces))

    async def aclose(self) -> None:
        """End the parser's process."""
        await self._parsers.close()
