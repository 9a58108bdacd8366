"""Four roles in a row, each with a hand-over document: analyst, outliner, author, editor.

Pays when a deliverable always takes the same steps. Each role reads the document before it and nothing else, so its
context stays small and each hand-over can be checked (MetaGPT, ChatDev).
"""

from typing import Any

from langchain_core.callbacks import adispatch_custom_event
from langchain_core.messages import AIMessage
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from agents.analyst import Brief
from agents.asking import ask, ask_for
from agents.context import Context
from agents.errors import Unreadable
from agents.outliner import Outline, Section
from graphs.evidence import keys_in, looked_up, needed, without
from graphs.gaps import Gap, spared, with_gaps
from graphs.state import ChatState, as_node, question_of

WORDS = range(20, 2_001)
"""Lengths that a brief may ask for."""
NOTHING = "nothing was found in the documents"

EXAMPLES = {
    "Write a briefing for new engineers on durable execution, idempotency keys and stragglers in at most 150 words": (
        "Analyst, outliner, author and editor hand typed documents on"
    ),
}


class ChainState(ChatState):
    """The hand-over documents, in the order in which they are written."""

    brief: Brief
    outline: Outline
    text: str
    missing: list[Gap]


async def analyse(state: ChainState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Conversation -> brief. Without an analyst the request itself is the only question."""
    asked = ask_for(runtime.context, "analyst", Brief, *state["messages"])
    brief, gaps = await spared("Brief", runtime.context, asked)
    questions = [it.strip() for it in brief.questions if it.strip()][:5] if brief else []
    if brief is None or not questions:
        gaps = gaps or [Gap(title="Brief", reason="it named no question, so the request is the only one")]
        request = question_of(state)
        brief, questions = Brief(title=request[:80], audience="general readers", questions=[], max_words=250), [request]
    words = min(max(brief.max_words, WORDS[0]), WORDS[-1])
    brief = brief.model_copy(update={"questions": questions, "max_words": words})
    await adispatch_custom_event("handed.over", {"document": "brief", **brief.model_dump()})
    return {"brief": brief, "text": "", "missing": gaps}


async def outline(state: ChainState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Questions of the brief -> sections of statements, each of which cites a passage that was shown."""
    found = await looked_up(runtime.context, "outliner", "\n".join(state["brief"].questions))
    if not isinstance(found.value, Outline):
        raise Unreadable.of("outliner", "Outline", "there is none in its answer")
    design = Outline(sections=[_checked(section, set(found.shown)) for section in found.value.sections])
    await adispatch_custom_event("handed.over", {"document": "outline", **design.model_dump()})
    return {"outline": design}


def _checked(section: Section, shown: set[str]) -> Section:
    held = [it for it in section.statements if (keys := keys_in(it)) and shown.issuperset(keys)]
    return Section(heading=section.heading, statements=held)


async def write(state: ChainState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Outline, title and audience -> text; a citation that the outline does not hold is taken out."""
    brief, design = state["brief"], as_text(state["outline"])
    if not keys_in(design):  # nobody is asked to write from nothing
        return {"text": f"The documents hold nothing on {brief.title}."}
    head = f"{brief.title}\n\nFor {brief.audience}, at most {brief.max_words} words."
    made = await needed(runtime.context, "author", f"{head}\n\n{design}")
    return {"text": without(made.text, set(keys_in(made.text)) - set(keys_in(design)))}


async def edit(state: ChainState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Text, audience and length -> edited text; the author's own when the editor fails or adds what was not there."""
    brief, text, edited = state["brief"], state["text"], ""
    gaps = [Gap(title=it.heading, reason=NOTHING) for it in state["outline"].sections if not it.statements]
    if keys_in(text):
        asked = f"Edit this text for {brief.audience}: at most {brief.max_words} words.\n\nDraft:\n{text}"
        done, lost = await spared("Edit", runtime.context, ask(runtime.context, "editor", asked))
        edited = str(done.text).strip() if done else ""
        if done and not edited:
            lost = [Gap(title="Edit", reason="the editor wrote nothing")]
        elif set(keys_in(edited)) - set(keys_in(text)):
            edited, lost = "", [Gap(title="Edit", reason="it cited what the text does not")]
        gaps += lost
    gaps = [*state["missing"], *gaps]
    return {"messages": [AIMessage(with_gaps(edited or text, gaps))], "missing": gaps}


def as_text(design: Outline) -> str:
    """The outline as its author reads it."""
    return "\n\n".join(
        f"## {it.heading}\n" + "\n".join(f"- {said}" for said in it.statements) for it in design.sections
    )


def build() -> StateGraph[ChainState, Context]:
    """START -> analyse -> outline -> write -> edit -> END."""
    return (
        StateGraph(ChainState, context_schema=Context)
        .add_node(analyse, metadata=as_node("Analyst"))
        .add_node(outline, metadata=as_node("Outliner"))
        .add_node(write, metadata=as_node("Author", speaks=True))
        .add_node(edit, metadata=as_node("Editor", speaks=True))
        .add_edge(START, "analyse")
        .add_edge("analyse", "outline")
        .add_edge("outline", "write")
        .add_edge("write", "edit")
        .add_edge("edit", END)
    )
