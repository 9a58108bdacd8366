"""Which sandbox is taken, and that a missing one is a refusal with the next move, never code that runs bare."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agents.sandbox.box import Bounds, NoIsolation
from agents.sandbox.boxes import Bubblewrap
from agents.sandbox.choice import Chosen
from agents.sandbox.monty import SmallPython

SMALL = Bounds(wall_s=30.0, memory_bytes=64_000_000)


@pytest.fixture
def refusing(tmp_path: Path) -> str:
    """A bubblewrap as on a machine without user namespaces."""
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    program.chmod(0o755)
    return str(program)


async def test_bubblewrap_is_taken_where_it_holds(boxes: Callable[..., Bubblewrap]) -> None:
    boxes()
    sandbox = Chosen("auto", Bounds(wall_s=60.0))
    try:
        assert (await sandbox.found()).name == "bubblewrap"
        assert await sandbox.found() is await sandbox.found()
        assert (await sandbox.run("6 * 7")).printed == "42\n"
    finally:
        await sandbox.aclose()


async def test_without_it_code_is_refused_with_the_next_move(tmp_path: Path) -> None:
    sandbox = Chosen("bubblewrap", SMALL, bwrap=str(tmp_path / "nothing"))

    with pytest.raises(NoIsolation, match="is not installed; install the package bubblewrap"):
        await sandbox.run("open('ran', 'w')")


async def test_where_it_cannot_isolate_code_is_refused_in_its_own_words(refusing: str) -> None:
    sandbox = Chosen("bubblewrap", SMALL, bwrap=refusing)

    with pytest.raises(NoIsolation, match="No permissions to create new namespace; allow this user to make user"):
        await sandbox.run("open('ran', 'w')")


async def test_auto_then_takes_the_small_interpreter(refusing: str) -> None:
    sandbox = Chosen("auto", SMALL, bwrap=refusing)

    assert (await sandbox.found()).name == "monty"
    assert (await sandbox.run("sum([1, 2, 3])")).printed == "6\n"


async def test_off_is_off() -> None:
    with pytest.raises(NoIsolation, match="SEXTANT_SANDBOX is off; set it to auto"):
        await Chosen("off").run("1")


@pytest.mark.parametrize(
    ("code", "end", "shown"),
    [("print('a')\n1 + 1", "done", "a\n2\n"), ("1 / 0", "failed", "ZeroDivisionError"),
     ("import numpy", "failed", "without numpy"), ("open('/etc/passwd').read()", "failed", "PermissionError"),
     ("[0] * 10**9", "memory", "")],
)  # fmt: skip
async def test_what_the_small_interpreter_does(code: str, end: str, shown: str) -> None:
    outcome = await SmallPython(SMALL).run(code)

    assert outcome.end == end, outcome
    assert shown in outcome.printed


async def test_an_endless_loop_in_it_ends() -> None:
    outcome = await SmallPython(Bounds(wall_s=0.2)).run("while True:\n    pass")

    assert (outcome.end, outcome.problem) == ("timed_out", "it was not done within 0.2 s")


async def test_where_nobody_sees_what_is_in_a_box_nothing_is_run_in_one(
    boxes: Callable[..., Bubblewrap], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not every kernel lists a process's children; there a limit of memory would never be noticed, nor a kill meant."""
    monkeypatch.setattr("agents.sandbox.tree._PROC", tmp_path)

    with pytest.raises(NoIsolation, match="does not tell which processes are in a box"):
        await boxes().run("print(1)")
    assert (await Chosen("auto", SMALL).found()).name == "monty"
