"""RunView -> JSON for the browser: the whole view once, then only what changed.

The server folds, numbers citations and parses markdown, so that the page only draws. Pure.
"""

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from app.advice import advise
from app.events import ROOT, RunEvent
from app.lanes import ENDED, Lane, Meters
from app.markup import blocks
from app.projection import RunView, cited_keys
from app.readings import critical_path, floor_s, late_s, median_s, serial_s, speedup
from app.shapes import Drawing, Edge, Shape, draw, lane_of_task
from app.statements import marked
from app.status_line import status_line

JSON = dict[str, Any]

_ENDS = {"succeeded": "run.finished", "failed": "run.failed", "cancelled": "run.cancelled"}
_ACTIVE = ("running", "retrying")
_BY_ITEM = {"lanes": "id", "findings": "lane_id"}


def drawn(drawing: Drawing) -> JSON:
    """A graph that has not run, for the page."""
    nodes = [
        {"id": box.id, "title": box.title, "x": box.x, "y": box.y, "w": box.w, "h": box.h, "lane_id": box.lane}
        for box in drawing.nodes
    ]
    edges = [
        {"id": f"{edge.source}>{edge.target}", "source": edge.source, "target": edge.target, "d": edge.path}
        for edge in drawing.edges
    ]
    return {
        "width": drawing.width,
        "height": drawing.height,
        "nodes": [{**node, "state": "pending", "note": "", "critical": False} for node in nodes],
        "edges": [
            {**json, "state": "idle", "critical": False, "loop": edge.loop}
            for json, edge in zip(edges, drawing.edges, strict=True)
        ],
    }


class LiveView:
    """One reader's copy of a run's view: what to send first, and what to send next."""

    def __init__(self, run: Mapping[str, Any], shape: Shape) -> None:
        """`run`: row with run_id, thread_id, graph, question."""
        self._run = run
        self.view = RunView(shape)
        self.view.question = str(run["question"])
        self._row_status = self._pruned = ""
        self._drawing = draw(shape)
        self._plan: Sequence[Any] = ()
        self._sent: JSON = {}
        self._sent_seq = 0
        self._parsed: dict[str, tuple[Any, list[Any]]] = {}

    def apply(self, events: Sequence[RunEvent]) -> None:
        """Fold `events`; lay the graph out anew only when a plan arrives."""
        for event in events:
            self.view.apply(event)
        if events:
            self._row_status = ""  # whoever writes them is alive
        if self.view.plan != self._plan:
            self._plan = self.view.plan
            self._drawing = draw(self.view.shape, self._plan)

    def status(self, status: str) -> None:
        """What the run's row says, where no event can: queued, waiting, lost."""
        self._row_status = status if status in ("queued", "lost", "waiting") else ""

    def from_row(self, run: Mapping[str, Any], pruned: str) -> None:
        """Show what the row alone says, and in `pruned` why it is all: question, answer, sources, what it took."""
        output, began = run["output"] or {}, run["started_at"] or run["created_at"]
        answered = {name: output[name] for name in ("answer", "missing", "budget_reached") if name in output}
        self.view.apply(RunEvent("run.started", ROOT, None, {"question": run["question"]}, began.timestamp()))
        self.view.evidence.sources = {it["key"]: it for it in output.get("sources", ())}
        meters = output.get("meters", {})
        self.view.meters = Meters(**{name: meters[name] for name in Meters.__slots__ if name in meters})
        end = {**answered, "error": run["error"]}
        self.view.apply(RunEvent(_ENDS[run["status"]], ROOT, None, end, run["finished_at"].timestamp()))
        self._pruned = pruned

    def whole(self, now: float | None = None) -> JSON:
        """The view, complete."""
        self._sent, self._sent_seq = self._json(time.time() if now is None else now), self.view.seq
        return self._sent

    @property
    def sent(self) -> tuple[int, JSON]:
        """The view as the last `whole` or `patch` left it with whoever took them all, and up to which event."""
        return self._sent_seq, self._sent

    def patch(self, now: float | None = None) -> JSON:
        """What changed since the last `whole` or `patch`; {} when nothing did but the time."""
        before, after = self._sent, self._json(time.time() if now is None else now)
        self._sent, self._sent_seq = after, self.view.seq
        change: JSON = {
            key: value
            for key, value in after.items()
            if key not in _BY_ITEM and key not in ("answer", "now") and value != before[key]
        }
        out: JSON = {}
        for key, id_ in _BY_ITEM.items():
            old = {item[id_]: item for item in before[key]}
            if [item[id_] for item in after[key]] != list(old):
                change[key] = after[key]
            elif changed := [item for item in after[key] if item != old[item[id_]]]:
                out[key] = changed
        if answer := _answer_patch(before["answer"], after["answer"]):
            out["answer"] = answer
        return {"set": {**change, "now": after["now"]}, **out} if change or out else {}

    @property
    def _status(self) -> str:
        return self.view.status if self.view.ended is not None else self._row_status or self.view.status

    def _json(self, now_epoch: float) -> JSON:
        view = self.view
        now = view.ended if view.ended is not None else max(0.0, now_epoch - (view.started_at or now_epoch))
        numbers = view.numbers()
        path = critical_path(view, now)
        critical = {lane.id for lane in path}
        ended = view.ended is not None
        said = status_line(view, self._status, now)
        late = late_s(view, now)
        return {
            **{key: self._run[key] for key in ("run_id", "thread_id", "graph")},
            "status": self._status,
            "question": view.question,
            "started_at": view.started_at,
            "now": now_epoch,
            "ended_s": view.ended,
            "rested_s": round(view.clock.rested_s, 3),
            "worked_s": None if view.clock.since is not None else round(view.worked_s, 3),
            "waited_s": round(view.clock.waited_s, 3),
            "status_line": {**said, "rest": f"{said['rest']} {self._pruned}".strip()} if self._pruned else said,
            "pruned": self._pruned,
            "meters": {name: getattr(view.meters, name) for name in view.meters.__slots__},
            "plan": [{**sub, "state": self._state(view.lanes.get(lane_of_task(sub["id"])))} for sub in view.plan],
            "lanes": [self._lane(lane, lane.id in critical, late.get(lane.id)) for lane in view.drawn_lanes()],
            "shape": self._shape(path),
            "expected": view.expected,
            "critical_path": [lane.title for lane in path],
            "serial_s": round(serial_s(view, now), 2) if ended else None,
            "floor_s": round(floor_s(view, now), 2) if ended else None,
            "speedup": _round(speedup(view), 2),
            "median_s": _round(median_s(view)),
            "advice": told.shown() if (told := advise(view)) else None,
            "findings": [self._finding(lane, numbers) for lane in view.team() if lane.text],
            "answer": self._answer(numbers),
            "sources": _sources(view, numbers),
            "artefacts": list(view.evidence.artefacts.values()),
            "missing": view.missing,
            "error": view.error,
            "memory": view.memory.entries,
            "requests": [dict(request) for request in view.requests.values()],
            "unreadable": [{"role": role, "rung": rung, "n": n} for (role, rung), n in view.unreadable.items()],
            "budget": view.budget,
            "budget_reached": view.budget_reached,
        }

    def _state(self, lane: Lane | None) -> str:
        """State of a lane. Nothing runs in a run whose worker is gone, whatever was heard of it last."""
        if lane is None:
            return "pending"
        return "lost" if lane.running() and self._status == "lost" else lane.state

    def _lane(self, lane: Lane, critical: bool, late: float | None) -> JSON:
        waits = [it.title for it in self.view.lanes.before(lane) if it.state not in ENDED] if lane.start is None else []
        return {
            "id": lane.id,
            "parent_id": lane.parent_id,
            "depth": lane.depth,
            "kind": lane.kind,
            "title": lane.title,
            "role": lane.role,
            "state": self._state(lane),
            "activity": lane.activity,
            "waits_for": waits,
            "start": _round(lane.start),
            "end": _round(lane.end),
            "tokens": lane.tokens,
            "cost_usd": lane.cost_usd,
            "attempt": lane.attempt,
            "idle_s": _round(lane.idle_s),
            "late_s": _round(late, 1),
            "critical": critical,
            "segments": [
                {
                    "kind": it.kind,
                    "start": _round(it.start),
                    "end": _round(it.end),
                    "failed": it.failed,
                    "label": it.label,
                    **({"figures": it.figures} if it.figures else {}),
                }
                for it in lane.segments
            ],
        }

    # -- the drawing -------------------------------------------------------------------------------------------------

    def _shape(self, path: Sequence[Lane]) -> JSON:
        shape = drawn(self._drawing)
        boxes = {node["id"]: node for node in shape["nodes"]}
        own = {node["lane_id"] for node in shape["nodes"]}
        steps = [lane.node if lane.node in own else lane.parent_id for lane in path]  # a team of many is one box
        arrows = set(pairwise(steps))
        for node in shape["nodes"]:
            lane = self.view.lanes[node["lane_id"]]
            node["state"], node["note"] = self._box_state(node["id"], lane), self._note(node["id"], lane)
            node["critical"] = lane.id in steps
        for edge, placed in zip(shape["edges"], self._drawing.edges, strict=True):
            source, target = boxes[edge["source"]], boxes[edge["target"]]
            edge["state"] = self._edge_state(placed, source, target)
            led = (source["lane_id"], target["lane_id"]) in arrows
            edge["critical"] = led and not edge["loop"] and edge["state"] != "not_taken"
        self._leave_out(shape)
        return shape

    def _edge_state(self, edge: Edge, source: JSON, target: JSON) -> str:
        over, began = self.view.ended is not None, target["state"] not in ("pending", "blocked", "ready")
        if edge.choice in self.view.steps.taken:
            return "taken"
        if edge.choice:
            passed = source["state"] in ENDED and (over or edge.choice[0] in self.view.steps.passed)
            return "not_taken" if passed else "waiting" if source["state"] in _ACTIVE else "idle"
        if edge.loop and source["lane_id"] == target["lane_id"]:  # an agent's way back from its tools
            return "taken" if self.view.lanes[source["lane_id"]].acts else "idle"
        if "not_taken" in (source["state"], target["state"]):
            return "not_taken" if over else "idle"
        lanes = self.view.lanes
        leads = source["state"] in _ACTIVE and lanes[target["lane_id"]].depth > lanes[source["lane_id"]].depth
        if began and (leads or source["state"] in ENDED):
            return "taken"
        return "waiting" if source["state"] in ENDED or source["state"] in _ACTIVE else "idle"

    def _leave_out(self, shape: JSON) -> None:
        """Show at once, not at the end, that a run has gone past a box: every way into it was left aside."""
        ways: dict[str, list[str]] = {}
        for edge in shape["edges"]:
            if not edge["loop"]:
                ways.setdefault(edge["target"], []).append(edge["state"])
        for node in shape["nodes"]:
            if node["state"] == "pending" and set(ways.get(node["id"], ())) == {"not_taken"}:
                node["state"] = "not_taken"

    def _box_state(self, box: str, lane: Lane) -> str:
        if box.endswith("#act"):
            return self._act_state(lane)
        if box.endswith("#reason") and _acting(lane):
            return "done"
        tasks = self.view.lanes.standing_for(lane.id) if lane.kind == "node" else [lane]
        return self._state(next((task for task in tasks if task.running()), lane))

    def _act_state(self, lane: Lane) -> str:
        if lane.running():
            return self._state(lane) if _acting(lane) else "done" if lane.acts else "pending"
        return "not_taken" if lane.state in ENDED and not lane.acts else lane.state

    def _note(self, box: str, lane: Lane) -> str:
        if "#" in box:  # a loop's two halves: how often each was taken
            times = lane.turns if box.endswith("#reason") else lane.acts
            return f"{times}x" if times > 1 else ""
        tasks = self.view.lanes.standing_for(lane.id) if lane.kind == "node" else [lane]
        if len(tasks) > 1:
            return f"{sum(task.state in ENDED for task in tasks)}/{len(tasks)}"
        if lane.state == "retrying":
            return f"try {lane.attempt}"
        if lane.rounds > 1:
            return f"{lane.rounds}x"
        return f"{lane.seconds(0):.1f} s" if lane.start is not None and lane.end is not None else ""

    # -- text --------------------------------------------------------------------------------------------------------

    def _blocks(self, id_: str, text: str, numbers: Mapping[str, int], streaming: bool) -> list[Any]:
        """Parsed markdown; parsed again only when something about it changed."""
        asked = (text, tuple(numbers.items()), streaming)
        if self._parsed.get(id_, (None,))[0] != asked:
            self._parsed[id_] = asked, blocks(text, numbers, streaming=streaming)
        return self._parsed[id_][1]

    def _finding(self, lane: Lane, numbers: Mapping[str, int]) -> JSON:
        streaming = lane.running()
        return {
            "lane_id": lane.id,
            "title": lane.title,
            "state": self._state(lane),
            "text": lane.text,
            "blocks": self._blocks(lane.id, lane.text, numbers, streaming),
            "streaming": streaming,
        }

    def _answer(self, numbers: Mapping[str, int]) -> JSON:
        text, final = self.view.answer, self.view.final
        tree, unsupported = self._blocks("", text, numbers, not final), 0
        if final and self.view.sources:
            tree, unsupported = marked(tree, self.view.evidence.computed)
        return {"text": text, "blocks": tree, "final": final, "unsupported": unsupported}


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


def _sources(view: RunView, numbers: Mapping[str, int]) -> list[JSON]:
    """Numbered ones first, in that order, then the rest by score, numbered on."""
    in_answer = set(cited_keys(view.answer))
    rest = sorted((it for it in view.sources.values() if it["key"] not in numbers), key=lambda it: -it["score"])
    ordered = [*(view.sources[key] for key in numbers), *rest]
    # copied: what was sent is compared with what is there later
    return [
        {**it, "found_by": list(it["found_by"]), "n": n, "cited": it["key"] in in_answer}
        for n, it in enumerate(ordered, 1)
    ]


def _acting(lane: Lane) -> bool:
    return any(segment.kind == "tool" and segment.end is None for segment in lane.segments)


def _round(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)
