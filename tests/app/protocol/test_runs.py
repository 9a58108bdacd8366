"""Runs through langgraph-sdk's own client: start, wait, join, list, stop, resume, and what happens to a second one."""

import asyncio
from typing import Any

import httpx
import psycopg
import pytest
from house import House
from httpx import HTTPStatusError
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import ConflictError, NotFoundError, UnprocessableEntityError
from protocol_graphs import SAID, Gates, human, texts


async def thread_of(client: LangGraphClient, graph: str) -> str:
    return str((await client.threads.create(graph_id=graph))["thread_id"])


async def test_wait_gives_the_final_values(client: LangGraphClient) -> None:
    values = await client.runs.wait(await thread_of(client, "says"), "says", input=human("How do bees talk?"))
    assert texts(values) == ["How do bees talk?", SAID]


async def test_a_created_run_can_be_joined_looked_at_and_listed(client: LangGraphClient) -> None:
    thread_id, created = await thread_of(client, "says"), []
    run = await client.runs.create(
        thread_id, "says", input=human("one"), metadata={"why": "test"}, on_run_created=created.append
    )
    assert created == [{"run_id": run["run_id"], "thread_id": thread_id}]
    assert run["status"] in ("pending", "running", "success")
    assert texts(await client.runs.join(thread_id, run["run_id"])) == ["one", SAID]
    seen = await client.runs.get(thread_id, run["run_id"])
    assert (seen["status"], seen["metadata"], seen["multitask_strategy"]) == ("success", {"why": "test"}, "enqueue")
    assistant = await client.assistants.get("says")
    assert seen["assistant_id"] == assistant["assistant_id"]
    await client.runs.wait(thread_id, assistant["assistant_id"], input=human("two"))
    listed = await client.runs.list(thread_id)
    assert [it["kwargs"]["input"] for it in listed] == [human("two"), human("one")]
    assert await client.runs.list(thread_id, limit=1, offset=1) == listed[1:]
    assert await client.runs.list(thread_id, status="error") == []
    assert await client.runs.list(thread_id, select=["run_id"]) == [{"run_id": it["run_id"]} for it in listed]


async def test_a_conversation_goes_on_from_its_last_state(client: LangGraphClient) -> None:
    thread_id = await thread_of(client, "says")
    await client.runs.wait(thread_id, "says", input=human("one"))
    values = await client.runs.wait(thread_id, "says", input=human("two"))
    assert texts(values) == ["one", SAID, "two", SAID]


async def test_messages_keep_their_ids_and_types(client: LangGraphClient) -> None:
    given = [
        {"type": "human", "content": [{"type": "text", "text": "one"}], "id": "mine-1"},
        {"role": "assistant", "content": "so?"},
        {"type": "human", "content": "two", "id": "mine-2"},
    ]
    values = await client.runs.wait(await thread_of(client, "says"), "says", input={"messages": given})
    assert [(it["type"], it["content"]) for it in values["messages"]] == [
        ("human", "one"), ("ai", "so?"), ("human", "two"), ("ai", SAID),
    ]  # fmt: skip
    assert [values["messages"][0]["id"], values["messages"][2]["id"]] == ["mine-1", "mine-2"]


async def test_values_without_a_question_are_nobodys_words(client: LangGraphClient, server: House) -> None:
    thread_id = await thread_of(client, "says")
    answered = {"messages": [{"role": "assistant", "content": "Pay them 500."}]}
    values = await client.runs.wait(thread_id, "says", input=answered)
    assert texts(values) == ["Pay them 500.", SAID]
    url = server.settings.database_url
    assert url
    with psycopg.connect(url.get_secret_value()) as connection:
        [given] = connection.execute("select input from runs where thread_id = %s", [thread_id]).fetchone() or [{}]
    assert "Pay them 500." in given["question"]
    assert given["through"] == "values"  # the question names the run, and is no person's


async def test_a_graph_without_messages_takes_its_own_fields_and_joins_them(client: LangGraphClient) -> None:
    thread_id = await thread_of(client, "counts")
    first = await client.runs.wait(thread_id, "counts", input={"n": 5, "unknown": "left out"})
    assert first == {"n": 6, "words": ["n=6"]}
    assert await client.runs.wait(thread_id, "counts", input={"n": 1}) == {"n": 8, "words": ["n=6", "n=8"]}


async def test_a_failed_run_says_so(client: LangGraphClient) -> None:
    thread_id = await thread_of(client, "fails")
    with pytest.raises(Exception, match="the flowers are gone"):
        await client.runs.wait(thread_id, "fails", input=human("go"))
    values = await client.runs.wait(thread_id, "fails", input=human("again"), raise_error=False)
    assert set(values) == {"__error__"}
    assert {run["status"] for run in await client.runs.list(thread_id)} == {"error"}
    assert (await client.threads.get(thread_id))["status"] == "error"


async def test_the_same_idempotency_key_is_one_run(client: LangGraphClient) -> None:
    thread_id, headers = await thread_of(client, "says"), {"Idempotency-Key": "k1"}
    runs = await asyncio.gather(
        *(client.runs.create(thread_id, "says", input=human("once"), headers=headers) for _ in range(10))
    )
    assert len({run["run_id"] for run in runs}) == 1
    with pytest.raises(UnprocessableEntityError):
        await client.runs.create(thread_id, "says", input=human("other"), headers=headers)


# -- stopping --------------------------------------------------------------------------------------------------------


async def test_cancel_ends_a_run_that_works(client: LangGraphClient, gates: Gates) -> None:
    thread_id = await thread_of(client, "waits")
    run = await client.runs.create(thread_id, "waits", input=human("cancel me"))
    await gates.reached("cancel me")
    await client.runs.cancel(thread_id, run["run_id"], wait=True)
    assert (await client.runs.get(thread_id, run["run_id"]))["status"] == "interrupted"
    assert texts(await client.runs.join(thread_id, run["run_id"])) == ["cancel me"]


async def test_a_rolled_back_run_leaves_no_trace(client: LangGraphClient, gates: Gates) -> None:
    thread_id = await thread_of(client, "says")
    await client.runs.wait(thread_id, "says", input=human("kept"))
    run = await client.runs.create(thread_id, "waits", input=human("roll back"))
    await gates.reached("roll back")
    await client.runs.cancel(thread_id, run["run_id"], action="rollback")
    with pytest.raises(NotFoundError):
        await client.runs.get(thread_id, run["run_id"])
    assert texts((await client.threads.get_state(thread_id))["values"]) == ["kept", SAID]


async def test_cancel_many_by_thread_and_by_status(client: LangGraphClient, gates: Gates) -> None:
    thread_id = await thread_of(client, "waits")
    first = await client.runs.create(thread_id, "waits", input=human("first of many"))
    await gates.reached("first of many")
    second = await client.runs.create(thread_id, "waits", input=human("second of many"))
    await client.runs.cancel_many(thread_id=thread_id, status="pending")
    assert (await client.runs.get(thread_id, second["run_id"]))["status"] == "interrupted"
    assert (await client.runs.get(thread_id, first["run_id"]))["status"] == "running"
    await client.runs.cancel_many(run_ids=[first["run_id"]])
    await client.runs.join(thread_id, first["run_id"])
    assert (await client.runs.get(thread_id, first["run_id"]))["status"] == "interrupted"


async def test_a_deleted_run_is_gone_and_what_followed_stays(client: LangGraphClient) -> None:
    thread_id = await thread_of(client, "says")
    await client.runs.wait(thread_id, "says", input=human("one"))
    await client.runs.wait(thread_id, "says", input=human("two"))
    second, first = await client.runs.list(thread_id)
    await client.runs.delete(thread_id, first["run_id"])
    assert [it["run_id"] for it in await client.runs.list(thread_id)] == [second["run_id"]]
    assert texts((await client.threads.get_state(thread_id))["values"]) == ["one", SAID, "two", SAID]
    await client.runs.delete(thread_id, second["run_id"])
    assert (await client.threads.get_state(thread_id))["values"] == {}


# -- a second run while one is going ---------------------------------------------------------------------------------


async def test_reject_refuses_a_second_run(client: LangGraphClient, gates: Gates) -> None:
    thread_id = await thread_of(client, "waits")
    run = await client.runs.create(thread_id, "waits", input=human("busy"))
    await gates.reached("busy")
    with pytest.raises(ConflictError):
        await client.runs.create(thread_id, "waits", input=human("no"), multitask_strategy="reject")
    gates.open("busy")
    assert texts(await client.runs.join(thread_id, run["run_id"])) == ["busy", "done: busy"]
    assert len(await client.runs.list(thread_id)) == 1


async def test_of_ten_that_reject_each_other_one_runs(client: LangGraphClient, gates: Gates) -> None:
    thread_id = await thread_of(client, "waits")
    results = await asyncio.gather(
        *(client.runs.create(thread_id, "waits", input=human("race"), multitask_strategy="reject") for _ in range(10)),
        return_exceptions=True,
    )
    gates.open("race")
    assert sorted(type(it).__name__ for it in results) == ["ConflictError"] * 9 + ["dict"]


async def test_enqueue_runs_it_after_the_first(client: LangGraphClient, gates: Gates) -> None:
    thread_id = await thread_of(client, "waits")
    await client.runs.create(thread_id, "waits", input=human("queue 1"))
    second = await client.runs.create(thread_id, "says", input=human("queue 2"), multitask_strategy="enqueue")
    await gates.reached("queue 1")
    assert (await client.runs.get(thread_id, second["run_id"]))["status"] == "pending"
    gates.open("queue 1")
    joined = await client.runs.join(thread_id, second["run_id"])
    assert texts(joined) == ["queue 1", "done: queue 1", "queue 2", SAID]


async def test_interrupt_stops_the_first_and_keeps_what_it_had(client: LangGraphClient, gates: Gates) -> None:
    thread_id = await thread_of(client, "waits")
    first = await client.runs.create(thread_id, "waits", input=human("stop me"))
    await gates.reached("stop me")
    values = await client.runs.wait(thread_id, "says", input=human("me"), multitask_strategy="interrupt")
    assert texts(values) == ["stop me", "me", SAID]
    assert (await client.runs.get(thread_id, first["run_id"]))["status"] == "interrupted"


async def test_rollback_forgets_the_first(client: LangGraphClient, gates: Gates) -> None:
    thread_id = await thread_of(client, "waits")
    await client.runs.wait(thread_id, "says", input=human("before"))
    await client.runs.create(thread_id, "waits", input=human("forget me"))
    await gates.reached("forget me")
    values = await client.runs.wait(thread_id, "says", input=human("instead"), multitask_strategy="rollback")
    assert texts(values) == ["before", SAID, "instead", SAID]
    assert len(await client.runs.list(thread_id)) == 2


# -- questions to a person -------------------------------------------------------------------------------------------


async def test_a_question_is_answered_by_a_command(client: LangGraphClient) -> None:
    thread_id = await thread_of(client, "asks")
    values = await client.runs.wait(thread_id, "asks", input=human("the bees"))
    [asked] = values["__interrupt__"]
    assert asked["value"] == {"question": "Shall I?", "about": "the bees"}
    thread = await client.threads.get(thread_id)
    assert thread["status"] == "interrupted"
    assert [it["id"] for its in thread["interrupts"].values() for it in its] == [asked["id"]]
    [run] = await client.runs.list(thread_id)
    assert run["status"] == "interrupted"
    state = await client.threads.get_state(thread_id)
    assert state["next"] == ["ask"]
    assert [it["interrupts"] for it in state["tasks"]] == [[asked]]
    values = await client.runs.wait(thread_id, "asks", command={"resume": "yes"})
    assert texts(values) == ["the bees", "You said yes."]
    assert (await client.threads.get(thread_id))["status"] == "idle"


async def test_answers_go_to_the_questions_they_name(client: LangGraphClient) -> None:
    thread_id = await thread_of(client, "asks_twice")
    values = await client.runs.wait(thread_id, "asks_twice", input=human("both"))
    by_value = {it["value"]: it["id"] for it in values["__interrupt__"]}
    with pytest.raises(HTTPStatusError, match="422"):
        await client.runs.wait(thread_id, "asks_twice", command={"resume": "which?"})
    answers = {by_value["right?"]: "R", by_value["left?"]: "L"}
    values = await client.runs.wait(thread_id, "asks_twice", command={"resume": answers})
    assert sorted(texts(values)) == ["both", "left L", "right R"]


async def test_one_of_two_answers_leaves_the_other_question_open(client: LangGraphClient) -> None:
    thread_id = await thread_of(client, "asks_twice")
    values = await client.runs.wait(thread_id, "asks_twice", input=human("both"))
    by_value = {it["value"]: it["id"] for it in values["__interrupt__"]}
    values = await client.runs.wait(thread_id, "asks_twice", command={"resume": {by_value["left?"]: "L"}})
    assert [it["value"] for it in values["__interrupt__"]] == ["right?"]
    values = await client.runs.wait(thread_id, "asks_twice", command={"resume": "R"})
    assert sorted(texts(values)) == ["both", "left L", "right R"]


async def test_of_two_answers_at_once_one_counts(client: LangGraphClient) -> None:
    thread_id = await thread_of(client, "asks")
    await client.runs.wait(thread_id, "asks", input=human("race"))
    results = await asyncio.gather(
        *(client.runs.wait(thread_id, "asks", command={"resume": f"{n}"}) for n in range(5)), return_exceptions=True
    )
    told = [it for it in results if isinstance(it, Exception)]
    assert len(told) == 4
    [said] = [it for it in results if not isinstance(it, Exception)]
    assert texts((await client.threads.get_state(thread_id))["values"]) == texts(said)


async def test_a_new_message_gives_the_question_up_and_is_no_answer(client: LangGraphClient) -> None:
    thread_id = await thread_of(client, "asks")
    await client.runs.wait(thread_id, "asks", input=human("the bees"))
    values = await client.runs.wait(thread_id, "says", input=human("never mind"))
    assert texts(values) == ["the bees", "never mind", SAID]
    assert [it["status"] for it in await client.runs.list(thread_id)] == ["success", "interrupted"]


async def test_going_to_the_end_gives_the_question_up(client: LangGraphClient) -> None:
    thread_id = await thread_of(client, "asks")
    await client.runs.wait(thread_id, "asks", input=human("the bees"))
    await client.runs.wait(thread_id, "asks", input={}, command={"goto": "__end__"})
    assert (await client.threads.get(thread_id))["status"] == "idle"
    with pytest.raises(HTTPStatusError, match="409"):
        await client.runs.wait(thread_id, "asks", command={"resume": "too late"})


# -- from a checkpoint -----------------------------------------------------------------------------------------------


async def test_an_edited_message_is_a_branch_from_before_it(client: LangGraphClient) -> None:
    thread_id = await thread_of(client, "says")
    await client.runs.wait(thread_id, "says", input=human("one"))
    await client.runs.wait(thread_id, "says", input=human("two"))
    first_seen = next(
        it for it in reversed(await client.threads.get_history(thread_id)) if "two" in texts(it["values"])
    )
    before = first_seen["parent_checkpoint"]
    values = await client.runs.wait(thread_id, "says", input=human("two, edited"), checkpoint=before)
    assert texts(values) == ["one", SAID, "two, edited", SAID]


async def test_an_answer_is_made_again_from_the_checkpoint_before_it(client: LangGraphClient) -> None:
    thread_id = await thread_of(client, "counts")
    await client.runs.wait(thread_id, "counts", input={"n": 5})
    last, after_count, *_ = await client.threads.get_history(thread_id)
    assert after_count["next"] == ["name"]
    values = await client.runs.wait(thread_id, "counts", checkpoint_id=after_count["checkpoint_id"])
    assert values == last["values"]
    runs = await client.runs.list(thread_id)
    assert len(runs) == 2
    history = await client.threads.get_history(thread_id, limit=100)
    assert history[0]["checkpoint_id"] != last["checkpoint_id"]
    assert last["checkpoint_id"] in [it["checkpoint_id"] for it in history]


async def test_an_input_can_begin_in_the_middle_of_a_run(client: LangGraphClient) -> None:
    thread_id = await thread_of(client, "counts")
    await client.runs.wait(thread_id, "counts", input={"n": 5})
    _, after_count, *_ = await client.threads.get_history(thread_id)
    values = await client.runs.wait(thread_id, "counts", input={"n": 10}, checkpoint=after_count["checkpoint"])
    assert values == {"n": 17, "words": ["n=17"]}


async def test_no_input_resumes_a_stopped_run(client: LangGraphClient, gates: Gates) -> None:
    thread_id = await thread_of(client, "waits")
    run = await client.runs.create(thread_id, "waits", input=human("later"))
    await gates.reached("later")
    await client.runs.cancel(thread_id, run["run_id"], wait=True)
    gates.open("later")
    assert texts(await client.runs.wait(thread_id, "waits")) == ["later", "done: later"]
    assert [it["run_id"] for it in await client.runs.list(thread_id)] == [run["run_id"]]


# -- without a thread ------------------------------------------------------------------------------------------------


async def test_runs_without_a_thread(client: LangGraphClient) -> None:
    before = await client.threads.count()
    assert texts(await client.runs.wait(None, "says", input=human("alone"))) == ["alone", SAID]
    parts = [part async for part in client.runs.stream(None, "says", input=human("alone"))]
    assert texts(parts[-2].data) == ["alone", SAID]
    assert await client.threads.count() == before
    await client.runs.wait(None, "says", input=human("kept"), on_completion="keep")
    run = await client.runs.create(None, "says", input=human("background"))
    assert texts(await client.runs.join(run["thread_id"], run["run_id"])) == ["background", SAID]
    assert await client.threads.count() == before + 2


async def test_a_batch_is_so_many_runs(client: LangGraphClient) -> None:
    payloads: Any = [{"assistant_id": "says", "input": human(f"no. {n}")} for n in range(3)]
    runs = await client.runs.create_batch(payloads)
    done = [texts(await client.runs.join(run["thread_id"], run["run_id"])) for run in runs]
    assert done == [[f"no. {n}", SAID] for n in range(3)]


async def test_a_thread_is_made_when_the_run_says_so(client: LangGraphClient) -> None:
    with pytest.raises(HTTPStatusError, match="404"):
        await client.runs.wait("made-by-run", "says", input=human("no"))
    values = await client.runs.wait("made-by-run", "says", input=human("yes"), if_not_exists="create")
    assert texts(values) == ["yes", SAID]


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"input": {"messages": []}},
        {"input": {"messages": [{"role": "robot", "content": "x"}]}},
        {"input": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}},
        {"input": {"messages": [{"role": "user", "content": "nul \x00"}]}},
        {"input": {"messages": [{"role": "user", "content": 7}]}},
        {"input": {"messages": [{"role": "user", "content": "x" * 200_000}]}},
        {"input": {"nothing": "known"}},
        {"input": [1, 2]},
        {"input": "text"},
        {},
        {"input": human("x"), "interrupt_before": ["say"]},
        {"input": human("x"), "webhook": "http://127.0.0.1/x"},
        {"input": human("x"), "after_seconds": 5},
        {"input": human("x"), "stream_mode": "events"},
        {"input": human("x"), "multitask_strategy": "shrug"},
        {"command": {"update": {"messages": []}}},
        {"command": {"goto": "say"}},
        {"input": human("x"), "metadata": {"deep": [[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]}},
    ],
    ids=lambda body: str(body)[:40].encode("ascii", "replace").decode(),
)
async def test_what_cannot_be_run_is_refused_before_it_starts(
    server: House, client: LangGraphClient, body: dict[str, Any]
) -> None:
    thread_id = await thread_of(client, "says")
    with server.http() as http:
        answer = http.post(f"agent/threads/{thread_id}/runs/stream", json={"assistant_id": "says", **body})
        assert answer.status_code == 422, answer.text
        assert answer.json()["error"]["fix"]
    assert await client.runs.list(thread_id) == []


async def test_unknown_names_are_not_found(client: LangGraphClient) -> None:
    thread_id = await thread_of(client, "says")
    other = await thread_of(client, "says")
    run = await client.runs.create(other, "says", input=human("elsewhere"))
    for call in (
        client.runs.create(thread_id, "no-such-graph", input=human("x")),
        client.runs.create("no-such-thread", "says", input=human("x")),
        client.runs.create(thread_id, "says", input=human("x"), checkpoint_id="1f0-no-such"),
        client.runs.get(thread_id, run["run_id"]),
        client.runs.cancel(thread_id, run["run_id"]),
        client.runs.delete(thread_id, run["run_id"]),
        client.runs.join(thread_id, "no-such-run"),
    ):
        with pytest.raises(HTTPStatusError) as told:
            await call
        assert told.value.response.status_code == 404


@pytest.mark.parametrize("way", ["wait", "stream"])
async def test_a_thread_that_is_deleted_ends_whoever_waits_for_it(
    client: LangGraphClient, server: House, gates: Gates, way: str
) -> None:
    thread_id, question = await thread_of(client, "waits"), f"deleted while {way}"
    body = {"assistant_id": "waits", "input": human(question)}
    async with httpx.AsyncClient(timeout=60) as http:
        waiting = asyncio.create_task(http.post(f"{server.url}/api/agent/threads/{thread_id}/runs/{way}", json=body))
        await gates.reached(question)
        await client.threads.delete(thread_id)
        answer = await waiting
    assert answer.status_code == 200
    if way == "wait":
        assert answer.json() == {"__error__": {"error": "NotFound", "message": "The thread was deleted."}}
    else:
        assert "event: end" in answer.text


async def test_a_batch_begins_all_of_its_runs_or_none(client: LangGraphClient, server: House) -> None:
    before = await client.threads.count()
    good, bad = {"assistant_id": "says", "input": human("batch")}, {"assistant_id": "nobody", "input": human("batch")}
    async with httpx.AsyncClient(timeout=60) as http:
        for wrong in (bad, {**good, "input": {"messages": []}}, {**good, "webhook": "http://a/"}):
            answer = await http.post(f"{server.url}/api/agent/runs/batch", json=[good, wrong])
            assert 400 <= answer.status_code < 500
    assert await client.threads.count() == before
