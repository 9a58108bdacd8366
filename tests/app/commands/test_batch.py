"""`sextant batch`: every row answered once, whatever is killed, stopped, broken or asked again."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

SUBJECTS = ("idempotency keys", "debate", "stragglers", "routing", "critics", "checkpoints", "planning", "handoffs")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "questions.jsonl", tmp_path / "answers.jsonl"


def write(path: Path, *rows: Any) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_row_comes_back_in_order_good_or_bad(sextant: Any, files: tuple[Path, Path]) -> None:
    questions, answers = files
    questions.write_bytes(
        b'{"id": "a", "question": "What is a straggler?", "tag": 1, "answer": "gold"}\n'
        b'"When does debate pay?"\n'
        b"\n"
        b"not json\n"
        b'{"id": "none"}\n'
        b'{"question": "%s"}\n'
        b'{"question": "a\\u0000b"}\n'
        b'{"id": "a", "question": "again?"}\n'
        b'{"question": "What is a straggler?"}\n'
        b'{"question": "What is a straggler?"}' % (b"x" * 1_000_000)
    )
    done = sextant.run("batch", str(questions), str(answers), "--graph", "chat")
    rows = read(answers)
    assert done.returncode == 1, done.stderr
    assert done.stdout == f"9 rows: 4 answered, 5 failed. {answers}\n", done.stderr
    assert "line 4: it is not JSON" in done.stderr
    assert [row["line"] for row in rows] == [1, 2, 4, 5, 6, 7, 8, 9, 10]
    assert [bool(row.get("answer")) for row in rows] == [True, True, False, False, False, False, False, True, True]
    assert (rows[0]["id"], rows[0]["tag"], rows[0]["given"]) == ("a", 1, {"answer": "gold"})
    assert rows[0]["sources"][0]["document"] == "field_guide/stragglers.md"
    assert "[1]" in rows[0]["answer"]
    assert rows[0]["tokens"]["in"] > 0
    assert len({row["run_id"] for row in rows if "run_id" in row}) == 4  # the same question twice is two rows
    codes = [row["error"]["code"] for row in rows if "error" in row]
    assert codes == ["row_not_json", "question_missing", "question_too_long", "question_not_text", "id_repeated"]


def test_a_row_remembers_nothing_for_the_others(sextant: Any, files: tuple[Path, Path]) -> None:
    questions, answers = files
    write(questions, "Remember that my favourite colour is green.")
    sextant.run("batch", str(questions), str(answers), "--graph", "chat")

    called = sextant.rows(
        "select data from run_events where run_id = %s and type = 'tool.started'", read(answers)[0]["run_id"]
    )
    assert [row["data"]["name"] for row in called] == ["remember"]
    assert sextant.rows("select * from memories where owner = 'batch'") == []


def test_again_does_only_what_is_missing(sextant: Any, demo_model: Any, files: tuple[Path, Path]) -> None:
    questions, answers = files
    write(
        questions, *({"id": at, "question": f"What about {it}?"} for at, it in enumerate(SUBJECTS)), "What of zanzibar?"
    )
    demo_model.fail({"match": "zanzibar", "status": 400})
    first = sextant.run("batch", str(questions), str(answers), "--graph", "chat")
    assert (first.returncode, first.stdout) == (1, f"9 rows: 8 answered, 1 failed. {answers}\n"), first.stderr
    before = read(answers)
    assert before[8]["error"]["message"]

    demo_model.recover()
    second = sextant.run("batch", str(questions), str(answers), "--graph", "chat")
    assert (second.returncode, second.stdout) == (0, f"9 rows: 9 answered (8 of them before), 0 failed. {answers}\n"), (
        second.stderr
    )
    after = read(answers)
    assert after[:8] == before[:8]
    assert after[8]["run_id"] == before[8]["run_id"]  # the failed run went on; it is not another one

    written = answers.stat().st_ino, answers.read_bytes()
    third = sextant.run("batch", str(questions), str(answers), "--graph", "chat")
    assert (third.returncode, third.stdout) == (0, f"9 rows: 9 answered (9 of them before), 0 failed. {answers}\n"), (
        third.stderr
    )
    assert answers.read_bytes() == written[1]
    asked = sextant.rows("select epoch from runs where run_id = any(%s)", [row["run_id"] for row in after[:8]])
    assert [run["epoch"] for run in asked] == [1] * 8  # claimed once each, over all three


def test_another_output_asks_anew(sextant: Any, files: tuple[Path, Path]) -> None:
    questions, answers = files
    write(questions, "What is a straggler?")
    sextant.run("batch", str(questions), str(answers), "--graph", "chat")
    other = answers.with_name("other.jsonl")
    sextant.run("batch", str(questions), str(other), "--graph", "chat")
    assert read(answers)[0]["run_id"] != read(other)[0]["run_id"]


def test_the_limit_is_on_what_is_asked(sextant: Any, files: tuple[Path, Path]) -> None:
    questions, answers = files
    write(questions, *SUBJECTS[:4], {"no": "question"})
    done = sextant.run("batch", str(questions), str(answers), "--graph", "chat", "--limit", "2")
    assert (done.returncode, len(read(answers))) == (0, 2), done.stderr
    done = sextant.run("batch", str(questions), str(answers), "--graph", "chat", "--limit", "3")
    assert done.stdout.startswith("3 rows: 3 answered (2 of them before), 0 failed."), done.stderr
    assert [row["line"] for row in read(answers)] == [1, 2, 3]


def _half_done(sextant: Any, demo_model: Any, stopped: Any, files: tuple[Path, Path]) -> tuple[Any, list[str]]:
    """A batch with four rows answered and four at work on a model that says nothing; the names of its threads."""
    questions, answers = files
    write(questions, *(f"What about {it} in {files[0].parent.name}?" for it in SUBJECTS))
    demo_model.fail(*({"match": f"about {it} in", "silence": True} for it in SUBJECTS[4:]))
    process = stopped(sextant.start("batch", str(questions), str(answers), "--graph", "chat", "--concurrency", "8"))
    mine = "select thread_id from runs where input->>'question' like %s and status = %s"
    pattern = f"%in {files[0].parent.name}?"

    def half() -> bool:
        assert not sextant.rows(
            "select error from runs where input->>'question' like %s and status = 'failed'", pattern
        )
        return all(len(sextant.rows(mine, pattern, status)) == 4 for status in ("succeeded", "running"))

    sextant.wait_for(half)
    return process, pattern


def test_after_kill_9_every_row_is_answered_once(
    sextant: Any, demo_model: Any, stopped: Any, files: tuple[Path, Path]
) -> None:
    process, mine = _half_done(sextant, demo_model, stopped, files)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)
    demo_model.recover()
    done = sextant.run("batch", *map(str, files), "--graph", "chat", "--concurrency", "8")
    assert (done.returncode, done.stdout) == (0, f"8 rows: 8 answered (4 of them before), 0 failed. {files[1]}\n"), (
        done.stderr
    )
    rows = read(files[1])
    runs = sextant.rows("select run_id, epoch from runs where input->>'question' like %s order by epoch", mine)
    assert sorted(row["run_id"] for row in rows) == sorted(run["run_id"] for run in runs)
    assert [run["epoch"] for run in runs][:4] == [1] * 4  # what was answered was not touched again
    assert all(row["answer"] for row in rows)


def test_ctrl_c_keeps_what_is_done_and_the_next_one_goes_on(
    sextant: Any, demo_model: Any, stopped: Any, files: tuple[Path, Path]
) -> None:
    process, mine = _half_done(sextant, demo_model, stopped, files)
    os.killpg(process.pid, signal.SIGINT)
    said, more = process.communicate(timeout=30)
    assert process.returncode == 130, more
    assert said == f"8 rows: 4 answered, 0 failed, 4 left. {files[1]}\n"
    assert "The same command goes on from here." in more
    assert [row["line"] for row in read(files[1])] == [1, 2, 3, 4]
    demo_model.recover()
    done = sextant.run("batch", *map(str, files), "--graph", "chat")
    assert (done.returncode, done.stdout) == (0, f"8 rows: 8 answered (4 of them before), 0 failed. {files[1]}\n"), (
        done.stderr
    )
    assert len(sextant.rows("select 1 from runs where input->>'question' like %s", mine)) == 8


LED = "What does routing cost and how does routing fail? What does a swarm cost and how do swarms fail?"
LAST = "How do swarms fail?"
"""What one of the four workers is asked, and nobody else in these words."""


def test_after_kill_9_a_team_goes_on_with_what_is_missing(
    sextant: Any, demo_model: Any, stopped: Any, files: tuple[Path, Path]
) -> None:
    write(files[0], LED)
    demo_model.fail({"match": LAST, "silence": True})
    process = stopped(sextant.start("batch", *map(str, files), "--graph", "team"))
    reports = (
        "select data->>'task_id' as task, count(*) as n from run_events join runs using (run_id) "
        "where type = %s and input->>'question' = %s group by 1 order by 1"
    )
    done = ["1", "1.1", "1.2", "2.1"]
    sextant.wait_for(lambda: [it["task"] for it in sextant.rows(reports, "agent.finished", LED)] == done)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)
    demo_model.recover()
    again = sextant.run("batch", *map(str, files), "--graph", "team")
    assert (again.returncode, again.stdout) == (0, f"1 rows: 1 answered, 0 failed. {files[1]}\n"), again.stderr
    [row] = read(files[1])
    assert "missing" not in row
    begun = {it["task"]: it["n"] for it in sextant.rows(reports, "agent.spawned", LED)}
    assert begun == {**dict.fromkeys(done, 1), "2": 2, "2.2": 2}  # the last worker and its lead, and nobody else
    steps = "select count(*) as n from run_events where run_id = %s and type = 'node.started' and data->>'name' = %s"
    assert sextant.rows(steps, row["run_id"], "delegate") == [{"n": 1}]


@pytest.mark.parametrize(
    ("source", "output", "code", "said"),
    [
        ("missing.jsonl", "out.jsonl", 1, "missing.jsonl does not exist"),
        (".", "out.jsonl", 1, "is not a file"),
        ("empty.jsonl", "out.jsonl", 1, "holds no rows"),
        ("good.jsonl", "good.jsonl", 2, "holds the questions"),
        ("good.jsonl", "link.jsonl", 2, "holds the questions"),
        ("good.jsonl", "./folder/../good.jsonl", 2, "holds the questions"),
        ("good.jsonl", "folder", 2, "is not a regular file"),
        ("good.jsonl", "mine.txt", 2, "holds something that no batch wrote"),
        ("good.jsonl", "nowhere/out.jsonl", 1, "No such file or directory"),
        ("good.jsonl", "/proc/out.jsonl", 1, "cannot be written"),
    ],
)
def test_files_that_cannot_work_are_refused_before_anything_starts(
    sextant: Any, tmp_path: Path, source: str, output: str, code: int, said: str
) -> None:
    (tmp_path / "empty.jsonl").write_text("\n \n")
    (tmp_path / "good.jsonl").write_text('"a question?"\n')
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "good.jsonl")
    (tmp_path / "mine.txt").write_text("my diary\n")
    (tmp_path / "folder").mkdir()
    done = sextant.run("batch", str(tmp_path / source), str(tmp_path / output))
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "good.jsonl").read_text() == '"a question?"\n'
    assert (tmp_path / "mine.txt").read_text() == "my diary\n"
