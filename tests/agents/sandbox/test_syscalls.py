"""The filter of system calls: whole for the machines that are known, refused for any other."""

import platform
import struct

import pytest

from agents.sandbox.box import Bounds, NoIsolation
from agents.sandbox.choice import Chosen
from agents.sandbox.syscalls import MACHINES, filter_program

JUMPS, RETURN = 0x05, 0x06


@pytest.mark.parametrize("machine", MACHINES)
def test_every_way_through_the_filter_ends_in_a_verdict(machine: str) -> None:
    program = filter_program(machine)
    steps = [struct.unpack("=HBBI", program[at : at + 8]) for at in range(0, len(program), 8)]

    assert len(program) % 8 == 0 and len(steps) < 4_096
    for at, (code, yes, no, _) in enumerate(steps):
        ahead = [0, *([yes, no] if code & 0x07 == JUMPS else [])]
        assert code == RETURN or all(at + 1 + it < len(steps) for it in ahead)
    assert steps[-1][0] == RETURN


def test_where_nobody_knows_the_numbers_nothing_is_run() -> None:
    with pytest.raises(NoIsolation, match="system calls of riscv64 are not known here; use one of x86_64, aarch64"):
        filter_program("riscv64")


async def test_there_the_small_interpreter_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")

    assert (await Chosen("auto", Bounds(wall_s=60.0)).found()).name == "monty"
    with pytest.raises(NoIsolation):
        await Chosen("bubblewrap", Bounds(wall_s=60.0)).found()
