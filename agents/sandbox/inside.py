"""The program inside the box: waits with numpy imported, runs one piece of code, hands back the files that it left.

It is the first process of its own world: when it ends, whatever the code started ends with it. The code runs in a child
under hard limits, so that a crash, an exit or a flood of memory in it leaves this one able to report. What is reported
is data to whoever reads it, never trusted: the code shares this program's user and could forge it.

Runs alone, by path, in an interpreter without site-packages of its own; it imports nothing of ours.
"""

import ast
import json
import linecache
import os
import resource
import signal
import stat
import sys
import threading
import time
import traceback
import warnings
from contextlib import suppress
from typing import Any

SCRATCH, OUT = "/scratch", "/scratch/out"
LOOK_S = 0.02
NAME = "<code>"
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".svg", ".pdf")


def main() -> None:
    """Wait for code on stdin; one piece, then the end."""
    setup = json.loads(sys.argv[1])
    report = int(setup["report_fd"])
    os.closerange(3, report)
    os.closerange(report + 1, 1024)
    sys.path.extend(setup["paths"])
    os.makedirs(OUT, exist_ok=True)
    os.chdir(OUT)
    with suppress(ImportError):  # whoever needs it is told by its own import
        import numpy  # noqa: F401 - the slow part of most code, done before anybody waits for it
    os.write(report, b"ready\n")
    given = sys.stdin.buffer.read()
    if given:
        _report(report, _carried(json.loads(given)), json.loads(given)["bounds"])


def _carried(asked: dict[str, Any]) -> str:
    """Run the code in a child; how that ended."""
    child = os.fork()
    if child == 0:
        _bounded(asked["bounds"])
        os._exit(_ran(asked["code"]))
    too_many = threading.Event()
    threading.Thread(target=_count, args=(asked["bounds"]["entries"], too_many), daemon=True).start()
    while True:
        pid, status = os.wait()
        if pid == child:
            break
    _kill_all()
    if too_many.is_set():
        return "entries"
    return "done" if status == 0 else "failed" if os.WIFEXITED(status) else signal.Signals(os.WTERMSIG(status)).name


def _kill_all() -> None:
    """Everybody else in this world; the first process is never its own target."""
    with suppress(ProcessLookupError):  # there is nobody else
        os.kill(-1, signal.SIGKILL)


def _count(most: int, too_many: threading.Event) -> None:
    """End it all when there are too many files: a scratch is bounded in bytes, and empty ones have none."""
    while True:
        scratch = os.statvfs(SCRATCH)
        if scratch.f_files - scratch.f_ffree > most:
            too_many.set()
            _kill_all()
        time.sleep(LOOK_S)


def _bounded(bounds: dict[str, Any]) -> None:
    """Hard limits: nobody in here has the right to raise them again."""
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.closerange(3, 1024)
    resource.setrlimit(resource.RLIMIT_CPU, (bounds["cpu_s"], bounds["cpu_s"] + 1))
    for what, most in (
        (resource.RLIMIT_AS, 2 * bounds["memory_bytes"]),
        (resource.RLIMIT_FSIZE, bounds["scratch_bytes"]), (resource.RLIMIT_NPROC, bounds["processes"]),
        (resource.RLIMIT_NOFILE, 64), (resource.RLIMIT_CORE, 0),
    ):  # fmt: skip
        resource.setrlimit(what, (most, most))


def _ran(code: str) -> int:
    """Run it as a notebook runs a cell: the value of a last expression is printed, open figures are kept."""
    warnings.filterwarnings("ignore", message=".*non-interactive.*")
    linecache.cache[NAME] = (len(code), None, code.splitlines(keepends=True), NAME)
    names: dict[str, Any] = {"__name__": "__main__"}
    try:
        tree = ast.parse(code, NAME)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, NAME, "exec"), names)  # noqa: S102 - this is what the box is for
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), NAME, "eval"), names)  # noqa: S307 - as above
            if value is not None:
                print(value)
        _keep_figures()
    except SystemExit as end:
        return 0 if end.code in (None, 0) else 1
    except BaseException as error:
        _tell(error)
        return 1
    finally:
        sys.stdout.flush()
    return 0


def _tell(error: BaseException) -> None:
    """The traceback without the frames of this program."""
    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename == __file__:
        frame = frame.tb_next
    sys.stdout.flush()
    traceback.print_exception(error.with_traceback(frame), file=sys.stdout, chain=False)


def _keep_figures() -> None:
    """Figures that were drawn and not saved."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None or any(name.lower().endswith(PICTURES) for name in os.listdir(OUT)):
        return
    for number in pyplot.get_fignums():
        pyplot.figure(number).savefig(f"{OUT}/figure-{number}.png", dpi=120, bbox_inches="tight")


def _report(fd: int, end: str, bounds: dict[str, Any]) -> None:
    """One line of JSON, then the files' bytes one after another."""
    files: list[tuple[str, bytes]] = []
    left_out: list[str] = []
    for name in sorted(os.listdir(OUT)):
        reason, data = _read(f"{OUT}/{name}", bounds["file_bytes"])
        if not reason and len(files) >= bounds["files"]:
            reason = f"more than {bounds['files']} files"
        if reason:
            left_out.append(f"{name} ({reason})")
        else:
            files.append((name, data))
    head = {"end": end, "files": [[name, len(data)] for name, data in files], "left_out": left_out[:20]}
    with os.fdopen(fd, "wb") as out:
        out.write(json.dumps(head).encode() + b"\n")
        for _, data in files:
            out.write(data)


def _read(path: str, most: int) -> tuple[str, bytes]:
    """(why not, bytes) of a plain file; a link is not followed, a pipe not waited for."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        return error.strerror or "unreadable", b""
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            return "not a plain file", b""
        if about.st_size > most:
            return f"{about.st_size:,} bytes of {most:,}", b""
        with os.fdopen(os.dup(fd), "rb") as file:
            return "", file.read(most)
    finally:
        os.close(fd)


if __name__ == "__main__":
    main()
