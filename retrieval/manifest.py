"""Publish index files so that a reader sees all of them, whole, or the ones before.

A part (BM25, vectors) is a folder that is written under a temporary name, fsynced, renamed once and never touched
again. `manifest.json` names the current folder of each part with the SHA-256 and size of every file in it. Readers
check those before any library opens a file. Writers hold the corpus' lock.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FORMAT = 1
FILE = "manifest.json"
_FOLDER = re.compile(r"(lexical|dense)-[0-9a-f]{16}")
_TEMPORARY = "tmp-"


class IndexDamaged(Exception):
    """An index file is missing or isn't what the manifest says."""


@dataclass(frozen=True, slots=True)
class Part:
    """One index on disk."""

    folder: str
    mark: str
    """What the store said when this was built; another word means that it is out of date."""
    files: dict[str, dict[str, Any]]
    """File name -> {"sha256", "bytes"}."""
    embedder: str = ""
    """Whose vectors these are; empty for BM25."""


@dataclass(frozen=True, slots=True)
class Manifest:
    lineage: str = ""
    """The store that this was built from."""
    parts: dict[str, Part] = field(default_factory=dict)


def signature(root: Path) -> tuple[int, int, int]:
    """A cheap word for the manifest's present state: one `stat`."""
    try:
        found = os.stat(root / FILE)
    except FileNotFoundError:
        return (0, 0, 0)
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def read(root: Path) -> Manifest:
    """Read the manifest; a missing one is empty. Raises IndexDamaged when it can't be what we wrote."""
    try:
        raw = json.loads((root / FILE).read_bytes())
        if raw["format"] != FORMAT:
            raise IndexDamaged(f"{FILE} has format {raw['format']!r}, this program writes {FORMAT}")
        return Manifest(str(raw["lineage"]), {name: Part(**part) for name, part in raw["parts"].items()})
    except FileNotFoundError:
        return Manifest()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IndexDamaged(f"{FILE} can't be read ({error})") from error


def verified(root: Path, part: Part) -> Path:
    """Check a part's files against the manifest, all of them and no others, and say where they are."""
    if not _FOLDER.fullmatch(part.folder):
        raise IndexDamaged(f"{FILE} names a folder {part.folder!r}")
    folder = root / part.folder
    try:
        present = {entry.name for entry in os.scandir(folder)}
        if present != set(part.files):
            raise IndexDamaged(f"{part.folder} holds other files than the manifest lists")
        for name, said in part.files.items():
            if _described(folder / name) != said:
                raise IndexDamaged(f"{part.folder}/{name} is not what was written")
    except OSError as error:
        raise IndexDamaged(f"{part.folder} can't be read ({error})") from error
    return folder


def publish(
    root: Path, kind: str, lineage: str, mark: str, write: Callable[[Path], None], *, embedder: str = ""
) -> None:
    """Write one part and make it current. On any failure the manifest still names what was there before."""
    word = secrets.token_hex(8)
    temporary, folder = root / f"{_TEMPORARY}{word}", root / f"{kind}-{word}"
    try:
        temporary.mkdir()
        write(temporary)
        files = {entry.name: _described(Path(entry.path)) for entry in os.scandir(temporary)}
        for name in files:
            _fsync(temporary / name)
        _fsync(temporary)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    kept = _readable(root, lineage)
    parts = {**kept.parts, kind: Part(folder.name, mark, files, embedder)}
    _replace(root, Manifest(lineage, parts))
    _sweep(root, {part.folder for part in parts.values()})


def _readable(root: Path, lineage: str) -> Manifest:
    """The present manifest, unless it is damaged or about another store: then we start a new one."""
    try:
        found = read(root)
    except IndexDamaged:
        return Manifest()
    return found if found.lineage == lineage else Manifest()


def _replace(root: Path, manifest: Manifest) -> None:
    body = {"format": FORMAT, "lineage": manifest.lineage, "parts": {k: asdict(p) for k, p in manifest.parts.items()}}
    temporary = root / f"{_TEMPORARY}{FILE}"
    temporary.write_text(json.dumps(body, indent=1))
    _fsync(temporary)
    temporary.replace(root / FILE)
    _fsync(root)


def _sweep(root: Path, current: set[str]) -> None:
    """Remove what nobody names any more. A reader that is just opening it will look at the manifest again."""
    for entry in os.scandir(root):
        if entry.is_dir() and entry.name not in current and entry.name.startswith((_TEMPORARY, "lexical-", "dense-")):
            shutil.rmtree(entry.path, ignore_errors=True)


def _described(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
