"""The chat in a real browser: what a person sees before, during and after a run, and that it survives a reload."""

import re
from typing import Any

import pytest
from steps import CHAT, RAW, RUN_ENDED, Open, address, ask, run_example, texts

pytestmark = pytest.mark.browser


# ---- before


def test_first_paint_explains_itself_and_fetches_nothing_from_strangers(chromium: Any, site: Any) -> None:
    context = chromium.new_context()
    page, requested = context.new_page(), []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(site.url)
    page.wait_for_selector(".card")
    assert page.locator(".card").count() == 4
    assert page.locator(".card svg.outline rect").count() > 8
    assert "Demo model" in page.inner_text(".banner")
    assert "Demo model" in page.inner_text(".sx-foot")
    assert "12 documents" in page.inner_text(".sx-health")
    strangers = [url for url in requested if not url.startswith((site.url, "data:", "blob:", "about:"))]
    context.close()
    assert strangers == []


def test_the_graph_can_be_chosen(open_page: Open) -> None:
    page = open_page()
    page.click(".st-key-graph_menu button")
    page.locator("[data-testid=stPopoverBody]").get_by_text("Chat", exact=True).click()
    page.wait_for_selector(".st-key-graph_menu >> text=Chat")
    page.wait_for_selector("[data-testid=stPopoverBody]", state="hidden")
    ask(page, "What is replica lag?")
    page.wait_for_selector(RUN_ENDED)
    assert page.inner_text(".answer").startswith("Above 30 seconds")


# ---- during


def test_an_example_starts_a_run_whose_agents_work_side_by_side(open_page: Open, site: Any) -> None:
    site.clock(hold=3.5)
    page = open_page()
    run_example(page)
    page.wait_for_selector(".lane.l-running >> nth=3")
    assert page.locator(".lane.l-running").count() == 4
    assert page.locator(".graph .node.n-running").count() == 4
    assert page.locator(".plan-row").count() == 5
    assert page.inner_text(".status").startswith("0 of 5 sub-tasks are done.")
    assert "after 2 and 3" in page.inner_text(".plan")
    assert "thread=" in page.url


def test_the_stored_text_arrives_byte_for_byte(open_page: Open, site: Any) -> None:
    site.clock(hold=18)
    page = open_page()
    run_example(page)
    page.wait_for_selector(".lane")
    for second in (18.5, 19.9, 21.3, 23.7, 30):
        site.clock(hold=second)
        page.wait_for_timeout(150)
    page.wait_for_selector(RUN_ENDED)
    stored = page.evaluate("async (id) => (await (await fetch(`/api/runs/${id}/view`)).json()).answer.text",
                           page.get_attribute(".turn", "data-run"))  # fmt: skip
    assert page.evaluate(RAW) == stored
    assert page.get_attribute(".answer", "data-length") == str(len(stored))
    assert page.get_attribute(".answer", "data-final") == "true"
    page.wait_for_selector("[class*=st-key-thread_succeeded_here_]", state="attached")


def test_a_reload_in_mid_run_restores_everything(open_page: Open, site: Any) -> None:
    site.clock(hold=21)
    page = open_page()
    run_example(page)
    page.wait_for_selector(".answer:not(:empty)")
    before = page.evaluate(RAW), texts(page, ".lane .name"), texts(page, ".lane .elapsed")[:-1]
    page.reload()
    page.wait_for_selector(".answer:not(:empty)")
    assert (page.evaluate(RAW), texts(page, ".lane .name"), texts(page, ".lane .elapsed")[:-1]) == before
    site.clock(hold=30)
    page.wait_for_selector(RUN_ENDED)
    assert page.evaluate(RAW).endswith("Keep replication running backwards for a week.\n")


def test_two_tabs_show_the_same(open_page: Open, site: Any) -> None:
    site.clock(hold=12)
    first = open_page()
    run_example(first)
    second = open_page(address(first, site))
    site.clock(hold=30)
    for page in (first, second):
        page.wait_for_selector(RUN_ENDED)
    assert first.evaluate(RAW) == second.evaluate(RAW)


def test_a_rerun_neither_remounts_nor_reconnects(open_page: Open, site: Any) -> None:
    site.clock(hold=11.6)
    page = open_page()
    connections = site.clock()["connections"]
    run_example(page)
    page.wait_for_selector(".finding")
    page.locator(".turn").evaluate("node => { node.kept = true; }")
    page.click(".st-key-graph_menu button")
    page.locator("[data-testid=stPopoverBody]").get_by_text("Chat", exact=True).click()
    page.wait_for_selector(".st-key-graph_menu >> text=Chat")
    assert page.locator(".turn").evaluate("node => node.kept") is True
    assert site.clock()["connections"] == connections + 1


def test_a_patch_leaves_what_was_read_in_place(open_page: Open, site: Any) -> None:
    site.clock(hold=11)
    page = open_page()
    run_example(page)
    first = page.locator(".finding[data-lane='task:2'] .prose p").first
    first.wait_for()
    before = first.inner_text()
    first.evaluate("""node => { const range = document.createRange(); range.setStart(node.firstChild, 0);
        range.setEnd(node.firstChild, 8); getSelection().removeAllRanges(); getSelection().addRange(range);
        node.firstChild.kept = true; window.held = node.firstChild; }""")
    site.clock(hold=13)
    page.wait_for_function("(before) => held.parentNode.innerText.length > before + 20", arg=len(before))
    assert first.evaluate("node => node.firstChild.kept") is True
    assert len(first.inner_text()) > len(before)
    assert page.evaluate("getSelection().toString()") == before[:8]


def test_nothing_moves_while_a_run_goes_on(open_page: Open, site: Any) -> None:
    places = "nodes => nodes.map(n => ['x', 'y'].map(name => n.querySelector('.box').getAttribute(name)))"
    site.clock(hold=3)
    page = open_page()
    run_example(page)
    page.wait_for_selector(".lane")
    nodes, rows = page.locator(".graph .node").evaluate_all(places), texts(page, ".lane .name")
    height = page.locator(".panel").evaluate("node => node.offsetHeight")
    site.clock(hold=22)
    page.wait_for_selector(".answer:not(:empty)")
    assert page.locator(".graph .node").evaluate_all(places) == nodes
    assert texts(page, ".lane .name") == rows
    assert page.locator(".panel").evaluate("node => node.offsetHeight") == height


def test_a_straggler_a_retry_and_the_critical_path_are_told(open_page: Open, site: Any) -> None:
    site.clock(hold=11.3)
    page = open_page()
    run_example(page)
    page.wait_for_selector(".figures .late:not(:empty)")
    late = page.locator(".lane", has_text="Logical replication").first
    assert re.match(r"\+\d\.\d s", late.locator(".late").inner_text())
    assert late.locator(".bar.critical.open").count() == 1
    retrying = page.locator(".lane.l-retrying")
    assert retrying.locator(".seg.failed").count() == 2
    assert retrying.locator(".mark .count").text_content() == "3"
    assert "Waiting on logical replication" in page.inner_text(".status")
    assert "Plan, Logical replication" in page.inner_text(".panel footer")


def test_a_cut_stream_reconnects_and_loses_nothing(open_page: Open, site: Any) -> None:
    site.clock(hold=19)
    page = open_page()
    run_example(page)
    page.wait_for_selector(".answer:not(:empty)")
    connections = site.clock()["connections"]
    site.clock(drop=True)
    told = "fetch('/api/fixture/clock', {method: 'POST', body: '{}'}).then((response) => response.json())"
    page.wait_for_function(f"async (before) => (await {told}).connections > before", arg=connections)
    site.clock(hold=23)
    page.wait_for_function(f"{RAW}.includes('Cut over in four steps')")
    site.clock(hold=30)
    page.wait_for_selector(RUN_ENDED)
    assert page.evaluate(RAW).count("Move with logical replication") == 1


def test_stop_says_stopping_until_it_is_so(open_page: Open, site: Any) -> None:
    page = open_page()
    run_example(page)
    page.wait_for_selector(".lane")
    page.click(".panel .stop")
    page.wait_for_selector(".panel .state-word >> text=Stopping")
    assert page.locator(".panel .stop").is_disabled()
    page.wait_for_selector(RUN_ENDED)
    assert page.inner_text(".panel .state-word") == "Stopped"
    assert page.locator(".panel .stop").is_hidden()
    page.wait_for_selector("[class*=st-key-thread_cancelled_here_]", state="attached")


# ---- after


def test_a_citation_opens_its_passage(open_page: Open, site: Any) -> None:
    site.clock(hold=30)
    page = open_page()
    run_example(page)
    page.wait_for_selector(RUN_ENDED)
    chip = page.locator(".answer .chip[data-n='4']").first
    chip.click()
    popover = page.locator(".popover")
    popover.locator("a.filled").wait_for()
    assert (
        popover.locator("mark").inner_text() == "An unused slot will hold them back without limit and can fill the disk"
    )
    assert "Replication slots keep log files" in popover.locator(".quote").inner_text()
    assert popover.locator("a.filled").inner_text() == "Open at page 889"
    assert popover.locator("a.filled").get_attribute("href").endswith("/file#page=889")
    assert "supports 3 statements" in popover.inner_text()
    page.keyboard.press("Escape")
    popover.wait_for(state="hidden")
    assert chip.evaluate("node => node.getRootNode().activeElement === node")
    chip.click()
    popover.wait_for()
    page.mouse.click(700, 120)
    popover.wait_for(state="hidden")


def test_sources_are_listed_cited_first(open_page: Open, site: Any) -> None:
    site.clock(hold=30)
    page = open_page()
    run_example(page)
    page.wait_for_selector(RUN_ENDED)
    page.click(".tabs [data-tab=sources]")
    assert texts(page, ".source-head .chip") == ["1", "2", "3", "4", "5", "6", "7"]
    assert "1 statement of the answer has no source." in page.inner_text(".panel footer")
    page.click(".pill >> text=Found, not cited")
    assert texts(page, ".source-head b") == ["backup-policy.docx"]


def test_a_statement_without_a_source_is_underlined_and_the_line_is_explained(open_page: Open, site: Any) -> None:
    site.clock(hold=30)
    page = open_page()
    run_example(page)
    page.wait_for_selector(RUN_ENDED)
    assert texts(page, ".answer .bare") == ["Keep replication running backwards for a week."]
    style = "node => [getComputedStyle(node).textDecorationStyle, node.title]"
    assert page.locator(".answer .bare").evaluate(style) == ["dotted", "No source is cited for this statement."]
    assert page.inner_text(".bare-note").split() == ["underlined", "1", "statement", "without", "a", "source"]


def test_an_answer_is_copied_with_its_sources(open_page: Open, site: Any) -> None:
    site.clock(hold=30)
    page = open_page()
    run_example(page)
    page.wait_for_selector(RUN_ENDED)
    page.click(".actions >> text=Copy")
    page.wait_for_selector(".actions >> text=Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert "so its settings decide if either works.[1][2]" in copied
    assert "[4] postgresql-18-manual.pdf, page 889" in copied


def test_a_failed_run_says_why_and_keeps_what_it_found(open_page: Open, site: Any) -> None:
    site.clock(hold=9)
    page = open_page()
    ask(page, "!failed please")
    page.wait_for_selector(RUN_ENDED)
    assert "The model endpoint refused the connection. Check SEXTANT_MODEL_URL" in page.inner_text(".after")
    assert "Second half is missing." in page.inner_text(".after")
    assert "The first half went well." in page.inner_text(".findings")


def test_earlier_turns_stay_above_a_new_one(open_page: Open, site: Any) -> None:
    site.clock(hold=30)
    page = open_page()
    run_example(page, CHAT)
    page.wait_for_selector(RUN_ENDED)
    ask(page, "and for two replicas?")
    page.wait_for_selector(".turn.over >> nth=1")
    assert texts(page, ".question")[1] == "and for two replicas?"
    page.reload()
    page.wait_for_selector(".turn.over >> nth=1")
    assert len(texts(page, ".question")) == 2


def test_another_chat_replaces_the_conversation(open_page: Open, site: Any) -> None:
    site.clock(hold=30)
    page = open_page()
    run_example(page, CHAT)
    page.wait_for_selector(RUN_ENDED)
    page.click(".st-key-new_chat button")
    page.wait_for_selector(".card")
    assert "thread=" not in page.url
    run_example(page)
    page.wait_for_selector(RUN_ENDED)
    page.locator("[class*=st-key-thread_succeeded_] button", has_text="failover").click()
    page.wait_for_selector(".answer >> text=do not fail over")
    assert page.locator(".turn").count() == 1
