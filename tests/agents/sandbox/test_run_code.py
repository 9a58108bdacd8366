"""The tool that runs code, as an agent calls it: what it is told when the code, the sandbox or the call is no good."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from crew import crew, run
from langchain.agents import create_agent
from langchain_core.messages import ToolMessage
from scripted import ScriptedModel, Step, calls, says

from agents.artefacts import Artefact
from agents.context import Context
from agents.errors import ToolFailed
from agents.middleware import stack
from agents.sandbox.box import Made, NoIsolation, Outcome, Sandbox
from agents.sandbox.boxes import Bubblewrap
from agents.tools.run_code import MAX_CODE_CHARS, media_type_of, run_code

CODE = ("run_code", {"code": "print(1)"})
PNG = b"\x89PNG\r\n\x1a\n and so on"


class Says:
    """A sandbox in which every code comes to the same."""

    def __init__(self, outcome: Outcome | Exception) -> None:
        self.ran: list[str] = []
        self._outcome = outcome

    async def run(self, code: str) -> Outcome:
        self.ran.append(code)
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


class OneShelf:
    """Keeps one thing."""

    def __init__(self) -> None:
        self.kept: list[Artefact] = []

    async def keep(self, name: str, media_type: str, data: bytes) -> Artefact:
        if self.kept:
            raise ToolFailed(name, "100 artefacts of a run are reached", "make fewer")
        self.kept.append(Artefact("a1", name, media_type, len(data)))
        return self.kept[0]

    async def read(self, id: str) -> bytes:
        return b""


async def asked(sandbox: Sandbox | None, *script: Step, **context: Any) -> list[ToolMessage]:
    """What an agent observes that runs code by this script."""
    model = ScriptedModel([*script, says("Done.")])
    agent = create_agent(model, [run_code], middleware=stack(8), context_schema=Context)
    ran = await run(agent, replace(crew(model), sandbox=sandbox, **context))
    model.check_used_up()
    return [it for it in ran.state["messages"] if isinstance(it, ToolMessage)]


@pytest.mark.parametrize("args", [{}, {"code": None}, {"code": ["print(1)"]}, {"program": "print(1)"}])
async def test_what_is_no_program_is_not_run(args: dict[str, Any]) -> None:
    sandbox = Says(Outcome("done", ""))

    (told,) = await asked(sandbox, calls(("run_code", args)))

    assert told.status == "error" and "code" in told.text
    assert sandbox.ran == []


async def test_a_program_that_is_too_long_is_not_run() -> None:
    sandbox = Says(Outcome("done", ""))

    (told,) = await asked(sandbox, calls(("run_code", {"code": "#" * (MAX_CODE_CHARS + 1)})))

    assert "20,001 characters of 20,000; write a shorter program" in told.text
    assert sandbox.ran == []


@pytest.mark.parametrize(
    ("sandbox", "said"),
    [
        (None, "there is no sandbox in this run"),
        (Says(NoIsolation("bubblewrap is not installed", "install it")), "not run, because bubblewrap is not inst"),
        (Says(RuntimeError("the pool is gone")), "RuntimeError: the pool is gone"),
    ],
)
async def test_where_nothing_keeps_it_apart_code_is_not_run(sandbox: Says | None, said: str) -> None:
    (told,) = await asked(sandbox, calls(CODE))

    assert told.status == "error" and said in told.text


@pytest.mark.parametrize(
    ("outcome", "problem", "next_move"),
    [
        (Outcome("failed", "NameError: x"), "it ended with an error.\nNameError: x", "correct the program"),
        (Outcome("timed_out", "so far", problem="it was not done within 20 s"), "so far", "will not end by being run"),
        (Outcome("memory", "", problem="it held 600 MB"), "it held 600 MB, and it was killed", "less data at once"),
        (Outcome("flood", "xx", problem="it printed too much"), "it printed too much", "print less"),
        (Outcome("entries", "", problem="it made more than 5,000 files"), "5,000 files", "make fewer files"),
        (Outcome("died", "", problem="its process died"), "its process died", "try it differently"),
    ],
)
async def test_each_end_says_what_to_do_instead(outcome: Outcome, problem: str, next_move: str) -> None:
    (told,) = await asked(Says(outcome), calls(CODE))

    assert told.status == "error"
    assert problem in told.text and next_move in told.text


async def test_what_was_printed_is_told_although_not_all_could_be_kept() -> None:
    made = Outcome("done", "mean 4\n", (Made("a.png", PNG), Made("b.txt", b"b")), ("c (not a plain file)",))

    (told,) = await asked(Says(made), calls(CODE), artefacts=OneShelf())

    assert told.text.split("\n") == [
        "mean 4",
        f"[made a.png, {len(PNG)} bytes, artefact a1; it is shown already]",
        "[b.txt could not be kept: 100 artefacts of a run are reached; make fewer]",
        "[left out: c (not a plain file)]",
    ]
    assert told.artifact == {"artefacts": [{"id": "a1", "name": "a.png", "media_type": "image/png", "size": len(PNG)}]}


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("a.txt", PNG, "image/png"),
        ("a.png", b"<html><script>alert(1)</script>", "application/octet-stream"),
        ("a.jpg", b"<svg onload=alert(1)>", "application/octet-stream"),
        ("a.svg", b"<svg/>", "image/svg+xml"),
        ("a.html", b"<html>", "text/html"),
        ("a", b"\x00", "application/octet-stream"),
    ],
)
def test_a_picture_is_what_holds_one(name: str, data: bytes, kind: str) -> None:
    assert media_type_of(Made(name, data)) == kind


class InTurn:
    """Sandboxes one after the other."""

    def __init__(self, boxes: Sequence[Sandbox]) -> None:
        self._boxes = list(boxes)

    async def run(self, code: str) -> Outcome:
        return await self._boxes.pop(0).run(code)


async def test_code_that_hangs_is_killed_and_the_turn_planned_anew(boxes: Callable[..., Bubblewrap]) -> None:
    hangs = calls(("run_code", {"code": "import time\nprint('begun', flush=True)\ntime.sleep(600)"}))

    async def anew(asked: Any) -> Any:
        assert "not done within 1 s, and it was killed" in asked.text and "plan this step anew" in asked.text
        return calls(("run_code", {"code": "6 * 7"}), first_id=2)

    (cut, done) = await asked(InTurn([boxes(wall_s=1.0), boxes()]), hangs, anew)

    assert cut.status == "error"
    assert (done.status, done.text) == ("success", "42")
