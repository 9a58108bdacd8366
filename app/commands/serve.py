"""`sextant up` and `sextant worker`: processes that stay."""

import asyncio
import sys
import webbrowser

from app.commands.start import composed, starting
from app.launch import Signals, explaining, launch, load_settings


def up(host: str | None, port: int | None, *, browser: bool, debug: bool) -> None:
    """Serve page, API and worker until a signal."""
    with explaining(debug=debug):
        settings = load_settings(host=host, port=port)
        with starting():
            from app.serving import serve
        sys.exit(serve(settings, browser=browser and sys.stdout.isatty() and _has_browser()))


def _has_browser() -> bool:
    """Whether there is one with a window: a text browser would take the terminal over."""
    try:
        return type(webbrowser.get()) is not webbrowser.GenericBrowser
    except webbrowser.Error:
        return False


def worker(concurrency: int | None, *, debug: bool) -> None:
    """Work until told to stop."""

    async def command(signals: Signals) -> int:
        settings = load_settings(worker_concurrency=concurrency)
        stop = asyncio.Event()

        async def polite() -> None:
            stop.set()

        async with composed(settings, embed=False):
            print(f"Working on up to {settings.worker_concurrency} runs at once. Ctrl-C stops it.", flush=True)
            with signals.do(polite):
                await stop.wait()
        print("Stopped. Runs that were at work wait for another worker.")
        return 0

    launch(command, debug=debug)
