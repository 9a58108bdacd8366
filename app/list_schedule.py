"""When each part of a plan would run with so many places: the most urgent of the ready ones first. Pure.

The page draws the same schedule (`ui/runview/schedule.js`); one table of cases holds both to it. The engine may find a
slightly better order where places are few, so this is the most that a plan takes, and what a what-if is measured by.
"""

import heapq
from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter

Needs = Mapping[str, Sequence[str]]


def urgency(seconds: Mapping[str, float], needs: Needs) -> dict[str, float]:
    """Longest chain of work from the beginning of each part to the end of the plan. Raises CycleError."""
    found = dict(seconds)
    for id_ in reversed(list(TopologicalSorter(needs).static_order())):  # whatever needs a part comes before it here
        for need in needs[id_]:
            found[need] = max(found[need], seconds[need] + found[id_])
    return found


def spans(seconds: Mapping[str, float], needs: Needs, width: int) -> dict[str, tuple[float, float]]:
    """Start and end of each part; parts of equal urgency in the order of `seconds`."""
    urgent = urgency(seconds, needs)
    waits = {id_: len(set(needs[id_])) for id_ in seconds}
    after: dict[str, list[str]] = {id_: [] for id_ in seconds}
    for id_, before in needs.items():
        for need in set(before):
            after[need].append(id_)
    place = {id_: at for at, id_ in enumerate(seconds)}
    ready = [(-urgent[id_], place[id_], id_) for id_, count in waits.items() if not count]
    heapq.heapify(ready)
    at_work: list[tuple[float, str]] = []
    found: dict[str, tuple[float, float]] = {}
    now = 0.0
    while ready or at_work:
        while ready and len(at_work) < max(1, width):
            id_ = heapq.heappop(ready)[2]
            found[id_] = (now, now + seconds[id_])
            heapq.heappush(at_work, (now + seconds[id_], id_))
        now = at_work[0][0]
        while at_work and at_work[0][0] <= now:
            for later in after[heapq.heappop(at_work)[1]]:
                waits[later] -= 1
                if not waits[later]:
                    heapq.heappush(ready, (-urgent[later], place[later], later))
    return found


def makespan(seconds: Mapping[str, float], needs: Needs, width: int) -> float:
    """Seconds that the plan takes."""
    return max((end for _, end in spans(seconds, needs, width).values()), default=0.0)
