"""The field guide against the code that it speaks of: each graph has its page, and what a page names is there."""

import re
from pathlib import Path

import pytest

from app.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "retrieval/field_guide").glob("*.md")}
NAMED = re.compile(r"`([^`\n]+)`")
FILE = re.compile(r"(?:agents|app|graphs|retrieval|ui)/[\w/]+\.py")
CONSTANT = re.compile(r"[A-Z][A-Z_]{3,}")


def names_in(text: str) -> list[str]:
    return NAMED.findall(text)


@pytest.mark.parametrize("name", ["chain", "chat", "debate", "research", "solo", "support", "swarm", "team", "write"])
def test_each_graph_has_a_page_that_names_its_file(name: str) -> None:
    assert [page for page, text in PAGES.items() if f"graphs/{name}.py" in names_in(text)]


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_in_the_code(page: str) -> None:
    for paragraph in PAGES[page].split("\n\n"):
        named = names_in(paragraph)
        files = [it for it in named if FILE.fullmatch(it)]
        assert [it for it in files if not (ROOT / it).is_file()] == []
        code = "".join((ROOT / it).read_text(encoding="utf-8") for it in files)
        constants = [it for it in named if CONSTANT.fullmatch(it) and not it.startswith("SEXTANT_")]
        if files:
            assert [it for it in constants if not re.search(rf"^{it}\b", code, re.MULTILINE)] == []
        settings = [it.removeprefix("SEXTANT_").lower() for it in named if it.startswith("SEXTANT_")]
        assert [it for it in settings if it not in Settings.model_fields] == []
