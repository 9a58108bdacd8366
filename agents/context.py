"""What a run may touch: handed to every node and tool through LangGraph's `Runtime[Context]`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from langchain_core.language_models import BaseChatModel

from agents.allowance import Allowance
from agents.artefacts import Artefacts
from agents.blackboard import Blackboard
from agents.counting import Counter
from agents.effects import Ledger
from agents.memory import Memory
from agents.policy import Calling
from agents.remote.remotes import Remotes
from agents.sandbox.box import Sandbox
from retrieval.documents import Hit


class Search(Protocol):
    """The corpus as an agent sees it."""

    async def search(self, query: str, k: int = 8) -> Sequence[Hit]:
        """Best hits first; empty when nothing matches."""
        ...


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a page."""

    text: str
    heading: str = ""
    page: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the web, as text."""

    url: str
    """Where it came from in the end, after redirects."""
    title: str
    passages: tuple[Passage, ...]
    age_s: float = 0.0
    """Seconds since it was fetched."""
    stale: bool = False
    """True when it could not be reached now."""


class Web(Protocol):
    """The web as an agent sees it."""

    async def read(self, url: str) -> Page:
        """The page. Raises Refused for an address that may not be fetched, ToolFailed for what cannot be read."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one run."""

    max_steps: int = 12
    """Model calls of one agent; the last one may not call tools, so an agent always ends with an answer."""

    max_parallel: int = 8
    """Sub-agents at work at once."""

    max_subtasks: int = 64
    """Widest plan accepted."""

    subtask_timeout_s: float = 120
    """Deadline of one sub-agent."""

    quorum: float = 1.0
    """Share of what a step waits for with which it goes on, where the plan says nothing; 1 is all."""

    subtask_usd: float | None = None
    """Money that one agent may use for one question, where the model has a price; at 80 % it is made to answer."""

    subtask_tokens: int | None = None
    """Tokens that one agent may use for one question; at 80 % it is made to answer. None: no limit of its own."""

    context_tokens: int | None = None
    """Tokens that a request and its answer may have together. None: what the model's server says."""


@dataclass(frozen=True, slots=True)
class Context:
    """Models by role, agents by name, the corpus, the limits."""

    models: Mapping[str, BaseChatModel]
    agents: Mapping[str, Any]
    """Agent name -> compiled agent. The type is LangGraph's, whose generics say nothing here."""
    corpus: Search
    limits: Limits = field(default_factory=Limits)
    allowance: Allowance = field(default_factory=Allowance)
    """What this run may still spend."""
    owner: str = "local"
    """Whose run it is: what is kept for one person is kept under this name."""
    tools: frozenset[str] | None = None
    """Names of the tools that may be called; None for all of a role's. A person's choice for one sub-task."""
    review_plan: bool = False
    """A person wants to see, and perhaps change, a plan before it runs."""
    ledger: Ledger | None = None
    """Where effects are written down; None where no run is behind the call, as in a test of one graph."""
    memory: Memory | None = None
    """What is kept for the owner beyond this run; None where nothing is, as in a test of one graph."""
    web: Web | None = None
    """The open web; None where it is switched off."""
    artefacts: Artefacts | None = None
    """Where the run keeps figures and files; None where no run is behind the call, as in a test of one graph."""
    sandbox: Sandbox | None = None
    """Where code that a model wrote runs; None where none may."""
    board: Blackboard | None = None
    """What the agents of this conversation share."""
    asked: str | None = None
    """What the person asked in this run, in their own words; None where there is no run, and nobody to ask."""
    conversation: str = ""
    """Id of the conversation that the run belongs to: its paged-out turns are kept under it."""
    counters: Mapping[str, Counter] = field(default_factory=dict)
    """Model role -> its way of counting tokens; a role without one is estimated."""
    remotes: Remotes | None = None
    """Servers whose approved tools some roles may call; None where there are none."""
    calling: Calling = field(default_factory=Calling)
    """What all agents of the process share when they call services: for code that calls one without an agent."""
    peers: Mapping[str, str] = field(default_factory=dict)
    """Roles that are remote agents -> their one line for planners. They are among `agents` too."""
    paged: dict[str, Any] = field(default_factory=dict)
    """What this run has paged out and recalled, so that each is done once."""
