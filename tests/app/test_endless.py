"""A graph that loops for ever: it ends at our limit with its best answer so far, marked so, and a resume goes on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from house import House, house
from langchain_core.messages import AIMessage
from langgraph.graph import END, START, StateGraph

from app.outcome import SUPERSTEPS
from graphs.state import ChatState, as_node

ROUNDS = SUPERSTEPS + 20


class Rounds(ChatState):
    """How often it came by."""

    rounds_made: int


async def turn(state: Rounds) -> dict[str, Any]:
    """One more round, which mends the answer."""
    made = state.get("rounds_made", 0) + 1
    return {"rounds_made": made, "messages": [AIMessage(f"Draft {made}.", id="draft")]}


def again(state: Rounds) -> str:
    return "turn" if state["rounds_made"] < ROUNDS else END


def looping() -> StateGraph[Rounds]:
    builder = StateGraph(Rounds).add_node(turn, metadata=as_node("Turn", speaks=True))
    return builder.add_edge(START, "turn").add_conditional_edges("turn", again, ["turn", END])


@pytest.fixture
def server(tmp_path: Path, postgres: str) -> Iterator[House]:
    with house(tmp_path, postgres, {"loops": looping()}) as running:
        yield running


def ended(client: httpx.Client, run_id: str) -> dict[str, Any]:
    """The run, once its events have ended."""
    client.get(f"runs/{run_id}/events", timeout=60)
    return dict(client.get(f"runs/{run_id}").json())


def test_it_ends_at_our_limit_with_its_last_draft_and_a_resume_goes_on(server: House) -> None:
    question = {"messages": [{"role": "user", "content": "Go"}]}
    with server.http() as client:
        client.post("threads", json={"graph": "loops", "thread_id": "t"}).raise_for_status()
        told = client.post("threads/t/runs", json={"assistant_id": "loops", "input": question})
        run_id = told.raise_for_status().json()["run_id"]

        run = ended(client, run_id)
        assert (run["status"], run["output"]["text"]) == ("failed", f"Draft {SUPERSTEPS}.")
        reached = {"unit": "supersteps", "limit": SUPERSTEPS, "actual": SUPERSTEPS, "share": 1, "more": None}
        assert run["output"]["budget_reached"] == reached
        assert run["error"]["message"] == f"The graph took more than {SUPERSTEPS} steps without coming to an end."
        view = client.get(f"runs/{run_id}/view").json()
        assert (view["answer"]["text"], view["budget_reached"]) == (f"Draft {SUPERSTEPS}.", reached)
        spent = "200 of 200 steps of the graph spent. What was found so far is kept."
        assert view["status_line"] == {"lead": "Ended early.", "rest": spent}

        client.post(f"runs/{run_id}/resume").raise_for_status()
        run = ended(client, run_id)
        assert (run["status"], run["output"]["text"]) == ("succeeded", f"Draft {ROUNDS}.")
        assert run["output"]["budget_reached"] is None
