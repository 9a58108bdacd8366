"""One process for the laptop: page, API and worker in one ASGI server of our own.

Ours, because a stock server waits for open event streams before it stops, and the lifespan ends only after that. Here
the signal first ends the streams (each says `bye`, the page reconnects later), then everything else.
"""

import asyncio
import logging
import socket
import sys
import webbrowser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import streamlit as st
import streamlit.config as streamlit_config
import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette
from streamlit.runtime.pages_manager import PagesManager

import ui
from app.auth import Keys, is_loopback
from app.compose import App, compose
from app.postgres import database, migrate, open_pool
from app.protocols.mounts import mounted
from app.server import api
from app.settings import Settings

log = logging.getLogger(__name__)

PORTS_TRIED = 20
BACKLOG = 2048
SWITCH_INTERVAL_S = 0.0005
"""Python lets a busy thread run 5 ms at a time; page scripts would make streams stutter (p50 161 ms against 26)."""


class PublicBindRefused(RuntimeError):
    """Listening to strangers needs a key that somebody can show."""


class Server(uvicorn.Server):
    """uvicorn's, but a signal ends event streams first."""

    def __init__(
        self, config: uvicorn.Config, holder: "Holder", url: str, *, browser: bool, instead_of: int = 0
    ) -> None:
        """`instead_of`: the port that was asked for, where another program has it."""
        super().__init__(config)
        self._holder, self._url, self._browser, self._instead_of = holder, url, browser, instead_of

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say where the page is, once the port answers and not before."""
        await super().startup(sockets)
        if self.started:
            _announce(self._holder.get(), self._url, self._instead_of)
            if self._browser:
                await asyncio.to_thread(webbrowser.open, self._url)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End what would keep connections open, then stop."""
        if self._holder.app is not None:
            self._holder.app.journal.close()
        super().handle_exit(sig, frame)


class Holder:
    """Where the running App is, between the start and the end of the lifespan."""

    def __init__(self) -> None:
        self.app: App | None = None

    def get(self) -> App:
        """The running App."""
        if self.app is None:
            raise RuntimeError("not started yet")
        return self.app


def serve(settings: Settings, *, browser: bool = False) -> int:
    """Serve until a signal; the exit code. Raises PublicBindRefused when strangers could come in without a key."""
    if not is_loopback(settings.host):
        asyncio.run(require_key(settings))
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    listener = _listener(settings.host, settings.port)
    port = listener.getsockname()[1]
    url = f"http://{settings.host}:{port}"
    holder = Holder()

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        async with compose(settings) as holder.app:
            await holder.app.bundled.wait()  # the first question can be one about the sample documents
            yield
        holder.app = None

    config = uvicorn.Config(
        _asgi(holder, settings, lifespan, port),
        ws="websockets-sansio",
        log_level="warning",
        timeout_graceful_shutdown=10,
        access_log=False,
    )
    taken = settings.port if settings.port not in (0, port) else 0
    server = Server(config, holder, url, browser=browser, instead_of=taken)
    server.run(sockets=[listener])
    return 0 if server.started else 1


def _asgi(holder: Holder, settings: Settings, lifespan: Any, port: int) -> Any:
    page = Path(ui.__file__).with_name("main.py")
    app = st.App(str(page), lifespan=lifespan, routes=mounted(_api(holder, settings)))
    # after the App, which tells Streamlit where the page and so its theme lies; before, the theme would not be found
    # our pages are those that `st.navigation` names; else who comes by a link before anybody opened the chat would get
    # the files of `ui/pages` run as scripts, which draw nothing
    PagesManager.uses_pages_directory = False
    streamlit_config.set_option("server.port", port)
    streamlit_config.set_option("server.address", settings.host)
    return app


def _api(holder: Holder, settings: Settings) -> FastAPI:
    return api(holder.get, allowed_origins=settings.allowed_origins)


async def require_key(settings: Settings) -> None:
    """Raise PublicBindRefused unless somebody has a key. Asked before anything listens."""
    url = settings.database_url.get_secret_value() if settings.database_url else None
    async with database(url, settings.home) as conninfo, await open_pool(conninfo, max_size=2) as pool:
        await migrate(pool)
        if await Keys(pool).usable():
            return
    raise PublicBindRefused(
        f"host: {settings.host} can be reached by strangers and there is no key yet.\n"
        "Make one with `sextant key add NAME`, or listen on 127.0.0.1."
    )


def api_only(settings: Settings) -> Starlette:
    """The API without the page, for tests and for a server whose page runs elsewhere."""
    holder = Holder()

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        if not is_loopback(settings.host):
            await require_key(settings)
        async with compose(settings) as holder.app:
            yield

    return Starlette(routes=mounted(_api(holder, settings)), lifespan=lifespan)


def _listener(host: str, port: int) -> socket.socket:
    """A socket that listens on `port`, or on the next free one; who comes before the start is over waits for it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in range(port, port + PORTS_TRIED) if port else (0,):
        # asyncio turns Nagle's algorithm off only where the protocol is named; on, it costs 40 ms an answer
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, candidate))
            # at once: two that are only bound share a port, and the second to listen would fail after its whole start
            listener.listen(BACKLOG)
            return listener
        except OSError:
            listener.close()
    raise RuntimeError(f"port: {port} to {port + PORTS_TRIED - 1} are all in use; set SEXTANT_PORT to a free one")


def _announce(app: App, url: str, taken: int) -> None:
    stats = app.corpus.stats()
    model = "demo model (no key, no GPU, no network)" if app.settings.demo else app.settings.model
    elsewhere = f"  Not on port {taken}, which another program has.\n" if taken else ""
    print(
        f"\n  Sextant is ready: {url}\n{elsewhere}"
        f"  model: {model}; {stats.documents} documents, {stats.chunks} passages; started in {app.started_in_s:.1f} s\n"
        f"  Ctrl-C stops it. Runs, documents and chats stay in {app.settings.home}/\n",
        flush=True,
    )
