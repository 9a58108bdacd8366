"""`sextant new graph` and `sextant graphs`: what is written, what is refused, what is drawn."""

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph

import graphs
from app.commands.graphs import BEGIN, mermaid, rewrite, section
from app.commands.graphs import END as CLOSE
from app.commands.new import GRAPH, write_graph
from app.launch import CommandFailed


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What `new` asks of a folder."""
    (tmp_path / "graphs").mkdir()
    (tmp_path / "graphs" / "__init__.py").touch()
    (tmp_path / "langgraph.json").write_text('{"graphs": {"chat": "./graphs/chat.py:build"}, "env": ".env"}')
    return tmp_path


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_it_writes_a_graph_its_test_and_its_entry(checkout: Path) -> None:
    made = write_graph(checkout, "oneliner")

    assert [path.as_posix() for path in made] == [
        "graphs/oneliner.py", "tests/graphs/test_oneliner.py", "langgraph.json",
    ]  # fmt: skip
    assert (checkout / "graphs" / "oneliner.py").read_text() == GRAPH
    assert "from graphs import oneliner" in (checkout / "tests" / "graphs" / "test_oneliner.py").read_text()
    assert json.loads((checkout / "langgraph.json").read_text()) == {
        "graphs": {"chat": "./graphs/chat.py:build", "oneliner": "./graphs/oneliner.py:build"}, "env": ".env",
    }  # fmt: skip


def test_a_first_graph_is_short() -> None:
    assert len([line for line in GRAPH.splitlines() if line.strip()]) <= 20


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "cannot be a graph's name"),
        ("../evil", "cannot be a graph's name"),
        ("a/b", "cannot be a graph's name"),
        ("Big", "cannot be a graph's name"),
        ("1st", "cannot be a graph's name"),
        ("_hidden", "cannot be a graph's name"),
        ("naïve", "cannot be a graph's name"),
        ("two words", "cannot be a graph's name"),
        ("x\n", "cannot be a graph's name"),
        ("a" * 41, "41 characters of at most 40"),
        ("class", "means something else already"),
        ("match", "means something else already"),
        ("json", "means something else already"),
        ("graph", "means something else already"),
    ],
)
def test_a_name_that_cannot_be_one_is_wrong_usage_and_nothing_is_written(checkout: Path, name: str, said: str) -> None:
    before = files(checkout)

    with pytest.raises(CommandFailed, match=said) as refused:
        write_graph(checkout, name)

    assert refused.value.code == 2 and refused.value.fix
    assert files(checkout) == before


def test_a_name_that_is_taken_is_refused_and_nothing_is_overwritten(checkout: Path) -> None:
    write_graph(checkout, "mine")
    (checkout / "graphs" / "mine.py").write_text("# precious")

    with pytest.raises(CommandFailed, match=r"graphs/mine\.py exists"):
        write_graph(checkout, "mine")
    (checkout / "graphs" / "mine.py").unlink()
    with pytest.raises(CommandFailed, match=r"tests/graphs/test_mine\.py exists"):
        write_graph(checkout, "mine")

    assert not (checkout / "graphs" / "mine.py").exists()


def test_it_writes_into_a_checkout_and_nowhere_else(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"holds no graphs/ and no langgraph\.json"):
        write_graph(tmp_path, "mine")
    assert files(tmp_path) == set()


@pytest.mark.parametrize("damaged", ["{", "[]", '{"graphs": []}', "{}"])
def test_a_damaged_list_of_graphs_is_named_and_nothing_is_written(checkout: Path, damaged: str) -> None:
    (checkout / "langgraph.json").write_text(damaged)
    before = files(checkout)

    with pytest.raises(CommandFailed, match=r"langgraph\.json cannot be read"):
        write_graph(checkout, "mine")

    assert files(checkout) == before


def test_the_command_refuses_in_a_sentence(sextant: Any) -> None:
    bad = sextant.run("new", "graph", "Big")
    lost = sextant.run("new", "graph", "mine")
    assert (bad.returncode, lost.returncode) == (1, 1)  # the folder comes first: it is no checkout
    assert "Change to the folder of your checkout" in lost.stderr and "Traceback" not in lost.stderr
    assert sextant.run("new", "graph").returncode == 2


def test_all_graphs_are_listed(sextant: Any) -> None:
    listed = sextant.run("graphs").stdout
    assert [name for name in graphs.discover() if not re.search(rf"^{name} ", listed, re.MULTILINE)] == []


class Empty(TypedDict):
    """No state."""


def drawn(**metadata: Any) -> str:
    async def end(state: Empty) -> None:
        """Do nothing."""

    builder = StateGraph(Empty).add_node("graph", end, metadata=metadata).add_node("b-c", end)
    builder.add_edge(START, "graph").add_edge("b-c", END)
    builder.add_conditional_edges("graph", lambda _: "b-c", ["b-c", "graph"])
    return mermaid(builder.compile().get_graph())


def test_a_drawing_tells_choices_from_steps_and_ids_from_words_of_mermaid() -> None:
    assert drawn(title='Say "so"').splitlines() == [
        "flowchart LR",
        '    START(["question"])',
        '    n_graph["Say #quot;so#quot;"]',
        '    n_b_c["b-c"]',
        '    END(["answer"])',
        "    START --> n_graph",
        "    n_graph -.-> n_graph",
        "    n_graph -.-> n_b_c",
        "    n_b_c --> END",
    ]


def test_teams_and_loops_are_seen() -> None:
    assert '    n_graph[["Team"]]' in drawn(title="Team", team=True)
    assert "    n_graph -- tools --> n_graph" in drawn(title="One", agent="assistant")


def test_the_section_says_what_a_graph_does_and_when_it_pays() -> None:
    module = ModuleType("mine", "Do it | all.\n\nPays when there is\nmuch of it. And more.\n")
    module.build = lambda: StateGraph(Empty).add_node("a", lambda _: None).add_edge(START, "a")  # type: ignore[attr-defined]
    made = section({"mine": module})
    assert "| [`mine`](graphs/mine.py) | Do it \\| all. | when there is much of it |" in made
    assert made == section({"mine": module})
    assert made.startswith(BEGIN) and made.endswith(CLOSE)


def test_only_what_is_between_the_marks_is_rewritten(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{CLOSE}\nafter\n")

    assert rewrite(readme, {})
    assert not rewrite(readme, {})
    assert readme.read_text() == f"before\n{section({})}\nafter\n"

    readme.write_text("no marks")
    with pytest.raises(CommandFailed, match="has no section for graphs"):
        rewrite(readme, {})
