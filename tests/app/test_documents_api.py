"""Uploads: what goes wrong with one is told to whoever follows it, and leaves nothing behind."""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from house import House, house

from app.documents_api import Ingest, _ingest
from retrieval.documents import Upload


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("house"), postgres, max_upload_mb=1) as running:
        yield running


@pytest.fixture
def http(server: House) -> Iterator[httpx.Client]:
    with server.http() as client:
        yield client


def files(**named: bytes) -> list[Any]:
    return [("files", (f"{name}.md", content, "text/markdown")) for name, content in named.items()]


def left(server: House) -> list[str]:
    return sorted(it.name for it in (server.settings.home / "uploads").iterdir())


def test_a_file_that_is_too_large_leaves_none_of_those_beside_it(server: House, http: httpx.Client) -> None:
    reply = http.post("documents", files=files(small=b"# Small", large=b"x" * 1_000_001))
    assert (reply.status_code, reply.json()["error"]["limit"]) == (422, 1_000_000)
    assert left(server) == []


def test_what_a_killed_process_left_behind_goes_with_the_next_upload(server: House, http: httpx.Client) -> None:
    uploads = server.settings.home / "uploads"
    for name in ("upload-old", "upload-young"):
        (uploads / name).mkdir(parents=True)
        (uploads / name / "part").write_bytes(b"x")
    long_ago = time.time() - 100_000
    os.utime(uploads / "upload-old", (long_ago, long_ago))
    http.post("documents", files=files(large=b"x" * 1_000_001))
    assert left(server) == ["upload-young"]


async def test_an_upload_that_fails_unforeseen_does_not_go_on_for_ever(tmp_path: Path) -> None:
    async def full(uploads: Any, progress: Any) -> None:
        raise OSError(28, "No space left on device")

    told, folder = Ingest(), tempfile.TemporaryDirectory(dir=tmp_path)
    new_vectors = SimpleNamespace(set=lambda: None)
    sextant: Any = SimpleNamespace(corpus=SimpleNamespace(ingest=full), new_vectors=new_vectors)
    await _ingest(sextant, told, [Upload("a.md", tmp_path / "a")], folder)
    assert told.state == "failed"
    [failed] = told.progress["failed"]
    assert failed["name"] == "a.md" and "No space left on device" in failed["reason"] and failed["fix"]
