"""Graphs that can be run: found in `graphs/`, described, drawn, with questions to try."""

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import StateGraph
from langgraph.store.base import BaseStore

import graphs
from app.shapes import Shape, read_shape


@dataclass(frozen=True, slots=True)
class Activity:
    """A graph that can be run."""

    name: str
    description: str
    builder: StateGraph[Any, Any, Any, Any]
    shape: Shape
    examples: Mapping[str, str]
    plans: bool = False
    """A person may look at its plan before it runs: a run takes `review_plan`."""
    _compiled: dict[frozenset[tuple[str, str]], Any] = field(default_factory=dict, repr=False, compare=False)

    def on(
        self,
        saver: BaseCheckpointSaver[Any],
        store: BaseStore | None = None,
        types: Collection[tuple[str, str]] = frozenset(),
    ) -> Any:
        """The graph on a checkpointer of its own, which may restore `types` beside those of the graph's state.

        Compiling takes as long as four statements, nearly all of it to find those types, so it is done once.
        """
        known = frozenset(types)
        if known not in self._compiled:
            any_saver = InMemorySaver(serde=saver.serde).with_allowlist(known)
            self._compiled[known] = self.builder.compile(checkpointer=any_saver, name=self.name)
        graph = copy.copy(self._compiled[known])
        graph.checkpointer, graph.store = copy.copy(saver), store
        graph.checkpointer.serde = self._compiled[known].checkpointer.serde
        return graph


def discover_activities() -> dict[str, Activity]:
    """Every graph in `graphs/`, with its shape and examples."""
    found = {}
    for name, module in graphs.discover().items():
        builder = module.build()
        description = (module.__doc__ or name).strip().splitlines()[0]
        shape = read_shape(builder.compile(name=name))
        found[name] = Activity(
            name, description, builder, shape, getattr(module, "EXAMPLES", {}), getattr(module, "PLANS", False)
        )
    return found
