"""Tell the date and the time."""

from datetime import UTC, datetime

from langchain_core.tools import tool

from agents.tools.contract import Contract, with_contract


@tool
def now() -> str:
    """Current date and time, ISO 8601, UTC. Use it when an answer depends on today's date."""
    return datetime.now(UTC).isoformat(timespec="seconds")


with_contract(now, Contract(timeout_s=1, effect="read", trusted=True))
