"""What a process and all of its descendants hold of this machine's memory, seen from outside of their world."""

from pathlib import Path

_PROC = Path("/proc")
_HELD = ("RssAnon:", "RssShmem:", "VmSwap:")


def descendants(pid: int) -> list[int]:
    """`pid` and every process below it, as far as they are still there."""
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += children(found[-1])
    return found


def memory_bytes(pids: list[int]) -> int:
    """What they hold that no file backs, here or swapped out. What several share counts for each: it errs upwards."""
    return sum(_private_bytes(pid) for pid in pids)


def children(pid: int) -> list[int]:
    """Those that it started, as far as they are still there."""
    try:
        tasks = list((_PROC / str(pid) / "task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:  # it has ended meanwhile
        return []


def _private_bytes(pid: int) -> int:
    try:
        lines = (_PROC / str(pid) / "status").read_text(errors="replace").splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(_HELD))
