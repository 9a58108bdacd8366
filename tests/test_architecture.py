"""The house rules, read from the source: who may import whom, where vendors live, and what is never written."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from langchain_core.tools import BaseTool
from langgraph.checkpoint.serde import _msgpack

import agents
import graphs
from agents.agent import discover_agents

ROOT = Path(__file__).parents[1]
PACKAGES = ("app", "graphs", "agents", "retrieval", "ui")
MAX_LINES = 400
MAX_FUNCTION_LINES = 60

MAY_IMPORT = {
    "retrieval": {"retrieval"},
    "agents": {"agents", "retrieval"},
    "graphs": {"graphs", "agents", "retrieval"},
    "app": {"app", "graphs", "agents", "retrieval"},
    "ui": {"ui"},
}
"""Imports go one way; the page speaks HTTP."""

EXCEPT = {"app/serving.py": {"ui"}}
"""The one process of the laptop has to find the page."""
UI_TYPES = {"app.events", "app.projection"}
KNOW_NOTHING_OF_OURS = ("app.settings", "app.events", "app.citations", "app.layout", "app.shapes", "app.markup")
"""But of each other."""


HOMES = {
    "streamlit": ["ui/", "app/serving.py"],
    "faiss": ["retrieval/index.py"],
    "procrastinate": ["app/queue.py", "app/postgres.py"],
    "onnxruntime": ["retrieval/embed.py", "retrieval/minilm/build.py"],
    "typer": ["app/cli.py"],
    "a2a": ["agents/remote/a2a_client.py", "app/protocols/a2a_*.py"],
    "mcp": ["agents/remote/mcp_*.py", "app/protocols/mcp_server.py"],
    "pydantic_monty": ["agents/sandbox/monty.py"],
    "prometheus_client": ["app/metrics_api.py"],
    "uvicorn": ["app/serving.py"],
    "fastapi": ["app/server.py", "app/serving.py", "app/gate.py", "app/replies.py", "app/*_api.py",
                "app/agent_protocol/", "app/protocols/"],
    # whoever writes rows needs its JSON, whoever answers for the database its errors; see also CONNECT
    "psycopg": ["app/postgres.py", "app/embedded_postgres.py", "app/journal.py", "app/ledger.py", "app/runs.py",
                "app/breakers.py", "app/blackboard.py", "app/memory.py", "app/artefacts.py",
                "app/steering.py", "app/work.py", "app/claim.py", "app/queue.py", "app/batch.py", "app/server.py",
                "app/gate.py", "app/agent_protocol/"],
}  # fmt: skip
"""Vendor -> where its name may stand. A new place is a decision: take it here."""

CONNECT = ("app/postgres.py", "app/embedded_postgres.py", "app/journal.py")

FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", ".create_subprocess_shell"}
INSIDE_THE_SANDBOX = "agents/sandbox/inside.py"
"""The one file that executes what others wrote; no other module may import it."""
FORBIDDEN_IMPORTS = {"pickle", "dill", "cloudpickle", "shelve", "marshal"}
FORBIDDEN_KEYWORDS = {"shell", "allow_pickle", "allow_dangerous_deserialization"}


@cache
def sources() -> Mapping[str, ast.Module]:
    """Every module of the product: path below the root -> its tree."""
    paths = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8")) for path in paths}


def module_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


MODULES = {module_of(path): path for path in sources()}


def imports(path: str, *, at_run_time: bool = False) -> Iterator[str]:
    """Dotted names that a module imports; without those for types alone when only run time counts."""
    left: list[ast.AST] = [sources()[path]]
    while left:
        node = left.pop()
        if at_run_time and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            left += node.orelse
            continue
        left += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.removesuffix(".py").split("/")[: -node.level] if node.level else []
            base = ".".join([*package, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base for alias in node.names)


def every(kind: type[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    """All nodes of a kind, with the path they stand in."""
    for path, tree in sources().items():
        yield from ((path, node) for node in ast.walk(tree) if isinstance(node, kind))


def at(path: str, node: ast.AST) -> str:
    return f"{path}:{getattr(node, 'lineno', 0)}"


# -- who imports whom ------------------------------------------------------------------------------


def test_imports_go_one_way() -> None:
    back = [
        f"{path} imports {name}"
        for path in sources()
        for name in imports(path)
        if (package := name.partition(".")[0]) in (*PACKAGES, "infra", "tests")
        and package not in MAY_IMPORT[path.partition("/")[0]] | EXCEPT.get(path, set())
        and not (path.startswith("ui/") and name in UI_TYPES)
    ]
    assert back == []


def test_what_all_rests_on_rests_on_nothing_of_ours() -> None:
    ours = {
        module: [
            name
            for name in imports(MODULES[module])
            if name.partition(".")[0] in PACKAGES and name not in KNOW_NOTHING_OF_OURS
        ]
        for module in KNOW_NOTHING_OF_OURS
    }
    assert not any(ours.values()), ours


def test_nothing_imports_in_a_circle() -> None:
    edges = {
        module: {name for name in imports(path, at_run_time=True) if name in MODULES and name != module}
        for module, path in MODULES.items()
    }
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_graphs_do_not_import_each_others_nodes() -> None:
    names = {f"graphs.{name}" for name in graphs.discover()}

    assert names
    assert [(name, other) for name in names for other in imports(MODULES[name]) if other in names] == []


@pytest.mark.parametrize("vendor", HOMES)
def test_a_vendors_name_stays_home(vendor: str) -> None:
    found = {path for path in sources() for name in imports(path) if name.partition(".")[0].startswith(vendor)}

    assert found, f"nobody imports {vendor}: its entry can go"
    assert [path for path in found if not any(lives_in(path, home) for home in HOMES[vendor])] == []


def lives_in(path: str, home: str) -> bool:
    return path.startswith(home) if home.endswith("/") else Path(path).match(home)


def test_connections_are_made_in_three_files() -> None:
    connecting = {
        path
        for path, node in every(ast.Call)
        if isinstance(node, ast.Call)
        and (ast.unparse(node.func).endswith(("psycopg.connect", "Connection.connect", "AsyncConnectionPool")))
    }
    assert connecting <= set(CONNECT)


def test_the_package_named_agents_is_ours() -> None:
    assert agents.__file__ == str(ROOT / "agents" / "__init__.py")


# -- what is never written -------------------------------------------------------------------------


def test_the_environment_is_read_in_one_place() -> None:
    readers = {
        path
        for path, node in every(ast.Attribute)
        if ast.unparse(node) in ("os.environ", "os.environb", "os.getenv", "os.putenv")
    }
    readers |= {path for path in sources() for node in ast.walk(sources()[path]) if is_from_os(node)}

    assert readers == {"app/settings.py"}


def is_from_os(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.ImportFrom)
        and node.module == "os"
        and any(alias.name in ("environ", "getenv") for alias in node.names)
    )


def test_nothing_is_executed_unpickled_or_given_to_a_shell() -> None:
    calls = [
        f"{at(path, node)} {ast.unparse(node.func)}"
        for path, node in every(ast.Call)
        if isinstance(node, ast.Call)
        and path != INSIDE_THE_SANDBOX
        and {ast.unparse(node.func), "." + ast.unparse(node.func).rpartition(".")[2]} & FORBIDDEN_CALLS
    ]
    keywords = [
        f"{at(path, node.value)} {node.arg}"
        for path, node in every(ast.keyword)
        if isinstance(node, ast.keyword)
        and node.arg in FORBIDDEN_KEYWORDS
        and not (isinstance(node.value, ast.Constant) and node.value.value is False)
    ]
    modules = [
        f"{path} {name}" for path in sources() for name in imports(path) if name.partition(".")[0] in FORBIDDEN_IMPORTS
    ]

    modules += [path for path in sources() if module_of(INSIDE_THE_SANDBOX) in imports(path)]

    assert calls + keywords + modules == []


def test_no_settings_exist_before_somebody_asks_for_them() -> None:
    early = [
        at(path, node)
        for path, tree in sources().items()
        for node in import_time(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "Settings"
    ]
    assert early == []


def import_time(tree: ast.AST) -> Iterator[ast.AST]:
    """What runs when a module is imported: all but the bodies of functions, with their defaults and decorators."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            outside = [*node.args.defaults, *(it for it in node.args.kw_defaults if it)]
            outside += getattr(node, "decorator_list", [])
            for part in outside:
                yield from ast.walk(part)
        else:
            yield node
            yield from import_time(node)


def test_checkpoints_are_strict_here_too() -> None:
    assert _msgpack.STRICT_MSGPACK_ENABLED


# -- how it reads ----------------------------------------------------------------------------------


def test_every_module_says_what_it_is() -> None:
    silent = [path for path, tree in sources().items() if not first_line(ast.get_docstring(tree))]
    assert silent == []


def first_line(docstring: str | None) -> str:
    return (docstring or "").strip().partition("\n")[0]


def test_people_activities_and_capabilities_introduce_themselves() -> None:
    """Their first lines are shown to persons and to models: a sentence, on one line."""
    roles = [MODULES[f"agents.{name}"] for name in discover_agents()]
    activities = [MODULES[f"graphs.{name}"] for name in graphs.discover()]
    tools = [path for path in sources() if path.startswith("agents/tools/") and not path.endswith("__init__.py")]
    lines = {path: first_line(ast.get_docstring(sources()[path])) for path in [*roles, *activities, *tools]}

    assert {path: line for path, line in lines.items() if not line.endswith((".", "."))} == {}


def test_every_tool_tells_the_model_what_it_is_for() -> None:
    tools: list[BaseTool] = [tool for agent in discover_agents().values() for tool in agent.tools]

    assert tools
    assert [tool.name for tool in tools if len(tool.description) < 20] == []


def test_no_file_is_longer_than_one_noun() -> None:
    lengths = {path: len((ROOT / path).read_text("utf-8").splitlines()) for path in sources()}
    assert {path: lines for path, lines in lengths.items() if lines > MAX_LINES} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    functions = [(at(path, node), own_lines(node)) for path, node in every(ast.AST) if isinstance(node, FUNCTIONS)]
    assert [(where, lines) for where, lines in functions if lines > MAX_FUNCTION_LINES] == []


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def own_lines(node: ast.AST) -> int:
    """Lines of a function without those of the functions that it holds."""
    inside = [child for child in ast.iter_child_nodes(node) if isinstance(child, FUNCTIONS)]
    return lines_of(node) - sum(lines_of(child) for child in inside)


def lines_of(node: ast.AST) -> int:
    return int(getattr(node, "end_lineno", 0)) - int(getattr(node, "lineno", 0)) + 1
