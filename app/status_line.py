"""One sentence about a run: first what is done, then what is being waited for and why. Pure."""

from collections.abc import Sequence

from app.lanes import ENDED, Lane
from app.projection import RunView
from app.readings import late_s

MAX_NAMES = 3
TOLD_S = 2.0
"""Time without work that is said; less is how long a worker takes to pick a run up."""

_PLAIN = {
    "queued": ("Queued.", "It starts as soon as a worker is free."),
    "failed": ("The run failed.", "What was found so far is kept."),
    "lost": ("The worker is gone.", "Another one takes over within seconds, and goes on from its last step."),
}
_ASKED = {
    "approval": ("One step reaches outside Sextant, so it needs your word.",
                 "{} steps reach outside Sextant, so each one needs your word."),
    "doubt": ("One step may have happened or not, and only you can tell.",
              "{} steps may have happened or not, and only you can tell."),
    "repeat": ("One step was already done in another branch of this chat, and may be wanted again or not.",
               "{} steps were already done in another branch of this chat, and may be wanted again or not."),
    "question": ("It asks you something before it goes on.", "It asks you {} things before it goes on."),
}  # fmt: skip
UNIT_WORDS = {"steps": "model calls", "tokens": "tokens", "usd": "USD", "seconds": "s of work",
          "supersteps": "steps of the graph"}  # fmt: skip


def status_line(view: RunView, status: str, now: float) -> dict[str, str]:
    """Lead and rest of the sentence; `status` is what the run's row says."""
    team = view.team()
    done = sum(lane.state in ENDED for lane in team)
    if status == "waiting":
        return {"lead": "Waiting for you.", "rest": _asked(view)}
    if status == "cancelled":
        began = any(lane.start is not None for lane in view.lanes.values())
        return {"lead": "Stopped.", "rest": "What was found so far is kept." if began else "It had not begun."}
    if status == "failed" and (reached := view.budget_reached):
        spent = f"{figure(reached['actual'])} of {figure(reached['limit'])} {UNIT_WORDS[reached['unit']]} spent."
        return {"lead": "Ended early.", "rest": f"{spent} What was found so far is kept."}
    if status in _PLAIN:
        lead, rest = _PLAIN[status]
        return {"lead": lead, "rest": (view.error or {}).get("message", rest)}
    if status == "succeeded":
        return {"lead": _success(team), "rest": f"{_price(view)}{_rest(view)}"}
    if running := [lane for lane in team if lane.running()]:
        lead = f"{done} of {_count(len(team), 'sub-task')} {'is' if 1 in (done, len(team)) else 'are'} done."
        return {"lead": lead, "rest": _waiting_on(view, running, now)}
    active = [lane for lane in view.drawn_lanes() if lane.running()]
    if not active:
        return {"lead": "Starting.", "rest": ""}
    doing = _doing(active[-1])
    if doing and len(view.drawn_lanes()) == 1:
        return {"lead": doing, "rest": ""}
    parts = f"{done} of {_count(len(team), 'sub-task')} done." if team else ""
    return {"lead": f"{active[-1].title}.", "rest": f"{parts} {doing}".strip()}


def _asked(view: RunView) -> str:
    """Why it stopped, by what kind of word it needs."""
    kinds = [request.get("kind") for request in view.requests.values() if request["answer"] is None]
    kinds = [kind if kind in _ASKED else "question" for kind in kinds]  # a graph's own question is of any kind
    told = {kind: kinds.count(kind) for kind in _ASKED if kind in kinds}
    return " ".join(_ASKED[kind][n > 1].format(n) for kind, n in told.items())


def _success(team: Sequence[Lane]) -> str:
    good = sum(lane.state in ("done", "cached") for lane in team)
    return f"{good} of {_count(len(team), 'sub-task')}" if team else "Answered"


def _price(view: RunView) -> str:
    cost = f" for ${view.meters.cost_usd:.3f}" if view.meters.cost_usd is not None else ""
    return f"in {_duration(view.worked_s)}{cost}, {_count(view.meters.calls, 'model call')}."


def _rest(view: RunView) -> str:
    """The time that was not work, where it was long enough to wonder about."""
    still_s = (view.ended or 0.0) - view.worked_s - view.clock.waited_s
    parts = [f"waited {_duration(view.clock.waited_s)} for you"] if view.clock.waited_s >= TOLD_S else []
    parts += [f"stood still for {_duration(still_s)}"] if still_s >= TOLD_S else []
    return f" It {' and '.join(parts)}." if parts else ""


def _duration(seconds: float) -> str:
    """`8.0 s`, `3 min 20 s`, `5 h 12 min`, `2 days`: to the unit that matters."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours = round(seconds) // 60, round(seconds) // 3600
    if not hours:
        return f"{minutes} min {round(seconds) % 60} s"
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} days"


def _waiting_on(view: RunView, running: Sequence[Lane], now: float) -> str:
    """Who is late, who is trying again; if nobody, who is at work."""
    found = late_s(view, now)
    late = [(found[lane.id], lane) for lane in running if lane.id in found]
    parts = []
    if late:
        over_s, lane = max(late, key=lambda it: it[0])
        parts.append(f"Waiting on {_mid(lane.title)}, {over_s:.1f} s over the median.")
    parts += [f"{lane.title} is on try {lane.attempt}." for lane in running if lane.state == "retrying"][:1]
    if parts:
        return " ".join(parts)
    names = ", ".join(_mid(lane.title) for lane in running[:MAX_NAMES])
    more = len(running) - MAX_NAMES
    return f"Working on {names}{f' and {more} more' if more > 0 else ''}."


def _doing(lane: Lane) -> str:
    return "" if lane.activity in ("", "started") else f"{lane.activity[0].upper()}{lane.activity[1:]}."


def _mid(title: str) -> str:
    """A title inside a sentence; `SLA` and `ReAct` keep their capitals."""
    first = title.partition(" ")[0]
    return title if first[1:] != first[1:].lower() else title[:1].lower() + title[1:]


def figure(value: float) -> str:
    """A number of any unit, as short as it can be read."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
