"""From `sextant up` to the first streamed token of an answer: on an empty home, and on the second start.

Everything is real: the process, the embedded Postgres, the demo model, the sample corpus, HTTP and the event stream.
The question is asked as soon as the API says it is ready. The demo model's own time to first token is part of it.

    python tests/bench/cold_start.py [--starts 3]

Prints a table, and as the last line the same as JSON.
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

GOAL_S = 6.0
QUESTION = "What is an idempotency key?"


def start(home: Path) -> tuple[float, float]:
    """Seconds from the start of the process to ready, and to the first token of an answer."""
    environment = {**os.environ, "SEXTANT_HOME": str(home)}
    command = [sys.executable, "-m", "app.cli", "up", "--no-browser", "--port", "0"]
    begun = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        found = next(match for line in process.stdout if (match := re.search(r"ready: (http://\S+)", line)))
        ready_s = time.perf_counter() - begun
        first_token(found[1])
        return ready_s, time.perf_counter() - begun
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def first_token(url: str) -> None:
    """Ask, and come back when the answer's first token is here."""
    with httpx.Client(base_url=url, timeout=60) as client:
        thread = client.post("/api/threads", json={"graph": "chat"}).json()["thread_id"]
        body = {"assistant_id": "chat", "input": {"messages": [{"role": "user", "content": QUESTION}]}}
        run = client.post(f"/api/threads/{thread}/runs", json=body).json()["run_id"]
        with client.stream("GET", f"/api/runs/{run}/events") as events:
            next(line for line in events.iter_lines() if line == "event: llm.token")


ROOT = Path(__file__).parents[2]


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--starts", type=int, default=3)
    starts = options.parse_args().starts
    with TemporaryDirectory() as home:
        cold = start(Path(home))
        warm = [start(Path(home)) for _ in range(starts)]
    later = tuple(statistics.median(times) for times in zip(*warm, strict=True))
    print("start to ready, and to the first streamed token")
    print(f"  empty home    {cold[0]:5.1f} s  {cold[1]:5.1f} s")
    print(f"  second start  {later[0]:5.1f} s  {later[1]:5.1f} s  goal {GOAL_S:.0f} s, median of {starts}")
    print(json.dumps({"cold_s": cold, "warm_s": later}))


if __name__ == "__main__":
    main()
