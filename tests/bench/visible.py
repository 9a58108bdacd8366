"""How long a person waits for what is stored: from an event's row to the frame of the page that shows it.

The product as it is (`sextant up` with the demo model at 140 tokens/s) and a real Chromium on one of its pages.
Questions are typed into the page; an observer in it notes in which frame the answer had which length; the database
notes when each event was stored; folding the events says from which one on the answer is so long. One machine, so one
clock.

    python tests/bench/visible.py [--rounds 8]

Prints a table, and as the last line the same as JSON. Without a Chromium on PATH it says so and measures nothing.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUESTIONS = (
    "What is an idempotency key, and which tool calls need one?",
    "What is Amdahl's law, and what does it say about sub-agents?",
)
INPUT = "[data-testid=stChatInputTextArea]"
FINAL = ".answer[data-final=true]"
PATIENCE_MS = 90_000
OBSERVE = """(turn) => {
  window.lengths = [];
  const note = (answer) => requestAnimationFrame(() => window.lengths.push(
    [answer.dataset.run, Number(answer.dataset.length), performance.timeOrigin + performance.now()]));
  const observer = new MutationObserver((changes) => new Set(changes.map((it) => it.target)).forEach(note));
  observer.observe(turn.getRootNode(), {subtree: true, attributes: true, attributeFilter: ["data-length"]});
}"""


@contextmanager
def product(home: Path) -> Iterator[str]:
    """The address of a `sextant up` on this home."""
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    up = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "up", "--no-browser", "--port", "0"],
        cwd=ROOT, env={**environment, "SEXTANT_HOME": str(home)}, stdout=subprocess.PIPE, text=True,
        stderr=(home / "up.log").open("w"),
    )  # fmt: skip
    try:
        assert up.stdout
        said = next((found for line in up.stdout if (found := re.search(r"ready: (http://\S+)", line))), None)
        assert said, (home / "up.log").read_text()[-2000:]
        yield said[1]
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)


@asynccontextmanager
async def database(home: Path) -> AsyncIterator[Any]:
    """A pool on the product's database, which from now on notes when it stores an event."""
    from app.embedded_postgres import EmbeddedServer
    from app.postgres import open_pool

    server = EmbeddedServer(home / "postgres")
    try:
        async with await open_pool(server.acquire()) as pool:
            async with pool.connection() as connection:
                await connection.execute(
                    "alter table run_events add column stored_at timestamptz not null default clock_timestamp()"
                )
            yield pool
    finally:
        server.release()


async def asked(page: Any, rounds: int) -> list[tuple[str, int, float]]:
    """Ask one question after the other; (run, length of its answer, ms of the frame that showed it)."""
    for n in range(rounds):
        await page.fill(INPUT, QUESTIONS[n % len(QUESTIONS)])
        await page.press(INPUT, "Enter")
        if n == 0:  # a page that has no turn yet; its first answer is not measured
            await page.locator(".turn").first.wait_for(timeout=PATIENCE_MS)
            await page.locator(".turn").first.evaluate(OBSERVE)
        await page.locator(FINAL).nth(n).wait_for(timeout=PATIENCE_MS)
    first = await page.locator(".answer").first.get_attribute("data-run")
    return [(run, length, ms) for run, length, ms in await page.evaluate("window.lengths") if run != first]


async def lags(pool: Any, shown: list[tuple[str, int, float]]) -> list[tuple[float, float]]:
    """(since it was stored, since it happened) in ms, of each event that made an answer longer."""
    from app.activities import discover_activities
    from app.journal import Journal
    from app.projection import RunView

    shape = discover_activities()["chat"].shape
    found = []
    for run_id in {run for run, *_ in shown}:
        async with pool.connection() as connection:
            rows = await connection.execute(
                "select seq, extract(epoch from stored_at)::float8 * 1000 as ms from run_events where run_id = %s",
                (run_id,),
            )
            stored_ms = {row["seq"]: row["ms"] for row in await rows.fetchall()}
        view, before = RunView(shape), 0
        for event in await Journal(pool, "").read(run_id):
            view.apply(event)
            length = len(view.answer.encode("utf-16-le")) // 2  # as a browser counts
            if length > before:
                frame_ms = min((ms for run, there, ms in shown if run == run_id and there >= length), default=None)
                if frame_ms is not None:
                    found.append((frame_ms - stored_ms[event.seq], frame_ms - event.at * 1000))
            before = length
    return found


async def measure(rounds: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """ms from stored to visible, and from happened to visible, of each event."""
    from playwright.async_api import async_playwright

    with TemporaryDirectory() as folder, product(Path(folder)) as url:
        async with database(Path(folder)) as pool, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            page = await browser.new_page(viewport={"width": 1440, "height": 900})
            await page.goto(url)
            await page.locator(INPUT).wait_for(timeout=PATIENCE_MS)
            shown = await asked(page, rounds + 1)
            await browser.close()
            stored, happened = zip(*await lags(pool, shown), strict=True)
    return stored, happened


def told(values: tuple[float, ...]) -> str:
    """Half of them are below p50, and 95 of 100 below p95."""
    return f"p50 {statistics.median(values):4.0f}, p95 {sorted(values)[int(len(values) * 0.95)]:4.0f} ms"


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=8)
    chosen = options.parse_args()
    print("an answer in the browser, as it is written")
    if not CHROMIUM:
        print("  not measured: there is no Chromium on PATH; on Debian: apt-get install chromium")
        return
    stored, happened = asyncio.run(measure(chosen.rounds))
    print(f"  event stored -> visible    {told(stored)}  ({len(stored)} events)")
    print(f"  event happened -> visible  {told(happened)}  (up to 50 ms of it gathers tokens)")
    print(json.dumps({"stored_visible_ms": stored, "happened_visible_ms": happened}))


if __name__ == "__main__":
    main()
