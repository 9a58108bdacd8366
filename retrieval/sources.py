"""Find the files behind what a person named: a file, a folder, an archive, an upload.

Nothing is trusted: names are for display and never become paths, links are not followed, archives are measured before
and while they are unpacked. A file that can't be taken is named with its limit and the next move; the others go on.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from retrieval.documents import IngestError, Upload, display_name

MAX_FILE_BYTES = 100_000_000
MAX_MEMBERS = 5_000
MAX_UNPACKED_BYTES = 500_000_000
MAX_RATIO = 200
"""Text packs 3 to 20 times smaller; a bomb a thousand times and more."""
_RATIO_FREE_BYTES = 10_000_000
_BLOCK_BYTES = 1 << 20
_DIRECTORY_BYTES_PER_MEMBER = 1_000
_BROKEN_ARCHIVE = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError)
_ENDINGS = ".md .markdown .mdown .mkd .txt .text .rst .adoc .org .log .csv .tsv .html .htm .xhtml .pdf .docx"
DOCUMENT_ENDINGS = frozenset(_ENDINGS.split())
"""What is taken from folders and archives, where much is no document. A file named by itself is always tried."""


def is_archive(head: bytes) -> bool:
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def is_docx(archive: zipfile.ZipFile) -> bool:
    return "word/document.xml" in archive.NameToInfo


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file to read, not opened yet."""

    name: str
    open: Callable[[], IO[bytes]]


@dataclass(slots=True)
class Survey:
    """Everything found. Closing it closes the archives that its candidates read from."""

    candidates: list[Candidate] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[IngestError] = field(default_factory=list)
    opened: ExitStack = field(default_factory=ExitStack)
    _names: set[str] = field(default_factory=set)

    def add(self, name: str, opener: Callable[[], IO[bytes]]) -> None:
        """Two files of one name in one call are two documents: the second becomes `name (2)`."""
        unique, count = name, 1
        while unique in self._names:
            count += 1
            unique = f"{name} ({count})"
        self._names.add(unique)
        self.candidates.append(Candidate(unique, opener))


def survey(sources: Sequence[Path | Upload]) -> Survey:
    """List what the sources hold. Blocks on the file system."""
    found = Survey()
    for source in sources:
        path = source.path if isinstance(source, Upload) else source
        name = display_name(source.name if isinstance(source, Upload) else _own_name(path))
        before = len(found.candidates) + len(found.failed)
        try:
            _look(found, path, name)
        except IngestError as error:
            found.failed.append(error)
        except OSError as error:
            found.failed.append(_cannot_open(name, error))
        if len(found.candidates) + len(found.failed) == before:
            endings = " ".join(sorted(DOCUMENT_ENDINGS))
            found.failed.append(IngestError(name, "no document inside", f"name files that end in {endings}"))
    return found


def _own_name(path: Path) -> str:
    return path.name or path.resolve().name or "root"


def _cannot_open(name: str, error: OSError) -> IngestError:
    if isinstance(error, FileNotFoundError):
        return IngestError(name, "no such file or folder", "check the path")
    return IngestError(name, f"it can't be opened ({error.strerror or error})", "check that you may read it")


def _look(found: Survey, path: Path, name: str) -> None:
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        _walk(found, path, name)
    elif not stat.S_ISREG(mode):
        raise IngestError(name, "it is a device, pipe or socket", "name a file, a folder or a ZIP")
    else:
        _refuse_size(name, path.stat().st_size)
        _file_or_archive(found, path, name)


def _file_or_archive(found: Survey, path: Path, name: str) -> None:
    with path.open("rb") as file:
        head = file.read(8)
    if is_archive(head):
        _archive(found, path, name)
    else:
        found.add(name, lambda: path.open("rb"))


def _refuse_size(name: str, size_bytes: int) -> None:
    if size_bytes > MAX_FILE_BYTES:
        raise IngestError(name, *_too_big(size_bytes))


def _too_big(size_bytes: int) -> tuple[str, str]:
    reason = f"{size_bytes / 1e6:,.0f} MB of {MAX_FILE_BYTES / 1e6:,.0f} MB allowed for one file"
    return reason, "split it and add the parts"


# -- folders ----------------------------------------------------------------------------------------------------------


def _walk(found: Survey, root: Path, name: str) -> None:
    def unreadable(error: OSError) -> None:
        found.failed.append(_cannot_open(f"{name}/{Path(str(error.filename)).name}", error))

    for folder, folders, files in os.walk(root, followlinks=False, onerror=unreadable):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for each in sorted(files):
            path = Path(folder, each)
            shown = display_name(f"{name}/{path.relative_to(root).as_posix()}")
            if each.startswith(".") or not stat.S_ISREG(path.lstat().st_mode):
                found.skipped.append(shown)
            else:
                _from_folder(found, path, shown)


def _from_folder(found: Survey, path: Path, name: str) -> None:
    try:
        if path.suffix.lower() == ".zip":
            _look(found, path, name)
        elif _looks_like_document(name):
            _refuse_size(name, path.stat().st_size)
            found.add(name, lambda: path.open("rb"))
        else:
            found.skipped.append(name)
    except IngestError as error:
        found.failed.append(error)
    except OSError as error:
        found.failed.append(_cannot_open(name, error))


def _looks_like_document(name: str) -> bool:
    ending = os.path.splitext(name)[1].lower()
    return ending in DOCUMENT_ENDINGS or not ending


# -- archives ---------------------------------------------------------------------------------------------------------


def _archive(found: Survey, path: Path, name: str) -> None:
    """List a ZIP's members, or take the file itself when it is a DOCX."""
    _refuse_directory(path, name)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise IngestError(name, f"a damaged ZIP ({error})", "pack it again") from error
    if is_docx(archive):
        archive.close()
        found.add(name, lambda: path.open("rb"))
        return
    found.opened.enter_context(archive)
    members = [member for member in archive.infolist() if not member.is_dir()]
    _refuse_bomb(name, members)
    for member in members:
        _member(found, archive, member, name)


def _refuse_directory(path: Path, name: str) -> None:
    """Read the directory's size by hand: zipfile would first build an object for each of a million entries."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 65_557))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise IngestError(name, "a damaged ZIP (its directory is missing)", "pack it again")
    members, directory_bytes = struct.unpack("<HI", tail[at + 10 : at + 16])
    if members > MAX_MEMBERS or directory_bytes > MAX_MEMBERS * _DIRECTORY_BYTES_PER_MEMBER:
        reason = f"{members:,} or more files inside of {MAX_MEMBERS:,} allowed"
        raise IngestError(name, reason, "pack fewer files into each ZIP, or unpack it and add the folder")


def _refuse_bomb(name: str, members: Sequence[zipfile.ZipInfo]) -> None:
    if len(members) > MAX_MEMBERS:
        reason = f"{len(members):,} files inside of {MAX_MEMBERS:,} allowed"
        raise IngestError(name, reason, "pack fewer files into each ZIP, or unpack it and add the folder")
    unpacked = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if unpacked > MAX_UNPACKED_BYTES:
        reason = f"it unpacks to {unpacked / 1e6:,.0f} MB of {MAX_UNPACKED_BYTES / 1e6:,.0f} MB allowed"
        raise IngestError(name, reason, "pack fewer files into each ZIP, or unpack it and add the folder")
    if unpacked > _RATIO_FREE_BYTES and unpacked > MAX_RATIO * max(packed, 1):
        reason = f"it unpacks to {unpacked // max(packed, 1):,} times its size, {MAX_RATIO} allowed: a ZIP bomb"
        raise IngestError(name, reason, "unpack it yourself and add the files you want")


def _member(found: Survey, archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> None:
    shown = display_name(f"{name}/{member.filename}")
    parts = member.filename.replace("\\", "/").split("/")
    if any(part.startswith((".", "__MACOSX")) and part not in (".", "..") for part in parts):
        found.skipped.append(shown)
        return
    refusal = _refusal(member, parts)
    if refusal:
        found.failed.append(IngestError(shown, *refusal))
    elif _looks_like_document(shown):
        found.add(shown, lambda: archive.open(member))
    else:
        found.skipped.append(shown)


def _refusal(member: zipfile.ZipInfo, parts: Sequence[str]) -> tuple[str, str] | None:
    """Why a member is not taken, and what to do about it."""
    if ".." in parts or parts[0] == "" or parts[0].endswith(":"):
        return "its name points outside the ZIP", "pack it under a plain relative name"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "it is a link", "pack the file that it points to"
    if member.flag_bits & 0x1:
        return "it is encrypted", "pack it without a password"
    if parts[-1].lower().endswith(".zip"):
        return "a ZIP inside a ZIP", "unpack the inner one and add it by itself"
    if member.file_size > MAX_FILE_BYTES:
        return _too_big(member.file_size)
    return None


# -- copies -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Copied:
    sha256: str
    size_bytes: int


def copy(candidate: Candidate, to: Path) -> Copied:
    """Copy a candidate's bytes and hash what was copied, so that a file that changes meanwhile is one or the other."""
    digest = hashlib.sha256()
    size_bytes = 0
    try:
        source = candidate.open()
    except OSError as error:
        raise _cannot_open(candidate.name, error) from error
    except _BROKEN_ARCHIVE as error:
        raise _cannot_unpack(candidate.name, error) from error
    with source, to.open("wb") as target:
        for block in _blocks(candidate.name, source):
            size_bytes += len(block)
            _refuse_size(candidate.name, size_bytes)  # what a header said is not what comes
            digest.update(block)
            target.write(block)
    return Copied(digest.hexdigest(), size_bytes)


def _blocks(name: str, source: IO[bytes]) -> Iterator[bytes]:
    while True:
        try:
            block = source.read(_BLOCK_BYTES)
        except _BROKEN_ARCHIVE as error:
            raise _cannot_unpack(name, error) from error
        if not block:
            return
        yield block


def _cannot_unpack(name: str, error: Exception) -> IngestError:
    return IngestError(name, f"it can't be unpacked ({error})", "pack it again")
