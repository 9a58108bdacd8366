"""Graphs that can be run: found in `graphs/`, described, drawn, with questions to try."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langgraph.graph import StateGraph

import graphs
from app.shapes import Shape, read_shape


@dataclass(frozen=True, slots=True)
class Activity:
    """A graph that can be run. Compiled for each run (3 ms), because each run has a checkpointer of its own."""

    name: str
    description: str
    builder: StateGraph[Any, Any, Any, Any]
    shape: Shape
    examples: Mapping[str, str]
    plans: bool = False
    """A person may look at its plan before it runs: a run takes `review_plan`."""


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
