"""Who waits for whom in a plan, and with how many results a step goes on.

A step is a sub-task or the end of the plan, which waits for what nothing else waits for.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from langgraph.errors import GraphInterrupt

from agents.planner import Plan

if TYPE_CHECKING:
    from graphs.scheduling import Finding

END = ""
"""Stands for the end of the plan."""


class Waits:
    """What was found so far, and which steps still wait for what."""

    def __init__(self, plan: Plan, share: float, known: Mapping[str, "Finding"]) -> None:
        """`share`: of the results that a step waits for, how many are enough where the plan does not say."""
        self._plan, self._share = plan, share
        self._found: dict[str, asyncio.Future[Finding | None]] = {sub.id: asyncio.Future() for sub in plan.tasks}
        for id_ in self._found.keys() & known.keys():
            self._found[id_].set_result(known[id_])
        needs = {sub.id: tuple(dict.fromkeys(sub.depends_on)) for sub in plan.tasks}
        self._wanted = Counter(need for needed in needs.values() for need in needed)
        last = tuple(id_ for id_ in needs if not self._wanted[id_])
        self._wanted.update(last)
        self._needs = {**needs, END: last}
        self._still = set(self._needs)

    def settle(self, id_: str, finding: "Finding | None") -> None:
        """A sub-task has come to something; to nothing, as it waits for a person."""
        if not self._found[id_].done():
            self._found[id_].set_result(finding)

    def wanted(self, id_: str) -> bool:
        """True while a step waits for it."""
        return self._wanted[id_] > 0

    def is_early(self, step: str) -> bool:
        """True when the step goes on before all that it waits for is there."""
        return self._quorum(needs := len(self._needs[step])) < needs

    def _quorum(self, of: int) -> int:
        return min(of, self._plan.quorum or math.ceil(self._share * of))

    async def enough(self, step: str) -> list["Finding"]:
        """The findings that a step waits for, in its order, as soon as enough of them have a result."""
        waits = [self._found[id_] for id_ in self._needs[step]]
        quorum = self._quorum(len(waits))
        if quorum == len(waits):
            found = [await wait for wait in waits]
        else:
            found = await _some(waits, quorum)
        ready = [finding for finding in found if finding is not None]
        if len(ready) < len(found) and sum(bool(finding.text) for finding in ready) < quorum:
            raise GraphInterrupt(())  # it waits for a sub-task that waits for a person
        return ready

    def go_on(self, step: str) -> list[str]:
        """The step waits no longer. Those that nobody waits for any more and that have come to nothing yet."""
        if step not in self._still:
            return []
        self._still.discard(step)
        self._wanted.subtract(self._needs[step])
        return [id_ for id_ in self._needs[step] if not self.wanted(id_) and not self._found[id_].done()]


async def _some(waits: Sequence[asyncio.Future["Finding | None"]], quorum: int) -> list["Finding | None"]:
    """What is there when so many have a result, or all have ended."""
    while sum(_has_result(wait) for wait in waits) < quorum and not all(wait.done() for wait in waits):
        await asyncio.wait([wait for wait in waits if not wait.done()], return_when=asyncio.FIRST_COMPLETED)
    return [wait.result() for wait in waits if wait.done()]


def _has_result(wait: asyncio.Future["Finding | None"]) -> bool:
    return wait.done() and (finding := wait.result()) is not None and bool(finding.text)
