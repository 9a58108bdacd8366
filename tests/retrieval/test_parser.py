"""A file that kills its reader costs one worker and one file."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from retrieval.documents import IngestError
from retrieval.parser import ParserPool


def children() -> set[int]:
    """Process ids of this process' children, from the kernel."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has just ended
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


def wait_until(true: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + 60
    while not true() and time.monotonic() < give_up_at:
        time.sleep(0.005)


def told_by_the_kernel(pid: int) -> tuple[set[bytes], str]:
    """Names in a process' environment, and the largest file that it may write."""
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    (limit,) = [
        line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if line.startswith("Max file size")
    ]
    return {entry.split(b"=")[0] for entry in environment if entry}, limit.split()[3]


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.md"
    path.write_text("# Tides\n\nThe tide turns twice a day.\n")
    return path


async def test_a_file_comes_back_cut_and_in_terms(good: Path) -> None:
    pool = ParserPool(1)
    found = await pool.digest(good, "good.md", 40)
    await pool.close()
    assert (found.title, found.media_type, found.pages) == ("Tides", "text/markdown", None)
    assert [(piece.text, piece.terms) for piece in found.pieces] == [
        ("The tide turns twice a day.", ("tide", "tide", "turn", "twice", "day"))
    ]


async def test_the_deadline_ends_the_reader_and_the_next_file_is_read(good: Path) -> None:
    before = children()
    pool = ParserPool(1, timeout_s=0.001)
    with pytest.raises(IngestError, match="longer than 0 s"):
        await pool.digest(good, "slow.md", 40)
    assert children() == before
    await pool.close()


async def test_a_reader_out_of_memory_is_one_error(tmp_path: Path, good: Path) -> None:
    pool = ParserPool(1, memory_bytes=400_000_000)
    large = tmp_path / "large.txt"
    large.write_bytes(b"word and word. " * 6_000_000)
    with pytest.raises(IngestError, match="memory"):
        await pool.digest(large, "large.txt", 40)
    assert (await pool.digest(good, "good.md", 40)).title == "Tides"
    await pool.close()


async def test_a_reader_that_dies_is_replaced(good: Path) -> None:
    before = children()
    pool = ParserPool(1)
    await pool.digest(good, "good.md", 40)
    (worker,) = children() - before
    os.kill(worker, signal.SIGKILL)
    await asyncio.to_thread(wait_until, lambda: worker not in children())
    assert (await pool.digest(good, "good.md", 40)).title == "Tides"
    await pool.close()
    assert children() == before


async def test_a_reader_that_dies_in_the_middle_is_an_error(tmp_path: Path, good: Path) -> None:
    before = children()
    pool = ParserPool(1)
    large = tmp_path / "large.txt"
    large.write_text("Some words that go on. " * 400_000)
    reading = asyncio.create_task(pool.digest(large, "large.txt", 40))
    await asyncio.to_thread(wait_until, lambda: children() - before)
    os.kill((children() - before).pop(), signal.SIGKILL)
    with pytest.raises(IngestError, match="crashed"):
        await reading
    await pool.close()


async def test_what_cannot_be_read_keeps_its_reason_and_its_fix(tmp_path: Path, make_pdf: Callable[..., Path]) -> None:
    pool = ParserPool(1)
    path = make_pdf([["hidden"]], password="s3cret")
    with pytest.raises(IngestError) as caught:
        await pool.digest(path, "locked.pdf", 40)
    await pool.close()
    assert (caught.value.name, caught.value.reason) == ("locked.pdf", "it is encrypted with a password")
    assert caught.value.fix == "save a copy without a password and add that"


async def test_the_reader_has_an_empty_environment_and_cannot_write(good: Path) -> None:
    before = children()
    pool = ParserPool(1)
    await pool.digest(good, "good.md", 40)
    (worker,) = children() - before
    told = told_by_the_kernel(worker)
    await pool.close()
    assert told == ({b"PYTHONPATH"}, "0")
