"""`sextant mcp` as a client on this machine starts it, by the SDK; and what `doctor` says of servers."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import mcp_peer
from mcp import ClientSession, StdioServerParameters, types
from mcp.client.stdio import stdio_client

ARGUMENTS = ["-m", "app.cli", "mcp"]
INITIALIZE = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}  # fmt: skip


async def test_a_client_that_starts_it_asks_and_is_answered(sextant: Any) -> None:
    told: list[str | None] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append(message)

    started = StdioServerParameters(
        command=sys.executable, args=ARGUMENTS, env=sextant.environment, cwd=str(sextant.folder)
    )
    async with stdio_client(started) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        tools = {it.name for it in (await session.list_tools()).tools}
        answer = await session.call_tool("chat", {"question": "What is a straggler?"}, progress_callback=hear)
        documents = (await session.list_resources()).resources

    assert {"chat", "research", "search_documents"} <= tools
    assert answer.structuredContent and answer.structuredContent["status"] == "succeeded"
    assert answer.structuredContent["sources"] and isinstance(answer.content[0], types.TextContent)
    assert told and documents


def test_its_output_is_nothing_but_messages_and_a_signal_ends_it(
    sextant: Any, stopped: Callable[[Any], subprocess.Popen[str]]
) -> None:
    process = stopped(
        subprocess.Popen(
            [sys.executable, *ARGUMENTS], cwd=sextant.folder, env=sextant.environment, text=True,
            start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
    )  # fmt: skip
    assert process.stdin and process.stdout
    process.stdin.write("no message\n" + json.dumps(INITIALIZE) + "\n")
    process.stdin.flush()
    said: list[Any] = []
    while not any("result" in it for it in said):
        said.append(json.loads(process.stdout.readline()))
    process.send_signal(signal.SIGTERM)  # its input is open still

    assert process.wait(60) == 143
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in process.stdout.read().splitlines())


def test_doctor_tells_of_servers_and_of_what_is_wrong_with_one(sextant: Any) -> None:
    named = {
        "peer": {"command": sys.executable, "args": [mcp_peer.__file__, "stdio", str(sextant.folder)]},
        "broken": {"command": "no-such-program"},
    }
    path = sextant.folder / "servers.json"
    path.write_text(json.dumps({"mcpServers": named}))
    done = sextant.run("doctor", SEXTANT_MCP_SERVERS=str(path))

    assert "MCP peer     peer 3, stdio: 16 tools" in done.stdout
    assert "MCP broken   there is no program 'no-such-program'" in done.stdout
    assert done.returncode == 0
