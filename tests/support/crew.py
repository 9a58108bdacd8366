"""The product's own agents on scripted models, over a corpus of a few passages: what a graph needs to run in a test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage

from agents.agent import assemble, discover_agents
from agents.context import Context, Limits
from app.events import RunEvent, Translator
from retrieval.documents import Chunk, Hit


def passage(text: str, id_: str = "3f9a1c77ab01", document: str = "guide.md") -> Chunk:
    """A passage."""
    return Chunk(id_, f"doc-{document}", document, "Guide", "Waits > Barriers", None, 0, text)


@dataclass
class FixedCorpus:
    """Answers every search with the same passages, and keeps what was asked."""

    passages: Sequence[Chunk] = ()
    asked: list[str] = field(default_factory=list)

    async def search(self, query: str, k: int = 8) -> Sequence[Hit]:
        self.asked.append(query)
        return [Hit(chunk, 1 / rank, rank, None) for rank, chunk in enumerate(self.passages[:k], 1)]


def crew(model: BaseChatModel, passages: Sequence[Chunk] = (), **limits: Any) -> Context:
    """A context in which every role speaks with `model`."""
    bounds = Limits(**limits)
    models = {"large": model, "small": model}
    return Context(models, assemble(discover_agents(), models, bounds), FixedCorpus(passages), bounds)


@dataclass
class Ran:
    """What a run of a graph left behind."""

    events: list[RunEvent]
    state: Mapping[str, Any]

    def types(self, *without: str) -> list[str]:
        """Types of its events, in order."""
        return [event.type for event in self.events if event.type not in without]

    def of(self, type_: str) -> list[Mapping[str, Any]]:
        """Data of its events of one type."""
        return [event.data for event in self.events if event.type == type_]


async def run(graph: Any, context: Context | None, given: Any = "Hello?", **config: Any) -> Ran:
    """Run a compiled graph as the worker does; `given` is a question, a first state, or None to go on."""
    events: list[RunEvent] = []
    clock = iter(range(10_000))
    translator = Translator(events.append, lambda: float(next(clock)))
    first = {"messages": [HumanMessage(given)]} if isinstance(given, str) else given
    state: Mapping[str, Any] = {}
    stream = graph.astream(
        first,
        {"callbacks": [translator], **config},
        context=context,
        stream_mode=["tasks", "custom", "values"],
        subgraphs=True,
        version="v2",
    )
    async for part in stream:
        translator.part(part)
        if part["type"] == "values" and not part["ns"]:
            state = part["data"]
    return Ran(events, state)
