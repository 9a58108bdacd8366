"""Which remote agents this installation may ask, and how they look to people. They are named in one setting:

```json
[{"name": "bees", "url": "https://bees.example/api/a2a/research", "about": "knows everything about bees",
  "token_env": "BEES_KEY", "deadline_s": 120, "artefact": "answer", "budget": {"steps": 40}}]
```
"""

import asyncio
import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from agents.errors import ToolFailed
from agents.remote.a2a_client import A2ALine
from agents.remote.peers import Peer, peer_agent
from app.borders import Rejected, checked_budget
from app.settings import Settings, variable

SETTING = "SEXTANT_A2A_PEERS"
LOOK_S = 5.0
"""For a card, when somebody wants to see how a peer is."""
FRESH_S = 10.0
MAX_SHOWN_CHARS = 500
MAX_SKILLS = 20
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


class PeersInvalid(RuntimeError):
    """The setting cannot be used; the message says which field of it."""


class PeerEntry(BaseModel):
    """One peer as it is written."""

    model_config = ConfigDict(extra="forbid")

    name: str
    url: str
    about: str = Field(default="", max_length=200)
    token_env: str = ""
    deadline_s: float = Field(default=120, gt=0, le=86_400)
    artefact: str = Field(default="", max_length=200)
    budget: dict[str, Any] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("a name is a-z, 0-9 and _, at most 32 characters, and begins with a letter")
        return value

    @field_validator("url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise ValueError("give http(s)://HOST/PATH, without credentials and query")
        return value.rstrip("/")

    @field_validator("budget")
    @classmethod
    def _is_a_budget(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            return checked_budget(value)
        except Rejected as rejected:
            raise ValueError(rejected.message) from rejected


def peers_of(settings: Settings, roles: Collection[str]) -> dict[str, Peer]:
    """Name -> peer. Raises PeersInvalid with the field that is wrong; `roles` are names that are taken."""
    if not settings.a2a_peers.strip():
        return {}
    try:
        entries = TypeAdapter(list[PeerEntry]).validate_json(settings.a2a_peers)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "JSON"
        raise PeersInvalid(f"{SETTING}: {place}: {first['msg'].removeprefix('Value error, ')}") from error
    found: dict[str, Peer] = {}
    for entry in entries:
        if entry.name in (*roles, *found):
            raise PeersInvalid(f"{SETTING}: name: {entry.name!r} is taken; choose another")
        found[entry.name] = _peer(entry)
    return found


def _peer(entry: PeerEntry) -> Peer:
    token = variable(entry.token_env) if entry.token_env else ""
    if token is None:
        raise PeersInvalid(f"{SETTING}: token_env: {entry.token_env} is not set in the environment")
    about = entry.about or f"the remote agent {entry.name}"
    return Peer(entry.name, entry.url, about, token, entry.deadline_s, entry.artefact, entry.budget)


def peer_agents(peers: Mapping[str, Peer]) -> dict[str, Any]:
    """Name -> peer as an agent of the team."""
    return {name: peer_agent(peer, A2ALine(peer)) for name, peer in peers.items()}


@dataclass(slots=True)
class Look:
    """What was seen of a peer."""

    at: float
    seen: Mapping[str, Any] = field(default_factory=dict)


class Peers:
    """How the peers are, looked at when somebody wants to know, and not more often than every `FRESH_S`."""

    def __init__(self, peers: Mapping[str, Peer]) -> None:
        self._peers = peers
        self._looks: dict[str, Look] = {}
        self._one = asyncio.Lock()

    async def shown(self) -> list[dict[str, Any]]:
        """All peers as the API tells of them. What a card says is its own words: text, for people."""
        async with self._one:
            return list(await asyncio.gather(*(self._shown(peer) for peer in self._peers.values())))

    async def _shown(self, peer: Peer) -> dict[str, Any]:
        look = self._looks.get(peer.name)
        if look is None or time.monotonic() - look.at > FRESH_S:
            look = self._looks[peer.name] = Look(time.monotonic(), await _seen(peer))
        return {
            "name": peer.name, "url": peer.url, "about": peer.about, "deadline_s": peer.deadline_s,
            "artefact": peer.artefact, "budget": dict(peer.budget), "has_token": bool(peer.token), **look.seen,
        }  # fmt: skip


async def _seen(peer: Peer) -> dict[str, Any]:
    try:
        async with asyncio.timeout(LOOK_S):
            card = await A2ALine(peer, max_bytes=500_000).card()
    except TimeoutError:
        return {"state": "away", "last_error": f"no card within {LOOK_S:g} s", "card": None}
    except ToolFailed as failed:
        return {"state": "away", "last_error": failed.problem, "card": None}
    skills = [{"name": _short(it.name), "description": _short(it.description)} for it in card.skills[:MAX_SKILLS]]
    shown = {
        "name": _short(card.name), "description": _short(card.description), "version": _short(card.version),
        "skills": skills, "streaming": card.capabilities.streaming,
    }  # fmt: skip
    return {"state": "up", "last_error": "", "card": shown}


def _short(text: str) -> str:
    return " ".join(text.split())[:MAX_SHOWN_CHARS]
