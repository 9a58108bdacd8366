"""How long code waits for its sandbox: a box that was warm, a box made for it, the small interpreter.

Start-up is from the call until the code's own first line, by the clock that both sides of the wall share; the whole is
until its outcome is known and the box is gone. The median counts, and the slowest of the warm ones is told beside it.

    python tests/bench/sandbox.py [--repeats 15]

Prints a table, and as the last line the same as JSON.
"""

import argparse
import asyncio
import json
import logging
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from agents.sandbox.box import BOUNDS, NoIsolation, Sandbox
from agents.sandbox.boxes import Bubblewrap
from agents.sandbox.choice import prove
from agents.sandbox.monty import SmallPython

CLOCK = "import time\nprint(time.monotonic())"
NUMPY = "import numpy\nprint(numpy.arange(4).sum())"


async def timed(sandbox: Sandbox, code: str) -> tuple[float, float]:
    """Milliseconds until the code's first line, if it tells the time there, and until the outcome."""
    begun = time.monotonic()
    outcome = await sandbox.run(code)
    whole_ms = 1000 * (time.monotonic() - begun)
    assert outcome.end == "done", outcome
    return (1000 * (float(outcome.printed) - begun) if code == CLOCK else 0.0), whole_ms


async def boxed(repeats: int) -> dict[str, float]:
    """Boxes of bubblewrap. Raises NoIsolation where none can be made."""
    figures: dict[str, float] = {}
    cold = Bubblewrap(BOUNDS, warm=0)
    await prove(cold)
    for name, warm in (("cold", 0), ("warm", 1)):
        sandbox = Bubblewrap(BOUNDS, warm)
        took, numpy_ms = [], []
        for _ in range(repeats):
            await sandbox.prepare()
            took.append(await timed(sandbox, CLOCK))
            await sandbox.prepare()
            numpy_ms.append((await timed(sandbox, NUMPY))[1])
        await sandbox.aclose()
        figures |= {f"{name}_start_ms": statistics.median(start for start, _ in took),
                    f"{name}_slowest_ms": max(start for start, _ in took),
                    f"{name}_whole_ms": statistics.median(whole for _, whole in took),
                    f"{name}_numpy_ms": statistics.median(numpy_ms)}  # fmt: skip
    return figures


async def small(repeats: int) -> dict[str, float]:
    """The small interpreter, which has no clock: the whole of a run."""
    whole = [(await timed(SmallPython(), "6 * 7"))[1] for _ in range(repeats)]
    return {"small_whole_ms": statistics.median(whole)}


async def measured(repeats: int) -> dict[str, float]:
    """All of it, as far as this machine can."""
    print("sandbox")
    try:
        figures = await boxed(repeats)
    except NoIsolation as missing:
        print(f"  no boxes on this machine: {missing}")
        return await small(repeats)
    warm, cold = (f"{figures[f'{it}_start_ms']:.1f} ms, slowest {figures[f'{it}_slowest_ms']:.1f} ms"
                  for it in ("warm", "cold"))  # fmt: skip
    print(f"  start-up, warm box          {warm} (goal: under 30 ms)")
    print(f"  start-up, box made for it   {cold}")
    print(f"  one line, warm / cold       {figures['warm_whole_ms']:.0f} / {figures['cold_whole_ms']:.0f} ms in all")
    print(f"  numpy, warm / cold          {figures['warm_numpy_ms']:.0f} / {figures['cold_numpy_ms']:.0f} ms in all")
    return figures | await small(repeats)


def main() -> None:
    """Measure and tell."""
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeats", type=int, default=15)
    figures = asyncio.run(measured(parser.parse_args().repeats))
    print(f"  small interpreter           {figures['small_whole_ms']:.0f} ms in all")
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
