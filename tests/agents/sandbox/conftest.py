"""Boxes for tests, where this machine can make any: where bubblewrap itself cannot, the refusal is what is tested."""

import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from agents.sandbox.box import BOUNDS, Bounds
from agents.sandbox.boxes import Bubblewrap

PATIENT = replace(BOUNDS, wall_s=60.0, cpu_s=30)
"""For whatever is to come to its own end on a busy machine."""


@cache
def why_not() -> str:
    """Why no box can be made here, asked of bubblewrap alone and not of ours; "" where one can."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return "bubblewrap is not installed"
    bare = [bwrap, "--unshare-all", "--unshare-user", "--ro-bind", "/", "/", "/bin/true"]
    tried = subprocess.run(bare, capture_output=True, text=True, timeout=60)
    return f"bubblewrap cannot isolate here: {tried.stderr.strip()}" if tried.returncode else ""


@pytest.fixture
async def boxes() -> AsyncIterator[Callable[..., Bubblewrap]]:
    """Bubblewrap with the bounds that a test gives."""
    if reason := why_not():
        pytest.skip(reason)
    made: list[Bubblewrap] = []

    def make(warm: int = 0, **bounds: Any) -> Bubblewrap:
        made.append(Bubblewrap(replace(PATIENT, **bounds), warm))
        return made[-1]

    yield make
    for it in made:
        await it.aclose()


@pytest.fixture
def patient() -> Bounds:
    """Bounds that a busy machine keeps."""
    return PATIENT
