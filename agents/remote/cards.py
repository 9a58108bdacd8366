"""Cards of remote agents, pinned by hash: an agent that says otherwise of itself is held until a person has read that.

Its words reach no prompt, and its address was named by the operator, so the first card that the address shows is taken.
What counts of a later one is what the agent says that it is, can do and how it is spoken to. A version of its own, a
picture or a signature changes nothing.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from agents.errors import ToolFailed
from agents.remote.peers import Peer

MAX_CARD_BYTES = 200_000
HASHED = (
    "name", "description", "provider", "supportedInterfaces", "capabilities", "securitySchemes",
    "securityRequirements", "skills", "defaultInputModes", "defaultOutputModes",
)  # fmt: skip
HELD = "its card is not the one that was approved"


@dataclass(frozen=True, slots=True)
class CardPin:
    """The card that an agent may be spoken to with."""

    sha256: str
    card: Mapping[str, Any]
    approved_by: str
    approved_at: datetime
    withdrawn: bool = False
    """A person took the yes back."""

    def allows(self, sha256: str) -> bool:
        """Whether a card of this hash is it."""
        return not self.withdrawn and self.sha256 == sha256


class Cards(Protocol):
    """Where they are kept."""

    async def first(self, peer: Peer, card: Mapping[str, Any], sha256: str) -> CardPin:
        """The agent's pin; this card becomes it where there never was one."""
        ...

    async def approve(self, peer: Peer, card: Mapping[str, Any], sha256: str, by: str) -> None:
        """This card, in the place of what was pinned."""
        ...

    async def withdraw(self, peer: Peer) -> bool:
        """Hold the agent whatever it shows; False when nothing was pinned of it."""
        ...


def pinned_part(peer: Peer, card: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """What counts of a card, and its hash. Raises ToolFailed for one that nobody could read."""
    part = {name: card[name] for name in HASHED if name in card}
    text = json.dumps(part, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    if len(text) > MAX_CARD_BYTES:
        raise ToolFailed(peer.name, f"its card has {len(text):,} bytes of at most {MAX_CARD_BYTES:,}",
                         "ask whoever runs it")  # fmt: skip
    if "\\u0000" in text:
        raise ToolFailed(peer.name, "its card holds NUL", "ask whoever runs it")
    return part, hashlib.sha256(text.encode()).hexdigest()


async def refuse_changed(cards: Cards, peer: Peer, card: Mapping[str, Any]) -> None:
    """Raise ToolFailed unless this is the card that the agent may be spoken to with."""
    part, sha256 = pinned_part(peer, card)
    if not (await cards.first(peer, part, sha256)).allows(sha256):
        raise ToolFailed(peer.name, HELD, "ask somebody else; a person can approve it on the Settings page")
