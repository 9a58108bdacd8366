"""Rules that code applies to a text: what they object to, what they leave alone, and what they read in a request."""

import pytest

from graphs.checks import addressed, check_text, cited, points_asked, short_enough, statements, sums_right, words_asked
from graphs.evidence import keys_in, without
from graphs.house_rules import check_reply

KEYS = {"3f9a1c77", "abcdef01"}


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("Barriers hold everybody until the last. [3f9a1c77]", 1),
        ("Barriers hold everybody until the last [3f9a1c77].", 1),
        ("**Barriers hold everybody until the last.** [3f9a1c77, abcdef01]", 1),
        ("Barriers hold everybody until the last. [3f9a1c77] Nobody gets through before that.", 0.5),
        ("- Barriers hold everybody until the last. [3f9a1c77]\n- Nobody gets through before that.", 0.5),
        ("## Barriers and what they hold back\n\nBarriers hold everybody until the last. [abcdef01]", 1),
        ("| who | holds them all back |\n|---|---|\n\nBarriers hold everybody until the last. [abcdef01]", 1),
        ("Barriers hold everybody until the last. [deadbeef]", 0),
        ("Nothing was found about barriers in the documents. Barriers hold us all up. [3f9a1c77]", 1),
    ],
)
def test_every_statement_carries_a_key_that_was_shown(text: str, share: float) -> None:
    found = cited(text, KEYS)
    assert found and found.score == share
    assert bool(found.defects) == (share < 1)


def test_a_text_without_statements_is_not_judged_by_its_citations() -> None:
    assert cited("Too short.", KEYS) is None


def test_an_invented_key_is_named() -> None:
    found = cited("It holds everybody until the last. [3f9a1c77, deadbeef]", KEYS)
    assert found and found.defects == ("No search returned [deadbeef]: take the citation out, or cite what was shown.",)


def test_length_counts_what_a_reader_reads() -> None:
    assert short_enough("one two [3f9a1c77] **three**", 3).defects == ()
    assert short_enough("one two three four", 2).score == 0.5


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("That is 3 * 149.99 + 24.50 = 474.47 in all.", 0),
        ("That is 3 × 2 + 1 = 8 in all.", 1),
        ("2 + 2 = 4, and 2 + 3 = 6.", 1),
        ("1 / 3 = 0.333", 0),
        ("1,000 * 3 = 3,000", 0),
        ("In 2026 it was so: x = 5.", 0),
        ("(((((((((( = 3", 0),
        ("9 ** 9999 * 2 = 1", 0),
    ],
)
def test_sums_are_worked_out(text: str, wrong: int) -> None:
    found = sums_right(text)
    assert len(found.defects if found else ()) == wrong


@pytest.mark.parametrize(
    ("point", "spoken_of"),
    [("detection", True), ("how it is detected", True), ("waits", True), ("costs", False), ("the", True)],
)
def test_a_point_may_be_spoken_of_in_another_form(point: str, spoken_of: bool) -> None:
    found = addressed("One detects waiting early.", [point])
    assert found and bool(found.defects) != spoken_of


@pytest.mark.parametrize(
    ("request_", "words", "points"),
    [
        ("Write a note on routing, critics and debate in at most 90 words", 90, ["routing", "critics", "debate"]),
        ("Explain barriers in under 1,200 words: causes, signs, and remedies", 1200, ["causes", "signs", "remedies"]),
        ("Write a note on retries for a new engineer, up to 50 words", 50, ["retries"]),
        ("What is debate?", 300, []),
        ("", 300, []),
    ],
)  # fmt: skip
def test_a_request_says_how_long_and_what_about(request_: str, words: int, points: list[str]) -> None:
    assert words_asked(request_, 300) == words
    assert points_asked(request_) == points


def test_the_score_of_a_better_text_is_higher() -> None:
    worse = check_text("Barriers hold everybody until the last one comes.", KEYS, 5, ["barriers", "waits"])
    better = check_text("Barriers make everybody wait at length. [3f9a1c77]", KEYS, 8, ["barriers", "waits"])
    assert 0 < worse.score < better.score == 1
    assert check_text("  ", KEYS, 5, []).score == 0


def test_statements_keep_their_citations() -> None:
    text = "First thing that is said here. [3f9a1c77] [abcdef01] Second thing that is said here [abcdef01]."
    assert [keys_in(it) for it in statements(text)] == [["3f9a1c77", "abcdef01"], ["abcdef01"]]


def test_keys_are_taken_out_one_by_one() -> None:
    assert without("One. [3f9a1c77, deadbeef] Two. [deadbeef] [note]", {"deadbeef"}) == "One. [3f9a1c77] Two. [note]"


@pytest.mark.parametrize(
    ("reply", "objection"),
    [
        ("Waiting costs you the time of the slowest. [3f9a1c77]", ""),
        ("We guarantee that it will never be slow again. [3f9a1c77]", "promises something"),
        ("I'll refund you the whole of the last month. [3f9a1c77]", "promises something"),
        ("Please send us your password so that we can look. [3f9a1c77]", "asks for a secret"),
        ("We have written to ada@example.com about all of this. [3f9a1c77]", "personal data"),
        ("Your card 4111 1111 1111 1111 was charged once for it. [3f9a1c77]", "personal data"),
        ("Run 4111 1111 1111 1112 was charged once for all of it. [3f9a1c77]", ""),
        ("Waiting costs you the time of the slowest one.", "carries no citation"),
        ("word " * 230 + "[3f9a1c77]", "230 words of at most 220"),
        ("  ", "is empty"),
    ],
)
def test_a_reply_keeps_the_house_rules(reply: str, objection: str) -> None:
    found = check_reply(reply, KEYS)
    assert (found.score == 1) == (not objection)
    assert objection in " ".join(found.defects)
    assert bool(found.defects) == bool(objection)


@pytest.mark.parametrize(
    "nasty", ["[" * 50_000, "a" * 100_000, "1+" * 50_000, ". " * 50_000, "send " * 20_000, " " * 100_000]
)
def test_nothing_takes_long(nasty: str) -> None:
    check_reply(nasty, KEYS)
    check_text(nasty, KEYS, 10, [nasty[:200]])
    points_asked(nasty[:20_000])
