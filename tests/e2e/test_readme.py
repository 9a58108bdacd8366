"""The README is true: every fenced block of it is run, or held against what it describes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from agents.agent import discover_agents
from agents.remote.servers import read_servers
from app.commands.graphs import section
from app.commands.new import GRAPH
from app.settings import Settings
from graphs import discover

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = [(kind, body) for kind, body in re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)]
COMMAND_S = 120

pytestmark = pytest.mark.slow


def blocks(kind: str, containing: str = "") -> list[str]:
    return [body for found, body in BLOCKS if found == kind and containing in body]


def shell(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a block as a person pastes it: one shell, ending at the first line that fails."""
    inherited = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=COMMAND_S * len(script.splitlines()),
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks like a checkout with its environment, in which commands may write."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "retrieval").symlink_to(ROOT / "retrieval")
    return tmp_path


def test_every_kind_of_block_has_a_test() -> None:
    assert {kind for kind, _ in BLOCKS} == {"console", "text", "ini", "bash", "python", "py", "json", "mermaid"}


def test_the_terminal_commands_run(checkout: Path) -> None:
    [script] = blocks("bash", "sextant doctor")
    done = shell(script, checkout)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert len((checkout / "answers.jsonl").read_text().splitlines()) == 2
    assert "391" in (checkout / "answers.jsonl").read_text()  # 17 * 23


def test_the_http_commands_run(checkout: Path, sextant: Any) -> None:
    [script] = blocks("bash", "curl")
    done = shell(script, checkout, URL=sextant.url)
    assert done.returncode == 0, done.stderr
    assert '"question":"What is 2 + 2?"' in done.stdout.replace('": "', '":"')
    assert '"error":{' not in done.stdout


def test_the_client_of_langgraph_works_unchanged(sextant: Any, capsys: pytest.CaptureFixture[str]) -> None:
    [source] = blocks("py", "langgraph_sdk")
    exec(compile(source, "README.md", "exec"), {"URL": sextant.url})
    assert "42" in capsys.readouterr().out


def test_any_client_of_openai_takes_a_team_for_a_model(sextant: Any, capsys: pytest.CaptureFixture[str]) -> None:
    [source] = blocks("py", "from openai")
    exec(compile(source, "README.md", "exec"), {"URL": sextant.url})
    assert "Sources:" in capsys.readouterr().out


def test_the_tests_that_are_named_exist() -> None:
    tests = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py"))
    named = re.findall(r"`(test_\w+)`", README)
    assert len(named) >= 15
    assert [name for name in named if f"def {name}(" not in tests] == []


def test_the_calls_that_steer_exist(sextant: Any) -> None:
    described = httpx.get(f"{sextant.url}/api/openapi.json").json()["paths"]
    known = {
        (method.upper(), re.sub(r"\{\w+\}", "{}", path)) for path, methods in described.items() for method in methods
    }
    called = re.findall(r"`(GET|POST) /api(/\S+)`", README)
    assert len(called) >= 9
    assert {(method, re.sub(r"\{\w+\}", "{}", path)) for method, path in called} <= known


def test_the_servers_that_are_named_can_be_read(tmp_path: Path) -> None:
    [source] = blocks("json")
    (tmp_path / "mcp.json").write_text(source)
    [server] = read_servers(tmp_path / "mcp.json", os.environ.get, discover_agents())
    assert (server.name, server.command, server.roles) == ("time", "uvx", ("assistant",))


def test_the_make_targets_exist() -> None:
    targets = re.findall(
        r"^make (\w+)$", "\n".join([*blocks("bash", "make"), *blocks("console", "make")]), re.MULTILINE
    )
    assert {"up", "test", "lint", "bench"} <= set(targets)
    for target in targets:  # what they do takes minutes, or is what is running now: their recipes are expanded only
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_the_graph_that_is_added_is_what_the_command_writes_and_it_runs(tmp_path: Path) -> None:
    [source] = blocks("python")
    assert source == f"# graphs/oneliner.py\n{GRAPH}"
    [script] = blocks("bash", "sextant new graph")
    done = shell(script, copied(tmp_path), PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "1 passed" in done.stdout
    assert "Sources:" in done.stdout
    assert "<code>oneliner</code>" in (tmp_path / "README.md").read_text("utf-8")


def copied(folder: Path) -> Path:
    """A checkout of one's own, whose code comes before that of the installed one."""
    for name in ("app", "agents", "graphs", "retrieval", "tests/support"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "langgraph.json", "pyproject.toml", "tests/conftest.py"):
        shutil.copy(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def test_the_drawings_are_those_of_the_code() -> None:
    assert section(discover()) in README, "the graphs have changed: run `sextant graphs --readme`"
    assert len(blocks("mermaid")) == len(discover())


def test_the_settings_that_are_named_exist() -> None:
    named = re.findall(r"SEXTANT_([A-Z0-9_]+)", "\n".join(blocks("ini")) + (ROOT / ".env.example").read_text())
    assert named
    assert {name.lower() for name in named} <= set(Settings.model_fields)


def test_the_map_names_folders_that_exist() -> None:
    [tree] = blocks("text", "graphs/")
    folders = re.findall(r"^(\w+)/ ", tree, re.MULTILINE)
    assert {"app", "graphs", "agents", "retrieval", "ui", "tests"} <= set(folders)
    assert all((ROOT / folder).is_dir() for folder in folders)


def test_links_into_the_repository_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_up_says_what_the_readme_says(sextant: Any) -> None:
    [shown] = blocks("text", "Sextant is ready")
    assert "http://127.0.0.1:8501" in shown
    for line in ("Sextant is ready: ", "demo model (no key, no GPU, no network)", "Ctrl-C stops it."):
        assert line in shown
        assert line in sextant.greeting
