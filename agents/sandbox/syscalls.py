"""What code in a box may not even ask of the kernel: a filter of system calls, as the kernel reads it (seccomp, BPF).

Namespaces and limits leave gaps. Memory that belongs to no process is seen by nobody who counts (memfd, System V,
shared anonymous maps, grown socket buffers); sockets to the machine below (vsock) know no namespace; whoever may trace
its keeper has the keeper's limits, which are none; io_uring does all of it past this list. A refused call fails with
EPERM, and ordinary code never makes one.
"""

import platform
import struct
from collections.abc import Mapping
from types import MappingProxyType

from agents.sandbox.box import NoIsolation

Machine = tuple[int, Mapping[str, int]]

_X86 = {
    "socket": 41, "setsockopt": 54, "mmap": 9, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311,
    "kcmp": 312, "memfd_create": 319, "shmget": 29, "msgget": 68, "semget": 64, "mq_open": 240, "userfaultfd": 323,
    "perf_event_open": 298, "bpf": 321, "add_key": 248, "request_key": 249, "keyctl": 250, "vmsplice": 278,
    "unshare": 272, "setns": 308, "mount": 165, "umount2": 166, "pivot_root": 155, "open_by_handle_at": 304,
    "fanotify_init": 300,
}  # fmt: skip
_ARM = {
    "socket": 198, "setsockopt": 208, "mmap": 222, "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271,
    "kcmp": 272, "memfd_create": 279, "shmget": 194, "msgget": 186, "semget": 190, "mq_open": 180, "userfaultfd": 282,
    "perf_event_open": 241, "bpf": 280, "add_key": 217, "request_key": 218, "keyctl": 219, "vmsplice": 75,
    "unshare": 97, "setns": 268, "mount": 40, "umount2": 39, "pivot_root": 41, "open_by_handle_at": 265,
    "fanotify_init": 262,
}  # fmt: skip
# numbered alike everywhere: io_uring, the newer mount calls, pidfd_getfd, memfd_secret
_NEWER = (425, 426, 427, 428, 429, 430, 431, 432, 438, 442, 447)
MACHINES: Mapping[str, Machine] = MappingProxyType({
    "x86_64": (0xC000003E, MappingProxyType(_X86)), "aarch64": (0xC00000B7, MappingProxyType(_ARM)),
})  # fmt: skip
_ASKED_ABOUT = ("socket", "setsockopt", "mmap")
_OTHER_ABI = 0x40000000
"""x86_64 has a second set of numbers from here on; nothing ordinary uses it."""

_LOAD, _AND, _EQUAL, _FROM, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050001, 0x80000000
_NR, _ARCH, _ARGS = 0, 4, 16
_AF_UNIX, _SOL_SOCKET = 1, 1
_BUFFERS = (7, 8, 32, 33)
"""SO_SNDBUF, SO_RCVBUF and their forceful twins."""
_SHARED_ANONYMOUS = 0x21

Step = tuple[int, int, int, int]


def filter_program(machine: str | None = None) -> bytes:
    """The filter for this machine. Raises NoIsolation for one whose numbers nobody has looked up."""
    name = machine or platform.machine()
    if name not in MACHINES:
        raise NoIsolation(f"system calls of {name} are not known here", f"use one of {', '.join(MACHINES)}")
    arch, numbers = MACHINES[name]
    refused = sorted({*_NEWER, *(nr for call, nr in numbers.items() if call not in _ASKED_ABOUT)})
    steps = [
        (_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NR), (_FROM, 0, 1, _OTHER_ABI), (_RETURN, 0, 0, _REFUSE),
        *(step for nr in refused for step in _if(nr, [(_RETURN, 0, 0, _REFUSE)])),
        *_if(numbers["socket"], _sockets()), *_if(numbers["setsockopt"], _options()), *_if(numbers["mmap"], _maps()),
        (_RETURN, 0, 0, _ALLOW),
    ]  # fmt: skip
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _if(nr: int, then: list[Step]) -> list[Step]:
    """`then`, which ends the filter, for one call; the next step for any other."""
    return [(_EQUAL, 0, len(then), nr), *then]


def _argument(at: int) -> int:
    """Offset of an argument's lower half: all that the kernel reads of these."""
    return _ARGS + 8 * at


def _sockets() -> list[Step]:
    return [(_LOAD, 0, 0, _argument(0)), (_EQUAL, 0, 1, _AF_UNIX), (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]


def _options() -> list[Step]:
    most = len(_BUFFERS)
    options = [(_EQUAL, most - at, 0, option) for at, option in enumerate(_BUFFERS)]
    return [
        (_LOAD, 0, 0, _argument(1)), (_EQUAL, 0, most + 1, _SOL_SOCKET),
        (_LOAD, 0, 0, _argument(2)), *options, (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE),
    ]  # fmt: skip


def _maps() -> list[Step]:
    return [
        (_LOAD, 0, 0, _argument(3)), (_AND, 0, 0, _SHARED_ANONYMOUS), (_EQUAL, 0, 1, _SHARED_ANONYMOUS),
        (_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW),
    ]  # fmt: skip
