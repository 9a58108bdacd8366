"""The A2A SDK's own client, and what a test says with it."""

from typing import Any
from uuid import uuid4

import httpx
from a2a.client import A2ACardResolver, Client, ClientConfig, ClientFactory
from a2a.types import Message, Part, Role, SendMessageRequest, Task
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Value
from house import House


class Agent:
    """The SDK's client for one graph."""

    def __init__(self, server: House, binding: str = "JSONRPC", **headers: str) -> None:
        self._url, self._binding = f"{server.url}/api/a2a", binding
        self._http = httpx.AsyncClient(timeout=60, headers=headers)
        self._clients: dict[tuple[str, bool], Client] = {}

    async def client(self, graph: str, *, streaming: bool = True) -> Client:
        if (graph, streaming) not in self._clients:
            card = await A2ACardResolver(self._http, f"{self._url}/{graph}").get_agent_card()
            config = ClientConfig(
                streaming=streaming, httpx_client=self._http, supported_protocol_bindings=[self._binding]
            )
            self._clients[graph, streaming] = ClientFactory(config).create(card)
        return self._clients[graph, streaming]

    async def send(self, graph: str, text: Any, **more: Any) -> Task:
        client = await self.client(graph, streaming=False)
        return [it async for it in client.send_message(said(text, **more))][-1].task

    async def stream(self, graph: str, text: Any, **more: Any) -> list[Any]:
        client = await self.client(graph)
        return [it async for it in client.send_message(said(text, **more))]

    async def close(self) -> None:
        await self._http.aclose()


def said(text: Any, *, metadata: Any = None, **more: Any) -> SendMessageRequest:
    part = Part(text=text) if isinstance(text, str) else Part(data=ParseDict(text, Value()))
    configuration = more.pop("configuration", None)
    message = Message(role=Role.ROLE_USER, parts=[part], **{"message_id": uuid4().hex, **more})
    return SendMessageRequest(message=message, configuration=configuration, metadata=metadata)


def text_of(task: Task) -> str:
    return task.artifacts[0].parts[0].text
