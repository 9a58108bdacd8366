"""Run Python in a sandbox: for what a calculator cannot do. Figures and files come back as artefacts.

Its effect is a read: nothing outside the box can be changed by it, an artefact kept twice is one, and so a worker that
takes over may simply run it again. Its result is trusted, because it follows from the code alone: whatever an agent had
read when it wrote the code is known by the mark on its own message.
"""

import mimetypes
from dataclasses import asdict
from typing import Any

from langchain_core.tools import tool
from langgraph.prebuilt import ToolRuntime

from agents.artefacts import Artefacts
from agents.context import Context
from agents.errors import ToolFailed
from agents.sandbox.box import Made, NoIsolation, Outcome
from agents.tools.contract import Contract, with_contract

MAX_CODE_CHARS = 20_000
TIMEOUT_S = 60.0
"""Above the sandbox's own limits, which end a run with a better reason."""


@tool(response_format="content_and_artifact")
async def run_code(code: str, runtime: ToolRuntime[Any, Any]) -> tuple[str, dict[str, Any]]:
    """Run Python and return what it printed; figures and files that it makes are shown to the person.

    Use it for what the calculator cannot do: simulations, statistics, tables, plots, longer computations. numpy, pandas
    and matplotlib are there on most machines. No network, no other files, nothing is kept between two calls.

    Args:
        code: the whole program. Print what you need to know. Save files into the current folder; open figures are
            saved by themselves.
    """
    context: Context = runtime.context
    if len(code) > MAX_CODE_CHARS:
        raise ToolFailed("code", f"{len(code):,} characters of {MAX_CODE_CHARS:,}", "write a shorter program")
    if context.sandbox is None:
        raise ToolFailed("code", "there is no sandbox in this run", "go on without running code, and say so")
    try:
        outcome = await context.sandbox.run(code)
    except NoIsolation as missing:
        raise ToolFailed(
            "code", f"it was not run, because {missing.reason}", f"tell the person: {missing.fix}"
        ) from None
    if outcome.end != "done":
        raise ToolFailed("code", _problem(outcome), _next(outcome))
    return await _kept(outcome, context.artefacts)


def _problem(outcome: Outcome) -> str:
    printed = outcome.printed.strip()
    if outcome.end == "failed":
        return f"it ended with an error.\n{printed}\n"
    return f"{outcome.problem}, and it was killed with all that it had started" + (
        f". Until then it had printed:\n{printed[-2_000:]}\n" if printed else ""
    )


def _next(outcome: Outcome) -> str:
    return {
        "failed": "correct the program and run it again",
        "timed_out": "it will not end by being run again; plan this step anew, with less to compute",
        "memory": "plan this step anew, with less data at once",
        "flood": "print less",
        "entries": "make fewer files",
    }.get(outcome.end, "try it differently, or go on without it")


async def _kept(outcome: Outcome, artefacts: Artefacts | None) -> tuple[str, dict[str, Any]]:
    """What the model reads, and what the run keeps."""
    parts, made = [outcome.printed.strip()], []
    for file in outcome.files:
        if artefacts is None:
            parts.append(f"[{file.name} could not be kept: there is no place for it in this run]")
            continue
        try:
            made.append(await artefacts.keep(file.name, media_type_of(file), file.data))
        except ToolFailed as full:  # what was printed is worth as much as before
            parts.append(f"[{full.thing} could not be kept: {full.problem}; {full.next_move}]")
            continue
        parts.append(f"[made {made[-1].name}, {made[-1].size:,} bytes, artefact {made[-1].id}; it is shown already]")
    parts += [f"[left out: {it}]" for it in outcome.left_out]
    text = "\n".join(part for part in parts if part)
    return text or "[it ran and printed nothing]", {"artefacts": [asdict(it) for it in made]}


_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif",
}  # fmt: skip


def media_type_of(file: Made) -> str:
    """By what is in it where that can be shown as a picture; else by its name, and never a picture."""
    for signature, media_type in _SIGNATURES.items():
        if file.data.startswith(signature):
            return media_type
    guessed = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return "application/octet-stream" if guessed.startswith("image/") and guessed != "image/svg+xml" else guessed


_INSTEAD = "Correct the program, plan this step anew, or say that it could not be computed."
with_contract(
    run_code,
    Contract(
        timeout_s=TIMEOUT_S, effect="read", trusted=True, fallback=_INSTEAD, sentence="Runs a program in a sandbox."
    ),
)
