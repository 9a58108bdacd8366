"""One translation out of LangGraph: a real run of a real graph gives exactly these events."""

import asyncio
import json
import math
import operator
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypedDict
from uuid import uuid4

import orjson
import pytest
from crew import crew, passage, run
from hypothesis import given
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain_core.callbacks import adispatch_custom_event
from langchain_core.language_models.fake_chat_models import FakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.func import task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, ToolNode
from langgraph.types import Command, Send, interrupt
from scripted import calls, fills, says

from agents.planner import Plan, SubTask
from agents.tools.search import citation_key
from app.events import ROOT, RunEvent, Translator, joined, json_safe, owner_of, parent_of, text_safe
from graphs import chat, research

PASSAGE = passage("A barrier holds everybody until the last one comes.")


class Log(TypedDict):
    """What nodes of these tests write to."""

    lines: Annotated[list[str], operator.add]


def line(text: str) -> dict[str, Any]:
    return {"lines": [text]}


# -- text and JSON ---------------------------------------------------------------------------------


@given(st.text())
def test_text_keeps_everything_but_what_postgres_cannot_hold(text: str) -> None:
    safe = text_safe(text)

    assert len(safe) == len(text)
    assert all(
        kept == was or (kept == "\ufffd" and (was == "\0" or "\ud800" <= was <= "\udfff"))
        for was, kept in zip(text, safe, strict=True)
    )
    safe.encode()
    assert "\0" not in safe


JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_whatever_a_graph_reports_every_parser_takes_it(value: Any) -> None:
    safe = json_safe(value)

    text = json.dumps(safe, allow_nan=False)
    assert "\\u0000" not in text
    assert orjson.loads(orjson.dumps(safe)) == json.loads(text) == safe
    assert json_safe(safe) == safe


PLAIN_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
SAFE_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | PLAIN_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PLAIN_TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(SAFE_VALUES)
def test_what_is_safe_stays_as_it_is(value: Any) -> None:
    assert json_safe(value) == value


@pytest.mark.parametrize(
    ("value", "safe"),
    [
        (math.nan, None),
        (-math.inf, None),
        (2**63, "0x8000000000000000"),
        (-(2**63), -(2**63)),
        ({1: (2, 3), "a": {4}}, {"1": [2, 3], "a": [4]}),
        (ValueError("no"), "no"),
        ("a\0b\ud800c", "a\ufffdb\ufffdc"),
    ],
)
def test_values_that_json_has_no_word_for(value: Any, safe: Any) -> None:
    assert json_safe(value) == safe


def test_a_number_that_python_refuses_to_write_in_digits() -> None:
    assert json_safe(10**5000) == hex(10**5000)


def test_what_contains_itself_ends() -> None:
    endless: list[Any] = ["x"]
    endless.append(endless)

    safe = json_safe(endless)

    assert safe[0] == safe[1][0] == "x"
    assert json.dumps(safe, ensure_ascii=False).count("…") == 1


# -- spans -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("namespace", "owner", "parent"),
    [
        ("run", "run", None),
        ("plan:1", "plan:1", "run"),
        ("tools:1", "tools:1", "run"),  # a newcomer's own node of that name
        ("answer:1|model:2", "answer:1", "run"),
        ("answer:1|tools:2", "answer:1", "run"),
        ("answer:1|Summarize.before_model:2", "answer:1", "run"),
        ("answer:1|tools:2|model:3", "answer:1", "run"),
        ("research:1|sub_agent:2|model:3", "research:1|sub_agent:2", "research:1"),
        ("research:1|sub_agent:2|1|model:3", "research:1|sub_agent:2", "research:1"),  # the second agent it asked
        ("research:1|sub_agent:2|twin:3|model:4", "research:1|sub_agent:2|twin:3", "research:1|sub_agent:2"),
        ("outer:1|inner:2", "outer:1|inner:2", "outer:1"),
        ("team:1|lead:2|sub_agent:3|tools:4", "team:1|lead:2|sub_agent:3", "team:1|lead:2"),
    ],
)
def test_a_call_belongs_to_the_innermost_task_that_is_not_an_agents_own(
    namespace: str, owner: str, parent: str | None
) -> None:
    assert owner_of(namespace) == owner
    assert parent_of(owner) == parent


# -- one agent -------------------------------------------------------------------------------------


async def test_an_agent_that_calls_two_tools_at_once(scripted: Callable[..., Any]) -> None:
    model = scripted(
        [
            calls(
                ("search_documents", {"query": "barrier"}), ("calculator", {"expression": "2*3"}), text="Let me see."
            ),
            says("It holds [3f9a1c].", response_metadata={"cost_usd": 0.25}),
        ]
    )

    ran = await run(chat.build().compile(), crew(model, [PASSAGE]))

    types = ran.types("llm.token")
    assert types[:3] == ["node.started", "llm.started", "llm.finished"]
    assert sorted(types[3:7]) == ["tool.finished"] * 2 + ["tool.started"] * 2
    assert types[7:] == ["llm.started", "llm.finished", "node.finished"]
    node = ran.events[0]
    assert node.span_id.startswith("answer:")
    assert (node.parent_id, node.data) == (ROOT, {"name": "answer"})
    assert all(event.parent_id == node.span_id for event in ran.events[1:-1])
    assert ran.events[-1].span_id == node.span_id
    assert ran.events[-1].data == {"state": "done", "reason": ""}
    assert all(start["speaks"] for start in ran.of("llm.started"))
    assert [event.at for event in ran.events] == sorted(event.at for event in ran.events)


async def test_tools_of_one_turn_run_side_by_side(scripted: Callable[..., Any]) -> None:
    both = asyncio.Barrier(2)

    @tool
    async def meet(name: str) -> str:
        """Meet."""
        await both.wait()
        return f"met {name}"

    agent = create_agent(scripted([calls(("meet", {"name": "a"}), ("meet", {"name": "b"})), says("ok")]), [meet])

    ran = await run(agent, None)

    types = [type_ for type_ in ran.types() if type_.startswith("tool")]
    assert types == ["tool.started", "tool.started", "tool.finished", "tool.finished"]
    assert sorted(end["text"] for end in ran.of("tool.finished")) == ["met a", "met b"]


async def test_tokens_joined_are_the_text_byte_for_byte(scripted: Callable[..., Any]) -> None:
    text = "  A  barrier\n\nholds **everybody** [3f9a1c].\n"
    ran = await run(chat.build().compile(), crew(scripted([says(text)])))

    assert "".join(token["text"] for token in ran.of("llm.token")) == text
    assert ran.of("llm.finished")[0]["text"] == text
    assert len(ran.of("llm.token")) > 3


async def test_what_a_model_call_came_to(scripted: Callable[..., Any]) -> None:
    model = scripted(
        [
            calls(("now", {}), ("now", {})),
            says("It is late.", tokens_in=7, tokens_out=3, response_metadata={"cost_usd": 0.25}),
        ]
    )

    first, last = (await run(chat.build().compile(), crew(model))).of("llm.finished")

    assert first["calls"] == ["now", "now"]
    assert last["calls"] == []
    assert last["usage"] == {"in": 7, "out": 3, "cached": 0}
    assert last["cost_usd"] == 0.25
    assert last["ttft_s"] is not None
    assert last["latency_s"] >= last["ttft_s"]


async def test_what_a_tool_call_came_to(scripted: Callable[..., Any]) -> None:
    model = scripted(
        [
            calls(("search_documents", {"query": "barrier"}), ("calculator", {"expression": "1/0"}), ("nonsense", {})),
            says("Done."),
        ]
    )

    ran = await run(chat.build().compile(), crew(model, [PASSAGE]))

    spans = {event.span_id: event.data for event in ran.events if event.type == "tool.started"}
    ends = {spans[event.span_id]["name"]: event.data for event in ran.events if event.type == "tool.finished"}
    starts = {start["name"]: start for start in spans.values()}
    assert starts["search_documents"] == {
        "name": "search_documents",
        "args": {"query": "barrier"},  # and nothing of what the product injects
        "call_id": "call_1",
    }
    assert ends["search_documents"]["ok"]
    assert ends["search_documents"]["sources"][0]["key"] == citation_key(PASSAGE.id)
    assert ends["search_documents"]["sources"][0]["quote"] == PASSAGE.text
    assert not ends["calculator"]["ok"]
    assert "has no value" in ends["calculator"]["text"]
    assert set(starts) == {"search_documents", "calculator"}  # nothing ran for a tool that does not exist


async def test_long_and_strange_arguments_are_cut_to_a_label() -> None:
    events: list[RunEvent] = []
    translator = Translator(events.append)
    many = {f"key{n}": n for n in range(100)}
    inputs = {"query": "q" * 900, "limit": math.nan, "deep": [[["x" * 900]]], **many}
    await translator.on_tool_start({"name": "t"}, "", run_id=uuid4(), inputs=inputs)

    args = events[0].data["args"]
    assert args["query"] == "q" * 200
    assert args["limit"] is None
    assert len(args["deep"]) == 200
    assert len(args) == 20


async def test_an_artifact_of_another_kind_is_not_taken_for_sources(scripted: Callable[..., Any]) -> None:
    good = {"key": "aaa111", "chunk_id": "aaa111", "document_id": "d", "document": "d", "title": "", "heading": "",
            "page": None, "quote": "q", "score": 0.5}  # fmt: skip

    @tool(response_format="content_and_artifact")
    def odd() -> tuple[str, Any]:
        """Odd."""
        return "x", {
            "sources": [good, {"key": "bbb222"}, "ccc333", {**good, "score": math.nan}, {**good, "score": "1"}]
        }

    ran = await run(tool_graph(odd), None, {"messages": [calls(("odd", {}))]})

    assert ran.of("tool.finished")[0]["sources"] == [good]


def tool_graph(*tools: Any) -> Any:
    return StateGraph(MessagesState).add_node("act", ToolNode(list(tools))).add_edge(START, "act").compile()


async def test_injected_state_stays_out_of_the_events() -> None:
    @tool
    def peek(what: str, state: Annotated[Any, InjectedState]) -> str:
        """Peek."""
        return f"{len(state['messages'])} messages"

    ran = await run(tool_graph(peek), None, {"messages": [calls(("peek", {"what": "it"}))]})

    assert ran.of("tool.started")[0]["args"] == {"what": "it"}
    assert ran.of("tool.finished")[0]["text"] == "1 messages"


# -- a team ----------------------------------------------------------------------------------------


def plan_of(*ids: str) -> Plan:
    tasks = [
        SubTask(id=id_, title=f"Part {id_}", question=f"sub-question {id_}?", role="researcher", depends_on=[])
        for id_ in ids
    ]
    return Plan(tasks=tasks, note="Two things to look up.")


async def test_a_plan_and_its_sub_agents(scripted: Callable[..., Any]) -> None:
    model = scripted(
        {
            "sub-question 1?": [calls(("search_documents", {"query": "one"})), says("One [3f9a1c].")],
            "sub-question 2?": [says("Two.")],
            "Question: ": [says("**Both** [3f9a1c].")],
            "": [fills(plan_of("1", "2"))],
        }
    )

    ran = await run(research.build().compile(), crew(model, [PASSAGE]), "Compare one and two")

    (proposed,) = ran.of("plan.proposed")
    assert proposed["tasks"] == plan_of("1", "2").model_dump()["tasks"]
    assert proposed["decision"] == "Side by side: about 8.02 s with 0.02 s of coordination, 16 s one after the other."
    spawned = {event.data["task_id"]: event for event in ran.events if event.type == "agent.spawned"}
    ended = {event.data["task_id"]: event for event in ran.events if event.type == "agent.finished"}
    team = next(event.span_id for event in ran.events if event.data.get("name") == "research")
    assert {event.parent_id for event in [*spawned.values(), *ended.values()]} == {team}
    assert spawned["1"].data == {
        "task_id": "1", "title": "Part 1", "role": "researcher", "question": "sub-question 1?",
    }  # fmt: skip
    assert ended["1"].data["text"] == "One [3f9a1c]."
    assert ended["1"].span_id == spawned["1"].span_id != spawned["2"].span_id
    owners = {event.data["name"]: event.parent_id for event in ran.events if event.type == "tool.started"}
    assert owners == {"search_documents": spawned["1"].span_id}
    voices = [event.parent_id for event in ran.events if event.type == "llm.started" and event.data["speaks"]]
    assert [voice.partition(":")[0] for voice in voices if voice] == ["write"]
    assert [start["name"] for start in ran.of("node.started")] == ["plan", "research", "write"]


async def test_a_model_inside_a_tool_is_not_the_voice_of_the_answer(scripted: Callable[..., Any]) -> None:
    helper = scripted([says("A thought of its own.")])
    model = scripted([calls(("consult", {})), says("The answer.")])

    @tool
    async def consult() -> str:
        """Ask somebody."""
        return str((await helper.ainvoke("what now?")).text)

    agent = create_agent(model, [consult])

    async def answer(state: Mapping[str, Any]) -> dict[str, Any]:
        return {"messages": (await agent.ainvoke(state))["messages"][-1:]}

    graph = StateGraph(MessagesState).add_node(answer, metadata={"speaks": True}).add_edge(START, "answer").compile()
    ran = await run(graph, None)

    assert [start["speaks"] for start in ran.of("llm.started")] == [True, False, True]


# -- any graph -------------------------------------------------------------------------------------


async def test_every_model_that_can_stream_does_and_one_that_cannot_still_has_its_calls(
    scripted: Callable[..., Any],
) -> None:
    streaming, plain = scripted([says("one two")]), FakeChatModel()

    async def ask(state: Log) -> dict[str, Any]:
        await streaming.ainvoke("hi")  # not astream: the translator's presence is enough
        return line(str((await plain.ainvoke("hi")).text))

    ran = await run(StateGraph(Log).add_node(ask).add_edge(START, "ask").compile(), None, {"lines": []})

    assert [token["text"] for token in ran.of("llm.token")] == ["one", " two"]
    assert [end["text"] for end in ran.of("llm.finished")] == ["one two", "fake response"]


async def test_tasks_that_send_made_are_nodes_of_their_own(scripted: Callable[..., Any]) -> None:
    model = scripted([says("x"), says("y")])

    async def split(state: Log) -> dict[str, Any]:
        return {}

    async def work(state: Mapping[str, Any]) -> dict[str, Any]:
        return line(str((await model.ainvoke(str(state))).text))

    graph = (
        StateGraph(Log)
        .add_node(split)
        .add_node(work)
        .add_edge(START, "split")
        .add_conditional_edges("split", lambda _: [Send("work", {"n": n}) for n in range(2)], ["work"])
        .compile()
    )
    ran = await run(graph, None, {"lines": []})

    spans = {event.span_id for event in ran.events if event.data.get("name") == "work"}
    assert len(spans) == 2
    assert {event.parent_id for event in ran.events if event.type == "llm.started"} == spans
    assert {event.span_id for event in ran.events if event.type == "node.finished"} > spans


async def test_calls_inside_a_function_task_hang_below_the_node(scripted: Callable[..., Any]) -> None:
    model = scripted([says("x")])

    @task
    async def part(n: int) -> str:
        return str((await model.ainvoke(str(n))).text)

    async def node(state: Log) -> dict[str, Any]:
        return line(await part(1))

    ran = await run(StateGraph(Log).add_node(node).add_edge(START, "node").compile(), None, {"lines": []})

    started = next(event for event in ran.events if event.type == "llm.started")
    assert started.parent_id and parent_of(started.parent_id) == ran.events[0].span_id
    assert ran.types("llm.token") == ["node.started", "llm.started", "llm.finished", "node.finished"]


async def test_nodes_of_a_graph_inside_a_graph_hang_below_its_node(scripted: Callable[..., Any]) -> None:
    model = scripted([says("x"), says("y")])

    async def one(state: Log) -> dict[str, Any]:
        return line(str((await model.ainvoke("hi")).text))

    innermost = StateGraph(Log).add_node("deep", one).add_edge(START, "deep").compile()
    inner = StateGraph(Log).add_node(one).add_node("nested", innermost).add_edge(START, "one").add_edge("one", "nested")
    outer = StateGraph(Log).add_node("outer", inner.compile()).add_edge(START, "outer").compile()

    ran = await run(outer, None, {"lines": []})

    parents = {event.data["name"]: event.parent_id for event in ran.events if event.type == "node.started"}
    spans = {event.data["name"]: event.span_id for event in ran.events if event.type == "node.started"}
    assert parents == {"outer": ROOT, "one": spans["outer"], "nested": spans["outer"], "deep": spans["nested"]}
    assert {event.parent_id for event in ran.events if event.type == "llm.started"} == {spans["one"], spans["deep"]}
    assert {event.span_id for event in ran.events if event.type == "node.finished"} == set(spans.values())


async def test_a_loop_starts_the_same_node_again_as_another_task() -> None:
    async def step(state: Log) -> dict[str, Any]:
        return line("again")

    graph = (
        StateGraph(Log)
        .add_node(step)
        .add_edge(START, "step")
        .add_conditional_edges("step", lambda state: "step" if len(state["lines"]) < 3 else "__end__")
        .compile()
    )
    ran = await run(graph, None, {"lines": []})

    assert ran.types() == ["node.started", "node.finished"] * 3
    assert len({event.span_id for event in ran.events}) == 3


# -- what goes wrong -------------------------------------------------------------------------------


async def test_a_node_that_fails_says_why(scripted: Callable[..., Any]) -> None:
    model = scripted([RuntimeError("the endpoint is gone")])
    events: list[RunEvent] = []
    translator = Translator(events.append)

    async def ask(state: Log) -> dict[str, Any]:
        return line(str((await model.ainvoke("hi")).text))

    graph = StateGraph(Log).add_node(ask).add_edge(START, "ask").compile()
    with pytest.raises(RuntimeError, match="gone"):
        async for part in graph.astream(
            {"lines": []}, {"callbacks": [translator]}, stream_mode=["tasks"], subgraphs=True, version="v2"
        ):
            translator.part(part)

    assert [event.type for event in events] == ["node.started", "llm.started", "llm.finished", "node.finished"]
    assert events[2].data["error"] == "the endpoint is gone"
    assert events[2].data["latency_s"] >= 0
    assert events[3].data == {"state": "failed", "reason": "the endpoint is gone"}


async def test_a_call_that_was_cancelled_was_stopped(scripted: Callable[..., Any]) -> None:
    asked = asyncio.Event()

    async def never(_: Any) -> AIMessage:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    events: list[RunEvent] = []

    async def ask() -> None:
        async for _ in scripted([never]).astream("hi", {"callbacks": [Translator(events.append)]}):
            raise AssertionError

    asking = asyncio.create_task(ask())
    await asked.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert events[-1].type == "llm.finished"
    assert events[-1].data["error"] == "stopped"
    assert events[-1].data["latency_s"] >= 0


async def test_a_tool_that_asks_a_person_has_not_ended(scripted: Callable[..., Any]) -> None:
    @tool
    def ask(what: str) -> str:
        """Ask a person."""
        return f"they said {interrupt(what)}"

    model = scripted([calls(("ask", {"what": "may I?"})), says("Thank you.")])
    agent = create_agent(model, [ask], checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "t"}}

    asked = await run(agent, None, **thread)
    answered = await run(agent, None, Command(resume="yes"), **thread)

    assert asked.types("llm.token")[-2:] == ["tool.started", "node.finished"]
    assert asked.of("node.finished")[-1] == {"state": "waiting", "reason": ""}
    assert [end["text"] for end in answered.of("tool.finished")] == ["they said yes"]


# -- what graphs report ----------------------------------------------------------------------------


async def test_nothing_but_the_worker_ends_a_run_and_reports_of_any_shape_get_through() -> None:
    async def report(state: Log) -> dict[str, Any]:
        await adispatch_custom_event("run.finished", {"answer": "mine"})
        await adispatch_custom_event("a name that is much longer than any type may be", {"type_": 1, "span_id": 2})
        await adispatch_custom_event("plan.proposed", "no mapping")
        await adispatch_custom_event("llm.retry", {"attempt": 2, "reason": "busy"})
        get_stream_writer()({"half": math.nan})
        return {}

    ran = await run(StateGraph(Log).add_node(report).add_edge(START, "report").compile(), None, {"lines": []})

    assert sorted(ran.types("node.started", "node.finished")) == ["custom"] * 4 + ["llm.retry"]
    node, written = ran.events[0].span_id, {"value": {"half": None}}
    assert {event.span_id for event in ran.events if event.data != written} == {node}  # LangGraph tells no node of it
    values = [data["value"] for data in ran.of("custom")]
    assert {"answer": "mine"} in values
    assert written["value"] in values
    assert ran.of("llm.retry") == [{"attempt": 2, "reason": "busy"}]


async def test_a_first_token_of_reasoning_ends_the_wait_and_says_nothing() -> None:
    clock = iter([0.0, 0.0, 3.0, 3.0, 3.0, 3.0])
    events: list[RunEvent] = []
    translator, call = Translator(events.append, lambda: next(clock)), uuid4()
    await translator.on_chat_model_start({}, [[]], run_id=call)
    await translator.on_llm_new_token("", run_id=call)
    blocks = ChatGenerationChunk(message=AIMessageChunk([{"type": "text", "text": "Yes"}]))
    await translator.on_llm_new_token([{"type": "text", "text": "Yes"}], chunk=blocks, run_id=call)
    await translator.on_llm_new_token("late", run_id=uuid4())  # of a call that nobody knows

    assert [(event.type, event.data.get("text")) for event in events] == [("llm.started", None), ("llm.token", "Yes")]
    assert events[0].parent_id == ROOT


# -- storage ---------------------------------------------------------------------------------------

TOKENS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["llm.token", "llm.finished"]), st.text()))


@given(TOKENS)
def test_joining_tokens_loses_and_mixes_nothing(log: list[tuple[str, str, str]]) -> None:
    events = [RunEvent(type_, span, data={"text": text}) for span, type_, text in log]
    tokens = [event for event in events if event.type == "llm.token"]

    out = joined(events)

    for span in "abc":
        was = "".join(event.data["text"] for event in tokens if event.span_id == span)
        now = [event.data["text"] for event in out if (event.type, event.span_id) == ("llm.token", span)]
        assert now == ([was] if any(event.span_id == span for event in tokens) else [])
    assert [event for event in out if event.type != "llm.token"] == [e for e in events if e.type != "llm.token"]
