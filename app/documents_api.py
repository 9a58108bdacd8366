"""Documents over HTTP: upload, watch being indexed, list, remove, open a passage or the original."""

import asyncio
import logging
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request, UploadFile
from fastapi.responses import FileResponse, Response
from starlette.datastructures import UploadFile as Uploaded

from app.borders import NotFound, Rejected
from app.compose import App
from retrieval.documents import CorpusError, IngestProgress, Upload

log = logging.getLogger(__name__)

MAX_FILES = 200
COPY_BYTES = 1 << 20
KEPT_INGESTS = 50
PREFIX = "upload-"
LEFT_BEHIND_S = 86_400.0


@dataclass(slots=True)
class Ingest:
    """One upload being indexed; kept in memory, since what it achieved is in the index."""

    state: str = "running"
    progress: dict[str, Any] = field(default_factory=dict)


class Ingests:
    """Uploads at work, and the last ones that ended."""

    def __init__(self) -> None:
        self._known: dict[str, Ingest] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, sextant: App, uploads: list[Upload], folder: tempfile.TemporaryDirectory[str]) -> str:
        """Index these in the background, then remove the folder; the id to ask by."""
        ingest_id = uuid4().hex
        self._known[ingest_id] = ingest = Ingest()
        for old in list(self._known)[:-KEPT_INGESTS]:
            del self._known[old]
        task = asyncio.create_task(_ingest(sextant, ingest, uploads, folder))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return ingest_id

    def find(self, ingest_id: str) -> Ingest:
        """Raises NotFound."""
        if not (known := self._known.get(ingest_id)):
            raise NotFound(f"there is no ingest {ingest_id}")
        return known


def documents_router(get_app: Callable[[], App]) -> APIRouter:
    """Routes under `/documents`, `/ingests` and `/passages`."""
    router = APIRouter(tags=["documents"])
    ingests = Ingests()

    @router.get("/documents")
    async def documents() -> dict[str, Any]:
        """All documents and the state of the index."""
        corpus = get_app().corpus
        return {"documents": [asdict(it) for it in await corpus.documents()], "index": asdict(corpus.stats())}

    @router.post("/documents", status_code=202)
    async def upload(request: Request) -> dict[str, Any]:
        """Index files sent as `files`. Text can be searched as soon as the ingest is done; vectors follow."""
        sextant = get_app()
        async with request.form(max_files=MAX_FILES) as form:
            files = [it for it in form.getlist("files") if isinstance(it, Uploaded)]
            if not files:
                raise Rejected("files_missing", "files: none was sent", field="files", fix="send at least one file")
            folder = tempfile.TemporaryDirectory(dir=_uploads(sextant), prefix=PREFIX)
            try:
                uploads = [await _kept(it, Path(folder.name), sextant.settings.max_upload_mb) for it in files]
            except BaseException:
                folder.cleanup()
                raise
        return {"ingest_id": ingests.begin(sextant, uploads, folder)}

    @router.get("/ingests/{ingest_id}")
    async def ingest(ingest_id: str) -> dict[str, Any]:
        """How far an upload is."""
        known = ingests.find(ingest_id)
        return {"state": known.state, **known.progress, "pending_vectors": get_app().corpus.stats().pending}

    @router.delete("/documents/{document_id}", status_code=204)
    async def remove(document_id: str) -> None:
        """Take a document out of the index."""
        if not await get_app().corpus.remove(document_id):
            raise NotFound(f"there is no document {document_id}")

    _opening(router, get_app)
    return router


def _opening(router: APIRouter, get_app: Callable[[], App]) -> None:
    """Routes to what a citation opens."""

    @router.get("/documents/{document_id}/file")
    async def original(document_id: str) -> Response:
        """The file as it was uploaded. Only PDF is shown in place; a stranger's HTML never runs on our origin."""
        corpus = get_app().corpus
        document, path = await corpus.document(document_id), corpus.original(document_id)
        if document is None or path is None:
            raise NotFound(f"there is no original of document {document_id}")
        inline = document.media_type == "application/pdf"
        media_type = "application/pdf" if inline else "text/plain; charset=utf-8"
        headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'"}
        return FileResponse(
            path, media_type=media_type, filename=Path(document.name).name, headers={} if inline else headers,
            content_disposition_type="inline" if inline else "attachment",
        )  # fmt: skip

    @router.get("/passages/{chunk_id}")
    async def passage(chunk_id: str) -> dict[str, Any]:
        """A cited passage with what stands before and after it."""
        corpus = get_app().corpus
        if not (chunk := await corpus.passage(chunk_id)):
            raise NotFound(f"there is no passage {chunk_id}; its document was removed or replaced")
        around = await corpus.neighbours(chunk_id)
        by_place = {it.ordinal: it.text for it in around}
        return {
            **asdict(chunk),
            "before": by_place.get(chunk.ordinal - 1),
            "after": by_place.get(chunk.ordinal + 1),
            "openable": corpus.original(chunk.document_id) is not None,
        }


def _uploads(sextant: App) -> Path:
    folder = sextant.settings.home / "uploads"
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{PREFIX}*"):  # by a process that was killed; another one may be at work on a young one
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > LEFT_BEHIND_S:
                shutil.rmtree(left, ignore_errors=True)
    return folder


async def _kept(file: UploadFile | Uploaded, folder: Path, max_mb: int) -> Upload:
    """Copy an upload to a name of ours, stopping at the limit; the sender's name is shown, never used as a path."""
    path, size = folder / uuid4().hex, 0
    with path.open("wb") as out:
        while piece := await file.read(COPY_BYTES):
            size += len(piece)
            if size > max_mb * 1_000_000:
                raise Rejected(
                    "file_too_large", f"{file.filename}: over {max_mb} MB", field="files", limit=max_mb * 1_000_000,
                    fix="split the file, or raise SEXTANT_MAX_UPLOAD_MB",
                )  # fmt: skip
            await asyncio.to_thread(out.write, piece)
    return Upload(file.filename or "unnamed", path)


async def _ingest(
    sextant: App, ingest: Ingest, uploads: list[Upload], folder: tempfile.TemporaryDirectory[str]
) -> None:
    def note(progress: IngestProgress) -> None:
        failed = [{"name": it.name, "reason": it.reason, "fix": it.fix} for it in progress.failed]
        ingest.progress = {
            "files_done": progress.files_done,
            "files_total": progress.files_total,
            "current": progress.current,
            "chunks": progress.chunks,
            "failed": failed,
        }

    try:
        report = await sextant.corpus.ingest(uploads, progress=note)
        ingest.progress["unchanged"] = len(report.unchanged)
        ingest.state = "done"
    except CorpusError as error:
        ingest.state = "failed"
        ingest.progress["failed"] = [{"name": error.place, "reason": error.reason, "fix": error.fix}]
    except Exception as failure:  # whoever asks how far it is would be told for ever that it goes on
        log.exception("files could not be indexed")
        ingest.state = "failed"
        reason = f"something unforeseen happened: {failure or type(failure).__name__}"[:500]
        fix = "upload it again; the server's log has the details"
        ingest.progress["failed"] = [{"name": it.name, "reason": reason, "fix": fix} for it in uploads]
    finally:
        sextant.new_vectors.set()
        await asyncio.to_thread(folder.cleanup)
