"""A plan that waits for a person, over HTTP: shown, refused when it cannot be run, changed, run."""

from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest
from house import house
from langchain_core.messages import AIMessage
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from two_rounds import planned

from agents.context import Context
from agents.planner import Plan, SubTask
from graphs.reviewing import NotWanted, reviewed
from graphs.scheduling import Finding, run_plan
from graphs.state import ChatState
from graphs.usual import Usual


class State(ChatState):
    """The conversation and the plan in force."""

    plan: Plan


async def plan(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    """Ask a person only if they want to be asked."""
    proposed = planned("a", "b < a")
    if not runtime.context.review_plan:
        return {"plan": proposed}
    try:
        return {"plan": reviewed(proposed, runtime.context, Usual())}
    except NotWanted as no:
        return {"plan": planned(f"rejected: {no}")}


async def work(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    """Say what was done."""

    async def one(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        return Finding(sub.id, sub.title, "done", f"{sub.question} with {len(inputs)}")

    found = await run_plan(state["plan"], one, runtime.context.limits, runtime.context.allowance)
    return {"messages": [AIMessage("; ".join(finding.text for finding in found))]}


def builder() -> StateGraph[Any, Any, Any, Any]:
    """START -> plan -> work -> END."""
    graph = StateGraph(State, context_schema=Context).add_node(plan).add_node(work)
    return graph.add_edge(START, "plan").add_edge("plan", "work").add_edge("work", END)


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[httpx.Client]:
    """A client of a server that has the graph."""
    with (
        house(tmp_path_factory.mktemp("house"), postgres, {"planner": builder()}) as running,
        running.http() as client,
    ):
        yield client


def started(http: httpx.Client, **more: Any) -> str:
    thread = http.post("threads", json={"graph": "planner"}).json()["thread_id"]
    body = {"assistant_id": "planner", "input": {"messages": [{"role": "user", "content": "Do it"}]}, **more}
    return str(http.post(f"threads/{thread}/runs", json=body).raise_for_status().json()["run_id"])


def until(http: httpx.Client, run_id: str, ending: str) -> None:
    """Read the run's events up to this one."""
    with http.stream("GET", f"runs/{run_id}/events") as events:
        for line in events.iter_lines():
            if line == f"event: {ending}":
                return
    raise AssertionError(f"no {ending}")


def answered(http: httpx.Client, run_id: str, answer: Any) -> httpx.Response:
    (asked,) = [row for row in http.get("questions").json()["questions"] if row["run_id"] == run_id]
    return http.post(f"runs/{run_id}/questions/{asked['interrupt_id']}", json={"answer": answer})


def answer_of(http: httpx.Client, run_id: str) -> str:
    until(http, run_id, "run.finished")
    return str(http.get(f"runs/{run_id}").json()["output"]["answer"])


def test_nobody_is_asked_who_did_not_want_to_be(http: httpx.Client) -> None:
    assert answer_of(http, started(http)) == "a? with 0; b? with 1"


def test_a_plan_is_changed_before_it_runs_and_a_mistake_leaves_the_question_open(http: httpx.Client) -> None:
    run_id = started(http, review_plan=True)
    until(http, run_id, "run.waiting")
    changed = planned("a", "b < a").model_dump()
    changed["tasks"][1] |= {"role": "astronaut", "question": "b otherwise"}

    refused = answered(http, run_id, {"decision": "edit", "plan": changed})
    changed["tasks"][1] |= {"role": "researcher", "depends_on": []}
    taken = answered(http, run_id, {"decision": "edit", "plan": changed})

    assert refused.status_code == 422
    assert refused.json()["error"]["field"] == "plan.tasks.1.role"
    assert "astronaut" in refused.json()["error"]["message"]
    assert taken.status_code == 202
    assert answer_of(http, run_id) == "a? with 0; b otherwise with 0"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"decision": "approve"}, "a? with 0; b? with 1"),
        ({"decision": "reject", "reason": "too dear"}, "rejected: too dear? with 0"),
    ],
)
def test_a_plan_is_approved_or_rejected(http: httpx.Client, answer: dict[str, Any], said: str) -> None:
    run_id = started(http, review_plan=True)
    until(http, run_id, "run.waiting")

    assert answered(http, run_id, answer).status_code == 202
    assert answer_of(http, run_id) == said
