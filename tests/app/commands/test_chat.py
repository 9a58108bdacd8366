"""`sextant chat` as a person and as a script meet it."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from typing import Any

import pytest

import graphs

QUESTION = "What is an idempotency key, and which tool calls need one?"


def test_it_prints_a_cited_answer_and_keeps_progress_out_of_it(sextant: Any) -> None:
    done = sextant.run("chat", QUESTION)
    assert done.returncode == 0, done.stderr
    answer, _, sources = done.stdout.partition("\n\nSources:\n")
    cited = set(re.findall(r"\[(\d+)\]", answer))
    assert "1" in cited
    listed = dict(re.findall(r"^\[(\d+)\] (.+)$", sources, re.MULTILINE))
    assert set(listed) == cited
    assert "field_guide/tools-as-services.md" in listed["1"]
    assert "Assistant: done" in done.stderr
    assert "Assistant" not in done.stdout


def test_a_part_of_a_plan_that_needs_a_program_is_computed(sextant: Any) -> None:
    question = "Compare routing and debate, and simulate 600 throws of two dice"
    result = json.loads(sextant.run("chat", question, "--graph", "research", "--json").stdout)

    assert "600 throws of 2 dice, summed" in result["answer"]
    assert result["sources"]
    view = sextant.rows("select data from run_events where run_id = %s and type = 'tool.started'", result["run_id"])
    assert "run_code" in {row["data"]["name"] for row in view}


def test_json_is_one_object_that_parses(sextant: Any) -> None:
    done = sextant.run("chat", "-", "--json", stdin=b"What do three items at 149.99 each plus 24.50 shipping cost?")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert "474.47" in result["answer"]
    assert (result["status"], result["graph"], result["tools"]) == ("succeeded", "chat", 1)
    assert result["tokens"]["in"] > 0
    assert sextant.rows("select status from runs where run_id = %s", result["run_id"]) == [{"status": "succeeded"}]


def test_a_conversation_goes_on_in_its_thread(sextant: Any) -> None:
    first = json.loads(sextant.run("chat", "When does debate pay?", "--json").stdout)
    again = json.loads(sextant.run("chat", "And what does it cost?", "--json", "--thread", first["thread_id"]).stdout)
    assert again["thread_id"] == first["thread_id"]
    assert again["run_id"] != first["run_id"]


@pytest.mark.parametrize(
    ("stdin", "said"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"x" * 1_000_000, "1,000,000 characters of at most 100,000"),
        (b"x" * 5_000_000, "more than 4,000,000 bytes"),
        (b"a\x00b", "character 2 is U+0000"),
        (b"\xff\xfe", "byte 1 is not UTF-8"),
    ],
)
def test_what_is_no_question_is_refused_in_a_sentence(sextant: Any, stdin: bytes, said: str) -> None:
    done = sextant.run("chat", "-", stdin=stdin)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_half_a_character_in_an_argument_is_refused(sextant: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "chat", b"what is \xff?"],
        cwd=sextant.folder, env=sextant.environment, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert b"U+DCFF" in done.stderr


def test_an_unknown_graph_names_the_known_ones(sextant: Any) -> None:
    done = sextant.run("chat", "hello", "--graph", "astrology")
    assert done.returncode == 1
    assert "'astrology'" in done.stderr
    assert f"choose one of {', '.join(graphs.discover())}" in done.stderr


def test_a_failed_run_is_a_failed_command_with_a_sentence(sextant: Any, demo_model: Any) -> None:
    demo_model.fail({"match": "zanzibar", "status": 400})
    done = sextant.run("chat", "What about zanzibar?")
    assert done.returncode == 1
    assert demo_model.url in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_stops_the_run_and_says_what_is_kept(sextant: Any, demo_model: Any, stopped: Any) -> None:
    demo_model.fail({"match": "quokka", "silence": True})
    process = stopped(sextant.start("chat", "What is a quokka?"))
    running = "select run_id from runs where input->>'question' = 'What is a quokka?' and status = 'running'"
    (run,) = sextant.wait_for(lambda: sextant.rows(running))
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: to every process of the group
    _, said = process.communicate(timeout=90)
    assert process.returncode == 130, said
    assert "Stopped. What was found so far is kept." in said
    (row,) = sextant.rows("select status, error from runs where run_id = %s", run["run_id"])
    assert row["status"] == "cancelled"


def test_a_terminal_gets_the_live_view_then_the_answer(sextant: Any) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "chat", "--graph", "research", "Compare ReAct and debate: latency and cost"],
        cwd=sextant.folder, env=sextant.environment | {"TERM": "xterm-256color", "LINES": "30"},
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(ours)
    assert process.wait(90) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert b"\x1b[1A" in shown or b"\x1b[2K" in shown  # drawn in place
    assert "✓ Plan" in text
    assert "Sources" in text
    assert "[1] field_guide/" in text
    assert "Go on with: sextant chat --graph research --thread" in text
