"""The command line itself: quick help, settings, exit codes, documents, worker."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.launch import CommandFailed, load_settings
from app.settings import environment_strangers


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['sextant', '--help']\n"
        "from app.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'langgraph', 'langchain_core', 'streamlit', 'procrastinate', 'psycopg', 'rich', 'numpy'}\n"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"
    for command in ("up", "worker", "chat", "batch", "ingest", "documents", "doctor"):
        assert f"\n  {command} " in done.stdout


def test_wrong_usage_is_2(sextant: Any) -> None:
    assert sextant.run("chat").returncode == 2
    assert sextant.run("batch", "a.jsonl", "b.jsonl", "--concurrency", "0").returncode == 2


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SEXTANT_PORT", "99999", "less than or equal to 65535"),
        ("SEXTANT_MAX_STEPS", "many", "valid integer"),
        ("SEXTANT_BUDGET_STEPS", "0", "greater than or equal to 1, not '0'"),
        ("SEXTANT_BUDGET_USD", "0", "greater than 0, not '0'"),
        ("SEXTANT_MODEL_URL", "ftp://x", "not an http(s) URL"),
        ("SEXTANT_MODEL_URL", "http://", "names no host"),
        ("SEXTANT_EMBED_URL", "http://x:port/v1", "names no host"),
    ],
)
def test_a_bad_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, value)
    with pytest.raises(CommandFailed) as failed:
        load_settings()
    assert str(failed.value).startswith(f"{name}: ")
    assert said in str(failed.value)


@pytest.mark.parametrize(
    ("text", "said", "fix"),
    [
        (
            b"# mine\nSEXTANT_MODEL_ULR=http://x/v1\n",
            "line 2: there is no setting SEXTANT_MODEL_ULR",
            "SEXTANT_MODEL_URL?",
        ),
        (b"SEXTANT_QUUX=1\n", "SEXTANT_QUUX", ".env.example"),
        (b"OTHER=1\nthis is no line\n", "line 2: 'this is no line' is not NAME=value", "Correct it"),
        (b"\xff\xfe", "cannot be read", "UTF-8"),
    ],
)
def test_a_misspelled_line_of_env_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: bytes, said: str, fix: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_bytes(text)
    with pytest.raises(CommandFailed) as failed:
        load_settings()
    assert said in str(failed.value)
    assert fix in failed.value.fix


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("SEXTANT_MODEL_ULR", "SEXTANT_MODEL_URL"),
        ("SEXTANT_BUGDET_STEPS", "SEXTANT_BUDGET_STEPS"),
        ("sextant_prot", "SEXTANT_PORT"),
        ("SEXTANT_SERVICE_HOST", ""),
        ("SEXTANT_PORT_8501_TCP_ADDR", ""),
        ("SEXTANT_REQUIRE_BROWSER", ""),
        ("SEXTANT_MAX_STEPS", None),
        ("OTHER_PROT", None),
    ],
)
def test_a_misspelled_name_in_the_environment_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, near: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, "7")
    load_settings()
    assert environment_strangers().get(name) == near
    said = f"there is no setting {name}, so it does nothing. Did you mean {near}?"
    assert (said in caplog.messages) is bool(near)


def test_what_others_keep_in_env_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("AWS_REGION=x\nexport SEXTANT_MAX_STEPS=7\n\nDATABASE_URL=postgresql://db/x\n")
    assert load_settings().max_steps == 7
    assert load_settings(max_steps=3, port=None).max_steps == 3


def test_a_bad_setting_ends_a_command_with_2_and_no_traceback(sextant: Any) -> None:
    done = sextant.run("chat", "hello", SEXTANT_PORT="-1")
    assert done.returncode == 2
    assert done.stderr.startswith("sextant: SEXTANT_PORT: ")
    assert "Traceback" not in done.stderr
    assert "Traceback" in sextant.run("chat", "hello", "--debug", SEXTANT_PORT="-1").stderr


def test_documents_are_taken_in_and_listed(sextant: Any, tmp_path: Path) -> None:
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "quagga.md").write_text("# Quagga\n\nThe quagga was a zebra with stripes on its front half only.")
    (folder / "torn.pdf").write_bytes(b"%PDF-1.4 not really")
    done = sextant.run("ingest", str(folder), str(tmp_path / "nowhere"))
    assert done.returncode == 1  # two of three could not be taken
    assert done.stdout.startswith("1 added, 2 failed: 1 passage ")
    assert "torn.pdf: a damaged PDF" in done.stderr
    assert "nowhere: no such file or folder" in done.stderr
    listed = [line.split("\t") for line in sextant.run("documents").stdout.splitlines()]
    assert ["papers/quagga.md", "", "1"] in [row[:3] for row in listed]
    again = sextant.run("ingest", str(folder / "quagga.md"))
    assert (again.returncode, again.stdout.split(":")[0]) == (0, "1 unchanged")


def test_a_worker_works_until_it_is_told_to_stop(sextant: Any, stopped: Any) -> None:
    worker = stopped(sextant.start("worker", "--concurrency", "2"))
    assert worker.stdout.readline().startswith("Working on up to 2 runs at once.")
    result = json.loads(sextant.run("chat", "What is a straggler?", "--json").stdout)
    assert result["status"] == "succeeded"
    worker.send_signal(signal.SIGTERM)
    said, _ = worker.communicate(timeout=30)
    assert worker.returncode == 0
    assert said.startswith("Stopped.")
