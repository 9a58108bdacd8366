"""Proposers argue in rounds from different stances, until they agree or a judge who took no part decides.

Pays when a wrong answer is expensive and the question has a definite one.

The answer does not stream: it is a proposal that was written, and seen on its lane, before anybody knew that it would
stand. To have it retold would cost a call, and say what nobody argued.
"""

from collections.abc import Sequence
from typing import Any, Literal

from langchain_core.messages import AIMessage
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from agents.asking import ask
from agents.context import Context
from agents.planner import Plan, SubTask
from graphs.evidence import needed
from graphs.gaps import Gap, gaps_in, with_gaps
from graphs.likeness import all_agree
from graphs.scheduling import Finding, run_plan
from graphs.state import ChatState, as_node, question_of
from graphs.turns import AGAIN, Came, briefed, called, copies, latest, round_of, rounds_in, standing, taken, tally, turn
from graphs.verdict import decided

STANCES = {
    "advocate": "gains, benefits, when it pays",
    "sceptic": "limits, failures, costs",
    "pragmatist": "practice, examples, alternatives",
}
"""Proposers, each a role of its own in `agents/`, and what each looks up: other prompts on other evidence."""
ROUNDS = 2
"""Most rounds, the opening one included; agreement ends it earlier. A proposer makes one model call in each."""
DECIDED_BY: Literal["judge", "vote"] = "judge"
"""A vote costs no call: the proposal stands whose position most others share. It also decides when the judge cannot."""
TOO_ALIKE = 0.6
"""Share of word triples from which an opening proposal is sent back, once."""
AGREED = 0.8
"""Share of words of their first sentences from which proposals take the same position."""
NOTE = f"{len(STANCES)} stances, at most {ROUNDS} rounds."

EXAMPLES = {
    "Should an agent retry a failed tool call?": "Three stances, two rounds, and a judge who sees no names",
    "When does a debate pay?": "Copies are sent back for reasons of their own",
}


class DebateState(ChatState):
    """The conversation, every turn of the debate so far, and what the rounds came to."""

    plan: Plan
    """All turns: `2.sceptic` is the sceptic's in the second round, `1b.sceptic` one that was sent back."""
    findings: list[Finding]
    missing: list[Gap]
    rounds: list[Came]


async def seat(state: DebateState) -> dict[str, Any]:
    """Call the opening round, in which nobody sees anybody."""
    opening = await called([], [turn("1", stance, question_of(state)) for stance in STANCES], NOTE)
    return {"plan": opening, "findings": [], "missing": [], "rounds": []}


async def argue(state: DebateState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Let the turns that were called be taken side by side; once all were, those that failed are tried again."""
    context, plan, question = runtime.context, state["plan"], question_of(state)

    async def work(sub: SubTask, seen: Sequence[Finding]) -> Finding:
        brief = await briefed(context, sub, question, STANCES[sub.role], seen)
        text = str((await ask(context, sub.role, *state["messages"][:-1], brief)).text).strip()
        return Finding(sub.id, sub.title, "done" if text else "failed", text, "" if text else "it proposed nothing")

    return {"findings": await run_plan(plan, work, context.limits, context.allowance, taken(state["findings"], plan))}


async def weigh(state: DebateState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Send copies back once, or call the next round; nobody is called after agreement or the last round."""
    texts, turns, question = standing(state["findings"]), state["plan"].tasks, question_of(state)
    (last, nth), agreed = round_of(turns), all_agree(texts.values(), AGREED)
    next_: list[SubTask] = []
    if last == "1" and (copied := copies(texts, TOO_ALIKE)):
        next_ = [turn(AGAIN, it, question, (f"1.{it}", f"1.{first}")) for it, first in copied.items()]
    elif not agreed and nth < ROUNDS:
        seen = [it.task_id for it in latest(state["findings"]).values()]
        next_ = [turn(str(nth + 1), stance, question, seen) for stance in STANCES]
    rounds = tally(state["rounds"], turns, runtime.context.allowance.steps, agreed)
    return {"plan": await called(turns, next_, NOTE), "rounds": rounds}


async def judge(state: DebateState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Say which proposal stands and what that cost. When nobody proposed anything, one agent answers alone."""
    context, texts, lost = runtime.context, standing(state["findings"]), list[Gap]()
    if texts:
        winner, how, lost = await decided(context, question_of(state), texts, AGREED, judged=DECIDED_BY == "judge")
        text = texts[winner]
    else:
        text = (await needed(context, "assistant", *state["messages"])).text
        how = "Nobody proposed anything, so one agent answered alone."
    gaps = gaps_in(state["findings"]) + lost
    how += f" {len(STANCES)} agents, {rounds_in(state['plan'])}, {context.allowance.steps} model calls."
    return {"messages": [AIMessage(with_gaps(f"{text}\n\n*{how}*", gaps))], "missing": lost}


def _next(state: DebateState) -> Literal["argue", "judge"]:
    return "argue" if len(state["plan"].tasks) > len(state["findings"]) else "judge"


def build() -> StateGraph[DebateState, Context]:
    """START -> seat -> argue -> weigh -> (argue | judge) -> END."""
    return (
        StateGraph(DebateState, context_schema=Context)
        .add_node(seat, metadata=as_node("Seats"))
        .add_node(argue, metadata=as_node("Round", team=True))
        .add_node(weigh, metadata=as_node("Agreed?"))
        .add_node(judge, metadata=as_node("Judge"))
        .add_edge(START, "seat")
        .add_edge("seat", "argue")
        .add_edge("argue", "weigh")
        .add_conditional_edges("weigh", _next)
        .add_edge("judge", END)
    )
