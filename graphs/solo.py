"""One agent does alone what a team would do: the baseline for cost and quality.

Pays as the opponent that every team must beat: the same question, the same tools, the same form of answer.
"""

from typing import Any

from langchain_core.messages import AIMessage
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from agents.context import Context
from graphs.evidence import needed
from graphs.state import ChatState, as_node

EXAMPLES = {
    "Compare routing, critic loops and debate: what each costs, and when it pays": (
        "One agent plans, looks up and writes; ask research the same, and compare"
    ),
}


async def work(state: ChatState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Plan, look up and write in one loop of at most `max_steps` model calls; the last one must answer."""
    done = await needed(runtime.context, "soloist", *state["messages"])
    return {"messages": [AIMessage(done.text)]}


def build() -> StateGraph[ChatState, Context]:
    """START -> work -> END; the loop is inside `work`."""
    return (
        StateGraph(ChatState, context_schema=Context)
        .add_node(work, metadata=as_node("Work alone", speaks=True, agent="soloist"))
        .add_edge(START, "work")
        .add_edge("work", END)
    )
