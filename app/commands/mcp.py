"""`sextant mcp`: an MCP server over standard input and output, for a client on this machine that starts it."""

from app.commands.start import composed
from app.launch import Signals, launch, load_settings


def mcp(*, debug: bool) -> None:
    """Until the input ends."""

    async def command(signals: Signals) -> int:
        async with composed(load_settings()) as app:
            from app.protocols.mcp_server import over_pipes

            await over_pipes(app)
        return 0

    launch(command, debug=debug)
