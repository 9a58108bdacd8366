"""Answers made of quotations: each sentence as it stands in a passage, its key behind it.

For one question the best sentences, the most direct first; for one with parts a paragraph for each part, which says so
when nothing was found for it. From the findings of several agents: a first sentence in bold, a section for each, and
last what is missing. No sentence is invented, and none loses its key.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from app.demo_model.evidence import (
    LEANS,
    Passage,
    Scored,
    Sentence,
    claims_in,
    pick,
    rank,
    sentences_of,
)
from app.demo_model.parts import Parts, to_look_up
from app.demo_model.question import Question
from app.demo_model.words import clipped, content_stems, content_words, joined, sentences, similarity, stems

MOST_SENTENCES = 5
MOST_PER_PART = 3


@dataclass(frozen=True, slots=True)
class Found:
    """What the passages say to each part of a question."""

    parts: Parts
    chosen: tuple[tuple[Sentence, ...], ...]
    """Sentences for each part, in the order to be read; empty where nothing fits or another part has it all."""
    unanswered: tuple[str, ...]
    """The parts for which nothing fits."""
    across: tuple[Sentence, ...] = ()
    """Sentences that hold several of the things compared."""

    @property
    def anything(self) -> bool:
        return bool(self.across) or any(self.chosen)


def look(question: str, background: str, passages: Sequence[Passage], said: Sequence[Sentence] = ()) -> Found:
    """Choose the sentences that answer each part. `said` are cited statements of others, taken like passages."""
    found = [*sentences_of(passages), *said]
    parts = to_look_up(question)
    ranked = [rank(Question(part, background), found) for part in parts.questions]
    good = [[item for item in scored if item.useful] for scored in ranked]
    most = MOST_PER_PART if parts.several else MOST_SENTENCES
    across = _across(parts, found)
    taken: list[Sentence] = list(across)
    if across and said:  # each thing has been looked into already
        return Found(parts, tuple(() for _ in parts.questions), (), across)
    chosen = []
    for at, useful in enumerate(_own(good)):
        best = _standing(pick(useful, most, taken), useful, ranked[at])
        taken += best
        chosen.append(tuple(_readable(best)))
    unanswered = tuple(q for q, useful in zip(parts.questions, good, strict=True) if not useful)
    return Found(parts, tuple(chosen), () if across else unanswered, across)


def _across(parts: Parts, found: Sequence[Sentence]) -> tuple[Sentence, ...]:
    """The best sentences that say something of two or more of the things compared."""
    if not parts.compared:
        return ()
    things = [content_stems(thing) for thing in parts.things]
    both = [s for s in found if sum(_names(thing, s.text) for thing in things) > 1]
    scored = [item for item in rank(Question(parts.question), both) if not LEANS.match(item.sentence.text)]
    return tuple(pick(scored, 3))


def _names(thing: frozenset[str], text: str) -> bool:
    return len(thing & stems(text)) * 2 > len(thing)


def _own(good: Sequence[Sequence[Scored]]) -> list[list[Scored]]:
    """Each sentence to the part that it answers best."""
    best: dict[Sentence, float] = {}
    for useful in good:
        for item in useful:
            best[item.sentence] = max(item.score, best.get(item.sentence, -1.0))
    return [[item for item in useful if item.score >= best[item.sentence]] for useful in good]


def _standing(chosen: list[Sentence], useful: Sequence[Scored], scored: Sequence[Scored]) -> list[Sentence]:
    """What can be understood: a sentence that leans on its forerunner brings it along if it leads, else it goes."""
    answering = [item.sentence for item in useful]
    alone = all(LEANS.match(sentence.text) for sentence in answering)
    kept: list[Sentence] = []
    for sentence in sorted(chosen, key=lambda s: (chosen.index(s) > 0, s.at)):
        before = _before(sentence, scored)
        if not LEANS.match(sentence.text) or before in kept:
            kept.append(sentence)
        elif (
            not kept
            and before
            and (alone or before in answering)
            and not LEANS.match(before.text)
            and not before.text.endswith((":", "?"))
        ):
            kept += [before, sentence]
    order = {sentence: at for at, sentence in enumerate(chosen)}
    return sorted(kept, key=lambda s: order.get(s, -1)) if len(kept) > 1 else kept


def _before(sentence: Sentence, scored: Sequence[Scored]) -> Sentence | None:
    near = (item.sentence for item in scored if item.sentence.key == sentence.key)
    return next((other for other in near if other.at == sentence.at - 1), None)


def _readable(chosen: Sequence[Sentence]) -> list[Sentence]:
    """The most direct first with what goes on from it, then passage by passage in their own order."""
    if not chosen:
        return []
    run = [chosen[0]]
    rest = list(chosen[1:])
    while follower := next((s for s in rest if s.key == run[-1].key and s.at == run[-1].at + 1), None):
        run.append(follower)
        rest.remove(follower)
    order = list(dict.fromkeys(sentence.key for sentence in chosen))
    return [*run, *sorted(rest, key=lambda s: (order.index(s.key), s.at))]


def in_words(found: Found, queries: Sequence[str]) -> str:
    """The answer as text."""
    if not found.anything:
        return nothing(found.parts.question, queries)
    if not found.parts.several:
        return _paragraphs(found.chosen[0])
    blocks = [" ".join(sentence.cited for sentence in found.across)] if found.across else []
    for at, chosen in enumerate(found.chosen):
        if not chosen:
            continue
        label = f"**{_label(found.parts, at)}:** " if found.parts.things else ""
        blocks.append(label + " ".join(sentence.cited for sentence in chosen))
    if found.unanswered:
        missing = joined(f"“{_plainly(found.parts, q)}”" for q in found.unanswered)
        blocks.append(f"I found nothing in the documents about {missing}.")
    return "\n\n".join(blocks)


def _label(parts: Parts, at: int) -> str:
    thing = re.sub(r"^(?:an?|the)\s+", "", parts.things[at], flags=re.I)
    return thing[:1].upper() + thing[1:] if thing.split()[0].islower() else thing


def _plainly(parts: Parts, question: str) -> str:
    at = parts.questions.index(question)
    return parts.things[at] if parts.things else question.rstrip("?.")


def _paragraphs(chosen: Sequence[Sentence]) -> str:
    """The direct answer with what goes on from it, then the rest."""
    first = chosen[0]
    near = [s for s in chosen if s.key == first.key]
    far = [s for s in chosen if s.key != first.key]
    blocks = [near, far] if len(far) != 1 or len(near) > 2 else [[*near, *far]]
    return "\n\n".join(" ".join(s.cited for s in block) for block in blocks if block)


def nothing(question: str, queries: Sequence[str]) -> str:
    """An honest miss, with what was looked for."""
    about = clipped(" ".join(content_words(question)), 120) or "that"
    searched = f" I searched for {joined([f'“{query}”' for query in queries])}." if queries else ""
    return (
        f"I found nothing in the documents that answers this ({about}).{searched} "
        "Other words, or a document about it, may help."
    )


def summary(text: str, most: int = 4) -> str:
    """The sentences of a text that hold most of what it often says, in their order."""
    found = list(dict.fromkeys(sentences(text)))
    if len(found) <= most:
        return " ".join(found)
    counts: dict[str, int] = {}
    for sentence in found:
        for stemmed in content_stems(sentence):
            counts[stemmed] = counts.get(stemmed, 0) + 1
    weight = {s: sum(counts[t] for t in content_stems(s)) / (4 + len(s.split())) for s in found}
    best = sorted(found, key=lambda s: -weight[s])
    kept: list[str] = []
    for sentence in best:
        if len(kept) < most and not any(similarity(sentence, other) > 0.7 for other in kept):
            kept.append(sentence)
    return " ".join(sentence for sentence in found if sentence in kept)


_SECTION = re.compile(r"^##\s+(.+)$", re.M)
_MISSING = re.compile(r"^missing:[ \t]*(.*)\Z", re.I | re.M | re.S)
_BROKEN = re.compile(r"^(`[^`]+` failed) and I cannot answer this part", re.M)
_MISS = re.compile(
    r"\b(?:found nothing|nothing (?:was )?found|no (?:passage|result)s?|could not find|not found)\b", re.I
)


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    claims: tuple[Sentence, ...]
    text: str


def findings_in(text: str) -> tuple[list[Section], list[str]]:
    """Sections `## Title` of a briefing, and the lines under `Missing:`."""
    missing = _MISSING.search(text)
    body = text[: missing.start()] if missing else text
    heads = list(_SECTION.finditer(body))
    ends = [*(head.start() for head in heads[1:]), len(body)]
    sections = []
    for head, end in zip(heads, ends, strict=False):
        inner = body[head.end() : end].strip()
        sections.append(Section(head[1].strip(), tuple(claims_in(inner)), inner))
    lines = re.split(r"\n|;\s+", missing[1]) if missing else []
    listed = [line.strip(" -*•\t") for line in lines if line.strip(" -*•\t")]
    for section in sections:
        if not section.claims and (broken := _BROKEN.search(section.text)):
            listed.append(f"{section.title}: {broken[1]}")
    return [s for s in sections if s.claims or not _BROKEN.search(s.text)], listed


def synthesis(question: str, sections: Sequence[Section], missing: Sequence[str]) -> str:
    """One answer from several findings."""
    asked = Question(question)
    claims = [claim for section in sections for claim in section.claims]
    if not claims:
        return _without_claims(question, sections, missing)
    lead = rank(asked, claims)[0].sentence
    taken: list[Sentence] = [lead]
    blocks = [" ".join([f"**{lead.text.replace('**', '')}**", *(f"[{key}]" for key in lead.keys)])]
    most = 4 if len(sections) <= 3 else 3
    bare: list[str] = []
    for section in sections:
        told = _section(section, asked, taken, most)
        if told:
            blocks.append(f"## {section.title}\n\n{told}" if len(sections) > 1 else told)
        elif not section.claims:
            bare.append(section.title)
    blocks.append(_left_open(missing, bare))
    return "\n\n".join(block for block in blocks if block)


def _section(section: Section, asked: Question, taken: list[Sentence], most: int) -> str:
    """The section's best statements in its own order, without what was said before."""
    title = re.sub(r" in brief$| \(\d\)$", "", section.title)
    scored = rank(Question(f"{title}: {asked.text}"), section.claims)
    chosen = pick(scored, most, taken, near=0.25)  # all of it was chosen once already
    taken += chosen
    ordered = [claim for claim in section.claims if claim in chosen]
    if len(ordered) > 2:
        return "\n".join(f"- {claim.cited}" for claim in ordered)
    told = " ".join(claim.cited for claim in ordered)
    return told or (section.text if not section.claims and not _MISS.search(section.text) else "")


def _left_open(missing: Sequence[str], bare: Sequence[str]) -> str:
    parts = []
    if missing:
        parts.append(
            f"Missing from this answer: {'; '.join(line.rstrip('.') for line in missing)}. That part stays open."
        )
    if bare:
        parts.append(f"Nothing was found on {joined(f'“{title}”' for title in bare)}.")
    return " ".join(parts)


def _without_claims(question: str, sections: Sequence[Section], missing: Sequence[str]) -> str:
    """Findings without a citation: figures are handed on, misses are named."""
    told = [s.text for s in sections if s.text and not _MISS.search(s.text)]
    blocks = told or [s.text for s in sections if s.text][:1] or ([] if missing else [nothing(question, [])])
    blocks.append(_left_open(missing, [s.title for s in sections if _MISS.search(s.text)] if told else []))
    return "\n\n".join(block for block in blocks if block)
