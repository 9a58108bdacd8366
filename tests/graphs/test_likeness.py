"""How like texts are: copies, one position in other words, votes."""

from graphs.likeness import agreement, all_agree, likeness, position, voted

CAT = "**The cat sat on the mat.** [3f9a1c77] It was warm there."


def test_a_copy_is_a_copy_whatever_its_marks_and_citations() -> None:
    assert likeness(CAT, "The cat sat on the mat. It was warm there! [aaaaaaaa]") == 1.0


def test_a_common_topic_alone_makes_no_likeness() -> None:
    assert likeness("A team costs money and time.", "Money is what teams cost, and time.") == 0.0


def test_likeness_is_a_share() -> None:
    assert likeness("a b c d", "a b c x") == 1 / 3  # abc of abc, bcd, bcx


def test_short_and_empty_texts_have_one_too() -> None:
    assert likeness("yes", "Yes!") == 1.0
    assert likeness("yes", "no") == 0.0
    assert likeness("", "") == 1.0


def test_the_position_is_the_first_sentence() -> None:
    assert position(CAT) == "The cat sat on the mat."
    assert position("No heading\nThen more.") == "No heading"
    assert position("") == ""


def test_positions_agree_by_their_words() -> None:
    assert agreement("Use a judge now. Because.", "A judge: use! Another reason.") == 0.75
    assert all_agree(["Use one.", "Use one. [3f9a1c77]", "**Use one.** For other reasons."], 1.0)
    assert not all_agree(["Use one.", "Use one.", "Use many."], 0.8)


def test_nobody_agrees_alone() -> None:
    assert not all_agree(["Use one."], 0.1)
    assert not all_agree([], 0.1)


def test_most_votes_win_and_of_equals_the_one_nearest_to_all() -> None:
    assert voted({"a": "Use many.", "b": "Use one.", "c": "Use one. Indeed."}, 0.9) == "b"
    shared = "it costs too much to do so"
    assert voted({"a": "Red.", "b": f"Green. {shared}", "c": f"Blue. {shared} often"}, 0.9) in ("b", "c")
    assert voted({"a": "Only."}, 0.9) == "a"
