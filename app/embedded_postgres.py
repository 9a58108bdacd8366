"""Run the embedded Postgres: one server per home, shared by every process that uses the home.

The programs come from a wheel, else from the machine; starting, sharing and stopping them is ours. It rests
on locks of the kernel instead of process ids: a lock can't go stale, it falls with its last holder, killed or
not.

    start.lock    exclusive, for moments: somebody starts, recovers or stops the server
    holders.lock  shared, as long as a process uses the server; who can have it alone is the last one out
    server.lock   exclusive, inherited by the postmaster and its backends: held means that some still run

Started by root, the server runs as another user, who is handed the data as an open descriptor: a home in a
private folder works (`/proc/self/fd/N` is no walk from the root), and no permission outside it is widened.

Limits: POSIX, a local disk. No TCP: the only door is a socket in a folder that only its owner can enter.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from app.postgres_binaries import (
    Account,
    DatabaseUnavailable,
    Programs,
    account_for,
    binary_folders,
    choose_programs,
)

START_TIMEOUT_S = 60.0
"""Longest wait for a server that recovers, or for another process that starts or stops one."""
STOP_TIMEOUT_S = 30.0
POLL_S = 0.01
LOG_LIMIT_BYTES = 5_000_000
SOCKET_PATH_LIMIT_BYTES = 103
"""What macOS takes; Linux takes 107."""
SOCKET = ".s.PGSQL.5432"
OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",  # several processes with a pool of 20 each, their listeners, a person with psql
    "log_checkpoints": "off",  # would be most of the log
}

logger = logging.getLogger(__name__)


class EmbeddedServer:
    """One process's hold on the server in `folder`. Every method blocks: call them from a thread."""

    def __init__(self, folder: Path, *, binaries: Sequence[Path] | None = None) -> None:
        self.folder = folder.resolve()
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self._folders = list(binary_folders() if binaries is None else binaries)
        self._turn = threading.Lock()  # a release waits for an acquire whose task was cancelled over it
        self._holder: int | None = None
        self._refusal = ""

    def acquire(self) -> str:
        """Start the server or join the running one; return its conninfo. The hold lasts until `release`."""
        with self._turn, self._explained():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._alone() as start_lock:
                holder = self._locked("holders.lock", fcntl.LOCK_SH)
                try:
                    self._ensure_running(start_lock)
                except BaseException:
                    os.close(holder)
                    raise
                self._holder = holder
                return self._conninfo()

    def release(self) -> None:
        """Give the hold back; the last one out stops the server."""
        with self._turn, self._explained():
            if self._holder is None:
                return
            os.close(self._holder)
            self._holder = None
            if not self.data.exists():
                return  # somebody removed the home; the server sees that within a minute and ends by itself
            with self._alone():
                if self._is_free("holders.lock", fcntl.LOCK_EX):
                    self._stop()

    def revive(self) -> None:
        """Start the server again if it died under its holders."""
        with self._turn, self._explained():
            if self._holder is None or self.is_running():
                return
            if not (self.data / "PG_VERSION").exists():
                raise self._unavailable("is gone", f"{self.data} was removed while it was in use")
            logger.warning("The embedded Postgres in %s died; starting it again", self.folder)
            with self._alone() as start_lock:
                self._ensure_running(start_lock)

    def is_running(self) -> bool:
        """Whether a postmaster or one of its backends lives. Microseconds; says nothing about its health."""
        return not self._is_free("server.lock", fcntl.LOCK_SH) or self._is_started_by_hand()

    # locks

    @contextmanager
    def _alone(self) -> Iterator[int]:
        lock = self._locked("start.lock", fcntl.LOCK_EX)
        try:
            yield lock
        finally:
            os.close(lock)

    def _locked(self, name: str, how: int) -> int:
        """Take a lock; return its descriptor. Polls, because a wait inside flock() could not be given up."""
        lock = os.open(self.folder / name, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                fcntl.flock(lock, how | fcntl.LOCK_NB)
                return lock
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(lock)
                    why = f"another process has held {name} for {START_TIMEOUT_S:.0f} s"
                    raise self._unavailable("is busy", why) from None
            time.sleep(POLL_S)

    def _is_free(self, name: str, how: int) -> bool:
        lock = os.open(self.folder / name, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(lock)
        return True

    # starting

    def _ensure_running(self, start_lock: int) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while self.is_running():  # or recovers, or is the last backends of a killed postmaster
            if self._answers():
                return
            if time.monotonic() > deadline:
                raise self._unavailable("runs but doesn't answer", self._refusal)
            time.sleep(POLL_S)
        account = account_for(self.data)
        programs = choose_programs(self._folders, self.data, account)
        if not (self.data / "PG_VERSION").exists():
            self._create(programs, account, start_lock)
        self._start(programs, account, deadline)

    def _create(self, programs: Programs, account: Account, start_lock: int) -> None:
        """Make the data under another name first: a kill in the middle leaves nothing half made."""
        fresh = self.folder / "data.new"
        if fresh.exists():
            shutil.rmtree(fresh)
        fresh.mkdir(mode=0o700)
        account.own(fresh)
        # Postgres's own collation where it has one: a new libc can't disorder its indexes
        locale = ["--locale-provider=builtin", "--locale=C.UTF-8"] if programs.major >= 17 else ["--locale=C"]
        arguments = ["--username=postgres", "--auth-local=trust", "--auth-host=reject", "--data-checksums"]
        with _way_into(fresh, account) as (place, descriptors):
            initdb = [str(programs.folder / "initdb"), "-D", place, "--encoding=UTF8", *arguments, *locale]
            # it outlives a killed parent, and then holds the lock: nobody else may start meanwhile
            done = account.run(initdb, pass_fds=[start_lock, *descriptors])
        if done.returncode != 0:
            shutil.rmtree(fresh)
            raise self._unavailable("can't be created", done.stderr.strip())
        fresh.rename(self.data)
        _sync(self.folder)

    def _start(self, programs: Programs, account: Account, deadline: float) -> None:
        sockets = self._ready_socket_folder(account)
        self._discard_leftovers(sockets)
        log_start = self._trimmed_log_bytes()
        process = self._spawn(programs, account, "." if sockets == self.data else str(sockets))
        while not self._answers():
            if process.poll() is not None:
                raise self._unavailable("didn't start", self._log_after(log_start))
            if time.monotonic() > deadline:
                raise self._unavailable("is still starting", self._refusal)
            time.sleep(POLL_S)

    def _discard_leftovers(self, sockets: Path) -> None:
        """Postgres would take a dead server's process id, by now another program's, for a live server."""
        for leftover in (self.data / "postmaster.pid", sockets / SOCKET, sockets / f"{SOCKET}.lock"):
            leftover.unlink(missing_ok=True)

    def _spawn(self, programs: Programs, account: Account, sockets: str) -> subprocess.Popen[bytes]:
        options = OPTIONS | {"unix_socket_directories": sockets}
        arguments = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        server_lock = self._locked("server.lock", fcntl.LOCK_EX)
        try:
            with self.log.open("ab") as log, _way_into(self.data, account) as (place, descriptors):
                process = subprocess.Popen(  # noqa: S603 - our own words, and no shell
                    [programs.folder / "postgres", "-D", place, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[server_lock, *descriptors],
                    **account.options(),
                )
        finally:
            os.close(server_lock)
        threading.Thread(target=process.wait, daemon=True).start()  # or it would stay a zombie after its end
        return process

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self._conninfo(), connect_timeout=2, autocommit=True) as connection:
                connection.execute("select 1")
        except psycopg.OperationalError as error:
            self._refusal = str(error).strip()
            return False
        return True

    def _conninfo(self) -> str:
        folder = str(self._socket_folder())
        return make_conninfo(host=folder, user="postgres", dbname="postgres", connect_timeout=10)

    def _socket_folder(self) -> Path:
        """The data folder; where its path is too long, or has libpq's separator in it, a short one."""
        path = str(self.data / SOCKET)
        if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT_BYTES and "," not in path:
            return self.data
        # the inode tells a new data folder from a deleted one at its path, whose server may still be ending
        name = hashlib.sha256(os.fsencode(f"{self.data} {self.data.stat().st_ino}")).hexdigest()[:16]
        return Path("/tmp") / f"sextant-{name}"  # noqa: S108 - its owner and mode are checked before use

    def _ready_socket_folder(self, account: Account) -> Path:
        sockets = self._socket_folder()
        if sockets != self.data:
            with suppress(FileExistsError):
                sockets.mkdir(mode=0o700)
                account.own(sockets)
            found = sockets.lstat()
            owner = os.geteuid() if account.uid is None else account.uid
            if (found.st_mode, found.st_uid) != (stat.S_IFDIR | 0o700, owner):
                raise self._unavailable("can't open its socket", f"{sockets} is somebody else's; remove it")
        return sockets

    # stopping

    def _stop(self) -> None:
        for how in (signal.SIGINT, signal.SIGQUIT):  # fast; then immediate: the next start recovers
            pid = self._postmaster()
            if pid is None or self._is_free("server.lock", fcntl.LOCK_SH):
                break  # not running, or started by hand and not ours to stop
            with suppress(ProcessLookupError):
                os.kill(pid, how)
            if self._has_ended():
                break
            logger.warning("The Postgres in %s ignored %s for %.0f s", self.folder, how.name, STOP_TIMEOUT_S)
        if self._socket_folder() != self.data:
            with suppress(OSError):  # not empty: in use
                self._socket_folder().rmdir()

    def _has_ended(self) -> bool:
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while not self._is_free("server.lock", fcntl.LOCK_SH):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True

    def _postmaster(self) -> int | None:
        try:
            return int((self.data / "postmaster.pid").read_text().splitlines()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return None

    def _is_started_by_hand(self) -> bool:
        """A postmaster that holds no lock of ours. Off Linux, Postgres's own interlock has to notice it."""
        pid = self._postmaster()
        try:
            return pid is not None and os.path.samefile(f"/proc/{pid}/cwd", self.data)
        except OSError:
            return False

    # explaining

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            place = error.filename or self.folder
            raise self._unavailable("can't be used", f"{error.strerror or error} ({place})") from error

    def _unavailable(self, what: str, why: str) -> DatabaseUnavailable:
        return DatabaseUnavailable(
            f"The embedded Postgres in {self.folder} {what}: {why}\n"
            "It needs a local disk with space left, and a folder that belongs to the user who runs it."
            f" Mend the cause (its log is {self.log}), choose another SEXTANT_HOME, or set DATABASE_URL."
        )

    def _trimmed_log_bytes(self) -> int:
        size = self.log.stat().st_size if self.log.exists() else 0
        if size > LOG_LIMIT_BYTES:
            self.log.replace(self.log.with_suffix(".old"))
            return 0
        return size

    def _log_after(self, start: int) -> str:
        with self.log.open("rb") as log:
            log.seek(start)
            lines = log.read(100_000).decode(errors="replace").strip().splitlines()
        return "\n".join(lines[-5:]) or "it ended without a word"


@contextmanager
def _way_into(folder: Path, account: Account) -> Iterator[tuple[str, list[int]]]:
    """A name for `folder` that works for a user who can't walk there, and the descriptors that it needs."""
    if account.uid is None:
        yield str(folder), []
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}", [descriptor]
    finally:
        os.close(descriptor)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
