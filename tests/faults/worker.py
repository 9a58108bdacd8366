"""A worker process to be killed: the product's own Worker, with faults in what it writes through.

python worker.py        # forks a worker for each line of JSON on stdin, and says how each ended

Importing takes two seconds, and there are hundreds of workers; so one process imports and every worker is a fork of it,
a process like any other to the kernel and to Postgres.
"""

# ruff: noqa: E402 - LangGraph reads the variable when it is imported
from app.settings import require_strict_msgpack

require_strict_msgpack()

import asyncio
import gc
import json
import logging
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from patterns import NoCorpus, World, activities, team
from points import Fault, writers

from agents.agent import assemble
from agents.context import Context, Limits
from app.journal import Journal
from app.models import Deadlines, Endpoint, Models
from app.postgres import open_pool
from app.queue import Timing
from app.runs import Runs
from app.work import Worker

WORLD, FAULT = World(Path(os.devnull)), Fault()
"""Each process's own, once it is forked. They are there before, so that the tools are made once for all."""
TEAM, GRAPHS = team(WORLD, FAULT), activities()


async def work(job: Mapping[str, Any], up: Callable[[], None]) -> None:
    """Work until SIGTERM, or until the fault strikes."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(await open_pool(job["conninfo"], max_size=8, transaction_timeout_s=3))
        journal = await stack.enter_async_context(Journal(pool, job["conninfo"]).listening())
        endpoint = Endpoint(job["model_url"], job["model"])
        models = Models({"large": endpoint, "small": endpoint}, Deadlines())
        stack.push_async_callback(models.aclose)
        limits = Limits()
        agents = assemble(TEAM, models, limits)
        context = Context(models, agents, NoCorpus(), limits)
        worker = Worker(
            pool, journal, GRAPHS, context,
            model_name=job["model"], timing=Timing(**job["timing"]), writers=writers(FAULT),
        )  # fmt: skip
        await worker.queue.open(pool)
        async with worker.working(job["concurrency"]):
            up()
            await stop.wait()


async def post(job: Mapping[str, Any]) -> None:
    """Start a run for each question, all at once, as an API process does."""
    async with await open_pool(job["conninfo"], max_size=8) as pool:
        context: Any = None
        journal = Journal(pool, job["conninfo"])
        queue = Worker(pool, journal, GRAPHS, context, model_name="").queue
        await queue.open(pool)
        runs = Runs(pool, journal, queue, GRAPHS, max_question_chars=1000)
        await asyncio.gather(*(runs.start(job["thread"], "chat", question) for question in job["posts"]))


def prepare(job: Mapping[str, Any], report: Path) -> None:
    """Make the world and the fault this process's own."""
    WORLD.file = Path(job.get("world", os.devnull))
    fault = Fault(**job.get("fault") or {}, ended=report.with_suffix(".ended"), diary=report.with_suffix(".diary"))
    vars(FAULT).update(vars(fault))


def fork(job: Mapping[str, Any]) -> int:
    """A process that works; its id."""
    pid = os.fork()
    if pid:
        return pid
    voice = os.dup(1)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    report = Path(job["report"])
    log = os.open(report.with_suffix(".log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for descriptor in (0, 1, 2):
        os.dup2(log, descriptor)
    logging.basicConfig(level=logging.WARNING, force=True, format="%(asctime)s %(name)s %(message)s")
    code = 1
    try:
        prepare(job, report)
        asyncio.run(post(job) if "posts" in job else work(job, lambda: say({"up": os.getpid()}, voice)))
        report.write_text(json.dumps(FAULT.counts))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)  # no exit handler of the process that was forked may run here


def main() -> None:
    """Fork and reap until stdin ends; then nobody is left behind."""
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: set[int] = set()
    orders = b""
    gc.freeze()  # else each fork copies every page of what was imported as soon as it collects
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            woken.recv(100)
            reap(children)
        if 0 in ready:
            if not (read := os.read(0, 1 << 16)):
                break
            *lines, orders = (orders + read).split(b"\n")
            for line in lines:
                job = json.loads(line)
                children.add(pid := fork(job))
                say({"started": pid, "report": job["report"]})
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def reap(children: set[int]) -> None:
    """Say how each that has ended did, and who stopped where it was."""
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        if not pid:
            return
        if os.WIFSTOPPED(status):
            say({"halted": pid})
            continue
        children.discard(pid)
        say({"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def say(what: Mapping[str, Any], voice: int = 1) -> None:
    """One line, in one write: every worker says something on the same pipe."""
    os.write(voice, json.dumps(what).encode() + b"\n")


if __name__ == "__main__":
    main()
