"""Settings as a person has them: by a link to a server that nobody has opened; a remote tool is read, and approved."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PEER = Path(__file__).parents[1] / "support" / "mcp_peer.py"


@pytest.fixture
def fresh(tmp_path: Path, up: Callable[[Path], Any]) -> str:
    """A product that uses one MCP server, and another that does not start."""
    servers = {
        "peer": {"command": sys.executable, "args": [str(PEER), "stdio", str(tmp_path)]},
        "broken": {"command": sys.executable, "args": ["-c", "raise SystemExit(3)"]},
    }
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    return str(up(tmp_path).url)


async def test_a_remote_tool_is_read_and_approved_on_a_page_that_was_opened_by_its_link(
    browser: Browser, fresh: str
) -> None:
    page = await browser.new_page(viewport={"width": 1440, "height": 900})
    await page.goto(f"{fresh}/settings")
    model = page.locator(".sx-item", has_text="demo-large")
    await expect(model).to_contain_text("The demo model: its words are put together by rules", ignore_case=True)
    await expect(model).to_contain_text("Answers at http://127.0.0.1:")
    tool = page.locator(".sx-item", has_text="search_documents")
    await expect(tool).to_contain_text("only reads; at most 15 s. Held by architect, assistant")
    async with httpx.AsyncClient(base_url=f"{fresh}/api/", timeout=60) as http:
        while not (tools := await offered(http, "peer")):
            await page.wait_for_timeout(200)
        await page.locator(".st-key-refresh_remotes button").click()
        await expect(page.locator(".sx-item", has_text="broken")).to_contain_text("away since")
        name = tools[0]["tool"]
        line = page.locator("details.sx-tool", has_text=f"peer__{name}")
        await expect(line.first).to_contain_text("new: nobody has approved it")
        await page.locator(f".st-key-approve_peer_{name} button").click()
        await expect(page.get_by_role("alert")).to_contain_text(f"peer: {name} is approved as it was shown.")
        assert [it["state"] for it in await offered(http, "peer") if it["tool"] == name] == ["approved"]


async def offered(http: httpx.AsyncClient, server: str) -> list[dict[str, str]]:
    """Tools of a server; none while it is not there."""
    remotes = (await http.get("remotes")).json()["remotes"]
    return next(list(it["tools"]) for it in remotes if it["name"] == server)
