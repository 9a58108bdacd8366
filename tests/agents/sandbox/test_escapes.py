"""The escape suite: code that wants out, up, or all of this machine. None gets anywhere, and all of it is gone after.

Every try is judged by what it reached, on this side of the wall where that can be seen from here.
"""

import asyncio
import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from agents.sandbox.box import Outcome
from agents.sandbox.boxes import Box, Bubblewrap
from agents.sandbox.bubblewrap import package_folders
from agents.sandbox.tree import descendants, memory_bytes

Make = Callable[..., Bubblewrap]
ROOT = Path(__file__).parents[3]
INTERPRETER = os.path.realpath(sys.executable)


async def said(boxes: Make, code: str, **bounds: Any) -> Any:
    """What code that prints JSON had to tell."""
    outcome = await boxes(**bounds).run(f"import json, os, sys\n{code}")
    assert outcome.end == "done", outcome
    return json.loads(outcome.printed)


async def gone(pids: set[int]) -> None:
    """Wait until none of the processes is there; the kernel buries them a moment after their end."""
    async with asyncio.timeout(60):
        while True:
            if not any(_alive(pid) for pid in pids):
                return
            await asyncio.sleep(0.01)


def _user_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def _alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


class Watched:
    """A box whose processes and memory are looked at from this side while code runs in it."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self.pids: set[int] = set()
        self.most_bytes = self.most_pids = 0

    async def run(self, code: str) -> Outcome:
        running = asyncio.create_task(self._box.run(code))
        while not running.done():
            found = descendants(self._box.pid)
            self.pids |= set(found)
            self.most_pids = max(self.most_pids, len(found))
            self.most_bytes = max(self.most_bytes, memory_bytes(found))
            await asyncio.sleep(0.005)
        return running.result()


async def watched(boxes: Make, **bounds: Any) -> Watched:
    return Watched(await Box.started(boxes(**bounds).bounds))


# -- up: processes, memory, disk, output, time -----------------------------------------------------------------------


async def test_a_fork_bomb_stops_at_its_limit_and_leaves_nobody(boxes: Make) -> None:
    box = await watched(boxes, processes=24)

    outcome = await box.run("import os, time\nwhile True:\n    if os.fork() == 0: time.sleep(600)")

    assert outcome.end == "failed" and "BlockingIOError" in outcome.printed
    assert box.most_pids < 24 + 6  # with what keeps the box
    await gone(box.pids)


async def test_a_bomb_of_bombs_is_over_with_its_time(boxes: Make) -> None:
    box = await watched(boxes, wall_s=2.0)

    outcome = await box.run("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass")

    assert outcome.end in ("timed_out", "memory")
    await gone(box.pids)


async def test_ten_gigabytes_are_not_to_be_had(boxes: Make) -> None:
    box = await watched(boxes)
    await asyncio.sleep(0)

    outcome = await box.run("bytearray(10_000_000_000)")

    assert outcome.end == "failed" and "MemoryError" in outcome.printed
    assert box.most_bytes < 50_000_000


async def test_many_processes_together_have_the_memory_of_one(boxes: Make) -> None:
    box = await watched(boxes, memory_bytes=300_000_000)

    outcome = await box.run(
        "import os, time\nfor _ in range(8):\n    if os.fork() == 0:\n"
        "        held = bytearray(os.urandom(1)) * 150_000_000\n        time.sleep(600)\nwhile True: time.sleep(1)"
    )

    assert outcome.end == "memory" and "MB of memory of 300 MB" in outcome.problem
    await gone(box.pids)


HOLDS = {
    "a file of memory": "os.write(os.memfd_create('x'), bytes(1))",
    "a secret file of memory": "call(447, 0)",
    "a shared map": "mmap.mmap(-1, 4096)",
    "a shared segment": "call(29 if x86 else 194, 0, 4096, 0o1600)",
    "a queue": "call(68 if x86 else 186, 0, 0o1600)",
    "many semaphores": "call(64 if x86 else 190, 0, 250, 0o1600)",
    "a larger socket": "socket.socketpair()[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 30)",
    "a ring of calls": "call(425, 8, ctypes.create_string_buffer(120))",
    "pages in a pipe": "call(278 if x86 else 75, 1, ctypes.create_string_buffer(16), 0, 0)",
    "a key": "call(248 if x86 else 217, b'user', b'x', b'y', 1, -3)",
}
"""Memory that is no process's: nobody who counts what processes hold would see it."""


async def test_no_memory_is_had_that_nobody_counts(boxes: Make) -> None:
    code = f"""
import ctypes, mmap, socket
x86, libc = os.uname().machine == "x86_64", ctypes.CDLL(None, use_errno=True)
def call(*args):
    if libc.syscall(*args) < 0: raise OSError(ctypes.get_errno(), "refused")
def came_of(deed):
    try: exec(deed)
    except OSError as error: return error.errno
print(json.dumps({{name: came_of(deed) for name, deed in {HOLDS!r}.items()}}))
"""
    assert await said(boxes, code) == dict.fromkeys(HOLDS, errno.EPERM)


async def test_files_without_bytes_end_too(boxes: Make) -> None:
    box = await watched(boxes, entries=2_000)

    outcome = await box.run("import os\nn = 0\nwhile True:\n    os.mkdir(f'/scratch/{n}'); n += 1")

    assert (outcome.end, outcome.problem) == ("entries", "it made more than 2,000 files")
    await gone(box.pids)


async def test_an_order_of_ten_megabytes_is_refused(boxes: Make) -> None:
    code = """
import subprocess
def refused(**more):
    try: subprocess.run([sys.executable, *more.pop("args", ())], **more)
    except OSError as error: return error.strerror
print(json.dumps([refused(args=["x" * 10**7]), refused(env={"x": "y" * 10**7})]))
"""
    assert await said(boxes, code) == ["Argument list too long"] * 2


async def test_the_disk_is_full_at_the_scratch_and_nowhere_else_can_be_written(boxes: Make) -> None:
    code = """
written = 0
try:
    while True:
        with open(f"f{written}", "wb") as file:
            file.write(bytes(1_000_000))
        written += 1
except OSError as error:
    why = error.strerror
places = []
for folder, _, _ in os.walk("/"):
    if folder.startswith("/scratch"):
        continue
    try:
        open(os.path.join(folder, "mine"), "w").close()
        places.append(folder)
    except OSError:
        pass
print(json.dumps([written, why, places]))
"""
    written, why, places = await said(boxes, code, scratch_bytes=20_000_000)

    assert (why, places) == ("No space left on device", [])
    assert 15 <= written <= 20


async def test_a_flood_of_output_is_cut_and_then_killed(boxes: Make) -> None:
    outcome = await boxes(flood_bytes=1_000_000).run("while True: print('x' * 1000)")

    assert outcome.end == "flood" and len(outcome.printed) < 21_000
    assert "bytes more were printed, and dropped]" in outcome.printed


async def test_what_hangs_is_killed_with_all_that_it_started(boxes: Make) -> None:
    box = await watched(boxes, wall_s=1.0)

    outcome = await box.run(
        "import os, signal, time\nfor n in range(1, 30):\n    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except OSError: pass\nif os.fork() == 0:\n    os.setsid()\nwhile True: time.sleep(1)"
    )

    assert (outcome.end, outcome.problem) == ("timed_out", "it was not done within 1 s")
    await gone(box.pids)


async def test_processor_time_ends_too(boxes: Make) -> None:
    outcome = await boxes(cpu_s=1).run("while True: pass")

    assert (outcome.end, outcome.problem) == ("timed_out", "it used more than 1 s of processor time")


# -- out: files, secrets, processes, network -------------------------------------------------------------------------


async def test_no_file_of_this_machine_is_there(boxes: Make, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("canary")
    paths = [str(secret), str(ROOT / "app" / "settings.py"), "/etc/passwd", "/etc/shadow", "/proc/self/environ",
             "/proc/1/environ", "/sys/kernel", "/var/run/docker.sock", "/run", "/var", "/tmp", "/home", "/etc",
             str(Path.home() / ".ssh"), "/dev/sda", "/dev/mem", "/dev/kmsg", "/boot"]  # fmt: skip

    # wherever this checkout lies, the way to its interpreter is there, and nothing beside that way
    parts = {INTERPRETER, f"{sys.base_prefix}/lib", *package_folders()}
    ways = {str(way) for part in parts for way in Path(part).parents}

    there = await said(boxes, f"print(json.dumps([it for it in {paths!r} if os.path.exists(it)]))")
    beside = await said(
        boxes,
        f"ways, parts = {ways!r}, {parts!r}\n"
        "below = [os.path.join(way, name) for way in ways if way not in ('/', '/usr') for name in os.listdir(way)]\n"
        "print(json.dumps([it for it in below if it not in ways | parts]))",
    )

    assert [it for it in there if it not in ways] == []
    assert beside == []


async def test_the_environment_is_its_own(boxes: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEXTANT_MODEL_KEY", "canary")

    environment, numbers = await said(
        boxes,
        "def here(n):\n    try: os.fstat(n)\n    except OSError: return False\n    return True\n"
        "print(json.dumps([dict(os.environ), [n for n in range(1024) if here(n)]]))",
    )

    assert "canary" not in json.dumps(environment) and not any(name.startswith("SEXTANT") for name in environment)
    assert numbers == [0, 1, 2]  # no open file of this process came along


async def test_it_is_nobody_in_a_world_of_its_own(boxes: Make) -> None:
    code = """
import ctypes, resource
libc = ctypes.CDLL(None, use_errno=True)
def refused(call):
    try: call()
    except (OSError, ValueError): return True
    return False
print(json.dumps({
    "setuid": refused(lambda: os.setuid(0)), "chroot": refused(lambda: os.chroot("/scratch")),
    "no_new_privs": libc.prctl(39, 0, 0, 0, 0) == 1, "namespaces": libc.unshare(0x10000000) != 0,
    "mount": libc.mount(b"none", b"/scratch", b"tmpfs", 0, None) != 0, "priority": refused(lambda: os.nice(-5)),
    "limit": refused(lambda: resource.setrlimit(resource.RLIMIT_NPROC, (9999, 9999))),
    "first": os.getppid() == 1, "host": os.uname().nodename == "sandbox",
}))
"""
    held = await said(boxes, code)

    assert [name for name, holds in held.items() if not holds] == []


async def test_nobody_gets_hold_of_the_keeper_which_has_no_limits(boxes: Make) -> None:
    code = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
x86 = os.uname().machine == "x86_64"
class Piece(ctypes.Structure):
    _fields_ = [("at", ctypes.c_void_p), ("size", ctypes.c_size_t)]
there = ctypes.create_string_buffer(8)
here = Piece(ctypes.addressof(there), 8)
def got(*args): return libc.syscall(*args) >= 0
print(json.dumps({
    "attach": got(101 if x86 else 117, 16, 1, 0, 0), "seize": got(101 if x86 else 117, 0x4206, 1, 0, 0),
    "read": got(310 if x86 else 270, 1, ctypes.byref(here), 1, ctypes.byref(here), 1, 0),
    "file": got(438, os.pidfd_open(1), 1, 0), "limit": os.getppid() != 1,
}))
"""
    assert [name for name, done in (await said(boxes, code)).items() if done] == []


async def test_to_the_kernel_it_is_not_root(boxes: Make) -> None:
    """For root there is no limit of processes, and a way out would be a way to everything."""
    box = await Box.started(boxes().bounds)
    inner = descendants(box.pid)[-1]
    user = _user_of(inner)
    await box.close()

    assert user != 0


async def test_no_network_no_names_no_metadata_no_sockets_of_this_machine(boxes: Make, tmp_path: Path) -> None:
    with ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        file = stack.enter_context(socket.socket(socket.AF_UNIX))
        file.bind(str(tmp_path / "socket"))
        file.listen()
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0sextant-test-{os.getpid()}")
        abstract.listen()
        code = f"""
import socket
def reached(family, address):
    try:
        with socket.socket(family) as it:
            it.settimeout(2)
            it.connect(address)
    except OSError: return False
    return True
def interfaces():
    try: return [name for _, name in socket.if_nameindex()]
    except OSError: return []
try: names = socket.getaddrinfo("example.com", 80)
except OSError: names = []
print(json.dumps([names, [reached(*it) for it in (
    (socket.AF_INET, ("127.0.0.1", {tcp.getsockname()[1]})), (socket.AF_INET, ("169.254.169.254", 80)),
    (socket.AF_INET, ("1.1.1.1", 53)), (socket.AF_UNIX, {str(tmp_path / "socket")!r}),
    (socket.AF_UNIX, {abstract.getsockname().decode()!r}),
)], interfaces()]))
"""
        names, reached, interfaces = await said(boxes, code)

    assert (names, reached, interfaces) == ([], [False] * 5, [])


async def test_no_socket_leads_anywhere_but_to_itself(boxes: Make) -> None:
    """To the machine below (vsock) or into the kernel (netlink, crypto) no namespace bars the way."""
    code = """
import socket
def made(family, kind):
    try: socket.socket(family, kind).close()
    except OSError: return False
    return True
others = [n for n in range(46) if n != socket.AF_UNIX]
kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET, socket.SOCK_RAW)
mine, its = socket.socketpair()
mine.sendall(b"hello")
print(json.dumps([[n for n in others if any(made(n, kind) for kind in kinds)], its.recv(5).decode()]))
"""
    assert await said(boxes, code) == [[], "hello"]


async def test_links_pipes_folders_and_giants_do_not_come_back(boxes: Make, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("canary")
    outcome = await boxes(file_bytes=1_000, files=2).run(
        f"import os\nos.symlink({str(secret)!r}, 'a'); os.symlink('/usr/lib', 'b'); os.mkfifo('c'); os.mkdir('d')\n"
        "open('e', 'wb').truncate(10**7)\nfor n in '123': open('f' + n, 'w').write(n)\nos.symlink('f1', 'g')"
    )

    assert outcome.end == "done", outcome
    assert [(it.name, it.data) for it in outcome.files] == [("f1", b"1"), ("f2", b"2")]
    assert [it.partition(" ")[0] for it in outcome.left_out] == ["a", "b", "c", "d", "e", "f3", "g"]
    assert "10,000,000 bytes of 1,000" in outcome.left_out[4]


async def test_names_and_words_that_are_no_text_come_back_as_text(boxes: Make) -> None:
    """A lone half of a character in a message would end the run that stores it."""
    outcome = await boxes().run(
        "import os, sys\nos.mkdir(b'\\xff')\nopen(b'\\xfe.txt', 'w').write('x')\n"
        "sys.stdout.buffer.write(b'\\xff\\xfe one')\nNone"
    )

    told = [outcome.printed, *outcome.left_out, *(it.name for it in outcome.files)]
    assert len(told) == 3 and all(it.encode() for it in told)
    assert outcome.printed.endswith(" one")


# -- whoever dies ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deed", ["os.kill(os.getppid(), 9)", "os.kill(1, 19)", "os.kill(-1, 9)", "os._exit(3)",
                                  "os.abort()", "sys.exit('bye')"])  # fmt: skip
async def test_whoever_kills_its_keeper_kills_nothing_of_ours(boxes: Make, deed: str) -> None:
    box = await watched(boxes)

    outcome = await box.run(f"import os, sys\n{deed}")

    assert outcome.end in ("done", "failed", "died", "timed_out")
    await gone(box.pids)


async def test_nothing_is_left_for_the_next(boxes: Make) -> None:
    sandbox = boxes(warm=1)
    first = await sandbox.run("import os\nopen('left', 'w').write('x')\nopen('/scratch/left', 'w').write('x')\n"
                              "if os.fork() == 0:\n    import time\n    time.sleep(600)\nx = 1")  # fmt: skip
    second = await sandbox.run("import os\nprint(os.listdir('.'), 'left' in os.listdir('/scratch'), 'x' in globals())")

    assert [it.name for it in first.files] == ["left"]
    assert second.printed == "[] False False\n"


async def test_a_run_that_nobody_waits_for_any_more_is_killed(boxes: Make) -> None:
    box = await Box.started(boxes().bounds)
    waiting = len(descendants(box.pid))
    running = asyncio.create_task(box.run("import time\nprint('here', flush=True)\ntime.sleep(600)"))
    async with asyncio.timeout(60):
        while True:
            pids = set(descendants(box.pid))
            if len(pids) > waiting:  # with the child that runs the code
                break
            await asyncio.sleep(0.01)

    running.cancel()
    with suppress(asyncio.CancelledError):
        await running

    assert running.cancelled()
    await gone(pids)


async def test_a_box_dies_with_whoever_made_it(boxes: Make) -> None:
    boxes()
    program = (
        "import asyncio\nfrom agents.sandbox.box import Bounds\nfrom agents.sandbox.boxes import Box\n"
        "from agents.sandbox.tree import descendants\n"
        "async def main():\n    box = await Box.started(Bounds(wall_s=600))\n"
        "    print(*descendants(box.pid), flush=True)\n    await box.run('import time; time.sleep(600)')\n"
        "asyncio.run(main())"
    )
    maker = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT)  # noqa: ASYNC220
    assert maker.stdout is not None
    pids = {int(pid) for pid in (await asyncio.to_thread(maker.stdout.readline)).split()}
    assert pids and all(_alive(pid) for pid in pids)

    maker.send_signal(signal.SIGKILL)
    await asyncio.to_thread(maker.wait)

    await gone(pids)
