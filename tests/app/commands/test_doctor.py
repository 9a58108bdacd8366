"""`sextant doctor`: every part used for real, one line each, and nothing hides behind what is broken."""

from typing import Any

PARTS = ("settings", "disk", "Postgres", "schema", "tables", "model large", "embedder", "vectors", "graphs", "sandbox")


def marks(report: str) -> dict[str, str]:
    """Part -> its worst mark."""
    worst: dict[str, str] = {}
    for line in report.splitlines():
        mark, part = line[:5].strip(), line[5:18].strip()
        if mark in ("ok", "warn", "fail"):
            worst[part] = max(mark, worst.get(part, ""), key=("", "ok", "warn", "fail").index)
    return worst


def test_a_sound_installation_is_0(sextant: Any) -> None:
    done = sextant.run("doctor")
    found = marks(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {found[part] for part in PARTS} == {"ok"}
    assert "fail" not in found.values()


def test_what_is_broken_is_named_with_its_fix_and_hides_nothing(sextant: Any) -> None:
    broken = {
        "SEXTANT_MODEL_URL": "http://127.0.0.1:9/v1",
        "SEXTANT_PROT": "8600",
        "DATABASE_URL": "postgresql://someone:hunter2@127.0.0.1:9/nowhere",
    }
    done = sextant.run("doctor", **broken)
    found = marks(done.stdout)
    assert done.returncode == 1
    assert (found["Postgres"], found["model large"]) == ("fail", "fail")
    assert {found[part] for part in ("disk", "embedder", "graphs", "sandbox")} == {"ok"}
    assert "127.0.0.1:9" in done.stdout
    assert "unset DATABASE_URL" in done.stdout
    assert "there is no setting SEXTANT_PROT" in done.stdout
    assert "Did you mean SEXTANT_PORT?" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_model_that_cannot_call_tools_is_told_from_one_that_is_away(sextant: Any, demo_model: Any) -> None:
    demo_model.fail({"match": "Use the tool", "empty_tool_calls": True})
    done = sextant.run("doctor")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("fail")]
    assert done.returncode == 1
    assert line.removeprefix("fail model large").strip().startswith("tools: ")
