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

from agents.errors import RunLost, ToolFailed
from agents.remote.a2a_client import A2ALine
from agents.remote.cards import HELD, Cards, pinned_part
from agents.remote.peers import Peer, peer_agent
from app.borders import NotFound, Rejected, checked_budget
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


def peer_agents(peers: Mapping[str, Peer], cards: Cards) -> dict[str, Any]:
    """Name -> peer as an agent of the team."""
    return {name: peer_agent(peer, A2ALine(peer, cards=cards)) for name, peer in peers.items()}


@dataclass(slots=True)
class Look:
    """What was seen of a peer."""

    at: float
    seen: Mapping[str, Any] = field(default_factory=dict)


class Peers:
    """How the peers are, looked at when somebody wants to know, and not more often than every `FRESH_S`."""

    def __init__(self, peers: Mapping[str, Peer], cards: Cards) -> None:
        self._peers, self._cards = peers, cards
        self._looks: dict[str, Look] = {}
        self._one = asyncio.Lock()

    async def shown(self) -> list[dict[str, Any]]:
        """All peers as the API tells of them. What a card says is its own words: text, for people."""
        async with self._one:
            return list(await asyncio.gather(*(self._shown(peer) for peer in self._peers.values())))

    async def approve(self, name: str, sha256: str, by: str) -> str:
        """Take the card of this hash, if it is what the peer shows now; else the hash that it has instead.

        Raises NotFound, and ToolFailed when the peer cannot be asked.
        """
        peer = self._known(name)
        part, now = pinned_part(peer, await _card(peer))
        if now == sha256:
            await self._cards.approve(peer, part, sha256, by)
        self._looks.pop(name, None)
        return now

    async def withdraw(self, name: str) -> None:
        """Ask this peer nothing more, until its card is approved. Raises NotFound."""
        if not await self._cards.withdraw(self._known(name)):
            raise NotFound(f"nothing of {name} was approved")
        self._looks.pop(name, None)

    def _known(self, name: str) -> Peer:
        if peer := self._peers.get(name):
            return peer
        raise NotFound(f"there is no remote agent {name[:100]}")

    async def _shown(self, peer: Peer) -> dict[str, Any]:
        look = self._looks.get(peer.name)
        if look is None or time.monotonic() - look.at > FRESH_S:
            look = self._looks[peer.name] = Look(time.monotonic(), await self._seen(peer))
        return {
            "name": peer.name, "url": peer.url, "about": peer.about, "deadline_s": peer.deadline_s,
            "artefact": peer.artefact, "budget": dict(peer.budget), "has_token": bool(peer.token), **look.seen,
        }  # fmt: skip

    async def _seen(self, peer: Peer) -> dict[str, Any]:
        try:
            part, sha256 = pinned_part(peer, card := await _card(peer))
            pin = await self._cards.first(peer, part, sha256)
        except (ToolFailed, RunLost) as failed:
            return {"state": "away", "last_error": getattr(failed, "problem", str(failed)), "card": None,
                    "approved": None}  # fmt: skip
        now = {**_told(card), "sha256": sha256}
        approved = {**_told(pin.card), "sha256": pin.sha256, "by": pin.approved_by, "at": pin.approved_at.isoformat()}
        if pin.allows(sha256):
            return {"state": "up", "last_error": "", "card": now, "approved": approved}
        # all of it, since a person is to read what they approve
        return {"state": "held", "last_error": HELD, "card": {**now, "whole": part},
                "approved": {**approved, "whole": pin.card, "withdrawn": pin.withdrawn}}  # fmt: skip


async def _card(peer: Peer) -> dict[str, Any]:
    """What it says of itself now. Raises ToolFailed."""
    try:
        async with asyncio.timeout(LOOK_S):
            return await A2ALine(peer, max_bytes=500_000).card()
    except TimeoutError as error:
        raise ToolFailed(peer.name, f"no card within {LOOK_S:g} s", "see whether it runs") from error


def _told(card: Mapping[str, Any]) -> dict[str, Any]:
    skills = [{name: _short(it.get(name, "")) for name in ("name", "description")} for it in card.get("skills", ())]
    return {
        "name": _short(card.get("name", "")), "description": _short(card.get("description", "")),
        "version": _short(card.get("version", "")), "skills": skills[:MAX_SKILLS],
        "streaming": bool(card.get("capabilities", {}).get("streaming")),
    }  # fmt: skip


def _short(text: str) -> str:
    return " ".join(text.split())[:MAX_SHOWN_CHARS]
