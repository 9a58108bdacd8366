"""How much is tried: three minutes' worth inside `make test`, all of it in `make soak`, which sets SEXTANT_SOAK.

| kills | of each of the five patterns | of each of the four shapes |
|---|---|---|
| `make test` | every step's end, five other points, 20 at random | 3 steps' ends, the five, 6 at random |
| `make soak` | every step's end, all other points twice, 200 at random | the same |
"""

import os
from typing import TypeVar

SOAK = bool(os.environ.get("SEXTANT_SOAK"))
LONGEST_S = 3600 if SOAK else 300
"""Of one test, before it counts as hanging."""

T = TypeVar("T")


def extent(gate: T, soak: T) -> T:
    """The first inside `make test`, the second in `make soak`."""
    return soak if SOAK else gate
