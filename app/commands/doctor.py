"""`sextant doctor`: print what was found, a line for each part."""

import sys
from collections.abc import Sequence

from rich.text import Text

from app.commands.start import working
from app.launch import Signals, launch, load_settings
from app.terminal_blocks import console, safe

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}
PART_COLUMNS = 12


def doctor(*, debug: bool) -> None:
    """Examine everything; 1 if something is broken."""

    async def command(signals: Signals) -> int:
        settings = load_settings()
        with working("Looking"):
            from app.doctor import examine
        out, marks = console(sys.stdout), []
        async for finding in examine(settings):
            marks.append(finding.mark)
            mark = Text(f"{finding.mark:<5}", STYLES[finding.mark])
            out.print(Text.assemble(mark, f"{finding.part:<{PART_COLUMNS}} ", safe(finding.found)), soft_wrap=True)
            if finding.fix:
                out.print(Text(" " * (PART_COLUMNS + 6) + safe(finding.fix), "bold"), soft_wrap=True)
        return _concluded(marks)

    launch(command, debug=debug)


def _concluded(marks: Sequence[str]) -> int:
    failed, warned = marks.count("fail"), marks.count("warn")
    words = [f"{failed} failed"] * bool(failed) + [f"{warned} to look at"] * bool(warned)
    print(f"{len(marks)} checks: {', '.join(words) or 'all is well'}.")
    return 1 if failed else 0
