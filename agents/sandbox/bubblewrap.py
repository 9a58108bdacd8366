"""Real Python in a world of its own: bubblewrap, an unprivileged user, nothing writable but a bounded scratch.

What is in there: the interpreter and its packages, read-only, some bare devices and `/scratch`. There is no network, no
`/proc`, no process but its own, no variable of this process, no capability, no further namespace to be had, and of the
kernel's calls none that leads past these (`syscalls.py`).

Traps that this steps around. To root the kernel grants any number of processes, whatever the limit says, so as root the
box is entered as nobody. Nobody cannot reach an interpreter under root's private home, so the paths are first bound to
a public place, in a mount namespace that only this box sees. What bubblewrap mounts for `/` and `/dev` is writable, and
unbounded, until it is remounted.
"""

import json
import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from agents.sandbox.box import Bounds, NoIsolation

NOBODY = "65534"
STAGE = "/tmp"  # noqa: S108 - inside a mount namespace of its own, over whatever is there
SYSTEM = ("/usr/lib", "/usr/lib64", "/usr/lib32", "/lib", "/lib64", "/lib32")
PACKAGES = ("numpy", "pandas", "matplotlib")
INSIDE = Path(__file__).with_name("inside.py")
PLACE = "/inside.py"
ENVIRONMENT = {
    "PATH": "/usr/bin", "HOME": "/scratch", "TMPDIR": "/scratch", "LANG": "C.UTF-8", "MPLBACKEND": "Agg",
    "MPLCONFIGDIR": "/scratch/.matplotlib", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
}  # fmt: skip


def command(bounds: Bounds, report_fd: int, filter_fd: int, bwrap: str = "bwrap") -> list[str]:
    """What starts a box that reports to one of these files and reads its filter of system calls from the other.

    Raises NoIsolation when a part of it is not installed.
    """
    bwrap = _program(bwrap, "install the package bubblewrap")
    bound, links = _bound()
    setup = json.dumps({"report_fd": report_fd, "paths": package_folders()})
    inner = [bwrap, "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session",
             "--as-pid-1", "--cap-drop", "ALL", "--clearenv", "--hostname", "sandbox",
             "--seccomp", str(filter_fd)]  # fmt: skip
    for name, value in ENVIRONMENT.items():
        inner += ["--setenv", name, value]
    outer, staged = _as_nobody(bwrap, bound)
    for source, place in staged.items():
        inner += ["--ro-bind", source, place]
    for target, place in links:
        inner += ["--symlink", target, place]
    inner += ["--dev", "/dev", "--remount-ro", "/dev", "--size", str(bounds.scratch_bytes), "--tmpfs", "/scratch",
              "--chdir", "/scratch", "--remount-ro", "/"]  # fmt: skip
    return [*outer, *inner, "--", os.path.realpath(sys.executable), "-I", "-S", "-B", PLACE, setup]


def _program(name: str, fix: str) -> str:
    found = shutil.which(name, path="/usr/bin:/bin:/usr/local/bin:/usr/sbin:/sbin")
    if found is None:
        raise NoIsolation(f"{name} is not installed", fix)
    return found


def package_folders() -> list[str]:
    """Folders that hold the packages which code in the box may import."""
    specs = (find_spec(name) for name in PACKAGES)
    return list(dict.fromkeys(str(Path(spec.origin).parents[1]) for spec in specs if spec and spec.origin))


def _bound() -> tuple[dict[str, str], list[tuple[str, str]]]:
    """(place in the box -> what is bound there, [(target, place)] of links)."""
    libraries = [path for path in SYSTEM if os.path.isdir(path) and not os.path.islink(path)]
    links = [(os.readlink(path), path) for path in SYSTEM if os.path.islink(path)]
    interpreter = [os.path.realpath(sys.executable), f"{sys.base_prefix}/lib"]
    places = dict.fromkeys([*libraries, *interpreter, *package_folders()])
    return {**{place: place for place in places}, PLACE: str(INSIDE)}, links


def _as_nobody(bwrap: str, bound: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """(what comes before the box, source -> place). Only root has to become somebody else, and sees to the paths."""
    if os.geteuid() != 0:
        return [], {source: place for place, source in bound.items()}
    setpriv = _program("setpriv", "install the package util-linux, or run as another user than root")
    stage = [bwrap, "--unshare-pid", "--dev-bind", "/", "/", "--tmpfs", STAGE]
    staged = {f"{STAGE}/{at}": place for at, place in enumerate(bound)}
    for source, place in staged.items():
        stage += ["--ro-bind", bound[place], source]
    become = [setpriv, "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
    return [*stage, "--die-with-parent", "--", *become, "--"], staged
