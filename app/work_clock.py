"""How long somebody worked on a run, apart from the queue and from waiting for a person. Pure.

Seconds are of the run: since it started. Work comes in stints, each by one worker.
"""


class WorkClock:
    """The stints of one run."""

    def __init__(self) -> None:
        self.since: float | None = None
        """Second at which the present stint began; None while nobody works on the run."""
        self.waited_s = 0.0
        """Seconds that questions waited for a person, up to the last answer."""
        self.rested_s = 0.0
        """Seconds in which nobody worked, the waiting for a person included, up to the present stint."""
        self._worked_s = 0.0
        self._asked_at: float | None = None

    def begin(self, at: float) -> None:
        """A worker goes on."""
        self.rested_s, self.since = at - self._worked_s, at

    def pause(self, at: float) -> None:
        """From here on nobody works on it."""
        if self.since is not None:
            self._worked_s, self.since = self._worked_s + at - self.since, None

    def ask(self, at: float) -> None:
        """From here on it waits for a person."""
        self._asked_at = at

    def answered(self, at: float) -> None:
        """Nobody is waited for any more."""
        if self._asked_at is not None:
            self.waited_s, self._asked_at = self.waited_s + at - self._asked_at, None

    def worked_s(self, now: float) -> float:
        """Seconds at work, the present stint included."""
        return self._worked_s + (max(0.0, now - self.since) if self.since is not None else 0.0)
