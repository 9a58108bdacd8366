"""Every graph there is, through `sextant batch` and `sextant chat`: a question of its own examples, answered and cited.

One process runs all the commands, each as `sextant` would: what is dear about a command is to start it.
"""

import json
import subprocess
import sys
from typing import Any

import pytest

import graphs

EXAMPLES = {name: next(iter(module.EXAMPLES)) for name, module in graphs.discover().items()}
TEAMS = ("debate", "research", "team")
OURS = {"chain", "chat", "debate", "research", "solo", "support", "swarm", "team", "write"}
"""The others are somebody's own, which need not look anything up."""
COMMANDS = ("batch", "chat")

PROGRAM = """
import contextlib, io, json, sys
from app.settings import require_strict_msgpack
require_strict_msgpack()
from app.cli import cli
for line in sys.stdin:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            cli(json.loads(line))
        except SystemExit as end:
            code = end.code
    print(json.dumps([code, out.getvalue()]))
"""


@pytest.fixture(scope="module")
def answers(sextant: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    """(command, graph) -> what it says to the graph's first example: the row of its file, the object it prints."""
    folder, asked = tmp_path_factory.mktemp("every_graph"), dict[tuple[str, str], list[str]]()
    for name, question in EXAMPLES.items():
        rows = folder / f"{name}.jsonl"
        rows.write_text(json.dumps({"question": question}) + "\n")
        asked["batch", name] = ["batch", str(rows), str(folder / f"{name}.answers"), "--graph", name]
        asked["chat", name] = ["chat", question, "--graph", name, "--json"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input="".join(json.dumps(it) + "\n" for it in asked.values()), text=True,
        cwd=sextant.folder, env=sextant.environment, capture_output=True, timeout=300,
    )  # fmt: skip
    ended = [json.loads(line) for line in done.stdout.splitlines()]
    assert [code for code, _ in ended] == [0] * len(asked), done.stderr
    printed = dict(zip(asked, (out for _, out in ended), strict=True))
    rows_of = {("batch", name): (folder / f"{name}.answers").read_text() for name in EXAMPLES}
    return {which: json.loads(text) for which, text in {**printed, **rows_of}.items()}


def test_ours_are_all_there() -> None:
    assert EXAMPLES.keys() >= OURS


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("command", COMMANDS)
def test_it_answers_with_what_it_found(answers: Any, sextant: Any, command: str, name: str) -> None:
    result = answers[command, name]
    assert result["question"] == EXAMPLES[name]
    assert result["answer"]
    assert "missing" not in result
    if name in OURS:
        assert "[1]" in result["answer"]
        assert result["sources"][0]["document"].startswith("field_guide/")
        assert result["calls"] > 0
        assert result["tokens"]["in"] > 0
    if name in TEAMS:
        assert result["timing"]["floor_s"] <= result["timing"]["serial_s"] + 0.01
        assert result["timing"]["critical_path"]
    [run] = sextant.rows("select graph, status from runs where run_id = %s", result["run_id"])
    assert run == {"graph": name, "status": "succeeded"}
