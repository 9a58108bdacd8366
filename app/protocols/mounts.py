"""Where the API is reached: under `/api`, and its `/v1` at the root as well, which is where OpenAI's clients look."""

from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from app.protocols.openai_words import PREFIX


def mounted(api: ASGIApp) -> list[Mount]:
    """The routes of a server that has the API. The page's own begin with neither."""

    async def at_the_root(scope: Scope, receive: Receive, send: Send) -> None:
        # the mount takes its prefix for the application's place; to the API it is a part of the path, as everywhere
        await api({**scope, "root_path": scope["root_path"].removesuffix(PREFIX)}, receive, send)

    return [Mount("/api", app=api), Mount(PREFIX, app=at_the_root)]
