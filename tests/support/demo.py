"""The demo model on a port of this process, and every byte that it was sent."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

from app.demo_model.server import DemoServer
from app.models import Deadlines, Endpoint, LeanChatModel, Models, chat_model

MODEL = "demo-large"


class RecordedDemo:
    """A demo model without waits, that keeps each chat request as it came over the wire."""

    def __init__(self, demo: DemoServer, url: str, bodies: list[bytes]) -> None:
        self.demo, self.url, self.bodies = demo, url, bodies

    def faults(self, *rules: dict[str, Any]) -> None:
        """What goes wrong from now on."""
        self.demo.faults.replace_with(list(rules))

    def model(self, deadlines: Deadlines | None = None, **options: Any) -> LeanChatModel:
        """The product's client of it, with prices."""
        endpoint = Endpoint(self.url, MODEL, None, price_in_usd_per_mtok=1.0, price_out_usd_per_mtok=2.0)
        return chat_model(endpoint, deadlines or Deadlines(), **options)

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The requests, parsed."""
        return [orjson.loads(body) for body in self.bodies]


@asynccontextmanager
async def recorded_demo() -> AsyncIterator[RecordedDemo]:
    """Serve one until the end of the context."""
    demo, bodies = DemoServer(ttft_ms=0, tokens_per_s=0), list[bytes]()

    @web.middleware
    async def keep(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.path.endswith("/chat/completions"):
            bodies.append(await request.read())
        return await handler(request)

    application = demo.application()
    application.middlewares.insert(0, keep)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield RecordedDemo(demo, f"http://127.0.0.1:{runner.addresses[0][1]}/v1", bodies)
    finally:
        await Models({}).aclose()
        await runner.cleanup()
