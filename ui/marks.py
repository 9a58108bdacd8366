"""Fifteen states, each with its own silhouette on a 16 px grid, so that a grey print still reads.

One definition for the whole product: the run view draws it as SVG, the page's own style uses it as a mask. Filled
shapes are ended states, open shapes unfinished ones.
"""

from urllib.parse import quote

Shape = tuple[str, dict[str, str]]
"""One SVG element: tag and attributes; painted in the current colour."""

_LINE = {"fill": "none", "stroke": "currentColor", "stroke-width": "1.6", "stroke-linecap": "round"}
_FILL = {"fill": "currentColor", "stroke": "none", "fill-rule": "evenodd"}


def _line(d: str, **more: str) -> Shape:
    return "path", {**_LINE, "d": d, "stroke-linejoin": "round", **more}


def _fill(d: str, **more: str) -> Shape:
    return "path", {**_FILL, "d": d, **more}


def _ring(r: float, **more: str) -> Shape:
    return "circle", {**_LINE, "cx": "8", "cy": "8", "r": str(r), **more}


def _dot(cx: float, cy: float, r: float) -> Shape:
    return "circle", {"fill": "currentColor", "cx": str(cx), "cy": str(cy), "r": str(r)}


_DISC = "M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 0 0 0-13Z"
_HAND = (
    "M5.2 8.6V4.1a.95.95 0 0 1 1.9 0V7M7.1 7V2.9a.95.95 0 0 1 1.9 0V7M9 7V3.5a.95.95 0 0 1 1.9 0v4"
    "M10.9 7.5V5.2a.95.95 0 0 1 1.9 0v4.4c0 2.9-1.8 4.9-4.5 4.9-2 0-3.1-.8-4-2.4L2.6 9.3c-.6-1.1.8-2 1.6-1.1l1 1.1"
)

MARKS: dict[str, list[Shape]] = {
    "pending": [_ring(5.2)],
    "blocked": [
        _line("M6.9 9.1l2.2-2.2"),
        _line("M7.4 4.9l1.5-1.5a2.6 2.6 0 0 1 3.7 3.7l-1.5 1.5"),
        _line("M8.6 11.1l-1.5 1.5a2.6 2.6 0 0 1-3.7-3.7l1.5-1.5"),
    ],
    "ready": [_ring(5.6), _fill("M8 8V3.4A4.6 4.6 0 0 1 12.6 8Z")],
    "running": [_ring(6.6, **{"class": "ring", "stroke-width": "1.2", "stroke-opacity": ".55"}), _dot(8, 8, 4.1)],
    "retrying": [_line("M13.6 7.2A5.8 5.8 0 1 0 13 11"), _fill("M14.9 3.6v4.3h-4.3Z")],
    "second_try": [
        _ring(6.2, **{"stroke-dasharray": "2.2 2.1", "stroke-linecap": "butt"}),
        _dot(5.2, 8, 0.95),
        _dot(8, 8, 0.95),
        _dot(10.8, 8, 0.95),
    ],
    "waiting": [_line(_HAND, **{"stroke-width": "1.4"})],
    "done": [_fill(_DISC + "M4.3 8.7L5.5 7.5L7.1 9.1L10.6 5.2L11.85 6.35L7.15 11.55Z")],
    "cached": [_fill("M9.3 1.2L3 9.3h4.1L6.4 14.8L13 6.5H8.7Z")],
    "partial": [_ring(5.7), _fill("M8 2.3a5.7 5.7 0 0 0 0 11.4Z")],
    "lost": [
        _line("M3.6 3.2a6.8 6.8 0 0 0 0 9.6M12.4 3.2a6.8 6.8 0 0 1 0 9.6"),
        _line("M6.2 6.1a1.9 1.9 0 1 1 2.7 2c-.6.3-.9.7-.9 1.3", **{"stroke-width": "1.4"}),
        _dot(8, 11.5, 0.9),
    ],
    "failed": [
        _fill(
            "M8 .9L15.1 8L8 15.1L.9 8Z"
            "M5.3 6.4L6.4 5.3L8 6.9L9.6 5.3L10.7 6.4L9.1 8L10.7 9.6L9.6 10.7L8 9.1L6.4 10.7L5.3 9.6L6.9 8Z"
        )
    ],
    "timed_out": [
        ("circle", {**_LINE, "cx": "8", "cy": "9.2", "r": "5"}),
        _line("M8 9.2V6.5M6.3 1.6h3.4M8 1.6v2.4M12.3 4.4l.9.9"),
    ],
    "cancelled": [_fill("M3.6 4.4a.8.8 0 0 1 .8-.8h7.2a.8.8 0 0 1 .8.8v7.2a.8.8 0 0 1-.8.8H4.4a.8.8 0 0 1-.8-.8Z")],
    "not_taken": [_line("M1.6 8h2.6M6.7 8h2.6M11.8 8h2.6", **{"stroke-linecap": "butt"})],
}

FAMILY = {
    **dict.fromkeys(("ready", "running", "retrying", "second_try"), "blue"),
    **dict.fromkeys(("done", "cached"), "green"),
    "waiting": "yellow",
    **dict.fromkeys(("partial", "lost"), "orange"),
    **dict.fromkeys(("failed", "timed_out"), "red"),
    **dict.fromkeys(("pending", "blocked", "cancelled", "not_taken"), "gray"),
}
"""Colour family of each state, named as Streamlit's theme names it."""

RUN_STATES = {
    "queued": "ready",
    "running": "running",
    "waiting": "waiting",
    "succeeded": "done",
    "failed": "failed",
    "cancelled": "cancelled",
    "lost": "lost",
}
"""Status of a run -> the state whose mark it carries."""


def data_uri(state: str) -> str:
    """The mark as an image that CSS can use as a mask."""
    drawn = "".join(
        f"<{tag} {' '.join(f'{name}={value!r}' for name, value in attrs.items())}/>" for tag, attrs in MARKS[state]
    )
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>{drawn}</svg>"
    return "data:image/svg+xml," + quote(svg.replace("currentColor", "black"), safe="/:=' ")
