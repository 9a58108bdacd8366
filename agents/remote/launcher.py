"""Becomes another program that is killed when its parent dies, however that happens. Run as a file, with nothing ours.

    python -I -S launcher.py PARENT_PID PROGRAM [ARGUMENT ...]

Linux knows the signal of a parent's death; elsewhere a server has to notice that its input has ended.
"""

import contextlib
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent_pid: int, program: list[str]) -> None:
    """Never comes back."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before we could ask for the signal
        sys.exit(1)
    try:
        os.execvp(program[0], program)  # noqa: S606 - the settings name it
    except OSError as error:
        sys.exit(f"{program[0]}: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
