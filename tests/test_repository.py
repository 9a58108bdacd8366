"""The files at the root: what tools look for there says the truth."""

import importlib.util
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from langgraph.graph import StateGraph

import graphs

ROOT = Path(__file__).parents[1]
KINDS = (".py", ".md", ".toml", ".lock", ".js", ".css", ".sql", ".json", "")
LOCKS = (ROOT / "requirements.lock", ROOT / "tests" / "requirements.lock")


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_langgraph_json_names_the_same_graphs_and_its_entries_load() -> None:
    named = json.loads((ROOT / "langgraph.json").read_text())["graphs"]
    assert set(named) == set(graphs.discover())
    for name, entry in named.items():
        path, _, function = entry.partition(":")
        spec = importlib.util.spec_from_file_location(name, ROOT / path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        builder = getattr(module, function)()
        assert isinstance(builder, StateGraph)
        assert builder.compile().nodes


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.parent.name)
def test_locks_pin_with_hashes_and_name_no_address(lock: Path) -> None:
    text = lock.read_text()
    pins = re.findall(r"^([\w.-]+)==\S+.*?(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    blocks = re.split(r"^(?=\S)", text, flags=re.MULTILINE)
    assert len(pins) > 80
    assert [block.split()[0] for block in blocks if "==" in block and "--hash=sha256:" not in block] == []
    assert not re.search(r"https?://|--index|--find-links|file:", text)


def test_the_default_install_is_lean() -> None:
    text = (ROOT / "requirements.lock").read_text()
    pinned = {match.lower() for match in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}
    assert {"faiss-cpu", "langgraph", "streamlit"} <= pinned
    assert not pinned & {"torch", "ray", "transformers", "faiss-gpu", "pytest"}


def test_extras_are_the_promised_ones() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"cpu", "gpu", "ray", "dev"} <= set(project["optional-dependencies"])
    for requirement in project["dependencies"]:
        assert re.search(r">=.*<|>=", requirement), f"{requirement} is not a range"


def test_the_submission_script_runs_what_everybody_runs() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "make test" in script
    assert "pip install" not in script


def test_no_file_names_a_machine() -> None:
    spoken = re.compile(rb"/(?:work|home/\w+|Users/\w+)/\S|\bindex-url\b")
    named = [
        path.relative_to(ROOT)
        for path in tracked()
        if path.suffix in (".py", ".md", ".toml", ".lock", ".js", ".css", ".sql", ".json", "")
        and path != Path(__file__)
        if spoken.search(path.read_bytes())
    ]
    assert named == []
