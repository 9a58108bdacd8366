"""`sextant graphs`: what can be run, and the drawings of it in the README, both read from the code."""

import inspect
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.table import Table

from app.launch import CommandFailed, Signals, launch
from app.terminal_blocks import console

BEGIN, END = "<!-- graphs: written by `sextant graphs --readme` -->", "<!-- /graphs -->"
_ENDS = {"__start__": 'START(["question"])', "__end__": 'END(["answer"])'}


def graphs(*, readme: bool, debug: bool) -> None:
    """List the graphs; or write their table and drawings into README.md."""

    async def command(signals: Signals) -> int:
        from graphs import discover

        found = discover()
        if readme:
            print("README.md " + ("is rewritten." if rewrite(Path.cwd() / "README.md", found) else "is up to date."))
            return 0
        table = Table("graph", "what it does", "pays", box=None, pad_edge=False)
        for name, module in sorted(found.items()):
            table.add_row(name, *_told(module))
        console(sys.stdout).print(table)
        return 0

    launch(command, debug=debug)


def rewrite(path: Path, found: Mapping[str, ModuleType]) -> bool:
    """Put the section between its marks; False when it was there already."""
    text = path.read_text("utf-8") if path.is_file() else ""
    if BEGIN not in text or END not in text.partition(BEGIN)[2]:
        raise CommandFailed(f"{path.name} has no section for graphs.", f"Put {BEGIN} and {END} into it.")
    head, _, rest = text.partition(BEGIN)
    new = f"{head}{section(found)}{rest.partition(END)[2]}"
    if new != text:
        path.write_text(new, "utf-8")
    return new != text


def section(found: Mapping[str, ModuleType]) -> str:
    """Marks, a table of all graphs, and a drawing of each."""
    rows = ["| graph | what it does | pays |", "|---|---|---|"]
    drawings = []
    for name, module in sorted(found.items()):
        rows.append(f"| [`{name}`](graphs/{name}.py) | " + " | ".join(map(_cell, _told(module))) + " |")
        drawn = mermaid(module.build().compile(name=name).get_graph())
        drawings.append(f"<details><summary><code>{name}</code></summary>\n\n```mermaid\n{drawn}\n```\n\n</details>")
    return "\n".join([BEGIN, "", *rows, "", *drawings, "", END])


def _told(module: ModuleType) -> tuple[str, str]:
    """First line of the docstring, and the sentence of it that says when the graph pays."""
    text = inspect.getdoc(module) or ""
    pays = re.search(r"^Pays\s+(.+?)\.(?:\s|\Z)", text, re.MULTILINE | re.DOTALL)
    return text.partition("\n")[0], " ".join(pays[1].split()) if pays else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def mermaid(drawn: Any) -> str:
    """A compiled graph as Mermaid: dotted arrows are choices, a double frame is a team, a loop is an agent's own."""
    lines = ["flowchart LR"]
    for id_, node in drawn.nodes.items():
        meta = node.metadata or {}
        title = str(meta.get("title") or id_).replace('"', "#quot;")
        frame = ('[["', '"]]') if meta.get("team") else ('["', '"]')
        lines.append(f"    {_ENDS[id_]}" if id_ in _ENDS else f"    {_id(id_)}{frame[0]}{title}{frame[1]}")
        if meta.get("agent"):
            lines.append(f"    {_id(id_)} -- tools --> {_id(id_)}")
    arrows = {(edge.source, edge.target): bool(edge.conditional) for edge in drawn.edges}
    order = {id_: at for at, id_ in enumerate(drawn.nodes)}
    for (source, target), choice in sorted(arrows.items(), key=lambda it: (order[it[0][0]], order[it[0][1]])):
        lines.append(f"    {_id(source)} {'-.->' if choice else '-->'} {_id(target)}")
    return "\n".join(lines)


def _id(id_: str) -> str:
    """An id that is no word of Mermaid's."""
    return {"__start__": "START", "__end__": "END"}.get(id_, "n_" + re.sub(r"\W", "_", id_))
