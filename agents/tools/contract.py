"""What a tool promises: how long it may take, how often it may be called, whether a repeat is safe, what to do instead.

A tool without a contract of its own gets `DEFAULT`. A contract travels in the tool's `metadata`, so any LangChain tool,
also one that came over MCP, can carry one.
"""

import math
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

    rate_per_s: float | None = None
    """Calls a second, by all agents of a process; more wait for their turn, inside the deadline. None: any number."""

    fallback: str = "Go on without it, or try it differently once."
    """What the agent is told to do when the tool has failed for good: a sentence."""

    trusted: bool = False
    """Its result holds nothing but what follows from its arguments: a sum, the time. Anything else was written by
    somebody, and what an agent does after reading it may be what that somebody wanted (`agents/guard.py`)."""

    origin: str = ""
    """Who described this tool to the model, where that is somebody else: its description may instruct as well."""

    internal: bool = False
    """Its effect stays inside the run, on what its own agents share: no person needs to be asked about it."""

    reaches_out: bool = False
    """A read whose arguments are told to somebody outside, who may learn from them what was read before."""

    own_words: tuple[str, ...] = ()
    """Arguments that a person may have dictated: in their own words they need no further yes."""

    service: str = ""
    """What stands behind it: tools of one service share its breaker, its retry budget and its places. "": itself."""

    many_hosts: bool = False
    """Each call may be of another service: that one fails says nothing of the next, so no breaker opens over it."""

    max_parallel: int = 32
    """Calls of the service at once, by all agents of a process; more wait for a place, inside the deadline."""

    max_result_chars: int = 24_000
    """Longest observation; what is longer is kept whole as an artefact, and its beginning shown."""

    stale_for_s: float = 0
    """A read that fails is answered by its last result, marked with its age, where that is not older. 0: never."""

    sentence: str = ""
    """What a call does, for the person who is asked: `Saves the note “{title}”.` Arguments stand in braces."""

    def __post_init__(self) -> None:
        if self.retries and self.effect not in ("read", "idempotent"):
            raise ValueError(f"a tool with effect={self.effect!r} must not be retried blindly; set retries=0")
        if self.rate_per_s is not None and not 0 < self.rate_per_s < math.inf:
            raise ValueError(f"rate_per_s is {self.rate_per_s:g}; it must be above 0, or None for any number of calls")
        if self.max_parallel < 1 or self.max_result_chars < 1:
            raise ValueError("max_parallel and max_result_chars must be at least 1")
        if self.stale_for_s and self.effect != "read":
            raise ValueError(f"stale_for_s is for reads; a tool with effect={self.effect!r} has no old answer to give")
        if not self.fallback.strip():
            raise ValueError("fallback is empty; it must tell the agent what to do when the tool has failed")


DEFAULT = Contract()


def with_contract(tool: BaseTool, contract: Contract) -> BaseTool:
    """Attach `contract` to `tool` and return it."""
    tool.metadata = {**(tool.metadata or {}), _KEY: contract}
    return tool


def contract_of(tool: BaseTool | None) -> Contract:
    """The tool's contract, or the careful default."""
    return (tool.metadata or {}).get(_KEY, DEFAULT) if tool else DEFAULT
