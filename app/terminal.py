"""A run in the terminal: status, lanes on one time axis, the answer as it streams, then the answer with its sources.

Drawn from the JSON that the browser draws, so both tell the same story. Without a terminal there is nothing to redraw:
progress becomes lines on stderr, and stdout gets the answer alone.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from agents.allowance import WARN_AT
from app.outcome import numbered
from app.status_line import UNIT_WORDS, figure
from app.terminal_blocks import CITATION, drawn_blocks, safe

JSON = dict[str, Any]

NARROW = 100
"""Columns under which bars and titles are shortened, so that the words beside them stay whole."""
MIN_ANSWER_LINES = 4
QUOTE_CHARS = 160
AXIS_S = (2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1200, 1800, 3600)
"""Ends of the time axis while a run goes on: it is rescaled a few times, not at every frame."""

MARKS = {
    "pending": ("○", "dim"), "ready": ("◔", "blue"), "running": ("●", "blue"), "retrying": ("↻", "yellow"),
    "waiting": ("?", "yellow"), "blocked": ("◌", "dim"), "done": ("✓", "green"), "cached": ("✓", "green"),
    "partial": ("◑", "yellow"), "failed": ("✕", "red"), "timed_out": ("✕", "red"), "cancelled": ("■", "dim"),
    "not_taken": ("┄", "dim"), "second_try": ("⋯", "blue"), "lost": ("?", "yellow"),
}  # fmt: skip
RUN_STATES = {"queued": "pending", "succeeded": "done"}
BARS = {"queue": ("·", "dim"), "ttft": ("░", "blue"), "model": ("█", "blue"), "tool": ("▓", "magenta"),
        "gap": ("·", "yellow")}  # fmt: skip
IDLE = ("─", "dim")
ENDED = ("done", "cached", "partial", "failed", "timed_out", "cancelled", "not_taken")
SILENT = ("done", "pending", "ready", "blocked", "running", "retrying")
"""States that need no word of their own: what the lane is doing or waiting for says it."""


class Screen(Protocol):
    """Where a run is shown while it goes on."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def show(self, view: JSON) -> None:
        """Draw the run as it is now."""
        ...


def screen(out: Console, err: Console) -> Screen:
    """The live view if somebody watches, else lines on stderr."""
    return LiveScreen(out) if out.is_terminal and not out.is_dumb_terminal else LineScreen(err)


class LiveScreen:
    """One region of the terminal, redrawn in place and gone at the end."""

    def __init__(self, out: Console) -> None:
        self._live = Live(console=out, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, view: JSON) -> None:
        """Draw the run as it is now."""
        self._live.update(Frame(view), refresh=True)


class LineScreen:
    """A line for each thing that begins or ends."""

    def __init__(self, err: Console) -> None:
        self._err = err
        self._states: dict[str, str] = {}
        self._warned = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def show(self, view: JSON) -> None:
        """Write what is new since the last call."""
        view = safe(view)
        for lane in view["lanes"]:
            before, state = self._states.get(lane["id"], "pending"), lane["state"]
            self._states[lane["id"]] = state
            if state != before and state not in ("pending", "ready", "blocked", "not_taken"):
                said = lane["activity"] if state in ENDED or state == "retrying" else ""
                words = f"{lane['title']}: {state.replace('_', ' ')}{', ' + said if said else ''}"
                # when it happened, which is earlier than when it is seen
                known = [at for at in (lane["end"], lane["start"], _elapsed_s(view)) if at is not None]
                self._err.print(f"{known[0]:7.1f} s  {words}", soft_wrap=True)
        if (warning := near_limit(view)) and not self._warned:
            self._warned = True
            self._err.print(f"{_elapsed_s(view):7.1f} s  {warning}", soft_wrap=True)


class Frame:
    """One picture of a run that goes on, as high as the terminal allows."""

    def __init__(self, view: JSON) -> None:
        self._view = safe(view)

    def __rich_console__(self, out: Console, options: ConsoleOptions) -> RenderResult:
        height = out.size.height - 1
        head = [_status(self._view), Text(near_limit(self._view), style="yellow", no_wrap=True, overflow="ellipsis")]
        answer = out.render_lines(drawn_blocks(self._view["answer"]["blocks"]), options, pad=False)
        reserved = min(len(answer), max(MIN_ANSWER_LINES, height // 3)) + 1 if answer else 0
        lanes = lanes_table(self._view, options.max_width, height - len(head) - reserved - 3)
        body = [*head, lanes, _axis(self._view, options.max_width), _meters(self._view)]
        lines = [line for part in body for line in out.render_lines(part, options, pad=False)]
        if answer:
            lines += [[], *answer[-max(1, height - len(lines) - 1) :]]
        for line in lines[:height]:
            yield from line
            yield Segment.line()


def _elapsed_s(view: JSON) -> float:
    if view["ended_s"] is not None:
        return float(view["ended_s"])
    return float(view["now"] - view["started_at"]) if view["started_at"] else 0.0


def _worked_s(view: JSON) -> float:
    """Seconds of work, without the queue and without the wait for a person."""
    return float(_elapsed_s(view) - view["rested_s"] if view["worked_s"] is None else view["worked_s"])


def near_limit(view: JSON) -> str:
    """What a run at work has nearly used up, from where on its agents answer from what they have; else empty."""
    if view["ended_s"] is not None:
        return ""
    used = view["meters"]
    spent = {"steps": used["calls"], "tokens": used["tokens_in"] + used["tokens_out"],
             "usd": used["cost_usd"] or 0.0, "seconds": _worked_s(view)}  # fmt: skip
    limits = {unit: limit for unit in spent if (limit := (view["budget"] or {}).get(unit))}
    unit = max(limits, key=lambda it: spent[it] / limits[it], default="")
    if not unit or spent[unit] < WARN_AT * limits[unit]:
        return ""
    words = f"{figure(spent[unit])} of {figure(limits[unit])} {UNIT_WORDS[unit]}"
    return f"Near its budget, {words}: agents answer from what they have."


def _status(view: JSON) -> Text:
    state: str = RUN_STATES.get(view["status"]) or view["status"]
    mark, style = MARKS[state]
    said = view["status_line"]
    rest = said["rest"] if said["rest"] != said["lead"] else ""
    return Text.assemble((f"{mark} ", style), (said["lead"], "bold"), " ", rest, no_wrap=True, overflow="ellipsis")


def _meters(view: JSON) -> Text:
    used = view["meters"]
    cost = [f"${used['cost_usd']:.3f}"] if used["cost_usd"] is not None else []
    tokens = f"{used['tokens_in'] + used['tokens_out']:,} tokens"
    calls = [_count(used["calls"], "model call"), _count(used["tools"], "tool call")]
    # only a team can be faster than its parts one after the other
    faster = [f"{view['speedup']:.1f} x one after another"] if view["plan"] and view["speedup"] else []
    words = [f"{_worked_s(view):.1f} s", *faster, *calls, tokens, *cost]
    return Text(" · ".join(words), style="dim", no_wrap=True, overflow="ellipsis")


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


# -- lanes -----------------------------------------------------------------------------------------------------------


def lanes_table(view: JSON, width: int, height: int) -> RenderableType:
    """One row for each lane; when they are too many, the ended ones are counted instead of drawn."""
    title, bar, end_s = _title_width(view, width), _bar_width(width), _axis_end_s(view)
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    table.add_column(width=title, no_wrap=True)
    table.add_column(width=bar, no_wrap=True)
    table.add_column(width=7, justify="right", no_wrap=True)
    table.add_column(width=max(10, width - title - bar - 12), no_wrap=True)
    shown, hidden = _fitting(view["lanes"], max(3, height))
    for lane in shown:
        mark, style = MARKS[lane["state"]]
        name = Text("  " * lane["depth"] + lane["title"], overflow="ellipsis")
        filled = _bar(lane, end_s, bar, _elapsed_s(view))
        table.add_row(Text(mark, style), name, filled, _took(lane, view), _doing(lane))
    return Group(table, Text(f"  and {_counted(hidden)}", style="dim")) if hidden else table


def _fitting(lanes: Sequence[JSON], height: int) -> tuple[Sequence[JSON], Sequence[JSON]]:
    if len(lanes) <= height:
        return lanes, []
    by_interest = sorted(lanes, key=lambda lane: (lane["state"] in ENDED, lane["state"] in ("pending", "blocked")))
    kept = {lane["id"] for lane in by_interest[: height - 1]}
    return [it for it in lanes if it["id"] in kept], [it for it in lanes if it["id"] not in kept]


def _counted(lanes: Sequence[JSON]) -> str:
    states = [lane["state"].replace("_", " ") for lane in lanes]
    return ", ".join(f"{states.count(state)} more {state}" for state in dict.fromkeys(states))


def _title_width(view: JSON, width: int) -> int:
    longest = max((2 * lane["depth"] + len(lane["title"]) for lane in view["lanes"]), default=0)
    return min(max(longest, 5), 20 if width < NARROW else 36)


def _bar_width(width: int) -> int:
    return 20 if width < NARROW else width // 3


def _axis_end_s(view: JSON) -> float:
    now = _elapsed_s(view)
    if view["ended_s"] is not None:
        return max(now, 0.1)
    return next((float(end) for end in AXIS_S if end >= now), math.ceil(now / 3600) * 3600.0)


def _axis(view: JSON, width: int) -> Text:
    cells, end_s = _bar_width(width), _axis_end_s(view)
    left, right = "0", f"{end_s:g} s" if end_s == int(end_s) else f"{end_s:.1f} s"
    return Text(" " * (_title_width(view, width) + 3) + left + right.rjust(cells - len(left)), style="dim")


def _bar(lane: JSON, end_s: float, cells: int, now_s: float) -> Text:
    """Each cell shows what filled most of its stretch of time; a lane that began has at least one."""
    out = Text()
    if lane["start"] is None:
        return out
    step = end_s / cells
    stop = now_s if lane["end"] is None else lane["end"]
    first = min(int(lane["start"] / step), cells - 1)
    last = max(first, min(math.ceil(stop / step) - 1, cells - 1))
    out.append(" " * first)
    for cell in range(first, last + 1):
        out.append(*_filling(lane["segments"], cell * step, (cell + 1) * step, now_s))
    return out


def _filling(segments: Sequence[JSON], since_s: float, until_s: float, now_s: float) -> tuple[str, str]:
    def overlap(segment: JSON) -> float:
        end = now_s if segment["end"] is None else segment["end"]
        return float(min(end, until_s) - max(segment["start"], since_s))

    longest = max(segments, key=overlap, default=None)
    if longest is None or overlap(longest) <= 0:
        return IDLE
    mark, style = BARS[longest["kind"]]
    return mark, "red" if longest["failed"] else style


def _took(lane: JSON, view: JSON) -> str:
    if lane["start"] is None:
        return ""
    return f"{(_elapsed_s(view) if lane['end'] is None else lane['end']) - lane['start']:.1f} s"


def _doing(lane: JSON) -> Text:
    if lane["waits_for"]:
        names = lane["waits_for"]
        count = f"{len(names)}: " if len(names) > 1 else ""
        return Text(f"waits for {count}{', '.join(names)}", style="dim", overflow="ellipsis")
    words = [lane["state"].replace("_", " ")] if lane["state"] not in SILENT else []
    words += [lane["activity"]] if lane["activity"] and lane["activity"] != "started" else []
    late = Text(f"{lane['late_s']:.1f} s over the median: ", style="yellow") if lane["late_s"] is not None else Text("")
    return Text.assemble(late, ", ".join(words), overflow="ellipsis")


# -- the end ---------------------------------------------------------------------------------------------------------


def finished(view: JSON, width: int) -> Group:
    """The whole run, to stay on the screen: lanes, answer, sources, what is missing."""
    view = safe(view)
    parts: list[RenderableType] = [_status(view), Text("")]
    parts += [lanes_table(view, width, len(view["lanes"])), _axis(view, width), _meters(view), *_advice(view), Text("")]
    if view["answer"]["blocks"]:
        parts += [drawn_blocks(view["answer"]["blocks"]), Text("")]
    if cited := [source for source in view["sources"] if source["cited"]]:
        parts += [Text("Sources", style="bold"), *(_source(source) for source in cited), Text("")]
    parts += [Text(f"Made: {line}") for line in made_lines(view)]
    parts += [Text(f"Missing: {it['title']}, {it['reason']}", style="yellow") for it in view["missing"]]
    return Group(*parts)


def _advice(view: JSON) -> list[RenderableType]:
    """Where the time went, what the work allowed, and the one change worth making; nothing of a single step."""
    told = view.get("advice")
    if not told or len(view["lanes"]) < 2:
        return []
    most = f", at most {told['ceiling']:.1f} x" if told["ceiling"] is not None else ""
    figures = (
        f"{told['took_s']:.1f} s at work, {told['serial_s']:.1f} s one after another, {told['floor_s']:.1f} s at the "
        f"shortest: {told['speedup']:.1f} x faster{most}"
    )
    path = ", ".join(f"{step['title']} {step['seconds']:.1f} s" for step in told["path"])
    gain = f" About {saving(told['change'])} less." if told["change"] else ""
    return [Text(line, style="dim") for line in (figures, f"Waited for: {path}", told["text"] + gain)]


def saving(change: JSON) -> str:
    """`6.0 s and 0.40 cents`."""
    money = f" and {change['gain_usd'] * 100:.2f} cents" if change["gain_usd"] else ""
    return f"{change['gain_s']:.1f} s{money}"


def _source(source: Mapping[str, Any]) -> RenderableType:
    quote = " ".join(source["quote"].split())
    if len(quote) > QUOTE_CHARS:
        quote = quote[:QUOTE_CHARS].rsplit(" ", 1)[0] + " …"
    head = Text.assemble((f"[{source['n']}] ", CITATION), place(source))
    return Group(head, Padding(Text(quote, style="dim"), (0, 0, 0, 4)))


def place(source: Mapping[str, Any]) -> str:
    """`handbook.pdf, page 12, Deadlines > Quorum`."""
    page = f"page {source['page']}" if source["page"] else ""
    return ", ".join(part for part in (source["document"], page, source["heading"]) if part)


def made_lines(view: JSON) -> list[str]:
    """`plot.png, 21 kB: /api/artefacts/3f9a...`, one line for each thing that a tool made."""
    return [f"{it['name']}, {it['size'] / 1e3:,.0f} kB: /api/artefacts/{it['id']}" for it in view.get("artefacts", ())]


def plain_answer(view: JSON) -> str:
    """The answer as written, with numbers for citations, and what they stand for: for pipes and files."""
    view = safe(view)
    cited = [source for source in view["sources"] if source["cited"]]
    parts = [numbered(view["answer"]["text"], {source["key"]: source["n"] for source in cited}).strip()]
    if cited:
        parts.append("Sources:\n" + "\n".join(f"[{source['n']}] {place(source)}" for source in cited))
    if made := made_lines(view):
        parts.append("Made:\n" + "\n".join(f"- {line}" for line in made))
    if view["missing"]:
        parts.append("Missing:\n" + "\n".join(f"- {it['title']}: {it['reason']}" for it in view["missing"]))
    return "\n\n".join(part for part in parts if part)
