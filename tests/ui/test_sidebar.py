"""The sidebar with more chats than fit: the list scrolls, and all around it stays in reach."""

import json
import urllib.request
from typing import Any
from uuid import uuid4

import pytest
from steps import Open, ask

pytestmark = pytest.mark.browser

CHATS = 30
IN_REACH = """selector => [...document.querySelectorAll(selector)].every(node => {
  const box = node.getBoundingClientRect();
  const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
  const top = document.elementFromPoint(x, y);
  return box.height > 0 && box.bottom <= innerHeight && !!top && (node.contains(top) || top.contains(node));
})"""
LINKS = ".st-key-pages a, .st-key-new_chat button, .sx-foot"


def post(site: Any, path: str, body: dict[str, Any]) -> Any:
    headers = {"content-type": "application/json", "idempotency-key": uuid4().hex}
    request = urllib.request.Request(f"{site.url}/api{path}", json.dumps(body).encode(), headers, method="POST")
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def test_many_chats_leave_the_navigation_in_reach(open_page: Open, site: Any) -> None:
    for n in range(CHATS):
        thread = post(site, "/threads", {"graph": "chat"})["thread_id"]
        asked = {"assistant_id": "chat", "input": {"messages": [{"role": "user", "content": f"Question {n}"}]}}
        post(site, f"/threads/{thread}/runs", asked)
    page = open_page()
    ask(page, "!asking please")
    page.wait_for_selector(".st-key-needs button")
    page.wait_for_function(f"document.querySelectorAll('.st-key-threads button').length > {CHATS}")
    for height in (900, 600):
        page.set_viewport_size({"width": 1440, "height": height})
        assert page.locator(".st-key-pages a").count() == 4
        assert page.evaluate(IN_REACH, LINKS), height
    last = page.locator(".st-key-threads button").last
    last.scroll_into_view_if_needed()
    assert page.evaluate(IN_REACH, LINKS)
    last.click()
    page.wait_for_selector(".turn")
