"""The child that reads strangers' files: `python -m retrieval.parser_process MEMORY_BYTES`, driven by `parser`.

One request per line of standard input, answers as lines of JSON: what the file is, one line for each chunk, an end. It
gives up memory, time and the right to write files before it reads the first byte of anybody's.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from retrieval.chunk import chunk
from retrieval.documents import clean_text, indexed_text
from retrieval.parse import parse
from retrieval.parse.blocks import Parsed, Unreadable
from retrieval.terms import terms

MAX_TEXT_CHARS = 50_000_000
MAX_CAPTION_CHARS = 300
"""Titles and headings are cut here; a heading of a megabyte is not one."""


def main() -> None:
    """Answer one request per line until the parent closes the pipe."""
    _confine(int(sys.argv[1]))
    answers, sys.stdout = sys.stdout, sys.stderr  # a library that prints must not speak in our name
    for line in sys.stdin:
        request = json.loads(line)
        signal.alarm(int(request["timeout_s"]) + 5)  # the parent may be gone: then the kernel ends us
        for answer in _answers(Path(request["path"]), request["name"]):
            _write(answers, answer)
        answers.flush()
        signal.alarm(0)


def _confine(memory_bytes: int) -> None:
    limits = ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0))
    for kind, limit in limits:
        with suppress(ValueError, OSError):  # macOS refuses RLIMIT_AS; the deadline still holds
            resource.setrlimit(kind, (limit, limit))


def _answers(path: Path, name: str) -> Iterator[dict[str, Any]]:
    try:
        parsed = parse(path.read_bytes(), name)
        _refuse_flood(parsed)
        lines = list(_lines(parsed))
    except Unreadable as error:
        yield {"error": error.reason, "fix": error.fix}
    except MemoryError:
        yield {"error": "reading it needs more memory than one file may take", "fix": "split it and add the parts"}
    except Exception as error:  # the border to libraries that read strangers' bytes: any of them may raise anything
        reason = f"it can't be read ({type(error).__name__}: {error})"
        yield {"error": reason[:300], "fix": "save it anew and try again"}
    else:
        yield from lines


def _refuse_flood(parsed: Parsed) -> None:
    chars = sum(len(block.text) for block in parsed.blocks)
    if chars > MAX_TEXT_CHARS:
        raise Unreadable(f"{chars:,} characters of text of {MAX_TEXT_CHARS:,} allowed", "split it and add the parts")


def _lines(parsed: Parsed) -> Iterator[dict[str, Any]]:
    title = clean_text(parsed.title[:MAX_CAPTION_CHARS])
    notes = list(parsed.notes)
    yield {"title": title, "media_type": parsed.media_type, "pages": parsed.pages, "notes": notes}
    for section in chunk(parsed):
        heading, text = clean_text(section.heading[:MAX_CAPTION_CHARS]), clean_text(section.text)
        found = terms(indexed_text(title, heading, text))
        yield {"heading": heading, "page": section.page, "text": text, "terms": found}
    yield {"end": True}


def _write(to: IO[str], answer: dict[str, Any]) -> None:
    to.write(json.dumps(answer, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
