"""Archives, folders and odd files: what is safe is found, the rest is named with its reason."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval.documents import IngestError, Upload
from retrieval.sources import Survey, copy, survey

MakeZip = Callable[..., Path]


def names(found: Survey) -> list[str]:
    return [candidate.name for candidate in found.candidates]


def reasons(found: Survey) -> dict[str, str]:
    return {error.name: error.reason for error in found.failed}


def test_a_zip_gives_its_documents_under_its_own_name(make_zip: MakeZip, tmp_path: Path) -> None:
    members = {
        "guide/intro.html": "<p>hi",
        "guide/a.css": "p{}",
        "__MACOSX/x.md": "x",
        ".hidden.md": "x",
        "README": "x",
    }
    found = survey([make_zip(members, "site.zip")])
    assert names(found) == ["site.zip/guide/intro.html", "site.zip/README"]
    assert len(found.skipped) == 3 and not found.failed
    copied = copy(found.candidates[0], tmp_path / "copy")
    assert (copied.size_bytes, (tmp_path / "copy").read_bytes()) == (5, b"<p>hi")


@pytest.mark.parametrize("member", ["../../x.md", "/etc/x.md", "a/../../x.md", "..\\x.md", "C:\\x.md"])
def test_a_member_that_points_outside_is_refused_and_the_others_go_on(make_zip: MakeZip, member: str) -> None:
    found = survey([make_zip({member: "x", "good.md": "y"})])
    assert names(found) == ["made.zip/good.md"]
    assert set(reasons(found).values()) == {"its name points outside the ZIP"}


def test_links_nested_and_locked_members_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("link.md")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("inner.zip", b"PK\x05\x06" + b"\0" * 18)
        archive.writestr("locked.md", "x")
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x01\x02")
    data[at + 8] |= 1  # the directory says that the last member is encrypted
    path.write_bytes(data)
    assert reasons(survey([path])) == {
        "odd.zip/link.md": "it is a link",
        "odd.zip/inner.zip": "a ZIP inside a ZIP",
        "odd.zip/locked.md": "it is encrypted",
    }


def test_bombs_are_refused_before_anything_is_unpacked(make_zip: MakeZip) -> None:
    assert "a ZIP bomb" in reasons(survey([make_zip({"a.txt": b"0" * 30_000_000}, "ratio.zip")]))["ratio.zip"]
    many = reasons(survey([make_zip({f"{number}.md": "" for number in range(5_001)}, "many.zip")]))["many.zip"]
    assert many == "5,001 or more files inside of 5,000 allowed"
    big = make_zip({f"{number}.txt": b"x" for number in range(10)}, "big.zip")
    big.write_bytes(_claiming(big.read_bytes(), 51_000_000))
    assert reasons(survey([big]))["big.zip"] == "it unpacks to 510 MB of 500 MB allowed"


def _claiming(archive: bytes, size_bytes: int) -> bytes:
    """The same archive, whose directory claims another unpacked size for every member."""
    data, at = bytearray(archive), 0
    while (at := data.find(b"PK\x01\x02", at)) >= 0:
        data[at + 24 : at + 28] = size_bytes.to_bytes(4, "little")
        at += 4
    return bytes(data)


def test_a_header_that_lies_is_caught_while_unpacking(make_zip: MakeZip, tmp_path: Path) -> None:
    path = make_zip({"a.txt": b"honest text " * 1000})
    path.write_bytes(_claiming(path.read_bytes(), 10))
    found = survey([path])
    with pytest.raises(IngestError, match="can't be unpacked"):
        copy(found.candidates[0], tmp_path / "copy")


def test_damaged_zips_never_raise_anything_else(make_zip: MakeZip, tmp_path: Path) -> None:
    whole = make_zip({f"{number}.md": f"text {number} " * 50 for number in range(5)}).read_bytes()
    for position in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        path = tmp_path / "damaged.zip"
        path.write_bytes(damaged)
        found = survey([path])
        for candidate in found.candidates:
            try:
                copy(candidate, tmp_path / "copy")
            except IngestError as error:
                assert error.reason and error.fix
        found.opened.close()


def test_folders_are_walked_without_following_links(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for path in (root / "b" / "two.md", root / "one.html", root / ".git" / "x.md", root / "pic.png", outside / "s.md"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    (root / "link.md").symlink_to(outside / "s.md")
    (root / "linked").symlink_to(outside)
    os.mkfifo(root / "pipe.md")
    found = survey([root])
    assert names(found) == ["root/one.html", "root/b/two.md"]
    assert sorted(found.skipped) == ["root/link.md", "root/pic.png", "root/pipe.md"]


def test_a_200_mb_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.pdf"
    with path.open("wb") as file:
        file.truncate(200_000_000)
    (error,) = survey([path]).failed
    assert str(error) == "huge.pdf: 200 MB of 100 MB allowed for one file; split it and add the parts"


def test_what_is_missing_odd_or_empty_is_named(tmp_path: Path, make_zip: MakeZip) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "bare").mkdir()
    found = survey([tmp_path / "gone", tmp_path / "pipe", tmp_path / "bare", make_zip({}, "none.zip")])
    assert reasons(found) == {
        "gone": "no such file or folder",
        "pipe": "it is a device, pipe or socket",
        "bare": "no document inside",
        "none.zip": "no document inside",
    }


def test_an_uploads_name_is_for_show_only(tmp_path: Path) -> None:
    path = tmp_path / "tmp123"
    path.write_text("text")
    assert names(survey([Upload("../../x", path), Upload("x", path)])) == ["x", "x (2)"]
