"""How much a remote party may send: a size for one message, and a leaky bucket for what nobody asked for. Pure."""

from collections.abc import Callable

MAX_MESSAGE_BYTES = 4_000_000
"""Of one message; a larger one ends the connection while it is still coming in."""
MAX_GARBAGE_LINES = 20
"""Lines that are no message which a server may write: some greet on their standard output."""
UNASKED_AT_ONCE = 1_000
UNASKED_PER_S = 20.0
"""Notifications and requests of a server: so many at once, then so many a second."""


class Bucket:
    """Takes `size` at once and `rate_per_s` in the long run."""

    def __init__(self, size: float, rate_per_s: float, clock: Callable[[], float]) -> None:
        self._size, self._rate_per_s, self._clock = size, rate_per_s, clock
        self._left, self._at = size, clock()

    def take(self) -> bool:
        """One more; False when that is too many."""
        now = self._clock()
        self._left = min(self._size, self._left + (now - self._at) * self._rate_per_s)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Lines:
    """Cuts a stream of bytes into lines, and holds at most one unfinished line of `max_bytes`."""

    def __init__(self, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._max_bytes, self._rest = max_bytes, bytearray()

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that end in this piece. Raises TooLarge."""
        *ends, rest = piece.split(b"\n")
        lines = []
        for end in ends:
            self._add(end)
            lines.append(bytes(self._rest))
            self._rest.clear()
        self._add(rest)
        return lines

    def _add(self, piece: bytes) -> None:
        if len(self._rest) + len(piece) > self._max_bytes:
            raise TooLarge(f"it sent a message of over {self._max_bytes:,} bytes")
        self._rest += piece


class TooLarge(ValueError):
    """A message that is not taken."""
