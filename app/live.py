"""RunView -> JSON for the browser: the whole view once, then only what changed.

The server folds, numbers citations and parses markdown, so that the page only draws. Pure.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from app.events import RunEvent
from app.markup import blocks
from app.projection import ENDED, Lane, RunView, cited_keys
from app.shapes import NODE_HEIGHT, Drawing, Shape, draw

JSON = dict[str, Any]


def drawn(drawing: Drawing) -> JSON:
    """A graph that has not run, for the page."""
    return {
        "width": drawing.width,
        "height": drawing.height,
        "nodes": [
            {"id": box.id, "title": box.title, "x": box.x, "y": box.y, "w": box.w, "h": NODE_HEIGHT, "lane_id": box.lane,
             "state": "pending", "note": "", "critical": False}
            for box in drawing.nodes
        ],
        "edges": [
            {"id": f"{edge.source}>{edge.target}", "source": edge.source, "target": edge.target, "d": edge.path,
             "state": "idle", "critical": False, "loop": edge.loop}
            for edge in drawing.edges
        ],
    }  # fmt: skip


class LiveView:
    """One reader's copy of a run's view: what to send first, and what to send next."""

    def __init__(self, run: Mapping[str, Any], shape: Shape) -> None:
        """`run`: row with run_id, thread_id, graph, status, question."""
        self._run = run
        self.view = RunView(shape)
        self.view.question = str(run["question"])
        self._drawing = draw(shape)
        self._plan: Sequence[Any] = ()
        self._sent: JSON = {}

    def apply(self, events: Sequence[RunEvent]) -> None:
        """Fold `events`; lay the graph out anew only when a plan arrives."""
        for event in events:
            self.view.apply(event)
        if self.view.plan != self._plan:
            self._plan = self.view.plan
            self._drawing = draw(self.view.shape, self._plan)

    def status(self, status: str) -> None:
        """What the run's row says, where no event can: queued, lost."""
        if status in ("queued", "lost", "waiting"):
            self.view.status = status

    def whole(self, now: float | None = None) -> JSON:
        """The view, complete."""
        self._sent = self._json(time.time() if now is None else now)
        return self._sent

    def patch(self, now: float | None = None) -> JSON:
        """What changed since the last `whole` or `patch`; {} when nothing did."""
        before, after = self._sent, self._json(time.time() if now is None else now)
        self._sent = after
        change: JSON = {
            key: value
            for key, value in after.items()
            if key not in _BY_ITEM and value != before.get(key) and key != "now"
        }
        out: JSON = {"set": {**change, "now": after["now"]}} if change else {}
        for key, id_ in (("lanes", "id"), ("findings", "lane_id")):
            old = {item[id_]: item for item in before[key]}
            if changed := [item for item in after[key] if item != old.get(item[id_])]:
                out[key] = changed
        if [lane["id"] for lane in after["lanes"]] != [lane["id"] for lane in before["lanes"]]:
            out.setdefault("set", {"now": after["now"]})["lanes"] = after["lanes"]
            out.pop("lanes", None)
        if answer := _answer_patch(before["answer"], after["answer"]):
            out["answer"] = answer
        return out

    def _json(self, now_epoch: float) -> JSON:
        view = self.view
        now = view.ended if view.ended is not None else now_epoch - (view.started_at or now_epoch)
        numbers = view.numbers()
        path = view.critical_path(now)
        critical = {lane.id for lane in path}
        ended = view.ended is not None
        return {
            **{key: self._run[key] for key in ("run_id", "thread_id", "graph")},
            "status": view.status,
            "question": view.question,
            "started_at": view.started_at,
            "now": now_epoch,
            "ended_s": view.ended,
            "status_line": status_line(view, now),
            "meters": {name: getattr(view.meters, name) for name in view.meters.__slots__},
            "plan": [{**sub, "state": _state_of_task(view, sub["id"])} for sub in view.plan],
            "lanes": [self._lane(lane, now, lane.id in critical) for lane in view.drawn_lanes()],
            "shape": self._shape(critical, now),
            "critical_path": [lane.title for lane in path],
            "serial_s": round(view.serial_s(now), 2) if ended else None,
            "floor_s": round(view.floor_s(now), 2) if ended else None,
            "speedup": round(view.serial_s(now) / now, 2) if ended and now > 0 else None,
            "median_s": _round(view.median_s()),
            "findings": [self._finding(lane, numbers) for lane in view.team() if lane.text],
            "answer": self._answer(numbers),
            "sources": _sources(view, numbers),
            "missing": view.missing,
            "error": view.error,
        }

    def _lane(self, lane: Lane, now: float, critical: bool) -> JSON:
        waits = [
            self.view.lanes[need].title
            for need in lane.needs
            if need in self.view.lanes and not _ended(self.view, need)
        ]
        return {
            "id": lane.id,
            "parent_id": lane.parent_id,
            "depth": lane.depth,
            "kind": lane.kind,
            "title": lane.title,
            "role": lane.role,
            "state": lane.state,
            "activity": lane.activity,
            "waits_for": waits if lane.start is None else [],
            "start": _round(lane.start),
            "end": _round(lane.end),
            "tokens": lane.tokens,
            "cost_usd": lane.cost_usd,
            "attempt": lane.attempt,
            "late_s": _round(self.view.late_s(lane, now), 1),
            "critical": critical,
            "segments": [
                {
                    "kind": it.kind,
                    "start": _round(it.start),
                    "end": _round(it.end),
                    "failed": it.failed,
                    "label": it.label,
                }
                for it in lane.segments
            ],
        }

    def _shape(self, critical: set[str], now: float) -> JSON:
        shape = drawn(self._drawing)
        states = {}
        for node in shape["nodes"]:
            lane = self.view.lanes[node["lane_id"]]
            states[node["id"]] = node["state"] = _state_of_box(node["id"], lane, self.view)
            node["critical"] = lane.id in critical
            node["note"] = self._note(node["id"], lane)
        for edge in shape["edges"]:
            ends = states[edge["source"]], states[edge["target"]]
            edge["state"] = _state_of_edge(*ends, over=self.view.ended is not None)
            edge["critical"] = (
                all(node["critical"] for node in shape["nodes"] if node["id"] in (edge["source"], edge["target"]))
                and not edge["loop"]
            )
        return shape

    def _note(self, box: str, lane: Lane) -> str:
        if "#" in box:  # a loop's two halves: how often each was taken
            kinds = ("ttft",) if box.endswith("#reason") else ("tool",)
            times = sum(segment.kind in kinds for segment in lane.segments)
            return f"{times}x" if times > 1 else ""
        if lane.id in {node.id for node in self.view.shape.nodes if node.team} and self._plan:
            done = sum(agent.state in ENDED for agent in self.view.team())
            return f"{done}/{len(self._plan)}"
        if lane.state == "retrying":
            return f"try {lane.attempt}"
        return f"{lane.end - lane.start:.1f} s" if lane.end is not None and lane.start is not None else ""

    def _finding(self, lane: Lane, numbers: Mapping[str, int]) -> JSON:
        streaming = lane.running()
        return {
            "lane_id": lane.id,
            "title": lane.title,
            "state": lane.state,
            "text": lane.text,
            "blocks": blocks(lane.text, numbers, streaming=streaming),
            "streaming": streaming,
        }

    def _answer(self, numbers: Mapping[str, int]) -> JSON:
        text, final = self.view.answer, self.view.final
        tree = blocks(text, numbers, streaming=not final)
        unsupported = sum(1 for block in tree if _claims_nothing_cited(block)) if final and self.view.sources else 0
        return {"text": text, "blocks": tree, "final": final, "unsupported": unsupported}


_BY_ITEM = frozenset({"lanes", "findings", "answer"})


def _answer_patch(before: JSON, after: JSON) -> JSON:
    if before == after:
        return {}
    old, new = before["blocks"], after["blocks"]
    same = next((at for at, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    out: JSON = {
        "blocks_from": same,
        "blocks": new[same:],
        "final": after["final"],
        "unsupported": after["unsupported"],
    }
    if after["text"].startswith(before["text"]):
        return {**out, "append": after["text"][len(before["text"]) :]}
    return {**out, "text": after["text"]}


def _claims_nothing_cited(block: Any) -> bool:
    """A paragraph or list that states something and cites nothing."""
    if not isinstance(block, list) or block[0] not in ("p", "ul", "ol"):
        return False
    if block[0] in ("ul", "ol"):
        return any(isinstance(item, list) and not _has_citation(item) for item in block[2])
    return not _has_citation(block)


def _has_citation(node: Any) -> bool:
    return isinstance(node, list) and (node[0] == "cite" or any(_has_citation(child) for child in node[2]))


def _sources(view: RunView, numbers: Mapping[str, int]) -> list[JSON]:
    in_answer = set(cited_keys(view.answer))
    ordered = sorted(view.sources.values(), key=lambda it: (numbers.get(it["key"], 10**6), -it["score"]))
    rest = len(numbers)
    out = []
    for source in ordered:
        if (n := numbers.get(source["key"])) is None:
            rest += 1
            n = rest
        out.append({**source, "n": n, "quote": source["quote"], "cited": source["key"] in in_answer})
    return out


def _state_of_task(view: RunView, task_id: str) -> str:
    lane = view.lanes.get(f"task:{task_id}")
    return lane.state if lane else "pending"


def _state_of_box(box: str, lane: Lane, view: RunView) -> str:
    if "#" not in box or not lane.running():
        return "not_taken" if box.endswith("#act") and lane.end is not None and not _acted(lane) else lane.state
    acting = any(segment.kind == "tool" and segment.end is None for segment in lane.segments)
    if box.endswith("#act"):
        return "running" if acting else "done" if _acted(lane) else "pending"
    return "done" if acting else lane.state


def _acted(lane: Lane) -> bool:
    return any(segment.kind == "tool" for segment in lane.segments)


def _state_of_edge(source: str, target: str, *, over: bool) -> str:
    if target == "not_taken":
        return "not_taken" if over else "idle"
    if source in ENDED and target not in ("pending", "blocked", "ready"):
        return "taken"
    return "waiting" if source in ENDED or source in ("running", "retrying") else "idle"


def _ended(view: RunView, lane_id: str) -> bool:
    return view.lanes[lane_id].state in ENDED


def _round(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)


def status_line(view: RunView, now: float) -> JSON:
    """One sentence, first what is done, then what is being waited for and why."""
    team = view.team()
    done = sum(lane.state in ENDED for lane in team)
    if view.status in _PLAIN:
        lead, rest = _PLAIN[view.status]
        return {"lead": lead, "rest": (view.error or {}).get("message", rest)}
    if view.status == "succeeded":
        good = sum(lane.state == "done" for lane in team)
        cost = f" for ${view.meters.cost_usd:.3f}" if view.meters.cost_usd is not None else ""
        lead = f"{good} of {_count(len(team), 'sub-task')}" if team else "Answered"
        return {"lead": lead, "rest": f"in {now:.1f} s{cost}, {_count(view.meters.calls, 'model call')}."}
    running = [lane for lane in team if lane.running()]
    if team and running:
        return {"lead": f"{done} of {_count(len(team), 'sub-task')} {'is' if done == 1 else 'are'} done.",
                "rest": _waiting_on(view, running, now)}  # fmt: skip
    active = [lane for lane in view.drawn_lanes() if lane.running() and lane.kind == "node"]
    if not active:
        return {"lead": "Starting.", "rest": ""}
    lane = active[-1]
    if len(view.drawn_lanes()) == 1 and lane.activity not in ("", "started"):
        return {"lead": f"{lane.activity[0].upper()}{lane.activity[1:]}.", "rest": ""}
    words = f"{lane.activity[0].upper()}{lane.activity[1:]}." if lane.activity not in ("", "started") else ""
    parts = f"{done} of {_count(len(team), 'sub-task')} done. " if team else ""
    return {"lead": f"{lane.title}.", "rest": parts + words}


_PLAIN = {
    "queued": ("Queued.", "It starts as soon as a worker is free."),
    "waiting": ("Waiting for you.", ""),
    "failed": ("The run failed.", "What was found so far is kept."),
    "cancelled": ("Stopped.", "What was found so far is kept."),
    "lost": ("The worker is gone.", "Everything up to its last step is kept."),
}


def _waiting_on(view: RunView, running: Sequence[Lane], now: float) -> str:
    late = [(over, lane) for lane in running if (over := view.late_s(lane, now)) is not None]
    if late:
        over, lane = max(late, key=lambda it: it[0])
        return f"Waiting on {_mid(lane.title)}, {over:.1f} s over the median."
    retrying = next((lane for lane in running if lane.state == "retrying"), None)
    if retrying:
        return f"{retrying.title} is on try {retrying.attempt}."
    names = [_mid(lane.title) for lane in running]
    return f"Working on {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}."


def _mid(title: str) -> str:
    """A title inside a sentence; a name with capitals of its own keeps them."""
    first = title.partition(" ")[0]
    return title if first[1:] != first[1:].lower() else title[:1].lower() + title[1:]


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
