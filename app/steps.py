"""Which step of a graph led to which: nodes run in super-steps, and what begins was led to by the step before. Pure."""

from collections.abc import Callable


class Steps:
    """The super-steps of one run, read off from nodes that begin."""

    def __init__(self) -> None:
        self.taken: set[tuple[str, str]] = set()
        """Edges by which one node led to the next."""
        self.passed: set[str] = set()
        """Nodes after which another step has begun: what they decided is known."""
        self._step: set[str] = set()
        self._before: set[str] = set()

    def enter(self, node: str, at_work: Callable[[str], bool], *, again: bool) -> None:
        """`node` begins, `again` after it had ended. Once all others have ended, that is a step of its own."""
        if (again or node not in self._step) and not any(map(at_work, self._step)):
            self._before, self._step = self._step, set()
            self.passed |= self._before
        self._step.add(node)
        self.taken |= {(source, node) for source in self._before}
