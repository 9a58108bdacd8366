"""What readers of one run cost: twenty pages look at a run of two hundred sub-agents that all stream.

Once with a fold for each reader, as a process would do that keeps nothing in common, and once through
`app/watching.py`, which folds once for all. Same log, same process, CPU time: the ratio is the figure.

    python tests/bench/readers.py [--readers 20] [--agents 200] [--patches 25]

Prints a table, and as the last line the same as JSON.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"

from runlogs import RESEARCH, agent, begun, ev, log, planned, spawned, sub  # noqa: E402 - after the path is set

from app.events import RunEvent  # noqa: E402
from app.live import LiveView  # noqa: E402
from app.replies import sse  # noqa: E402
from app.watching import Watching  # noqa: E402

RUN = {"run_id": "r", "thread_id": "t", "graph": "research", "question": "Why?"}
TOKENS = 20
"""Sub-agents that say something between two patches."""


def played(agents: int, patches: int) -> tuple[list[RunEvent], list[list[RunEvent]]]:
    """A log up to where all sub-agents have begun to write, and the batches that follow."""
    ids = [str(n) for n in range(agents)]
    calls = (ev(2, "llm.started", f"l{id_}", agent(id_), model="m") for id_ in ids)
    before = [*begun(), *planned(1, *(sub(id_) for id_ in ids)), *(spawned(2, id_) for id_ in ids), *calls]
    after = [
        ev(
            3 + n / 10,
            "llm.token",
            f"l{(n * TOKENS + at) % agents}",
            agent(ids[(n * TOKENS + at) % agents]),
            text="so ",
        )
        for n in range(patches)
        for at in range(TOKENS)
    ]
    numbered = log(before, after)
    rest = numbered[len(before) :]
    return numbered[: len(before)], [rest[at : at + TOKENS] for at in range(0, len(rest), TOKENS)]


class Replay:
    """A log that hands out one batch whenever it is asked."""

    def __init__(self, batches: Sequence[list[RunEvent]]) -> None:
        self._batches = batches

    async def follow(self, run_id: str, after: int = 0) -> AsyncIterator[list[RunEvent]]:
        for batch in self._batches:
            yield batch


def folded(before: Sequence[RunEvent]) -> LiveView:
    view = LiveView(RUN, RESEARCH)
    view.apply(before)
    return view


async def apart(before: Sequence[RunEvent], batches: Sequence[list[RunEvent]], readers: int) -> float:
    """CPU seconds when each reader folds alone."""
    views = [folded(before) for _ in range(readers)]
    for view in views:
        view.whole()
    begun_at = time.process_time()
    for batch in batches:
        for view in views:
            view.apply(batch)
            sse("patch", {"seq": view.view.seq, **view.patch()}, view.view.seq)
    return time.process_time() - begun_at


async def together(before: Sequence[RunEvent], batches: Sequence[list[RunEvent]], readers: int) -> float:
    """CPU seconds when one fold serves them all."""
    view = folded(before)

    async def load(run_id: str, owner: str) -> LiveView:
        return view

    async def status(run_id: str, owner: str) -> str:
        return "running"

    replay: Any = Replay(batches)
    watching = Watching(lambda: replay, load, status)

    async def read() -> int:
        return sum([len(piece) async for piece in watching.read("r", "local")])

    begun_at = time.process_time()
    sizes = await asyncio.gather(*(read() for _ in range(readers)))
    spent_s = time.process_time() - begun_at
    assert max(sizes) - min(sizes) < 1_000  # the same patches; only the clock of the whole view differs
    assert not len(watching)
    return spent_s


async def measure(readers: int, agents: int, patches: int) -> dict[str, float]:
    """Both ways, on the same log."""
    before, batches = played(agents, patches)
    alone_s = await apart(before, batches, 1)
    apart_s, together_s = await apart(before, batches, readers), await together(before, batches, readers)
    return {
        "one_reader_ms_per_patch": alone_s / patches * 1000,
        "apart_ms_per_patch": apart_s / patches * 1000,
        "together_ms_per_patch": together_s / patches * 1000,
        "ratio": together_s / apart_s,
    }


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--readers", type=int, default=20)
    options.add_argument("--agents", type=int, default=200)
    options.add_argument("--patches", type=int, default=25)
    chosen = options.parse_args()
    it = asyncio.run(measure(chosen.readers, chosen.agents, chosen.patches))
    print(f"{chosen.readers} readers of one run of {chosen.agents} sub-agents, ms CPU a patch")
    print(f"  one reader                {it['one_reader_ms_per_patch']:8.1f}")
    print(f"  a fold for each           {it['apart_ms_per_patch']:8.1f}")
    print(f"  one fold for all          {it['together_ms_per_patch']:8.1f}  ratio {it['ratio']:.3f}")
    print(json.dumps(it))


if __name__ == "__main__":
    main()
