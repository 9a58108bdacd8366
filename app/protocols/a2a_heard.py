"""What a client hears of a task while it goes on: pieces of its answer, and where it stands. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from a2a.types import Artifact, Part, TaskArtifactUpdateEvent, TaskStatusUpdateEvent

from app.activities import Activity
from app.events import RunEvent
from app.outcome import numbered
from app.projection import RunView
from app.protocols import a2a_words as words
from app.protocols.unfetched import without_pictures_so_far

Row = Mapping[str, Any]


class Heard:
    """What a client has been told of the answer so far."""

    def __init__(self, activity: Activity, run: Row) -> None:
        self._run, self._view = run, RunView(activity.shape)
        self._told = self.text = ""

    def fold(self, events: Iterable[RunEvent]) -> None:
        """Take events of the run's log."""
        for event in events:
            self._view.apply(event)
        self.text = without_pictures_so_far(numbered(self._view.answer, self._view.numbers()))

    def news(self) -> TaskArtifactUpdateEvent | None:
        """What was said since: more of the same, or another beginning that takes the place of the first."""
        if not self.text or self.text == self._told:
            return None
        before, self._told = self._told, self.text
        more = bool(before) and self.text.startswith(before)
        said = self.text[len(before) :] if more else self.text
        part = Part(text=said, media_type=words.MARKDOWN)
        return self._event(Artifact(artifact_id=words.ANSWER, name=words.ANSWER, parts=[part]), append=more)

    def whole(self, artifact: Artifact) -> TaskArtifactUpdateEvent:
        """The answer with its sources, in the place of what was told of it."""
        return self._event(artifact, append=False, last_chunk=True)

    def _event(self, artifact: Artifact, *, append: bool, last_chunk: bool = False) -> TaskArtifactUpdateEvent:
        return TaskArtifactUpdateEvent(
            task_id=self._run["run_id"], context_id=self._run["thread_id"], artifact=artifact, append=append,
            last_chunk=last_chunk,
        )  # fmt: skip


def moved(run: Row, asked: Sequence[Row] = ()) -> TaskStatusUpdateEvent:
    """Where a task stands now."""
    place = {"task_id": run["run_id"], "context_id": run["thread_id"]}
    return TaskStatusUpdateEvent(status=words.status(run, asked), **place)
