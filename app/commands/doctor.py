"""`sextant doctor`: print what was found, a line for each part."""

import sys
from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from app.commands.start import starting
from app.launch import Signals, launch, load_settings
from app.terminal_blocks import console, safe

if TYPE_CHECKING:
    from app.doctor import Finding

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}
PART_COLUMNS = 12


def doctor(*, debug: bool) -> None:
    """Examine everything; 1 if something is broken."""

    async def command(signals: Signals) -> int:
        settings = load_settings()
        with starting("Looking"):
            from app.doctor import examine
        out, marks = console(sys.stdout), []
        async with aclosing(examine(settings)) as findings:
            async for finding in findings:
                marks.append(finding.mark)
                out.print(_row(finding) if out.is_terminal else _line(finding), soft_wrap=not out.is_terminal)
        return _concluded(marks)

    launch(command, debug=debug)


def _line(finding: "Finding") -> str:
    fix = f"\n{'':<{PART_COLUMNS + 6}}{finding.fix}" if finding.fix else ""
    return str(safe(f"{finding.mark:<4} {finding.part:<{PART_COLUMNS}} {finding.found}{fix}"))


def _row(finding: "Finding") -> Table:
    """The same for a terminal: long lines hang under their column."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=4)
    grid.add_column(width=PART_COLUMNS)
    grid.add_column(overflow="fold")
    grid.add_row(Text(finding.mark, STYLES[finding.mark]), finding.part, safe(finding.found))
    if finding.fix:
        grid.add_row("", "", Text(safe(finding.fix), "bold"))
    return grid


def _concluded(marks: Sequence[str]) -> int:
    failed, warned = marks.count("fail"), marks.count("warn")
    words = [f"{failed} failed"] * bool(failed) + [f"{warned} to look at"] * bool(warned)
    print(f"{len(marks)} checks: {', '.join(words) or 'all is well'}.")
    return 1 if failed else 0
