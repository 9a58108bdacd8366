"""A server of the product's own code in a thread, on a real socket and a real database, with graphs of a test's own."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import uvicorn
from langgraph.graph import StateGraph
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier
from pydantic import SecretStr
from starlette.applications import Starlette

from app.activities import Activity
from app.compose import App, compose
from app.protocols.mounts import mounted
from app.server import api
from app.settings import Settings
from app.shapes import read_shape

START_S = 60


class House:
    """A running server."""

    def __init__(self, home: Path, database_url: str, graphs: dict[str, StateGraph[Any, Any, Any, Any]], **more: Any):
        self.graphs, self.more = graphs, more
        # a model that nobody asks: graphs of tests bring their own
        self.settings = Settings(
            home=home, database_url=SecretStr(database_url), model_url="http://127.0.0.1:9/v1", **more
        )
        self.ready = threading.Event()
        self.app: App
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._listener.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.server = uvicorn.Server(uvicorn.Config(self._asgi(), log_level="warning", lifespan="on"))
        self.thread = threading.Thread(target=self._serve, name="house")

    def _asgi(self) -> Starlette:
        @asynccontextmanager
        async def lifespan(_: Any) -> AsyncIterator[None]:
            async with compose(self.settings, embed=False) as self.app:
                for name, builder in self.graphs.items():
                    shape = read_shape(builder.compile(name=name))
                    self.app.activities[name] = Activity(name, f"{name}, for tests", builder, shape, {})  # type: ignore[index]
                self.ready.set()
                yield

        inner = api(lambda: self.app, allowed_origins=self.settings.allowed_origins)
        return Starlette(routes=mounted(inner), lifespan=lifespan)

    def _serve(self) -> None:
        asyncio.run(self.server.serve(sockets=[self._listener]))

    def stop(self) -> None:
        """Go down as the product does: streams first."""
        self.app.journal.close()
        self.server.should_exit = True
        self.thread.join(90)
        assert not self.thread.is_alive()

    def http(self, key: str | None = None, **more: Any) -> httpx.Client:
        """A plain client."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=f"{self.url}/api/", headers=headers, timeout=30, **more)


@contextmanager
def database(postgres: str) -> Iterator[str]:
    """An empty database."""
    name = Identifier(f"test_{uuid4().hex}")
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(SQL("create database {}").format(name))
        yield make_conninfo(postgres, dbname=name.as_string().strip('"'))
        admin.execute(SQL("drop database {} with (force)").format(name))


@contextmanager
def house(home: Path, postgres: str, graphs: dict[str, Any] | None = None, **settings: Any) -> Iterator[House]:
    """A server for as long as the block lasts."""
    with database(postgres) as url:
        running = House(home, url, graphs or {}, **settings)
        running.thread.start()
        assert running.ready.wait(START_S), "the server did not start"
        try:
            yield running
        finally:
            running.stop()
