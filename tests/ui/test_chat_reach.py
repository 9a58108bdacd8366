"""The chat within everybody's reach: contrast, phone, keyboard, assistive technology, hostile text, files."""

import json
import urllib.request
from typing import Any

import pytest
from steps import CHAT, CONTRAST, INPUT, RAW, RUN_ENDED, Open, ask, run_example

pytestmark = pytest.mark.browser


# ---- looks and reach


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_and_marks_have_contrast(open_page: Open, site: Any, dark: bool) -> None:
    site.clock(hold=11.6)
    page = open_page(dark=dark)
    run_example(page)
    page.wait_for_selector(".finding .chip")
    in_chat = [".question", ".status", ".finding .by", ".finding .chip", ".prose p", ".plan-row .n"]
    in_panel = [".lane .name", ".activity", ".late", ".panel .muted", ".state-word", ".tabs button", ".waits"]
    poor = {name: ratio for name in in_chat + in_panel if (ratio := page.locator(name).first.evaluate(CONTRAST)) < 4.5}
    assert not poor
    ground = page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    assert (ground == "rgb(15, 27, 45)") is dark


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
    assert page.locator(".stages .stop").bounding_box()["height"] >= 20
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
    assert page.text_content(".graph .node.selected title").startswith("Logical replication: ")
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


AT_FOOT = """() => { const main = document.querySelector('[data-testid=stMain]');
  return main.scrollHeight - main.scrollTop - main.clientHeight < 60; }"""


def test_a_reader_who_scrolled_up_is_left_alone(open_page: Open, site: Any) -> None:
    site.clock(hold=20)
    page = open_page(height=520)
    run_example(page)
    page.wait_for_selector(".answer:not(:empty)")
    site.clock(hold=23)
    page.wait_for_function(f"{RAW}.includes('Cut over in four')")
    page.wait_for_function(AT_FOOT)
    page.evaluate("document.querySelector('[data-testid=stMain]').scrollTop = 0")
    page.wait_for_selector(".jump")
    button, foot = page.locator(".jump").bounding_box(), page.locator("[data-testid=stBottom]").bounding_box()
    assert button["y"] + button["height"] <= foot["y"]
    site.clock(hold=24.3)
    page.wait_for_function(f"{RAW}.includes('Stop writes')")
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollTop") == 0
    page.click(".jump")
    page.wait_for_function(AT_FOOT)


# ---- files and refusals


def test_files_are_indexed_and_then_the_question_goes_out(open_page: Open, site: Any) -> None:
    site.clock(indexed=1)
    page = open_page()
    files = [{"name": name, "mimeType": "text/plain", "buffer": b"x"} for name in ("a.md", "locked.pdf", "c.md")]
    page.set_input_files("input[type=file]", files)
    page.wait_for_selector("[data-testid=stChatInput] >> text=locked.pdf")
    page.fill(INPUT, "What do they say?")
    page.press(INPUT, "Enter")
    page.wait_for_selector(".sx-upload >> text=1 of 3 indexed")
    assert "reading locked.pdf · your question goes out when they are in" in page.inner_text(".sx-upload")
    site.clock(indexed=None)
    page.wait_for_selector(".question >> text=What do they say?")
    assert "2 of 3 indexed" in page.inner_text(".sx-upload")
    assert "locked.pdf: An encrypted PDF. Save it without a password." in page.inner_text(".sx-upload")


def test_a_refused_question_is_not_lost(open_page: Open) -> None:
    page = open_page()
    page.fill(INPUT, "!refuse this one")
    page.press(INPUT, "Enter")
    page.wait_for_selector(".st-key-problem")
    assert "!refuse this one" in page.inner_text(".st-key-problem")
    assert page.locator(".st-key-problem button", has_text="Send again").count() == 1


def test_half_a_character_does_not_lose_the_question(open_page: Open, site: Any) -> None:
    """Typed as a clipboard may bring it; Streamlit would drop the whole message."""
    site.clock(hold=3)
    page = open_page()
    page.locator(INPUT).evaluate("""field => {
      const set = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, 'value').set;
      set.call(field, 'half ' + String.fromCharCode(0xD83D) + ' a character');
      field.dispatchEvent(new Event('input', {bubbles: true}));
    }""")
    page.press(INPUT, "Enter")
    page.wait_for_selector(".question >> text=half \ufffd a character")


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


SHOWN_DOCUMENTS = "document.querySelectorAll('.sx-doc').length === {}"


def documents_of(site: Any) -> int:
    """How many there are: a page that is still being drawn shows fewer."""
    with urllib.request.urlopen(f"{site.url}/api/documents", timeout=60) as response:
        return len(json.load(response)["documents"])


def test_a_document_is_deleted_only_after_a_second_word(open_page: Open, site: Any) -> None:
    before = documents_of(site)
    page = open_page("/documents")
    page.wait_for_function(SHOWN_DOCUMENTS.format(before))
    page.locator("[class*=st-key-ask_] button").first.click()
    page.wait_for_selector("[class*=st-key-do_] button")
    assert documents_of(site) == before
    page.click("[class*=st-key-do_] button")
    page.wait_for_function(SHOWN_DOCUMENTS.format(before - 1))


def test_a_document_that_could_not_be_deleted_is_said_to_be_there(open_page: Open, site: Any) -> None:
    site.clock(busy=True)
    page = open_page("/documents")
    page.wait_for_function(SHOWN_DOCUMENTS.format(documents_of(site)))
    page.locator("[class*=st-key-ask_] button").first.click()
    page.click("[class*=st-key-do_] button")
    page.wait_for_selector("[role=alert] >> text=The index is busy.")


def test_a_message_whose_answer_was_lost_is_sent_again_as_the_same_message(open_page: Open, site: Any) -> None:
    site.clock(hold=3)
    page = open_page()
    page.click("text=Review the plan first")
    ask(page, "!lost on the way", until=".st-key-problem")
    page.click("text=Send again")
    page.wait_for_selector(".st-key-problem", state="detached")
    page.wait_for_selector(".question >> text=!lost on the way")
    told = site.clock()
    assert len(told["runs"]) == 1
    assert told["sent"][0]["review_plan"] is True


def test_a_branch_whose_answer_was_lost_is_sent_again_as_the_same_branch(open_page: Open, site: Any) -> None:
    site.clock(hold=30)
    page = open_page()
    run_example(page, CHAT)
    page.wait_for_selector(RUN_ENDED)
    page.hover(".question")
    page.get_by_label("Edit and branch").click()
    page.fill(".editor textarea", "!lost branch")
    page.press(".editor textarea", "Enter")
    page.wait_for_selector(".editor .trouble >> text=sent again, it is still one")
    page.press(".editor textarea", "Enter")
    page.wait_for_selector(".branches .place >> text=2/2")
    assert len(site.clock()["runs"]) == 2
