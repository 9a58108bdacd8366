"""What a tool promises: how long it may take and whether a repeat is safe.

A tool without a contract of its own gets `DEFAULT`. A contract travels in the tool's `metadata`, so any LangChain tool,
also one that came over MCP, can carry one.
"""

from dataclasses import dataclass
from typing import Literal

from langchain_core.tools import BaseTool

Effect = Literal["read", "idempotent", "keyed", "at_most_once"]

_KEY = "contract"


@dataclass(frozen=True, slots=True)
class Contract:
    """Promise of one tool."""

    timeout_s: float = 20
    """Deadline of one attempt; the attempt is cancelled and the agent told."""

    retries: int = 0
    """Further attempts after a transient fault. Only for `read` and `idempotent` tools."""

    effect: Effect = "at_most_once"
    """What a repeat does. The default is the careful one: whoever knows better says so."""

    approval: bool = False
    """A person must say yes before each call, and may change its arguments."""

    def __post_init__(self) -> None:
        if self.retries and self.effect not in ("read", "idempotent"):
            raise ValueError(f"a tool with effect={self.effect!r} must not be retried blindly; set retries=0")


DEFAULT = Contract()


def with_contract(tool: BaseTool, contract: Contract) -> BaseTool:
    """Attach `contract` to `tool` and return it."""
    tool.metadata = {**(tool.metadata or {}), _KEY: contract}
    return tool


def contract_of(tool: BaseTool | None) -> Contract:
    """The tool's contract, or the careful default."""
    return (tool.metadata or {}).get(_KEY, DEFAULT) if tool else DEFAULT
