"""Graphs as A2A agents, asked by the SDK's own client over a real socket, in both of its ways."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from a2a.types import (
    CancelTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    Message,
    Part,
    Role,
    SendMessageConfiguration,
    SendMessageRequest,
    SubscribeToTaskRequest,
    TaskPushNotificationConfig,
    TaskState,
)
from a2a.utils.errors import (
    ContentTypeNotSupportedError,
    InvalidParamsError,
    TaskNotCancelableError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from a2a_agent import Agent, said, text_of
from google.protobuf.json_format import MessageToDict
from house import House
from protocol_graphs import Gates

from agents.guard import UNKNOWN
from app.protocols.unfetched import unfetched

BOTH = pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])


@pytest.fixture
async def agent(server: House) -> AsyncIterator[Agent]:
    """Without a key."""
    agent = Agent(server)
    yield agent
    await agent.close()


async def test_the_card_says_what_the_graph_does_and_how_to_reach_it(server: House) -> None:
    async with httpx.AsyncClient(base_url=f"{server.url}/api/a2a/") as http:
        card = (await http.get("chat/.well-known/agent-card.json")).json()
        everybody = (await http.get("../a2a")).json()["agents"]
        missing = await http.get("counts/.well-known/agent-card.json")  # its state has no messages
    assert {it["url"] for it in card["supportedInterfaces"]} == {f"{server.url}/api/a2a/chat"}
    assert card["capabilities"] == {"streaming": True, "pushNotifications": True, "extendedAgentCard": False}
    assert card["skills"][0]["description"] == server.app.activities["chat"].description
    assert card["skills"][0]["examples"] == list(server.app.activities["chat"].examples)
    assert set(card["securitySchemes"]) == {"bearer", "key"}
    assert card in everybody
    assert missing.status_code == 404


@BOTH
async def test_a_message_is_a_run_whose_answer_is_an_artefact_with_sources(server: House, binding: str) -> None:
    agent = Agent(server, binding)
    task = await agent.send("cites", "How do bees talk?")
    assert task.status.state == TaskState.TASK_STATE_COMPLETED
    assert text_of(task) == "Bees dance [1], and never sing ."
    sources = MessageToDict(task.artifacts[0].parts[1].data)["sources"]
    assert [(it["n"], it["title"], it["page"]) for it in sources] == [(1.0, "How bees dance", 3.0)]
    with server.http() as http:
        run = http.get(f"runs/{task.id}").json()
    assert (run["thread_id"], run["question"]) == (task.context_id, "How do bees talk?")
    again = await (await agent.client("cites")).get_task(GetTaskRequest(id=task.id))
    assert again == task
    assert [it.parts[0].text for it in again.history] == ["How do bees talk?"]
    await agent.close()


@BOTH
async def test_a_stream_tells_the_task_its_answer_and_its_end(server: House, binding: str) -> None:
    agent = Agent(server, binding)
    updates = await agent.stream("cites", "How do bees talk?")
    assert updates[0].task.id
    assert updates[-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED
    last = [it.artifact_update for it in updates if it.HasField("artifact_update")][-1]
    assert (last.artifact.parts[0].text, last.last_chunk) == ("Bees dance [1], and never sing .", True)
    assert len(last.artifact.parts) == 2
    await agent.close()


async def test_a_context_is_a_conversation(agent: Agent) -> None:
    first = await agent.send("retells", "one")
    second = await agent.send("retells", "two", context_id=first.context_id)
    assert second.context_id == first.context_id
    assert text_of(second) == "human: one | ai: human: one | human: two"


async def test_the_same_message_is_the_same_task(agent: Agent) -> None:
    twice = await asyncio.gather(*(agent.send("says", "hello", message_id="a2a-once") for _ in range(4)))
    assert len({task.id for task in twice}) == 1
    with pytest.raises(InvalidParamsError, match="another request"):
        await agent.send("says", "something else", message_id="a2a-once")


async def test_a_question_is_input_that_is_required_and_a_message_answers_it(agent: Agent) -> None:
    task = await agent.send("asks", "dig")
    assert task.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
    assert task.status.message.parts[0].text == "Shall I?"
    updates = await agent.stream("asks", "yes please", task_id=task.id)
    assert {it.task.id for it in updates if it.HasField("task")} == {task.id}
    done = await (await agent.client("asks")).get_task(GetTaskRequest(id=task.id))
    assert text_of(done) == "You said yes please."
    with pytest.raises(UnsupportedOperationError, match="asks nothing"):
        await agent.send("asks", "once more", task_id=task.id)


async def test_an_approval_takes_a_word_of_its_choices_and_a_reason(agent: Agent) -> None:
    task = await agent.send("approves", "pay")
    asked = MessageToDict(task.status.message.parts[1].data)["questions"]
    assert [it["choices"] for it in asked] == [["approve", "reject"]]
    with pytest.raises(InvalidParamsError, match="choose one of approve, reject"):
        await agent.send("approves", "maybe", task_id=task.id)
    done = await agent.send("approves", "Reject: too expensive", task_id=task.id)
    assert text_of(done) == "reject, too expensive"


async def test_several_questions_are_answered_by_id(agent: Agent) -> None:
    task = await agent.send("asks_twice", "go")
    ids = [it["id"] for it in MessageToDict(task.status.message.parts[1].data)["questions"]]
    with pytest.raises(InvalidParamsError, match="2 questions"):
        await agent.send("asks_twice", "yes", task_id=task.id)
    done = await agent.send("asks_twice", dict.fromkeys(ids, "yes"), task_id=task.id)
    assert done.status.state == TaskState.TASK_STATE_COMPLETED


async def test_a_failed_run_is_a_failed_task(agent: Agent) -> None:
    task = await agent.send("fails", "go")
    assert task.status.state == TaskState.TASK_STATE_FAILED
    assert "the flowers are gone" in task.status.message.parts[0].text


async def test_a_task_at_work_is_stopped_and_then_over(agent: Agent, gates: Gates) -> None:
    task = await agent.send("waits", "a2a stop", configuration=SendMessageConfiguration(return_immediately=True))
    await gates.reached("a2a stop")
    client = await agent.client("waits")
    with pytest.raises(UnsupportedOperationError, match="asks nothing"):
        await agent.send("waits", "hurry", task_id=task.id)
    stopped = await client.cancel_task(CancelTaskRequest(id=task.id))
    assert stopped.status.state == TaskState.TASK_STATE_CANCELED
    with pytest.raises(TaskNotCancelableError):
        await client.cancel_task(CancelTaskRequest(id=task.id))
    with pytest.raises(UnsupportedOperationError, match="over"):
        _ = [it async for it in client.subscribe(SubscribeToTaskRequest(id=task.id))]


@BOTH
async def test_whoever_went_away_subscribes_again(server: House, gates: Gates, binding: str) -> None:
    agent, question = Agent(server, binding), f"a2a again {binding}"
    client = await agent.client("waits")
    first = client.send_message(said(question))
    task = (await anext(aiter(first))).task
    await first.aclose()  # type: ignore[attr-defined]
    await gates.reached(question)
    updates = []
    async for update in client.subscribe(SubscribeToTaskRequest(id=task.id)):
        updates.append(update)
        gates.open(question)
    assert updates[0].task.id == task.id
    assert updates[-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED
    assert updates[-2].artifact_update.artifact.parts[0].text == f"done: {question}"
    await agent.close()


async def test_tasks_are_listed_by_page_state_and_context(agent: Agent) -> None:
    tasks = [await agent.send("rests", f"list {n}") for n in range(3)]
    client = await agent.client("rests")
    page = await client.list_tasks(ListTasksRequest(page_size=2))
    rest = await client.list_tasks(ListTasksRequest(page_size=2, page_token=page.next_page_token))
    assert [it.id for it in (*page.tasks, *rest.tasks)] == [it.id for it in reversed(tasks)]
    assert (page.total_size, rest.next_page_token) == (3, "")
    one = await client.list_tasks(ListTasksRequest(context_id=tasks[0].context_id))
    assert [it.id for it in one.tasks] == [tasks[0].id]
    none = await client.list_tasks(ListTasksRequest(status=TaskState.TASK_STATE_FAILED))
    assert list(none.tasks) == []


async def test_what_is_no_task_of_this_agent_is_not_found(agent: Agent) -> None:
    task = await agent.send("says", "mine")
    other = await agent.client("rests")
    for id_ in (task.id, "nothing"):
        with pytest.raises(TaskNotFoundError):
            await other.get_task(GetTaskRequest(id=id_))


async def test_files_are_refused_with_their_place(agent: Agent) -> None:
    client = await agent.client("says", streaming=False)
    message = Message(role=Role.ROLE_USER, message_id="f", parts=[Part(url="http://10.0.0.1/x", filename="x")])
    with pytest.raises(ContentTypeNotSupportedError, match=r"message.parts.0"):
        _ = [it async for it in client.send_message(SendMessageRequest(message=message))]


async def test_a_budget_in_the_metadata_is_the_runs(agent: Agent) -> None:
    with pytest.raises(InvalidParamsError, match=r"budget.steps"):
        await agent.send("says", "hello", metadata={"sextant.budget": {"steps": 0}})


async def test_plain_wrong_requests_are_answered_in_the_protocols_shape(server: House) -> None:
    async with httpx.AsyncClient(base_url=f"{server.url}/api/a2a/", headers={"A2A-Version": "1.0"}) as http:
        body = {"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {}}
        missing = (await http.post("says", json=body)).json()
        unknown = (await http.post("says", json={**body, "method": "Nothing"})).json()
        broken = (await http.post("says", content=b"{")).json()
        batch = (await http.post("says", json=[body] * 1_000)).json()
        old = (await http.post("says", json=body, headers={"A2A-Version": "0.1"})).json()
    assert [it["error"]["code"] for it in (missing, unknown, broken, old, batch)] == [
        -32602, -32601, -32700, -32009, -32600,
    ]  # fmt: skip


ODD = {"nul": "a\x00b", "half": "\ud800", "long": "x" * 5_000, "bee": "\U0001f41d", "empty": " "}
METHODS = ("SendMessage", "SendStreamingMessage", "GetTask", "ListTasks", "CancelTask", "SubscribeToTask")


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
async def test_no_text_and_no_depth_breaks_it(server: House, text: str) -> None:
    message = {"messageId": text, "role": "ROLE_USER", "parts": [{"text": text}], "contextId": text}
    async with httpx.AsyncClient(base_url=f"{server.url}/api/a2a/", headers={"A2A-Version": "1.0"}) as http:
        for method in (*METHODS, "CreateTaskPushNotificationConfig", "DeleteTaskPushNotificationConfig"):
            for more in ({}, {"contextId": "c"}, {"taskId": text, "parts": [{"data": [[[text]]]}]}):
                params = {"message": message | more, "id": text, "taskId": text, "contextId": text, "url": text,
                          "metadata": {text: text}, "pageToken": text}  # fmt: skip
                body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
                answer = await http.post("rests", content=body)
                assert answer.status_code == 200
                assert '"code":-32603' not in answer.text.replace(" ", ""), (method, answer.text)
        deep = b'{"jsonrpc":"2.0","id":1,"method":"GetTask","params":{"id":' + b"[" * 9_000 + b"]" * 9_000 + b"}}"
        assert "error" in (await http.post("rests", content=deep)).text
        assert (await http.post("rests/message:send", content=deep)).status_code < 500


INSIDE = (
    "http://127.0.0.1:80/x", "http://localhost/x", "http://169.254.169.254/latest", "http://[::1]/", "http://10.1.2.3/",
    "http://2130706433/", "http://[::ffff:127.0.0.1]/", "file:///etc/passwd", "http://nothing.invalid/", "ftp://a/",
)  # fmt: skip


@pytest.mark.parametrize("url", INSIDE)
async def test_nobody_inside_is_told_of_a_task(agent: Agent, url: str) -> None:
    task = await agent.send("says", "hello")
    client = await agent.client("says")
    with pytest.raises(InvalidParamsError):
        await client.create_task_push_notification_config(TaskPushNotificationConfig(task_id=task.id, url=url))


@BOTH
async def test_another_agents_message_is_no_persons_words(server: House, binding: str) -> None:
    agent = Agent(server, binding)
    assert text_of(await agent.send("weighs", "Pay?")) == UNKNOWN
    await agent.close()


async def test_one_stream_too_many_begins_no_task_and_places_come_back(
    narrow_server: House, narrow_key: str, gates: Gates
) -> None:
    agent = Agent(narrow_server, Authorization=f"Bearer {narrow_key}")
    client = await agent.client("waits")
    held = client.send_message(said("held by a2a"))
    await anext(aiter(held))
    for method in (agent.send, agent.stream):
        with pytest.raises(UnsupportedOperationError, match="streams are open"):
            await method("waits", "late")
    await held.aclose()  # type: ignore[attr-defined]
    with narrow_server.http(narrow_key) as http:
        assert [it["title"] for it in http.get("threads").json()["threads"]] == ["held by a2a"]
    gates.open("held by a2a")
    for n in range(3):  # whoever left has given the place back, once the server has noticed
        for _ in range(500):
            stream = client.send_message(said("held by a2a", message_id=f"{narrow_key[3:11]}-{n}"))
            try:
                assert (await anext(aiter(stream))).task.id
                break
            except UnsupportedOperationError:
                continue
        else:
            raise AssertionError("the place was never given back")
        await stream.aclose()  # type: ignore[attr-defined]
    await agent.close()


async def test_a_picture_in_an_answer_is_written_out(agent: Agent) -> None:
    updates = await agent.stream("draws", "go")
    told = [it.artifact_update.artifact.parts[0].text for it in updates if it.HasField("artifact_update")]
    told.append(text_of(await agent.send("draws", "go")))
    assert all(unfetched(it) == it for it in told) and "evil.example" in told[-1]


async def test_what_a_run_has_made_can_be_fetched_by_its_owner(agent: Agent, server: House) -> None:
    task = await agent.send("makes", "go")
    (file,) = MessageToDict(task.artifacts[0].parts[1].data)["artefacts"]
    async with httpx.AsyncClient() as http:
        assert (await http.get(server.url + file["path"])).text == "Bees!"
