"""What a run asks a person, in a real browser: typed fields, each request on its own, and no accident with a key."""

from typing import Any

import pytest
from steps import CONTRAST, INPUT, RUN_ENDED, Open, ask, texts

pytestmark = pytest.mark.browser

OPEN_CARD = ".request.open"
FIELD = ".request.open .field"


def asked(open_page: Open, what: str = "!asking", **how: Any) -> Any:
    page = open_page(**how)
    ask(page, f"{what} please")
    page.wait_for_selector(OPEN_CARD)
    return page


def answers(page: Any) -> Any:
    """What the run was told, as it shows to everybody."""
    view = "async (id) => (await (await fetch(`/api/runs/${id}/view`)).json()).requests.map((it) => it.answer)"
    return page.evaluate(view, page.get_attribute(".turn", "data-run"))


def test_several_requests_are_answered_each_on_its_own(open_page: Open, site: Any) -> None:
    page = asked(open_page)
    assert texts(page, ".request h4") == ["Open change ticket", "Send mail: did it happen?", "A question"]
    assert page.locator(OPEN_CARD).count() == 1
    page.click(".request >> text=Approve")
    page.wait_for_selector(".told >> text=approved by you")
    assert answers(page) == [{"decision": "approve"}, None, None]
    assert page.inner_text(f"{OPEN_CARD} h4") == "Send mail: did it happen?"

    page.click(f"{OPEN_CARD} >> text=It happened")
    page.fill(".reason input", "mail 4711")
    page.keyboard.press("Enter")
    page.wait_for_selector(".told >> text=happened, confirmed by you: mail 4711")
    page.fill(f"{OPEN_CARD} textarea", "Europe")
    page.click(f"{OPEN_CARD} footer .filled")
    page.wait_for_selector(RUN_ENDED)
    assert answers(page) == [{"decision": "approve"}, {"decision": "happened", "reason": "mail 4711"}, "Europe"]
    assert len(texts(page, ".told:visible")) == 3


def test_each_argument_has_a_field_of_its_type(open_page: Open) -> None:
    page = asked(open_page)
    assert texts(page, f"{FIELD} label") == [
        "Title",
        "Length, minutes",
        "Urgency",
        "Tell them at once",
        "People",
        "Window",
        "Note",
    ]
    kinds = page.locator(f"{FIELD} :is(input, select, textarea)").evaluate_all("all => all.map((it) => it.type)")
    assert kinds == ["text", "number", "select-one", "checkbox", "text", "textarea", "text"]
    assert "cannot be undone" in page.inner_text(OPEN_CARD)
    assert "Asked by Agent." in page.inner_text(OPEN_CARD)
    page.locator(FIELD).nth(1).locator("input").fill("45")
    page.locator(FIELD).nth(2).locator("select").select_option(label="high")
    page.locator(FIELD).nth(3).locator("input").uncheck()
    page.click("[aria-label='Remove d.okafor']")
    assert page.locator(".was >> text=edited, was 30").count() == 1
    page.click(".request >> text=Approve with 4 edits")
    page.wait_for_selector(".told >> text=approved by you, with 4 edits")
    edited = {"title": "Upgrade orders-db from 16 to 18", "minutes": 45, "urgency": "high", "tell": False,
              "people": ["ana.ruiz"], "window": {"from": "22:00"}}  # fmt: skip
    assert answers(page)[0] == {"decision": "edit", "args": edited}


def test_what_cannot_be_sent_is_said_at_its_field(open_page: Open) -> None:
    page = asked(open_page)
    window, minutes = page.locator(FIELD).nth(5), page.locator(FIELD).nth(1)
    window.locator("textarea").fill("[22")
    page.click(".request >> text=Approve with 1 edit")
    window.locator(".trouble >> text=This is not JSON").wait_for()
    page.click(".request >> text=Undo edit")
    minutes.locator("input").fill("1.5")
    page.click(".request >> text=Approve with 1 edit")
    minutes.locator(".trouble >> text=A whole number is needed.").wait_for()
    minutes.locator("input").fill("999")
    page.click(".request >> text=Approve with 1 edit")
    minutes.locator(".trouble >> text=999 is more than 240").wait_for()
    assert answers(page)[0] is None
    page.click(".request >> text=Undo edit")
    assert page.locator(".request .filled").first.inner_text() == "Approve"


PEOPLE = ".field.k-list"


def test_a_list_of_words_is_edited_as_chips(open_page: Open) -> None:
    page = asked(open_page)
    box, words = page.locator(f"{PEOPLE} input"), f"{PEOPLE} .token span"
    assert texts(page, words) == ["ana.ruiz", "d.okafor"]
    box.fill("  j.lind ")
    box.press("Enter")
    assert texts(page, words) == ["ana.ruiz", "d.okafor", "j.lind"]
    assert page.locator(".was >> text=edited, was ana.ruiz, d.okafor").count() == 1
    box.fill("one too many")
    page.click(".request >> text=Approve with 1 edit")
    page.locator(f"{PEOPLE} .trouble >> text=4 are more than 3.").wait_for()
    assert answers(page)[0] is None

    box.focus()
    for key in ("Backspace", "Delete", "ArrowLeft", "ArrowLeft", "Backspace"):
        page.keyboard.press(key)
    assert texts(page, words) == ["d.okafor", "j.lind"]
    page.click(".request >> text=Undo edit")
    assert texts(page, words) == ["ana.ruiz", "d.okafor"]

    box.fill("m.sato")  # typed and not added: it goes along all the same
    box.press("Control+Enter")
    page.wait_for_selector(".told >> text=approved by you, with 1 edit")
    assert answers(page)[0]["args"]["people"] == ["ana.ruiz", "d.okafor", "m.sato"]


def test_a_bare_enter_never_approves(open_page: Open) -> None:
    page = asked(open_page)
    page.locator(f"{FIELD} input").first.focus()
    page.keyboard.press("Enter")
    page.locator(".request .filled").first.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert answers(page)[0] is None
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".told >> text=approved by you")
    assert (
        page.evaluate(
            "document.querySelector('[data-testid=stBidiComponentIsolated]').shadowRoot.activeElement.className"
        )
        == "told"
    )


def test_keys_of_the_page_are_letters_in_a_field(open_page: Open) -> None:
    page = asked(open_page)
    field = page.locator(f"{FIELD} input").first
    field.fill("")
    field.press_sequentially("clear cache r")
    assert field.input_value() == "clear cache r"
    assert page.locator("[data-testid=stDialog]").count() == 0


def test_a_rejection_takes_one_line_along(open_page: Open) -> None:
    page = asked(open_page)
    page.click(f"{OPEN_CARD} >> text=Reject with a reason")
    page.fill(".reason input", "not on a Friday")
    page.click(".reason >> text=Reject")
    page.wait_for_selector(".told >> text=rejected by you: not on a Friday")
    assert answers(page)[0] == {"decision": "reject", "reason": "not on a Friday"}


def test_the_second_window_is_told(open_page: Open, site: Any) -> None:
    first = asked(open_page)
    second = open_page(first.url.removeprefix(site.url))
    second.wait_for_selector(OPEN_CARD)
    first.click(".request >> text=Approve")
    second.wait_for_selector(".told >> text=approved by you, in another window")


def test_what_needs_a_person_is_listed_beside_every_page(open_page: Open, site: Any) -> None:
    page = asked(open_page)
    page.wait_for_selector("[class*=st-key-need_] >> nth=2")
    assert texts(page, "[class*=st-key-need_] p") == [
        "Open change ticket: Upgrade orders-db from 16 to 18", "Send mail: ana.ruiz", "Which region?"
    ]  # fmt: skip
    page.goto(f"{site.url}/documents")
    page.click("[class*=st-key-need_q2] button")
    page.wait_for_selector(f"{OPEN_CARD} >> text=Send mail")
    assert "thread=" in page.url


def test_nothing_in_a_request_is_executed(open_page: Open) -> None:
    page = asked(open_page, "!luring")
    page.click(".request button:visible >> text=Review")
    page.wait_for_selector(f"{OPEN_CARD} >> nth=1")
    assert "onerror" in page.inner_text(OPEN_CARD)
    assert page.evaluate("window.hacked") is None
    assert page.locator(".runview :is(img, script, iframe)").count() == 0


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_requests_have_contrast(open_page: Open, dark: bool) -> None:
    page = asked(open_page, dark=dark)
    page.locator(f"{FIELD} input").first.fill("another one")
    page.wait_for_selector("[class*=st-key-need_]")
    parts = [".request h4", ".tag", ".asks", ".field label", ".was", ".promise", ".request .danger:visible",
             ".request .filled", ".hint:visible", ".ledger-row .state", ".st-key-sent_now p", ".sx-needs",
             "[class*=st-key-need_] p"]  # fmt: skip
    poor = {name: ratio for name in parts if (ratio := page.locator(name).first.evaluate(CONTRAST)) < 4.5}
    assert not poor


def test_a_request_on_a_phone_fits(open_page: Open) -> None:
    page = asked(open_page, width=390, height=844)
    all_of_it = page.locator("html, [data-testid=stMain]")
    assert all_of_it.evaluate_all("all => all.filter((it) => it.scrollWidth > it.clientWidth).length") == 0
    heights = page.locator(f"{OPEN_CARD} footer button:visible").evaluate_all("all => all.map((it) => it.offsetHeight)")
    assert min(heights) >= 40


def test_what_a_message_sent_now_does_is_said_while_a_run_is_going(open_page: Open) -> None:
    page = asked(open_page)
    assert page.locator(".st-key-sent_now").is_visible()
    page.click(".panel .stop, .status .stop")
    page.wait_for_selector(RUN_ENDED)
    assert page.locator(".st-key-sent_now").is_hidden()
    assert "was not answered" in page.inner_text(".told >> nth=0")
    assert page.locator(INPUT).is_visible()


CLEAR = """selector => [...document.querySelectorAll(
  '[data-testid=stBidiComponentIsolated]')].some(host => [...host.shadowRoot.querySelectorAll(selector)].some(node => {
  const box = node.getBoundingClientRect();
  const top = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
  return box.height > 0 && top === host;
}))"""


def test_on_a_phone_an_opened_request_is_above_the_input(open_page: Open) -> None:
    page = asked(open_page, width=390, height=844)
    page.wait_for_function(CLEAR, arg=".request.open h4", timeout=20_000)
