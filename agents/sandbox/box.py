"""What a sandbox promises: bounds that hold for whatever runs in it, and what comes back of it."""

from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one run of code, with everything that it starts."""

    wall_s: float = 20.0
    """Then all of it is killed."""
    cpu_s: int = 20
    """Of each process."""
    memory_bytes: int = 512_000_000
    """Of all processes together; one of them may address twice as much."""
    processes: int = 32
    scratch_bytes: int = 64_000_000
    """In files, all together."""
    entries: int = 5_000
    """Files, folders and links at once: an empty one has no bytes, and costs the kernel a thousand."""
    output_bytes: int = 20_000
    """Printed text that comes back; the rest is dropped."""
    flood_bytes: int = 5_000_000
    """Printed text after which it is killed."""
    files: int = 10
    """Files that come back."""
    file_bytes: int = 4_000_000
    """Of one file that comes back."""


BOUNDS = Bounds()
MOST_AT_ONCE = 4
"""Codes at work in one process; more wait for their turn."""


@dataclass(frozen=True, slots=True)
class Made:
    """A file that the code left behind."""

    name: str
    data: bytes


End = Literal["done", "failed", "timed_out", "memory", "flood", "entries", "died"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one run."""

    end: End
    printed: str
    """What it wrote, with the traceback of an error in it."""
    files: tuple[Made, ...] = ()
    left_out: tuple[str, ...] = ()
    """Files that did not come back, each with the reason."""
    problem: str = ""
    """Why it ended, where it was ended."""


class NoIsolation(Exception):
    """Code cannot be kept apart here, so it is not run. `reason` names what is missing, `fix` the next move."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(f"{reason}; {fix}")
        self.reason, self.fix = reason, fix


class Sandbox(Protocol):
    """Runs one piece of Python, apart from everything else and from whatever ran before."""

    async def run(self, code: str) -> Outcome:
        """Run it to its end or its bounds. Raises NoIsolation before anything ran."""
        ...
