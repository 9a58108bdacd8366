"""What a client gets that starts a run and stays: its final values, or its stream, and what happens when it leaves."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fastapi.responses import Response

from app.agent_protocol.given import RunBody
from app.agent_protocol.stream import finished, protocol_stream
from app.borders import NotFound
from app.compose import App
from app.replies import Streams
from app.runs import TERMINAL

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Admitted:
    """A run that goes, and the row of its log after which it is this request's."""

    run: Row
    begin: int = 0


def places(run: Row, join: str = "") -> dict[str, str]:
    """Where a run is. Without the prefix under which this is mounted: the client's base address has it already."""
    at = f"/threads/{quote(run['thread_id'])}/runs/{run['run_id']}"
    return {"Content-Location": at} | ({"Location": f"{at}/{join}"} if join else {})


def awaited(
    app: App, streams: Streams, owner: str, admitted: Admitted, body: RunBody, *, alone: bool = False
) -> Response:
    """A response that comes when the run has ended."""
    run = admitted.run

    async def values() -> AsyncIterator[bytes]:
        async for piece in finished(app, run, admitted.begin):
            yield piece
        await _tidied(app, run, body, alone=alone)

    return streams.response(
        owner, values(), media_type="application/json", headers=places(run, "join"), on_cut=_on_cut(app, run, body),
        held=True,
    )  # fmt: skip


def streamed(
    app: App, streams: Streams, owner: str, admitted: Admitted, body: RunBody, modes: tuple[str, ...],
    *, alone: bool = False,
) -> Response:  # fmt: skip
    """A response that tells of the run as it happens."""
    run, query = admitted.run, "&".join(f"stream_mode={mode}" for mode in modes)

    async def events() -> AsyncIterator[bytes]:
        stream = protocol_stream(
            app, run, modes, subgraphs=body.stream_subgraphs, after=None, begin=admitted.begin
        )  # fmt: skip
        async for piece in stream:
            yield piece
        await _tidied(app, run, body, alone=alone)

    join = f"stream?{query}&stream_subgraphs={str(body.stream_subgraphs).lower()}"
    return streams.response(owner, events(), headers=places(run, join), on_cut=_on_cut(app, run, body), held=True)


def _on_cut(app: App, run: Row, body: RunBody) -> Callable[[], Any] | None:
    """What to do when the client goes away before the end."""
    return (lambda: app.runs.cancel(run["run_id"], run["owner"])) if body.on_disconnect == "cancel" else None


async def _tidied(app: App, run: Row, body: RunBody, *, alone: bool) -> None:
    """Remove the thread of a run without one, unless it is wanted or not over."""
    if not alone or body.on_completion == "keep" or app.journal.closed:
        return
    with suppress(NotFound):  # somebody else has removed it
        if (await app.runs.run(run["run_id"], run["owner"]))["status"] in TERMINAL:
            await app.runs.delete_thread(run["thread_id"], run["owner"])
