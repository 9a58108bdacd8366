"""The chat in a real browser: what a person sees before, during and after a run, and that it survives what browsers do."""

import re
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.browser

RAW = "document.querySelector('[data-testid=stBidiComponentIsolated]').shadowRoot.querySelector('.answer').rawText"
RESEARCH, CHAT = 0, 1
INPUT = "[data-testid=stChatInputTextArea]"
RUN_ENDED = ".turn.over"

Open = Callable[..., Any]


def ask(page: Any, question: str) -> None:
    page.fill(INPUT, question)
    page.press(INPUT, "Enter")
    page.wait_for_selector(".question")


def run_example(page: Any, which: int = RESEARCH) -> None:
    page.locator(".card").nth(which).click()
    page.wait_for_selector(".turn")


def texts(page: Any, selector: str) -> list[str]:
    return [text.strip() for text in page.locator(selector).all_inner_texts()]


def address(page: Any, site: Any) -> str:
    page.wait_for_url(re.compile(r"thread="))
    return str(page.url).removeprefix(site.url)


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
    page.keyboard.press("Escape")
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
    places = "nodes => nodes.map(n => { const b = n.querySelector('.box'); return [b.getAttribute('x'), b.getAttribute('y')]; })"
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
    page.wait_for_function(
        "async (before) => (await (await fetch('/api/fixture/clock', {method: 'POST', body: '{}'})).json()).connections > before",
        arg=connections,
    )
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


# ---- looks and reach


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_and_marks_have_contrast(open_page: Open, site: Any, dark: bool) -> None:
    site.clock(hold=11.6)
    page = open_page(dark=dark)
    run_example(page)
    page.wait_for_selector(".finding .chip")
    selectors = [".question", ".status", ".finding .by", ".finding .chip", ".prose p", ".lane .name", ".activity", ".late",
                 ".panel .muted", ".state-word", ".tabs button", ".plan-row .n", ".waits", ".legend span"]  # fmt: skip
    poor = {name: ratio for name in selectors if (ratio := page.locator(name).first.evaluate(CONTRAST)) < 4.5}
    assert not poor
    night = "rgb(15, 27, 45)" == page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    assert night is dark


CONTRAST = """node => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = (color) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255]; };
  const light = ([r, g, b]) => [r, g, b].map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; })
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const layers = [];
  for (let at = node; at; at = at.parentElement || (at.getRootNode() && at.getRootNode().host)) {
    const ground = rgba(getComputedStyle(at).backgroundColor);
    if (ground[3] > 0) layers.push(ground);
    if (ground[3] === 1) break;
  }
  const ground = layers.reverse().reduce((under, over) => under.map((v, i) => i < 3 ? over[i] * over[3] + v * (1 - over[3]) : 1), [255, 255, 255, 1]);
  const [a, b] = [light(rgba(getComputedStyle(node).color)), light(ground)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}"""


@pytest.mark.parametrize("path", ["/", "/documents"])
def test_a_phone_never_scrolls_sideways(open_page: Open, path: str) -> None:
    page = open_page(path, width=390, height=844)
    page.wait_for_selector(".card, .sx-doc")
    assert page.evaluate(SIDEWAYS) == []


def test_the_run_on_a_phone_is_a_list_of_stages(open_page: Open, site: Any) -> None:
    site.clock(hold=11.6)
    page = open_page(width=390, height=844)
    run_example(page)
    page.wait_for_selector(".stage")
    assert page.locator(".panel").is_hidden()
    assert "2 of 5 done, 1 slow" in page.inner_text(".stages")
    assert page.locator(".stages >> text=Stop").bounding_box()["height"] >= 20
    assert page.evaluate(SIDEWAYS) == []
    site.clock(hold=30)
    page.wait_for_selector(RUN_ENDED)
    assert page.evaluate(SIDEWAYS) == []


SIDEWAYS = """() => [document.documentElement, document.querySelector('[data-testid=stMain]')]
  .filter((node) => node.scrollWidth > node.clientWidth).map((node) => `${node.tagName} ${node.scrollWidth}`)"""


def test_nothing_that_a_stranger_wrote_is_executed(open_page: Open, site: Any) -> None:
    site.clock(hold=2.9)
    page = open_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    ask(page, '!hostile <img src=x onerror="window.hacked=1"> **b** :material/bolt: [x](javascript:alert(1))')
    page.wait_for_selector(".answer:not(:empty)")
    page.reload()
    page.wait_for_selector(".answer:not(:empty)")
    site.clock(hold=9)
    page.wait_for_selector(RUN_ENDED)
    page.click(".fold")
    page.click(".tabs [data-tab=sources]")
    page.click(".source-head")
    page.locator(".answer .chip").first.click()
    page.wait_for_selector(".popover .quote")
    assert page.evaluate("window.hacked") is None
    assert page.locator(".runview :is(img, script, iframe, object, b[onclick], a[href^='javascript'])").count() == 0
    assert not [url for url in asked if "evil.example" in url]


def test_the_keyboard_reaches_lanes_panel_and_sources(open_page: Open, site: Any) -> None:
    site.clock(hold=11.6)
    page = open_page()
    run_example(page)
    page.wait_for_selector(".finding .chip")
    page.locator(".lane").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.inner_text(".lane.selected .name") == "Logical replication"
    assert page.locator(".lane[tabindex='0']").count() == 1
    assert page.text_content(".graph .node.selected .title") == "Logical replication"
    assert "tools 5.8 s" in page.inner_text(".lane.selected .detail")
    page.keyboard.press("Alt+g")
    page.locator(".panel").wait_for(state="hidden")
    page.keyboard.press("Alt+g")
    page.locator(".panel").wait_for()
    page.locator(".finding .chip").first.focus()
    page.keyboard.press("Enter")
    page.locator(".popover").wait_for()
    page.keyboard.press("Escape")
    page.locator(".popover").wait_for(state="hidden")


def test_assistive_technology_is_told(open_page: Open, site: Any) -> None:
    site.clock(hold=11.6)
    page = open_page()
    run_example(page)
    page.wait_for_selector(".lane")
    graph = page.locator(".graph[role=img]").get_attribute("aria-label")
    assert "Logical replication running" in graph and "Cut-over steps blocked" in graph
    row = page.locator("[role=grid] [role=row].lane").nth(5)
    assert row.get_attribute("aria-label") == "Cut-over steps, Blocked, starts when Logical replication is done"
    page.locator("[aria-live=polite]", has_text="2 of 5 sub-tasks are done.").wait_for(state="attached")


def test_reduced_motion_is_respected(open_page: Open, site: Any) -> None:
    site.clock(hold=11.6)
    page = open_page(still=True)
    run_example(page)
    page.wait_for_selector(".lane .mark.s-running .ring")
    assert (
        page.locator(".mark.s-running .ring").first.evaluate("node => getComputedStyle(node).animationName") == "none"
    )


def test_a_reader_who_scrolled_up_is_left_alone(open_page: Open, site: Any) -> None:
    site.clock(hold=20)
    page = open_page(height=520)
    run_example(page)
    page.wait_for_selector(".answer:not(:empty)")
    at_foot = "(() => { const m = document.querySelector('[data-testid=stMain]'); return m.scrollHeight - m.scrollTop - m.clientHeight < 60; })()"
    site.clock(hold=23)
    page.wait_for_function(f"{RAW}.includes('Cut over in four')")
    page.wait_for_function(at_foot)
    page.evaluate("document.querySelector('[data-testid=stMain]').scrollTop = 0")
    page.wait_for_selector(".jump")
    site.clock(hold=24.3)
    page.wait_for_function(f"{RAW}.includes('Stop writes')")
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollTop") == 0
    page.click(".jump")
    page.wait_for_function(at_foot)


# ---- files and refusals


def test_files_are_indexed_and_then_the_question_goes_out(open_page: Open) -> None:
    page = open_page()
    files = [{"name": name, "mimeType": "text/plain", "buffer": b"x"} for name in ("a.md", "locked.pdf", "c.md")]
    page.set_input_files("input[type=file]", files)
    page.wait_for_selector("[data-testid=stChatInput] >> text=locked.pdf")
    page.fill(INPUT, "What do they say?")
    page.press(INPUT, "Enter")
    page.wait_for_selector(".sx-upload >> text=your question goes out")
    page.wait_for_selector(".question >> text=What do they say?")
    assert "2 of 3 indexed" in page.inner_text(".sx-upload")
    assert "locked.pdf is encrypted. Save it without a password." in page.inner_text(".sx-upload")


def test_a_refused_question_is_not_lost(open_page: Open) -> None:
    page = open_page()
    page.fill(INPUT, "!refuse this one")
    page.press(INPUT, "Enter")
    page.wait_for_selector(".st-key-problem")
    assert "!refuse this one" in page.inner_text(".st-key-problem")
    assert page.locator(".st-key-problem button", has_text="Send again").count() == 1


def test_a_chat_is_renamed_and_deleted(open_page: Open, site: Any) -> None:
    site.clock(hold=30)
    page = open_page()
    run_example(page, CHAT)
    page.wait_for_selector(RUN_ENDED)
    page.click(".st-key-title_menu button")
    page.fill("[data-testid=stPopoverBody] input", "Lag")
    page.click("[data-testid=stPopoverBody] >> text=Rename")
    page.wait_for_selector("[class*=st-key-thread_] >> text=Lag")
    page.reload()
    page.wait_for_selector(RUN_ENDED)
    page.click(".st-key-title_menu button")
    page.click(".st-key-delete_thread button")
    page.wait_for_selector(".card")
    assert page.locator("[class*=st-key-thread_]").count() == 0


def test_a_document_is_deleted_only_after_a_second_word(open_page: Open) -> None:
    page = open_page("/documents")
    page.wait_for_selector(".sx-doc")
    before = page.locator(".sx-doc").count()
    page.locator("[class*=st-key-ask_] button").first.click()
    page.click("[class*=st-key-do_] button")
    page.wait_for_function(f"document.querySelectorAll('.sx-doc').length === {before - 1}")
