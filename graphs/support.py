"""A help desk: route to one branch, look up side by side, draft, and mend until the policy holds.

Pays when requests fall into kinds that need different look-ups, and a reply must keep rules.
"""

from typing import Any, Literal

from langchain_core.callbacks import adispatch_custom_event
from langchain_core.messages import AIMessage
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from agents.asking import ask_for
from agents.context import Context
from agents.policy_critic import PolicyVerdict
from agents.router import Kind, Route
from graphs.briefs import brief, to_judge, to_mend
from graphs.evidence import keys_in, needed
from graphs.gaps import Gap, gaps_in, spared, with_gaps
from graphs.house_rules import check_reply
from graphs.look_ups import LOOK_UPS, looking_up
from graphs.rounds import Round, goes_on, judged, mended
from graphs.scheduling import Finding
from graphs.state import ChatState, as_node, question_of

EXAMPLES = {
    "How do I bound the cost of a critic loop?": (
        "Routed to one desk; look-ups side by side; a policy check before the reply goes out"
    ),
}


class SupportState(ChatState):
    """Where the request went, what was found, the reply in hand, and what stands against it."""

    route: Kind
    findings: list[Finding]
    reply: str
    rounds: list[Round]
    missing: list[Gap]


async def route(state: SupportState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Let a small model choose the branch; the general one takes what nobody could sort."""
    asked = ask_for(runtime.context, "router", Route, question_of(state))
    chosen, gaps = await spared("Routing", runtime.context, asked)
    kind: Kind = chosen.kind if chosen else "general"
    await adispatch_custom_event("routed", {"kind": kind, "text": f"goes to {kind}"})
    return {"route": kind, "findings": [], "rounds": [], "missing": gaps}


async def draft(state: SupportState, runtime: Runtime[Context]) -> dict[str, Any]:
    """The reply, from what was found and what was not; another one when more was found, and no defect of the first."""
    made = await needed(runtime.context, "clerk", brief(question_of(state), state["findings"]))
    return {"reply": made.text, "rounds": [], "missing": [it for it in state["missing"] if it["title"] == "Routing"]}


async def policy(state: SupportState, runtime: Runtime[Context]) -> dict[str, Any]:
    """The rules that code knows; a reply that keeps them is then read by a critic, whom the run can do without."""
    shown, gaps = keys_in(" ".join(it.text for it in state["findings"])), list[Gap]()
    found = check_reply(state["reply"], shown)
    issues = list(found.defects)
    if not issues:
        asked = ask_for(runtime.context, "policy_critic", PolicyVerdict, to_judge(question_of(state), state["reply"]))
        verdict, gaps = await spared("Policy critic", runtime.context, asked)
        issues = (verdict.issues or ["The critic gives no reason."]) if verdict and not verdict.passed else []
    rounds = await judged(state["rounds"], found.score, issues)
    return {"rounds": rounds, "missing": [*state["missing"], *gaps]}


def after_policy(state: SupportState, runtime: Runtime[Context]) -> Literal["revise", "send"]:
    """Mend what can still be mended."""
    return "revise" if goes_on(state["rounds"], runtime.context) else "send"


async def revise(state: SupportState, runtime: Runtime[Context]) -> dict[str, Any]:
    """The whole reply again; when that fails, the old one stays."""
    asked = to_mend(question_of(state), state["reply"], state["rounds"][-1]["defects"])
    made, gaps = await mended(runtime.context, "clerk", asked)
    return {"reply": made.text or state["reply"], "missing": [*state["missing"], *gaps]}


def after_revise(state: SupportState) -> Literal["policy", "send"]:
    """A revision is judged like a draft, if there is one."""
    return "send" if "Revision" in (gap["title"] for gap in state["missing"]) else "policy"


async def send(state: SupportState) -> dict[str, Any]:
    """The reply, with what is missing, and whether a person should look at it first."""
    open_ = state["rounds"][-1]["defects"]
    gaps = [*state["missing"], *(Gap(title="A person should look at it first", reason=issue) for issue in open_)]
    text = with_gaps(state["reply"], [*gaps_in(state["findings"]), *gaps])
    return {"messages": [AIMessage(text)], "missing": gaps}  # what the look-ups lack, their own events tell


def build() -> StateGraph[SupportState, Context]:
    """START -> route -> one branch -> draft -> policy -> (revise -> policy)* -> send -> END."""
    builder = StateGraph(SupportState, context_schema=Context).add_node(route, metadata=as_node("Route"))
    for kind in LOOK_UPS:
        desk = as_node(kind.capitalize(), parts=True)
        builder.add_node(kind, looking_up(kind), metadata=desk).add_edge(kind, "draft")
    return (
        builder.add_node(draft, metadata=as_node("Draft", speaks=True))
        .add_node(policy, metadata=as_node("Policy"))
        .add_node(revise, metadata=as_node("Revise", speaks=True))
        .add_node(send, metadata=as_node("Send"))
        .add_edge(START, "route")
        .add_conditional_edges("route", lambda state: state["route"], list(LOOK_UPS))
        .add_edge("draft", "policy")
        .add_conditional_edges("policy", after_policy)
        .add_conditional_edges("revise", after_revise)
        .add_edge("send", END)
    )
