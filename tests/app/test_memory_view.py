"""What a run did with memory, as its view shows it."""

from runlogs import CHAT, EPOCH, begun, ev, log, node

from app.live import LiveView
from app.memory_view import MOST
from app.projection import RunView, project

WRITTEN = {"place": "fact", "key": "m1", "version": 2, "author": "assistant", "text": "The budget is 500 euros."}


def test_every_write_shows_its_author_and_its_version() -> None:
    events = log(
        begun(), node(0, None, "answer:1"), ev(1, "memory.written", "answer:1", "run", **WRITTEN),
        ev(2, "memory.written", "answer:1", "run", **WRITTEN),  # told again by a resumed run
    )  # fmt: skip

    view = project(CHAT, events)

    assert view.memory.entries == [{"did": "written", "at": 1.0, "lane": "answer", **WRITTEN}]
    assert view.lanes["answer"].activity == "remembered, version 2: The budget is 500 euros."


def test_what_was_used_and_what_left_is_shown_too() -> None:
    item = {"key": "m1", "version": 2, "author": "assistant", "place": "fact"}
    events = log(
        begun(), ev(0, "memory.paged", "run", None, messages=14, pages=20), node(0, None, "answer:1"),
        ev(1, "memory.recalled", "answer:1", "run", items=[item]),
    )  # fmt: skip

    assert project(CHAT, events).memory.entries == [
        {"did": "paged", "at": 0.0, "lane": "run", "messages": 14, "pages": 20},
        {"did": "recalled", "at": 1.0, "lane": "answer", **item},
    ]


def test_the_newest_are_kept() -> None:
    view = RunView(CHAT)
    for event in log(begun(), node(0, None, "answer:1")):
        view.apply(event)
    for n in range(MOST + 5):
        view.apply(ev(n, "memory.written", "answer:1", "run", **{**WRITTEN, "version": n}))

    assert [it["version"] for it in view.memory.entries] == list(range(5, MOST + 5))


def test_the_page_is_told() -> None:
    live = LiveView({"run_id": "r", "thread_id": "t", "graph": "chat", "question": "Why?"}, CHAT)
    live.apply(log(begun(), node(0, None, "answer:1"), ev(1, "memory.written", "answer:1", "run", **WRITTEN)))

    assert [it["author"] for it in live.whole(EPOCH + 2)["memory"]] == ["assistant"]
