"""The estimate of tokens, held against a real tokenizer on the field guide."""

from pathlib import Path

import pytest
from langchain_core.messages import AIMessage
from tokenizers import Tokenizer

import retrieval
from agents.counting import estimated, text_of, tools_text
from agents.tools.calculator import calculator

HERE = Path(retrieval.__file__).parent
PAGES = sorted((HERE / "field_guide").glob("*.md"))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """The one that is at hand, of the built-in embedder; byte-pair ones of served models differ from it by 2 %."""
    made = Tokenizer.from_file(str(HERE / "minilm" / "tokenizer.json"))
    made.no_truncation()
    return made


def test_the_estimate_is_within_a_twentieth_on_the_field_guide(tokenizer: Tokenizer) -> None:
    counted = {page.stem: len(tokenizer.encode(page.read_text("utf-8"), add_special_tokens=False)) for page in PAGES}
    guessed = {page.stem: estimated(page.read_text("utf-8")) for page in PAGES}

    off = {stem: guessed[stem] / counted[stem] - 1 for stem in counted}
    assert len(PAGES) >= 15
    assert abs(sum(guessed.values()) / sum(counted.values()) - 1) <= 0.03
    assert {stem: round(error, 3) for stem, error in off.items() if abs(error) > 0.05} == {}


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("word", 1),
        ("two words", 2),
        ("3.14159", 4),
        ("a\n\n\nb", 3),
        ("internationalisation", 3),
        ("智能体", 3),
    ],
)
def test_small_texts(text: str, tokens: int) -> None:
    assert estimated(text) == tokens


def test_lone_surrogates_and_zeros_are_counted_too() -> None:
    assert estimated("\ud800\x00") >= 1


def test_all_that_is_sent_is_counted() -> None:
    call = {"type": "tool_call", "id": "1", "name": "calculator", "args": {"expression": "1+1"}}

    assert text_of(AIMessage("I calculate.", tool_calls=[call])) == 'I calculate.\ncalculator {"expression": "1+1"}'
    assert "Work out an arithmetic expression" in tools_text([calculator])
    assert tools_text([{"type": "web_search"}]) == '{"type": "web_search"}'
