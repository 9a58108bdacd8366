"""Who is told of a task, who may know of it, and what a restart leaves of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from a2a.types import (
    AuthenticationInfo,
    CancelTaskRequest,
    DeleteTaskPushNotificationConfigRequest,
    GetTaskPushNotificationConfigRequest,
    GetTaskRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTasksRequest,
    SendMessageConfiguration,
    SubscribeToTaskRequest,
    Task,
    TaskPushNotificationConfig,
    TaskState,
)
from a2a.utils.errors import InvalidParamsError, TaskNotFoundError
from a2a_agent import Agent
from house import House, database, house
from protocol_graphs import Gates, protocol_graphs

from app.auth import Keys
from app.postgres import open_pool
from app.protocols.a2a_push import post

Told = tuple[dict[str, str], Any]

FOREIGN = "Bearer eyJhbGciOiJub25lIn0.eyJhdWQiOiJlbHNld2hlcmUifQ."
"""A token that somebody issued for somebody else."""


class Receiver:
    """A server that is told."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[Told] = asyncio.Queue()
        self.place = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = orjson.loads(await reader.readexactly(int(headers["content-length"])))
        self.told.put_nowait((headers, body["task"]))
        writer.write(b"HTTP/1.1 200 Yes\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async def state(self, wanted: str) -> Told:
        """Wait until it is told of this state."""
        while (told := await asyncio.wait_for(self.told.get(), 60))[1]["status"]["state"] != wanted:
            pass
        return told


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Listening."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield receiver
    server.close()


async def key_of(url: str, owner: str) -> str:
    async with await open_pool(url, max_size=2) as pool:
        return (await Keys(pool).add(owner))[0]


def url_of(running: House) -> str:
    url = running.settings.database_url
    assert url
    return url.get_secret_value()


@asynccontextmanager
async def up(home: Path, url: str, place: str) -> AsyncIterator[Agent]:
    """A server on a database that stays, and a client of it."""
    running = House(home, url, protocol_graphs(Gates()), web_inside=place)
    running.thread.start()
    try:
        assert await asyncio.to_thread(running.ready.wait, 60)
        agent = Agent(running)
        yield agent
        await agent.close()
    finally:
        await asyncio.to_thread(running.stop)


async def test_a_listed_receiver_is_told_of_each_state_also_after_a_restart(
    tmp_path: Path, postgres: str, receiver: Receiver
) -> None:
    wish = TaskPushNotificationConfig(
        id="mine", url=f"http://{receiver.place}/told?x=1", token="to-ken",
        authentication=AuthenticationInfo(scheme="Bearer", credentials="for-you-alone"),
    )  # fmt: skip
    with database(postgres) as url:
        async with up(tmp_path, url, receiver.place) as agent:
            asked = await agent.send(
                "asks", "dig", configuration=SendMessageConfiguration(task_push_notification_config=wish)
            )
            headers, task = await receiver.state("TASK_STATE_INPUT_REQUIRED")
        assert (headers["x-a2a-notification-token"], headers["authorization"]) == ("to-ken", "bearer for-you-alone")
        assert task["id"] == asked.id
        async with up(tmp_path, url, receiver.place) as agent:
            kept = await (await agent.client("asks")).get_task_push_notification_config(
                GetTaskPushNotificationConfigRequest(task_id=asked.id, id="mine")
            )
            assert kept.url == wish.url
            await agent.send("asks", "yes", task_id=asked.id)
            _, task = await receiver.state("TASK_STATE_COMPLETED")
        assert task["artifacts"][0]["parts"][0]["text"] == "You said yes."


_ASTRAY = "insert into a2a_pushes (run_id, push_id, owner, url) values (%s, 'astray', 'nobody', %s)"
"""A wish whose task its owner has not, as there is for a moment while a conversation is being deleted."""


async def test_a_task_that_is_gone_keeps_nobody_else_from_being_told(
    tmp_path: Path, postgres: str, receiver: Receiver
) -> None:
    wish = TaskPushNotificationConfig(id="mine", url=f"http://{receiver.place}/told")
    with database(postgres) as url:
        async with up(tmp_path, url, receiver.place) as agent, await open_pool(url, max_size=2) as pool:
            with_wish = SendMessageConfiguration(task_push_notification_config=wish)
            asked = await agent.send("asks", "dig", configuration=with_wish)
            await receiver.state("TASK_STATE_INPUT_REQUIRED")
            async with pool.connection() as connection:
                await connection.execute(_ASTRAY, (asked.id, wish.url))
                tries = "select tries from a2a_pushes where push_id = 'astray'"
                while (row := await (await connection.execute(tries)).fetchone()) and not row["tries"]:
                    await connection.execute("select pg_sleep(0.05)")
            await agent.send("asks", "yes", task_id=asked.id)
            await receiver.state("TASK_STATE_COMPLETED")


async def test_a_task_of_another_principal_is_not_there(tmp_path: Path, postgres: str) -> None:
    with house(tmp_path, postgres, protocol_graphs(Gates())) as running:
        ann, bob = await key_of(url_of(running), "ann"), await key_of(url_of(running), "bob")
        hers = Agent(running, Authorization=f"Bearer {ann}")
        his = Agent(running, Authorization=f"Bearer {bob}")
        task = await hers.send("asks", "dig")
        card = (await his.client("asks"))._card
        assert [dict(it.schemes) for it in card.security_requirements] != []
        assert list((await (await his.client("asks")).list_tasks(ListTasksRequest())).tasks) == []
        rest = Agent(running, "HTTP+JSON", Authorization=f"Bearer {bob}")
        for thief in (his, rest):
            await _tries_everything(thief, task)
        assert (await hers.send("asks", "yes", task_id=task.id)).status.state == TaskState.TASK_STATE_COMPLETED
        stranger, elsewhere = Agent(running), Agent(running, Authorization=FOREIGN)
        for nobody in (stranger, elsewhere):
            with pytest.raises(Exception, match="401"):
                await nobody.client("asks")
        for it in (hers, his, rest, stranger, elsewhere):
            await it.close()


async def _tries_everything(thief: Agent, task: Task) -> None:
    """And finds nothing there."""
    client = await thief.client("asks")
    place = {"task_id": task.id, "id": task.id}
    for attempt in (
        client.get_task(GetTaskRequest(id=task.id)),
        client.cancel_task(CancelTaskRequest(id=task.id)),
        anext(aiter(client.subscribe(SubscribeToTaskRequest(id=task.id)))),
        thief.send("asks", "yes", task_id=task.id),
        thief.send("asks", "beside", context_id=task.context_id),
        client.create_task_push_notification_config(TaskPushNotificationConfig(**place, url="http://1.1.1.1/")),
        client.get_task_push_notification_config(GetTaskPushNotificationConfigRequest(**place)),
        client.list_task_push_notification_configs(ListTaskPushNotificationConfigsRequest(task_id=task.id)),
        client.delete_task_push_notification_config(DeleteTaskPushNotificationConfigRequest(**place)),
    ):
        with pytest.raises(TaskNotFoundError):
            await attempt


async def test_a_private_address_is_refused_where_the_socket_is_made(receiver: Receiver) -> None:
    port = receiver.place.rpartition(":")[2]
    with pytest.raises(OSError, match="open web"):
        await post("http://localhost:8080/", b"{}", {})
    with pytest.raises(Exception, match=f"port {port}"):
        await post(f"http://localhost:{port}/", b"{}", {})
    assert receiver.told.empty()


async def test_wishes_are_few(server: House) -> None:
    agent = Agent(server)
    task = await agent.send("says", "hello")
    client = await agent.client("says")
    with pytest.raises(InvalidParamsError, match="token"):
        await client.create_task_push_notification_config(
            TaskPushNotificationConfig(task_id=task.id, url="http://1.1.1.1/", token="a\r\nb")
        )
    for n in range(10):
        await client.create_task_push_notification_config(
            TaskPushNotificationConfig(id=f"w{n}", task_id=task.id, url="http://1.1.1.1:8443/")
        )
    with pytest.raises(InvalidParamsError, match="10 addresses"):
        await client.create_task_push_notification_config(
            TaskPushNotificationConfig(id="more", task_id=task.id, url="http://1.1.1.1:8443/")
        )
    await agent.close()
