"""What agents are handed in words: findings to be written up, a draft to be judged or mended."""

from collections.abc import Sequence

from graphs.scheduling import Finding


def brief(question: str, findings: Sequence[Finding]) -> str:
    """A question with all that was found, and what is missing and why."""
    parts = [f"Question: {question}"]
    parts += [f"## {finding.title}\n{finding.text}" for finding in findings if finding.text]
    missing = [f"- {it.title}: {it.reason or it.state}" for it in findings if it.state != "done"]
    return "\n\n".join([*parts, *(["Missing:\n" + "\n".join(missing)] if missing else [])])


def to_mend(request: str, draft: str, defects: Sequence[str]) -> str:
    """A draft that is to be mended; the request first, so that all rounds of a job begin alike."""
    return f"{request}\n\nDraft:\n{draft}\n\nDefects:\n" + "\n".join(f"- {defect}" for defect in defects)


def to_judge(request: str, draft: str) -> str:
    """A draft that is to be judged, last, so that nothing in it can pass for a part of the question."""
    return f"Question: {request}\n\nDraft:\n{draft}"
