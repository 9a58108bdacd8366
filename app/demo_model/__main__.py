"""Run the demo model: `python -m app.demo_model --port 0`.

Prints one line, `{"url": "http://127.0.0.1:PORT/v1"}`, once it serves. Ends on SIGTERM or SIGINT, and when the process
given as `--parent-pid` ends, so that a killed parent leaves nothing behind.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any

from aiohttp import web

from app.demo_model.server import DemoServer

PARENT_POLL_S = 0.5
SHUTDOWN_S = 0.3
"""Open streams are cut after this: whoever stops the demo model does not wait for its answers."""


def main() -> None:
    flags = _flags().parse_args()
    try:
        asyncio.run(serve(flags))
    except OSError as error:
        sys.exit(f"demo model: cannot listen on {flags.host}:{flags.port}: {error.strerror or error}")


def _flags() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m app.demo_model", description="The offline demo model.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 picks a free one")
    parser.add_argument("--ttft-ms", type=float, default=150, help="time to first token, in milliseconds")
    parser.add_argument("--tokens-per-s", type=float, default=60, help="pace of a stream; 0 is at once")
    parser.add_argument("--record", type=int, default=20, help="request bodies kept for /v1/demo/stats")
    parser.add_argument("--parent-pid", type=int, default=None, help="end when this process ends")
    return parser


async def serve(flags: argparse.Namespace) -> None:
    """Serve until told to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    local = flags.host == "localhost" or flags.host.startswith("127.") or flags.host == "::1"
    server = DemoServer(flags.ttft_ms, flags.tokens_per_s, flags.record, local_only=local)
    runner = web.AppRunner(
        server.application(), access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_S
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, flags.host, flags.port, backlog=1024).start()
        port = runner.addresses[0][1]
        host = f"[{flags.host}]" if ":" in flags.host else flags.host
        print(json.dumps({"url": f"http://{host}:{port}/v1"}), flush=True)
        await _first_of(stop.wait(), *([_gone(flags.parent_pid)] if flags.parent_pid is not None else []))
    finally:
        await runner.cleanup()


async def _first_of(*waits: Coroutine[Any, Any, Any]) -> None:
    tasks = [asyncio.create_task(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


async def _gone(pid: int) -> None:
    """Return when the process has ended: told by the kernel where it can, else looked up now and then."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except (AttributeError, OSError):
        while _alive(pid):  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(PARENT_POLL_S)
        return
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(watched, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(watched)
        os.close(watched)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if __name__ == "__main__":
    main()
