"""Logs of runs that never were: written by hand with known answers, or drawn at random by Hypothesis."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from app.events import RunEvent
from app.shapes import Node, Shape

EPOCH = 1_000_000.0

RESEARCH = Shape(
    (Node("plan", "Plan"), Node("research", "Research", team=True), Node("write", "Write", speaks=True)),
    (("plan", "research"), ("research", "write")),
    ("plan",),
)
CHAT = Shape((Node("answer", "Assistant", speaks=True, agent=True),), (), ("answer",))
USAGE = {"in": 100, "out": 20, "cached": 40}


def ev(at: float, type_: str, span: str = "run", parent: str | None = None, **data: Any) -> RunEvent:
    """An event `at` seconds after the start."""
    return RunEvent(type_, span, parent, data, EPOCH + at)


def log(*events: RunEvent | Iterable[RunEvent]) -> list[RunEvent]:
    """Events, and groups of them, numbered in order."""
    flat = [event for item in events for event in ([item] if isinstance(item, RunEvent) else item)]
    return [replace(event, seq=at) for at, event in enumerate(flat, 1)]


def in_time(*groups: Iterable[RunEvent]) -> list[RunEvent]:
    """What several did at once, in order of time."""
    return sorted((event for group in groups for event in group), key=lambda event: event.at)


def sub(id_: str, *needs: str, title: str = "") -> dict[str, Any]:
    """A sub-task of a plan."""
    return {"id": id_, "title": title or f"Part {id_}", "question": f"{id_}?", "role": "researcher",
            "depends_on": list(needs)}  # fmt: skip


def source(key: str, document: str = "d1", score: float = 0.5) -> dict[str, Any]:
    """A passage that a search found."""
    return {"key": key, "chunk_id": key * 2, "document_id": document, "document": f"{document}.md", "title": "T",
            "heading": "", "page": None, "quote": f"quote {key}", "score": score}  # fmt: skip


def says(at: float, until: float, parent: str, text: str, *, call: str = "", first: float | None = None,
         speaks: bool = False, **more: Any) -> Iterator[RunEvent]:  # fmt: skip
    """A model call that streams `text` in one token from `first` on."""
    span = call or f"llm-{parent}-{at}"
    yield ev(at, "llm.started", span, parent, model="m", speaks=speaks)
    if text:
        yield ev(at if first is None else first, "llm.token", span, parent, text=text)
    yield ev(until, "llm.finished", span, parent, **{"usage": USAGE, "calls": [], "text": text, **more})


def finds(
    at: float, until: float, parent: str, *sources: Mapping[str, Any], ok: bool = True, text: str = ""
) -> Iterator[RunEvent]:
    """A search."""
    span = f"tool-{parent}-{at}"
    yield ev(at, "tool.started", span, parent, name="search_documents", args={"query": "slots"}, call_id=span)
    yield ev(until, "tool.finished", span, parent, ok=ok, text=text, sources=list(sources))


def node(at: float, until: float | None, span: str, state: str = "done", reason: str = "") -> Iterator[RunEvent]:
    """A node at the top, from start to end."""
    yield ev(at, "node.started", span, "run", name=span.partition(":")[0])
    if until is not None:
        yield ev(until, "node.finished", span, "run", state=state, reason=reason)


def begun(question: str = "Q?") -> Iterator[RunEvent]:
    """The first event."""
    yield ev(0, "run.started", question=question, graph="research", model="m")


def planned(at: float, *tasks: Mapping[str, Any], note: str = "why") -> Iterator[RunEvent]:
    """The plan node, from 0 to `at`, and its plan."""
    yield ev(0, "node.started", "plan:1", "run", name="plan")
    yield ev(at, "plan.proposed", "plan:1", "run", tasks=list(tasks), note=note)
    yield ev(at, "node.finished", "plan:1", "run", state="done", reason="")
    yield ev(at, "node.started", "research:1", "run", name="research")


def spawned(at: float, id_: str) -> RunEvent:
    """A sub-agent begins."""
    return ev(at, "agent.spawned", agent(id_), "research:1", task_id=id_, title=f"Part {id_}", role="researcher")


def ended(at: float, id_: str, state: str = "done", text: str = "found", reason: str = "") -> RunEvent:
    """A sub-agent ends."""
    return ev(at, "agent.finished", agent(id_), "research:1", task_id=id_, state=state, text=text, reason=reason)


def agent(id_: str) -> str:
    """Span of a sub-agent."""
    return f"research:1|sub_agent:{id_}"


def written(at: float, until: float, text: str) -> Iterator[RunEvent]:
    """The team's end, the write-up, and the end of the run."""
    yield ev(at, "node.finished", "research:1", "run", state="done", reason="")
    yield ev(at, "node.started", "write:1", "run", name="write")
    yield from says(at, until, "write:1", text, speaks=True)
    yield ev(until, "node.finished", "write:1", "run", state="done", reason="")
    yield ev(until, "run.finished", answer=text, missing=[])


# -- at random ---------------------------------------------------------------------------------------------------------

_TEXTS = st.sampled_from(
    ["A wait. ", "See [aaa111]. ", "Both [aaa111, bbb222]", "\n\n- one\n- two [ccc333]\n", "**x", "|a|"]
)
_STATES = st.sampled_from(["done", "done", "partial", "failed", "timed_out", "skipped"])


@st.composite
def plans(draw: st.DrawFn, most: int = 5) -> list[dict[str, Any]]:
    """A plan whose parts need only earlier ones."""
    ids = [str(n) for n in range(1, draw(st.integers(1, most)) + 1)]
    return [sub(id_, *draw(st.lists(st.sampled_from(ids[:at]), unique=True) if at else st.just([])))
            for at, id_ in enumerate(ids)]  # fmt: skip


@st.composite
def _calls(draw: st.DrawFn, parent: str, speaks: bool = False) -> list[RunEvent]:
    """What one agent does, without times."""
    out: list[RunEvent] = []
    for n in range(draw(st.integers(0, 3))):
        span = f"{parent}-{n}"
        if draw(st.booleans()):
            out.append(ev(0, "tool.started", span, parent, name="search_documents", args={"query": "q"}, call_id=span))
            keys = draw(st.lists(st.sampled_from(["aaa111", "bbb222", "ccc333"]), unique=True))
            ok, cut = draw(st.booleans()), draw(st.booleans())
            found = [source(key, document=key[:1], score=draw(st.floats(0, 1))) for key in keys]
            out.append(ev(0, "tool.timeout", parent, None, tool="search_documents", call_id=span) if cut else
                       ev(0, "tool.finished", span, parent, ok=ok, text="t", sources=found if ok else []))  # fmt: skip
        else:
            text = draw(st.lists(_TEXTS, max_size=4))
            out.append(ev(0, "llm.started", span, parent, model="m", speaks=speaks))
            out += [ev(0, "llm.token", span, parent, text=token) for token in text]
            if draw(st.integers(0, 4)) == 0:
                out += [ev(0, "llm.finished", span, parent, error="busy"),
                        ev(0, "llm.retry", parent, None, attempt=2, reason="busy", pause_s=0.1)]  # fmt: skip
            else:
                called = draw(st.sampled_from([[], [], ["search_documents"]]))
                said = {"usage": USAGE, "calls": called, "text": "".join(text), "cost_usd": 0.01}
                out.append(ev(0, "llm.finished", span, parent, **said))
    return out


@st.composite
def _mixed(draw: st.DrawFn, groups: Sequence[list[RunEvent]]) -> list[RunEvent]:
    """All groups' events, each group in its order."""
    left = [list(group) for group in groups if group]
    out = []
    while left:
        group = draw(st.sampled_from(left))
        out.append(group.pop(0))
        left = [group for group in left if group]
    return out


@st.composite
def logs(draw: st.DrawFn) -> list[RunEvent]:
    """A research run of any shape: failures, retries, cut tools, a worker that dies in between, any end or none."""
    tasks = draw(plans())
    teams = []
    for task in tasks:
        span, state = agent(task["id"]), draw(_STATES)
        text = "".join(draw(st.lists(_TEXTS, max_size=3)))
        work = [] if state == "skipped" else [spawned(0, task["id"]), *draw(_calls(span))]
        teams.append([*work, ended(0, task["id"], state, text if state in ("done", "partial") else "", "why")])
    body = [
        ev(0, "node.started", "plan:1", "run", name="plan"),
        *draw(_calls("plan:1")),
        ev(0, "plan.proposed", "plan:1", "run", tasks=tasks, note="n"),
        ev(0, "node.finished", "plan:1", "run", state="done", reason=""),
        ev(0, "node.started", "research:1", "run", name="research"),
        *draw(_mixed(teams)),
        ev(0, "node.finished", "research:1", "run", state="done", reason=""),
        ev(0, "node.started", "write:1", "run", name="write"),
        *draw(_calls("write:1", speaks=True)),
        ev(0, "node.finished", "write:1", "run", state="done", reason=""),
        ev(0, "run.finished", answer=draw(_TEXTS), missing=[]),
    ]
    cut = draw(st.integers(0, len(body)))
    first = [*begun(), *body[:cut]]
    ends = [
        [],
        [ev(0, "run.cancelled", answer="", error={"message": "Stopped."})],
        [ev(0, "run.failed", answer="", error={"message": "no"})],
        [ev(0, "run.handed_back")],
        [*begun(), *body[max(0, cut - 3) :]],  # taken over: a little was done that was not stored
    ]
    whole = [*first, *(draw(st.sampled_from(ends)) if cut < len(body) else [])]
    pauses = draw(st.lists(st.sampled_from([0.0, 0.1, 1.5]), min_size=len(whole), max_size=len(whole)))
    now, out = 0.0, []
    for event, pause in zip(whole, pauses, strict=True):
        now += pause
        out.append(replace(event, at=EPOCH + now))
    return log(*out)
