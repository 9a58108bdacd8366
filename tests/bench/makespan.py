"""How well plans are scheduled: random DAGs against the best list schedule, S3's fan-out, stragglers, known examples.

All but the fan-out run the product's scheduler (`graphs/scheduling.py`) on a loop whose time jumps, with sub-tasks that
only wait: the same decisions as on a real loop, in no time and always the same. The best list schedule is looked for by
an independent simulation in many orders; waves are what a graph of super-steps would take. The fan-out is a graph in
real time: eight (or 64) researchers of 0.30 s and an aggregator of 0.30 s, 0.60 s at best; once scheduled by us, and
once without us, as the same number of LangGraph's own tasks, gathered. What is between the two is ours.

    python tests/bench/makespan.py [--plans 1000] [--repeats 9]

Prints tables, and as the last line the same as JSON.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "support")]
os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"

from langgraph.func import task  # noqa: E402
from langgraph.graph import END, START, StateGraph  # noqa: E402
from virtual import Simulated, in_no_time, simulate  # noqa: E402

from agents.allowance import Allowance  # noqa: E402
from agents.context import Limits  # noqa: E402
from agents.planner import Plan, SubTask  # noqa: E402
from graphs.plans import COORDINATION_S, PER_SUB_TASK_S  # noqa: E402
from graphs.scheduling import Finding, Remedies, run_plan  # noqa: E402

GOAL = 1.02
RANDOM_ORDERS = 200
CALL_S = 0.3
FLOOR_S = 2 * CALL_S
FAR_S = 1e9

Seconds = Mapping[str, float]


def plan_of(seconds: Seconds, needs: Mapping[str, Sequence[str]] | None = None, **more: Any) -> Plan:
    """A plan of these sub-tasks, with these estimates."""
    tasks = [
        SubTask(id=id_, title=id_, question="?", role="any", depends_on=list((needs or {}).get(id_, ())), estimate_s=s)
        for id_, s in seconds.items()
    ]
    return Plan(tasks=tasks, note="", **more)


# -- random plans ------------------------------------------------------------------------------------------------------


def random_plan(dice: random.Random) -> tuple[dict[str, float], dict[str, list[str]], int]:
    """Seconds, needs and width: 5 to 40 sub-tasks of 1 to 60 s, most of them short."""
    count, dense = dice.randint(5, 40), dice.uniform(0.02, 0.3)
    seconds = {str(n): round(min(60.0, max(1.0, dice.lognormvariate(2, 0.8))), 3) for n in range(count)}
    needs = {str(n): [str(m) for m in range(n) if dice.random() < dense] for n in range(count)}
    return seconds, needs, dice.choice([2, 3, 4, 8, 16])


def listed(seconds: Seconds, needs: Mapping[str, Sequence[str]], order: Seconds, width: int) -> float:
    """Makespan of one list schedule: whenever a place is free, the ready one that is first by `order` takes it."""
    left, ends, done, now = set(seconds), dict[str, float](), set[str](), 0.0
    while left or ends:
        ready = sorted((id_ for id_ in left if done.issuperset(needs.get(id_, ()))), key=order.__getitem__)
        for id_ in ready[: width - len(ends)]:
            left.discard(id_)
            ends[id_] = now + seconds[id_]
        now = min(ends.values())
        ended = [id_ for id_, end in ends.items() if end <= now]
        done.update(ended)
        for id_ in ended:
            del ends[id_]
    return now


def best_listed(seconds: Seconds, needs: Mapping[str, Sequence[str]], width: int, dice: random.Random) -> float:
    """Best of many list schedules: the longest chain first, the longest first, and orders at random."""
    chain: dict[str, float] = {}
    for id_ in reversed(list(seconds)):
        later = [chain[other] for other in seconds if id_ in needs.get(other, ())]
        chain[id_] = seconds[id_] + max(later, default=0.0)
    floor = max(max(chain.values()), sum(seconds.values()) / width)
    orders: list[Seconds] = [{id_: -chain[id_] for id_ in seconds}, {id_: -seconds[id_] for id_ in seconds}]
    best = FAR_S
    for nth in range(len(orders) + RANDOM_ORDERS):
        order = orders[nth] if nth < len(orders) else {id_: dice.random() - chain[id_] / 60 for id_ in seconds}
        best = min(best, listed(seconds, needs, order, width))
        if best <= floor * (1 + 1e-9):
            break
    return best


def waves(seconds: Seconds, needs: Mapping[str, Sequence[str]], width: int) -> float:
    """Makespan with a barrier behind each wave of what is ready."""
    done, total, none = set[str](), 0.0, dict.fromkeys(seconds, 0.0)
    while len(done) < len(seconds):
        wave = {id_: s for id_, s in seconds.items() if id_ not in done and done.issuperset(needs.get(id_, ()))}
        total += listed(wave, {}, none, width)
        done.update(wave)
    return total


def plans(count: int) -> dict[str, dict[str, float]]:
    """Row -> figures of the makespan over the best list schedule."""
    dice = random.Random(32)
    rows: dict[str, list[float]] = {"exact estimates": [], "estimates off by half": [], "no estimates": [], "waves": []}
    for _ in range(count):
        seconds, needs, width = random_plan(dice)
        limits = Limits(max_parallel=width, subtask_timeout_s=FAR_S)
        best = best_listed(seconds, needs, width, dice)
        guesses = {
            "exact estimates": seconds,
            "estimates off by half": {id_: s * dice.uniform(0.5, 1.5) for id_, s in seconds.items()},
            "no estimates": dict.fromkeys(seconds, 0.0),
        }
        for row, guess in guesses.items():
            ran = in_no_time(simulate(plan_of(guess, needs), lambda sub, _, took=seconds: took[sub.id], limits))
            rows[row].append(ran.seconds / best)
        rows["waves"].append(waves(seconds, needs, width) / best)
    return {row: figures(ratios) for row, ratios in rows.items()}


def figures(ratios: Sequence[float]) -> dict[str, float]:
    """Mean, 95th and 99th of a hundred, worst, and the share within the goal."""
    ordered = sorted(ratios)
    return {
        "mean": statistics.mean(ordered),
        "p95": ordered[int(0.95 * (len(ordered) - 1))],
        "p99": ordered[int(0.99 * (len(ordered) - 1))],
        "worst": ordered[-1],
        "within_2_percent": sum(ratio <= GOAL for ratio in ordered) / len(ordered),
    }


# -- stragglers --------------------------------------------------------------------------------------------------------

_TOOLS = random.Random(7)
TOOL_S = {f"tool_{n}": round(_TOOLS.uniform(0.05, 0.30), 3) for n in range(8)}
SLOW = max(TOOL_S, key=TOOL_S.__getitem__)
FLAKY = "tool_5"


def stragglers() -> dict[str, dict[str, float]]:
    """Row -> makespan, seconds paid and results lost, of eight tool calls of which one takes ten times as long."""

    def first_only(sub: SubTask, nth: int) -> float | Exception:
        return TOOL_S[sub.id] * (10 if sub.id == SLOW and nth == 0 else 1)

    def flaky(sub: SubTask, nth: int) -> float | Exception:
        return RuntimeError("the first try fails") if sub.id == FLAKY and nth == 0 else first_only(sub, nth)

    async def same(sub: SubTask, failed: Finding) -> SubTask | None:
        return sub

    usual = statistics.median(TOOL_S.values())
    short, long = Limits(subtask_timeout_s=3 * usual), Limits(subtask_timeout_s=FAR_S)
    twins = Remedies(twin=lambda sub: True, late_by_s=0)
    rows: dict[str, tuple[Callable[[SubTask, int], float | Exception], Limits, Remedies, int]] = {
        "no straggler": (lambda sub, _: TOOL_S[sub.id], long, Remedies(), 0),
        "one of them 10x": (first_only, long, Remedies(), 0),
        "  a deadline of 3 medians": (first_only, short, Remedies(), 0),
        "  the deadline, planned again": (first_only, short, Remedies(again=same), 0),
        "  a twin at 2 medians": (first_only, long, twins, 0),
        "  7 of 8 are enough": (first_only, long, Remedies(), 7),
        "10x and one that fails once": (flaky, long, Remedies(), 0),
        "  planned again, and a twin": (flaky, long, Remedies(twins.twin, same, 0), 0),
    }
    out = {}
    for row, (latency, limits, remedies, quorum) in rows.items():
        ran = in_no_time(simulate(plan_of(TOOL_S, quorum=quorum), latency, limits, remedies))
        lost = sum(finding.state != "done" for finding in ran.findings)
        out[row] = {"seconds": ran.seconds, "paid_s": ran.at_work_s, "lost": lost}
    return out


# -- examples ----------------------------------------------------------------------------------------------------------


def examples() -> dict[str, dict[str, float]]:
    """Row -> seconds one after the other, and as a plan; cents where calls are saved too.

    The inputs are those of the texts where they name them. Where they do not, they are chosen within what the texts
    say: an analyst's "eight to twelve turns" are ten, a profile of "roughly twelve seconds" takes 10 to 14, and of
    eight tickets one is new, so that for seven the retrieval is kept.
    """
    turns = {f"look up {n}": 4.0 for n in range(1, 9)}
    analyst = {"plan": 4.0, **turns, "answer": 4.0}
    profiles = {f"competitor {n}": took for n, took in enumerate((14.0, 14.0, 13.0, 13.0, 13.0, 13.0), 1)}
    brief = {**profiles, "comparison": 10.0}
    ticket = {"classify": 3.5, "retrieve": 3.5, "draft": 3.5, "review": 3.5, "send": 4.0}
    cents = 40 / len(ticket)
    new = {"classify": 3.5, "retrieve": 3.5, "draft and check": 3.5}
    kept = {"classify": 3.5, "draft and check": 3.5}
    tickets = [_timed(it, {"draft and check": [id_ for id_ in it if id_ != "draft and check"]})
               for it in (new, *[kept] * 7)]  # fmt: skip
    return {
        "analyst's question: 10 turns of 4 s": {
            "serial_s": sum(analyst.values()),
            "plan_s": _timed(analyst, {**{id_: ["plan"] for id_ in turns}, "answer": list(turns)}).seconds,
        },
        "support ticket: 5 calls of 3.5 to 4 s": {
            "serial_s": sum(ticket.values()),
            "plan_s": statistics.median(it.seconds for it in tickets),
            "serial_cents": cents * len(ticket),
            "plan_cents": statistics.mean(cents * len(it) for it in (new, *[kept] * 7)),
        },
        "market brief: 7 calls of 10 to 14 s": {
            "serial_s": sum(brief.values()),
            "plan_s": _timed(brief, {"comparison": list(profiles)}).seconds,
        },
    }


def _timed(seconds: Seconds, needs: Mapping[str, Sequence[str]]) -> Simulated:
    return in_no_time(simulate(plan_of(seconds, needs), lambda sub, _: seconds[sub.id]))


# -- real time ---------------------------------------------------------------------------------------------------------


class FanOutState(TypedDict):
    """What the researchers found, and what was made of it."""

    wide: int
    findings: list[Finding]
    notes: str


async def scheduled(wide: int) -> list[Finding]:
    """Researchers as the product schedules them."""

    async def work(sub: SubTask, inputs: Sequence[Finding]) -> Finding:
        await asyncio.sleep(CALL_S)
        return Finding(sub.id, sub.title, "done", "notes")

    plan = plan_of(dict.fromkeys(map(str, range(wide)), CALL_S))
    return await run_plan(plan, work, Limits(max_parallel=wide), Allowance())


async def gathered(wide: int) -> list[Finding]:
    """Researchers as tasks of LangGraph and nothing else: no order, places, deadlines, events or remedies."""

    @task
    async def research(id_: str) -> Finding:
        await asyncio.sleep(CALL_S)
        return Finding(id_, id_, "done", "notes")

    return list(await asyncio.gather(*(research(str(n)) for n in range(wide))))


def fan_out(find: Callable[[int], Awaitable[list[Finding]]]) -> Any:
    """Researchers, then an aggregator, as a compiled graph."""

    async def research(state: FanOutState) -> dict[str, Any]:
        return {"findings": await find(state["wide"])}

    async def aggregate(state: FanOutState) -> dict[str, Any]:
        await asyncio.sleep(CALL_S)
        return {"notes": "+".join(finding.text for finding in state["findings"])}

    builder = StateGraph(FanOutState).add_node(research).add_node(aggregate)
    builder.add_edge(START, "research").add_edge("research", "aggregate").add_edge("aggregate", END)
    return builder.compile()


async def real_time(repeats: int) -> dict[str, dict[int, dict[str, float]]]:
    """Row -> width -> median seconds of wall time and of CPU. Rows alternate, so that other load hits both alike."""
    graphs = {"scheduled": fan_out(scheduled), "LangGraph's tasks alone": fan_out(gathered)}
    seen: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for graph in graphs.values():
        await graph.ainvoke({"wide": 2})  # imports
    for wide in (8, 64):
        for _ in range(repeats):
            for row, graph in graphs.items():
                wall, cpu = time.perf_counter(), time.process_time()
                await graph.ainvoke({"wide": wide})
                took = (time.perf_counter() - wall, time.process_time() - cpu)
                seen.setdefault((row, wide), []).append(took)
    out: dict[str, dict[int, dict[str, float]]] = {row: {} for row in graphs}
    for (row, wide), times in seen.items():
        walls, busy = zip(*times, strict=True)
        out[row][wide] = {"wall_s": statistics.median(walls), "best_s": min(walls), "cpu_s": statistics.median(busy)}
    return out


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--plans", type=int, default=1000)
    options.add_argument("--repeats", type=int, default=9)
    chosen = options.parse_args()
    found = {
        "plans": plans(chosen.plans),
        "stragglers": stragglers(),
        "examples": examples(),
        "fan_out": asyncio.run(real_time(chosen.repeats)),
    }
    print(f"{chosen.plans} random plans, makespan over the best of {RANDOM_ORDERS + 2} list schedules; the goal of"
          f" {GOAL:.2f} is for exact estimates")  # fmt: skip
    for row, it in found["plans"].items():
        print(f"  {row:24} mean {it['mean']:.4f}  p95 {it['p95']:.4f}  p99 {it['p99']:.4f}  worst {it['worst']:.4f}"
              f"  within 2 %: {it['within_2_percent']:.1%}")  # fmt: skip
    print("eight tool calls, one of them ten times as long")
    for row, it in found["stragglers"].items():
        print(f"  {row:30} {it['seconds']:6.3f} s  paid {it['paid_s']:6.3f} s  lost {it['lost']:.0f}")
    print("examples, one after the other -> as a plan; in the texts 40 -> 12, 18 -> 7 (40 -> 17 cents), 90 -> 24 s")
    for row, it in found["examples"].items():
        cents = f"  {it['serial_cents']:.0f} -> {it['plan_cents']:.0f} cents" if "plan_cents" in it else ""
        print(f"  {row:44} {it['serial_s']:5.1f} -> {it['plan_s']:5.1f} s{cents}")
    print(f"K researchers and an aggregator, {CALL_S:.2f} s each, over the floor of {FLOOR_S:.2f} s; coordination"
          f" expected {COORDINATION_S:g} + {PER_SUB_TASK_S:g} K s")  # fmt: skip
    for row, by in found["fan_out"].items():
        for wide, it in by.items():
            ratio, best = it["wall_s"] / FLOOR_S, it["best_s"] / FLOOR_S
            print(f"  {row:24} K={wide:<3} {it['wall_s']:.4f} s  ratio {ratio:.4f}  best {best:.4f}"
                  f"  CPU {it['cpu_s'] * 1000:.1f} ms  goal 1.01")  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main()
