"""How much is tried: two minutes' worth inside `make test`, all of it in `make soak`, which sets SEXTANT_SOAK."""

import os
from typing import TypeVar

SOAK = bool(os.environ.get("SEXTANT_SOAK"))
LONGEST_S = 3600 if SOAK else 300
"""Of one test, before it counts as hanging."""

T = TypeVar("T")


def extent(gate: T, soak: T) -> T:
    """The first inside `make test`, the second in `make soak`."""
    return soak if SOAK else gate
