"""The real command in real processes: one home with its embedded Postgres, one demo model that fails on demand."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from app.embedded_postgres import EmbeddedServer

COMMAND = (sys.executable, "-m", "app.cli")
DEADLINE_S = 90
PACE = ("--ttft-ms", "5", "--tokens-per-s", "0")
REPO = Path(__file__).parents[3]


class DemoModel:
    """A demo model of the tests' own, quick, whose faults they choose."""

    def __init__(self, url: str) -> None:
        self.url = url

    def fail(self, *rules: dict[str, Any]) -> None:
        """Answer requests that match a rule as it says, from now on."""
        self._ask("PUT", json.dumps(list(rules)).encode())

    def recover(self) -> None:
        """Answer all requests properly again."""
        self._ask("DELETE")

    def _ask(self, method: str, body: bytes | None = None) -> None:
        request = urllib.request.Request(f"{self.url}/demo/faults", body, method=method)
        urllib.request.urlopen(request, timeout=60).close()


@dataclass
class Sextant:
    """The command with a home of its own."""

    folder: Path
    conninfo: str
    environment: dict[str, str]

    def run(self, *arguments: str, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*COMMAND, *arguments], cwd=self.folder, env=self.environment | environment, input=stdin,
            capture_output=True, timeout=DEADLINE_S,
        )  # fmt: skip
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, *arguments], cwd=self.folder, env=self.environment, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def rows(self, sql: str, *params: Any) -> list[dict[str, Any]]:
        with psycopg.connect(self.conninfo, autocommit=True, row_factory=dict_row) as connection:
            try:
                return connection.execute(sql, params).fetchall()
            except psycopg.errors.UndefinedTable:  # the first command has not come that far
                return []

    def wait_for(self, seen: Callable[[], Any]) -> Any:
        """What `seen` returns once it is true."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            if found := seen():
                return found
            time.sleep(0.05)
        raise AssertionError(f"did not come true within {DEADLINE_S} s")


@pytest.fixture(scope="session")
def demo_model() -> Iterator[DemoModel]:
    """Quick, and the same for all tests here."""
    process = subprocess.Popen(
        [sys.executable, "-m", "app.demo_model", *PACE, "--parent-pid", str(os.getpid())],
        cwd=REPO, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    yield DemoModel(json.loads(process.stdout.readline())["url"])
    process.terminate()
    process.wait(60)


@pytest.fixture(autouse=True)
def healthy(demo_model: DemoModel) -> Iterator[None]:
    """No test inherits another's faults."""
    yield
    demo_model.recover()


@pytest.fixture(scope="session")
def sextant(demo_model: DemoModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sextant]:
    """The command, its database held open, so that no command waits for a start."""
    folder = tmp_path_factory.mktemp("commands")
    home = folder / "home"
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "SEXTANT_HOME": str(home), "PYTHONPATH": str(REPO),
        "SEXTANT_MODEL_URL": demo_model.url, "SEXTANT_MODEL": "demo-large", "LANG": "C.UTF-8", "COLUMNS": "100",
    }  # fmt: skip
    server = EmbeddedServer(home / "postgres")
    try:
        yield Sextant(folder, server.acquire(), environment)
    finally:
        server.release()


@pytest.fixture
def stopped(request: pytest.FixtureRequest) -> Iterator[Callable[[subprocess.Popen[str]], subprocess.Popen[str]]]:
    """Registers processes that must not outlive the test."""
    processes: list[subprocess.Popen[str]] = []

    def register(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
        processes.append(process)
        return process

    yield register
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
