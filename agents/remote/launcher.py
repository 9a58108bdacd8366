"""Starts another program and sees to its end: when the parent dies, however that happens, so does all that was started.

    python -I -S launcher.py PARENT_PID PROGRAM [ARGUMENT ...]

Run as a file, with nothing ours, as the first of a process group of its own. Linux knows the signal of a parent's
death; elsewhere a server has to notice that its input has ended. It ends as the program does, with its code or signal.
"""

import contextlib
import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
ORPHANED = signal.SIGUSR1
"""Not one that a program is asked to end with: that is for the program to hear."""


def main(parent_pid: int, program: list[str]) -> None:
    """Never comes back."""
    signal.signal(ORPHANED, lambda *_: os.killpg(0, signal.SIGKILL))
    _at_the_end_of(parent_pid, ORPHANED)
    own = os.getpid()
    if not (child := os.fork()):
        signal.signal(ORPHANED, signal.SIG_DFL)
        _at_the_end_of(own, signal.SIGKILL)
        _become(program)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the program is told of it as well, and this one ends with it
    nowhere = os.open(os.devnull, os.O_RDWR)
    for place in (0, 1, 2):  # or the ends of the program's pipes would not be seen
        os.dup2(nowhere, place)
    _end_as(os.waitpid(child, 0)[1])


def _at_the_end_of(parent_pid: int, number: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent_pid:  # it died before we could ask for the signal
        os._exit(1)


def _become(program: list[str]) -> None:
    try:
        os.execvp(program[0], program)  # noqa: S606 - the settings name it
    except OSError as error:
        os.write(2, f"{program[0]}: {error.strerror}\n".encode())
        os._exit(1)


def _end_as(status: int) -> None:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError):  # of SIGKILL
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
