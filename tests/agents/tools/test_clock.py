"""Tell the time."""

from datetime import UTC, datetime, timedelta

from agents.tools.clock import now


def test_now_is_now_in_utc() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    told = datetime.fromisoformat(now.invoke({}))

    assert before <= told <= datetime.now(UTC)
    assert told.utcoffset() == timedelta(0)
