"""A run in the terminal: it fits, it tells the truth, and nothing that a model wrote can touch the terminal."""

import io
import re
from collections.abc import Sequence
from typing import Any

import pytest
from rich.console import Console

from app.events import RunEvent
from app.live import LiveView
from app.shapes import Node, Shape
from app.terminal import MARKS, Frame, LineScreen, finished, near_limit, plain_answer
from app.terminal_blocks import safe

SHAPE = Shape(
    (Node("plan", "Plan"), Node("research", "Research", team=True), Node("write", "Write", speaks=True)),
    (("plan", "research"), ("research", "write")),
)
RUN = {"run_id": "r", "thread_id": "t", "graph": "research", "status": "running", "question": "?"}
START = 1_000.0
SOURCE = {
    "key": "3f9a1c", "chunk_id": "3f9a1c000000", "document_id": "d", "document": "handbook.pdf", "title": "Handbook",
    "heading": "Deadlines > Quorum", "page": 12, "quote": "A quorum of three is enough.", "score": 1.0,
}  # fmt: skip


class Story:
    """A run that is told event by event."""

    def __init__(self) -> None:
        self.live = LiveView(RUN, SHAPE)
        self.seq = 0
        self.tell(0, "run.started", "run", question="?")

    def tell(self, at: float, type_: str, span: str, parent: str | None = None, **data: Any) -> "Story":
        self.seq += 1
        self.live.apply([RunEvent(type_, span, parent, data, START + at, seq=self.seq)])
        return self

    def plan(self, titles: Sequence[str]) -> "Story":
        tasks = [
            {"id": str(at), "title": title, "question": title, "role": "researcher", "depends_on": []}
            for at, title in enumerate(titles)
        ]
        self.tell(0.1, "node.started", "plan:1", name="plan")
        self.tell(1, "plan.proposed", "plan:1", tasks=tasks, note="").tell(1, "node.finished", "plan:1", state="done")
        return self.tell(1, "node.started", "research:1", name="research")

    def spawn(self, at: float, task: int, title: str) -> "Story":
        span = f"research:1|sub_agent:{task}"
        return self.tell(at, "agent.spawned", span, task_id=str(task), title=title, role="researcher", question="?")

    def end(
        self, at: float, task: int, state: str = "done", text: str = "Found it [3f9a1c].", reason: str = ""
    ) -> "Story":
        data = {"task_id": str(task), "state": state, "text": text, "reason": reason}
        return self.tell(at, "agent.finished", f"research:1|sub_agent:{task}", **data)

    def find(self, at: float, task: int) -> "Story":
        span = f"research:1|sub_agent:{task}"
        self.tell(at, "tool.started", f"tool{task}", span, name="search_documents", args={"query": "quorum"})
        return self.tell(at + 0.5, "tool.finished", f"tool{task}", span, ok=True, text="", sources=[SOURCE])

    def write(self, at: float, text: str) -> "Story":
        self.tell(at, "node.started", "write:1", name="write")
        self.tell(at, "llm.started", "llm", "write:1", model="m", speaks=True)
        return self.tell(at + 0.2, "llm.token", "llm", "write:1", text=text)

    def finish(self, at: float, answer: str, missing: Sequence[Any] = ()) -> dict[str, Any]:
        self.tell(at, "run.finished", "run", answer=answer, missing=list(missing))
        return self.view(at)

    def view(self, at: float) -> dict[str, Any]:
        return self.live.whole(START + at)


def drawn(what: Any, width: int = 120, height: int = 40) -> list[str]:
    out = Console(file=io.StringIO(), width=width, height=height, highlight=False, markup=False, emoji=False)
    out.print(what)
    return out.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("width", "height"), [(120, 40), (80, 24), (40, 12), (300, 10)])
@pytest.mark.parametrize("agents", [1, 5, 64])
def test_a_frame_never_leaves_the_terminal(width: int, height: int, agents: int) -> None:
    story = Story().plan([f"A rather long title of sub-task number {at}" for at in range(agents)])
    for at in range(agents):
        story.spawn(1.1, at, f"A rather long title of sub-task number {at}")
    story.write(3, "word " * 5_000)
    lines = drawn(Frame(story.view(4)), width, height)
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    assert "word" in lines[-1]  # of the answer, the newest


def test_each_lane_keeps_its_mark_title_bar_and_words_at_80_columns() -> None:
    story = Story().plan(["Quorums", "Planning with parallel sub-agents and more", "Debate"])
    story.spawn(1, 0, "Quorums").find(1.5, 0).end(3, 0)
    story.spawn(1, 1, "Planning with parallel sub-agents and more")
    story.spawn(1, 2, "Debate").end(2, 2, "failed", "", "the model refused")
    lines = drawn(Frame(story.view(4)), 80, 24)
    rows = {line[2:12].strip(): line for line in lines}
    assert rows["Quorums"].startswith("✓ Quorums ")
    assert rows["Quorums"].rstrip().endswith("2.0 s 1 finding from 1 source")
    assert "▓" in rows["Quorums"]
    assert rows["Planning w"].startswith("● Planning with para")
    assert rows["Debate"].startswith("✕ Debate")
    assert "failed, the model refused" in rows["Debate"]
    assert "waits for Planning with pa" in rows["Write"]  # and no more for those that have ended


def test_more_lanes_than_lines_are_counted_and_those_at_work_stay() -> None:
    story = Story().plan([f"task {at}" for at in range(64)])
    for at in range(64):
        story.spawn(1, at, f"task {at}")
    for at in range(60):
        story.end(2, at)
    lines = drawn(Frame(story.view(3)), 100, 20)
    assert all(any(line.startswith(f"● task {at} ") for line in lines) for at in range(60, 64))
    assert any(re.search(r"and \d+ more done", line) for line in lines)


def test_the_end_shows_answer_sources_and_what_is_missing() -> None:
    story = Story().plan(["Quorums", "Debate"]).spawn(1, 0, "Quorums").find(1, 0).end(2, 0)
    story.spawn(1, 1, "Debate").end(2, 1, "timed_out", "", "not finished within 120 s")
    answer = "**Three is enough** [3f9a1c].\n\n- one\n- two [3f9a1c]\n\n| a | b |\n|---|---|\n| 1 | 2 |"
    view = story.finish(4, answer, [{"title": "Debate", "reason": "not finished within 120 s"}])
    text = "\n".join(drawn(finished(view, 100), 100))
    assert "Three is enough [1]." in text
    assert " • two [1]" in text
    assert "[1] handbook.pdf, page 12, Deadlines > Quorum" in text
    assert "A quorum of three is enough." in text
    assert "Missing: Debate, not finished within 120 s" in text


def test_the_end_says_what_was_waited_for_and_what_would_help() -> None:
    story = Story().plan(["Quorums", "Debate", "Slots"])
    for at in range(3):
        story.spawn(1, at, "")
    view = story.end(3, 0).end(3, 1).end(11, 2).finish(11, "Done.")
    text = "\n".join(drawn(finished(view, 100), 120))
    assert "11.0 s at work, 14.9 s one after another, 10.9 s at the shortest: 1.4 x faster, at most 16.6 x" in text
    assert "Waited for: Plan 0.9 s, Slots 10.0 s" in text
    assert "“Slots” took 10.0 s, its siblings 2.0 s: give such a part a second try early. About 8.0 s less." in text
    assert "Waited for" not in "\n".join(drawn(finished({**view, "advice": None}, 100), 120))


def near_its_budget(calls: int) -> Story:
    story = Story()
    story.tell(0, "run.started", "run", question="?", budget={"steps": 10, "tokens": 1_000, "usd": None})
    story.tell(0, "node.started", "plan:1", name="plan")
    for at in range(calls):
        story.tell(at, "llm.started", f"call{at}", "plan:1", model="m")
        used = {"in": 50, "out": 10, "cached": 0}
        story.tell(at + 0.5, "llm.finished", f"call{at}", "plan:1", text="So.", calls=[], usage=used)
    return story


WARNING = "Near its budget, 8 of 10 model calls: agents answer from what they have."


@pytest.mark.parametrize(("calls", "said"), [(7, 0), (8, 1)])
def test_eight_tenths_of_a_budget_are_a_warning_while_it_runs(calls: int, said: int) -> None:
    story = near_its_budget(calls)
    assert "\n".join(drawn(Frame(story.view(9)), 100)).count(WARNING) == said
    out = Console(file=io.StringIO(), width=100)
    lines = LineScreen(out)
    for at in (9, 10):  # it is said once
        lines.show(story.view(at))
    assert out.file.getvalue().count(WARNING) == said  # type: ignore[attr-defined]
    assert WARNING not in "\n".join(drawn(Frame(story.finish(11, "Done.")), 100))


def test_the_warning_names_the_limit_that_is_nearest() -> None:
    assert near_limit(near_its_budget(7).view(9)) == ""
    story = near_its_budget(7)
    story.tell(9, "run.resumed", "run").tell(9, "run.started", "run", question="?", budget={"steps": 20, "tokens": 500})
    assert near_limit(story.view(9)).startswith("Near its budget, 420 of 500 tokens: ")


def test_a_pipe_gets_the_answer_as_written_with_numbers() -> None:
    story = Story().plan(["Quorums"]).spawn(1, 0, "Quorums").find(1, 0).end(2, 0)
    view = story.finish(4, "**Three** [3f9a1c], and an invented one [abcdef].")
    assert plain_answer(view) == (
        "**Three** [1], and an invented one .\n\nSources:\n[1] handbook.pdf, page 12, Deadlines > Quorum"
    )


def test_nothing_that_a_model_wrote_reaches_the_terminal_as_a_command() -> None:
    hostile = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil\u202c [bold]no markup[/bold] :boom: \ud800 text\r\b"
    story = Story().plan([hostile]).spawn(1, 0, hostile)
    story.tell(2, "tool.started", "tool0", "research:1|sub_agent:0", name=hostile, args={"query": hostile})
    story.end(3, 0, "failed", hostile, hostile).write(3, hostile)
    frame = "\n".join(drawn(Frame(story.view(4)), 200))
    view = story.finish(5, hostile, [{"title": hostile, "reason": hostile}])
    for text in (frame, "\n".join(drawn(finished(view, 200), 200)), plain_answer(view)):
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", text)
        assert "[bold]no markup[/bold] :boom:" in text


def test_lines_tell_each_beginning_and_end_once() -> None:
    out = io.StringIO()
    story = Story()
    with LineScreen(Console(file=out, width=40, highlight=False, markup=False, emoji=False)) as screen:
        screen.show(story.plan(["Quorums"]).view(1))
        screen.show(story.spawn(1.5, 0, "Quorums").find(1.6, 0).view(2))
        screen.show(story.view(2.5))
        screen.show(story.end(3, 0).view(3))
        screen.show(story.finish(4, "Done [3f9a1c]."))
    assert out.getvalue().splitlines() == [
        "    1.0 s  Plan: done, wrote 1 sub-task",
        "    1.5 s  Quorums: running",  # when it was, not when it was seen
        "    3.0 s  Quorums: done, 1 finding from 1 source",
    ]


def test_every_state_has_a_mark_of_one_cell() -> None:
    states = (
        "pending ready running retrying waiting blocked done cached partial failed timed_out cancelled not_taken "
        "second_try lost"
    )
    assert set(MARKS) == set(states.split())
    assert {len(mark) for mark, _ in MARKS.values()} == {1}


def test_safe_leaves_ordinary_text_of_any_language_alone() -> None:
    text = "naïve Ωμέγα 日本語 עברית\tand\nlines — “quoted” 👩‍💻"
    assert safe({"a": [text]}) == {"a": [text]}
