"""Every graph as an A2A agent: its card, and its tasks over JSON-RPC and over HTTP+JSON. The SDK speaks, runs answer.

The agent of graph `research` is at `/api/a2a/research`, its card at `.well-known/agent-card.json` below that, a list of
all at `/api/a2a`. Cards need a key where everything does: they say what an installation can do. Which keys, they say.
"""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from a2a.server.context import ServerCallContext
from a2a.server.routes.common import ServerCallContextBuilder
from a2a.server.routes.jsonrpc_dispatcher import JsonRpcDispatcher
from a2a.server.routes.rest_dispatcher import RestDispatcher
from a2a.types import AgentCard
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from app.activities import Activity
from app.auth import Keys, is_loopback
from app.borders import NotFound
from app.compose import App
from app.protocols import a2a_words as words
from app.protocols.a2a_tasks import Tasks
from app.replies import Streams

CARD_PATH = "/.well-known/agent-card.json"
Endpoint = Callable[[Request], Any]


class CallContexts(ServerCallContextBuilder):
    """Whose call it is, by the gate's word, and to which graph."""

    def build(self, request: Request) -> ServerCallContext:
        """The context of one request."""
        names = ("a2a-version", "a2a-extensions")
        headers = {name: request.headers[name] for name in names if name in request.headers}
        owner, graph = request.state.owner, request.path_params["graph"]
        return ServerCallContext(state={"owner": owner, "graph": graph, "headers": headers})


def a2a_router(get_app: Callable[[], App], streams: Streams) -> APIRouter:
    """Everything under `/a2a`."""
    router, tasks = APIRouter(prefix="/a2a", tags=["a2a"]), Tasks(get_app, streams)

    @router.get("")
    async def agents(request: Request) -> Response:
        """The cards of all graphs."""
        app = get_app()
        cards = [words.as_json(await _card(app, it, request)) for it in _agents(app).values()]
        return JSONResponse({"agents": cards})

    @router.get("/{graph}" + CARD_PATH)
    async def card(graph: str, request: Request) -> Response:
        """The card of one."""
        app = get_app()
        return JSONResponse(words.as_json(await _card(app, _agent(app, graph), request)))

    rpc, rest = JsonRpcDispatcher(tasks, CallContexts()), RestDispatcher(tasks, CallContexts())
    _add(router, get_app, "", "POST", rpc.handle_requests)
    _add(router, get_app, "/message:send", "POST", rest.on_message_send)
    _add(router, get_app, "/message:stream", "POST", rest.on_message_send_stream)
    _add(router, get_app, "/tasks", "GET", rest.list_tasks)
    _add(router, get_app, "/tasks/{id}:cancel", "POST", rest.on_cancel_task)
    for method in ("GET", "POST"):
        _add(router, get_app, "/tasks/{id}:subscribe", method, rest.on_subscribe_to_task)
    _add(router, get_app, "/tasks/{id}", "GET", rest.on_get_task)
    pushes = "/tasks/{id}/pushNotificationConfigs"
    _add(router, get_app, pushes, "POST", rest.set_push_notification)
    _add(router, get_app, pushes, "GET", rest.list_push_notifications)
    _add(router, get_app, pushes + "/{push_id}", "GET", rest.get_push_notification)
    _add(router, get_app, pushes + "/{push_id}", "DELETE", rest.delete_push_notification)
    _add(router, get_app, "/extendedAgentCard", "GET", rest.handle_authenticated_agent_card)
    return router


def _add(router: APIRouter, get_app: Callable[[], App], path: str, method: str, endpoint: Endpoint) -> None:
    """One of the SDK's endpoints, for graphs that there are."""

    async def of_a_graph(request: Request) -> Response:
        _agent(get_app(), request.path_params["graph"])
        answer: Response = await endpoint(request)
        return answer

    router.add_route(router.prefix + "/{graph}" + path, of_a_graph, methods=[method], include_in_schema=False)


def _agents(app: App) -> dict[str, Activity]:
    """Graphs that a message can be put to."""
    return {
        name: activity
        for name, activity in app.activities.items()
        if "messages" in activity.builder.schemas[activity.builder.state_schema]
    }


def _agent(app: App, name: str) -> Activity:
    if activity := _agents(app).get(name):
        return activity
    raise NotFound(f"there is no agent {name[:100]}; the agents are {', '.join(sorted(_agents(app)))}")


async def _card(app: App, activity: Activity, request: Request) -> AgentCard:
    url = f"{request.url.scheme}://{request.url.netloc}{request.scope.get('root_path', '')}/a2a/{activity.name}"
    key_needed = not is_loopback(app.settings.host) or await Keys(app.pool).ever_made()
    return words.card(activity, url, version("sextant"), key_needed=key_needed)
