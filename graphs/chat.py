"""One agent that reasons, calls tools and answers (ReAct).

Pays when the next step is only known after the last one, and for short questions of one or two look-ups.
"""

from typing import Any

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from agents.context import Context
from graphs.evidence import needed
from graphs.state import ChatState, as_node

EXAMPLES = {
    "What is Amdahl's law, and what is 1 / (0.15 + 0.85 / 4)?": "One agent searches and calculates in the same turn",
    "What do three items at 149.99 each plus 24.50 shipping cost?": "Arithmetic goes through a tool",
    "What is an idempotency key, and which tool calls need one?": "One question about the documents, with citations",
}


async def answer(state: ChatState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Reason and act until there is an answer, at most `max_steps` times. Only the answer joins the conversation."""
    return {"messages": [(await needed(runtime.context, "assistant", *state["messages"])).message]}


def build() -> StateGraph[ChatState, Context]:
    """START -> answer -> END; the loop is inside `answer`."""
    return (
        StateGraph(ChatState, context_schema=Context)
        .add_node(answer, metadata=as_node("Assistant", speaks=True, agent="assistant"))
        .add_edge(START, "answer")
        .add_edge("answer", END)
    )
