"""A draft is checked by code and a critic, and revised until it passes; what went wrong is a lesson for the next one.

Pays when checking is easier than writing: citations, a length, points that must be there, sums.
"""

from typing import Any, Literal

from langchain_core.messages import AIMessage
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from agents.asking import ask_for
from agents.context import Context
from agents.critic import Critique
from graphs.briefs import to_judge, to_mend
from graphs.checks import check_text, points_asked, words_asked
from graphs.evidence import needed
from graphs.gaps import Gap, spared, with_gaps
from graphs.lessons import LESSONS, keep, recall
from graphs.rounds import Round, best_of, goes_on, judged, mended, quality
from graphs.state import ChatState, as_node, question_of

USUAL_WORDS = 300

EXAMPLES = {
    "Write a briefing on routing, critic loops and debate in at most 90 words": (
        "Code checks citations, length and points; the draft is revised until they hold"
    ),
}


class WriteState(ChatState):
    """The draft in hand, the best one so far, and what was found wrong in each."""

    draft: str
    shown: list[str]
    best: str
    rounds: list[Round]
    lessons: list[str]
    missing: list[Gap]


async def draft(state: WriteState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Look up and write, with the lessons of earlier attempts at hand."""
    request = question_of(state)
    lessons, gaps = await recall(runtime.context, request, state.get("lessons", ()))
    made = await needed(runtime.context, "drafter", *state["messages"][:-1], request + lessons)
    return {"draft": made.text, "shown": made.shown, "best": "", "rounds": [], "missing": gaps}


async def critique(state: WriteState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Judge by rule; a draft that holds is then read by a critic, whose opinion the run can do without."""
    request, text = question_of(state), state["draft"]
    found = check_text(text, state["shown"], words_asked(request, USUAL_WORDS), points_asked(request))
    defects, gaps = list(found.defects), list[Gap]()
    if not defects:
        asked = ask_for(runtime.context, "critic", Critique, to_judge(request, text))
        opinion, gaps = await spared("Critic", runtime.context, asked)
        defects = opinion.issues if opinion and opinion.verdict == "revise" else []
    rounds = await judged(state["rounds"], found.score, defects)
    best = text if best_of(rounds) is rounds[-1] else state["best"]
    return {"rounds": rounds, "best": best, "missing": [*state["missing"], *gaps]}


def after_critique(state: WriteState, runtime: Runtime[Context]) -> Literal["revise", "finish"]:
    """Revise what can still be mended."""
    return "revise" if goes_on(state["rounds"], runtime.context) else "finish"


async def revise(state: WriteState, runtime: Runtime[Context]) -> dict[str, Any]:
    """The whole text again, with the defects mended; an empty draft says that there was no such thing."""
    asked = to_mend(question_of(state), state["draft"], state["rounds"][-1]["defects"])
    made, gaps = await mended(runtime.context, "drafter", asked)
    shown = [*state["shown"], *made.shown]
    return {"draft": made.text, "shown": shown, "missing": [*state["missing"], *gaps]}


def after_revise(state: WriteState) -> Literal["critique", "finish"]:
    """A revision is judged like a draft, if there is one."""
    return "critique" if state["draft"].strip() else "finish"


async def finish(state: WriteState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Hand over the best draft with what is still open; keep what was mended as lessons."""
    rounds, best = state["rounds"], best_of(state["rounds"])
    put_right = [it for it in rounds[0]["defects"] if it not in best["defects"]]
    gaps = [*state["missing"], *(Gap(title="Still open", reason=defect) for defect in best["defects"])]
    gaps += await keep(runtime.context, question_of(state), put_right, "critique")
    lessons = list(dict.fromkeys([*put_right, *state.get("lessons", ())]))[:LESSONS]
    text = with_gaps(f"{state['best']}\n\n{quality(rounds)}", gaps)
    return {"messages": [AIMessage(text)], "missing": gaps, "lessons": lessons}


def build() -> StateGraph[WriteState, Context]:
    """START -> draft -> critique -> (revise -> critique)* -> finish -> END."""
    return (
        StateGraph(WriteState, context_schema=Context)
        .add_node(draft, metadata=as_node("Draft", speaks=True))
        .add_node(critique, metadata=as_node("Critique"))
        .add_node(revise, metadata=as_node("Revise", speaks=True))
        .add_node(finish, metadata=as_node("Finish"))
        .add_edge(START, "draft")
        .add_edge("draft", "critique")
        .add_conditional_edges("critique", after_critique)
        .add_conditional_edges("revise", after_revise)
        .add_edge("finish", END)
    )
