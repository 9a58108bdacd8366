"""Run one command: settings, log, signals, and every error as a sentence with the next move and an exit code."""

import asyncio
import logging
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from dotenv.parser import parse_stream
from pydantic import ValidationError

from app.settings import PREFIX, Settings, environment_strangers, strangers

OURS = ("app.", "agents.", "graphs.", "retrieval.")
KEPT = "What was done so far is kept."


class CommandFailed(Exception):
    """A command that cannot do it: what is wrong, and what to do."""

    def __init__(self, message: str, fix: str = "", code: int = 1) -> None:
        super().__init__(message)
        self.fix, self.code = fix, code


# -- settings --------------------------------------------------------------------------------------------------------


def load_settings(**given: Any) -> Settings:
    """Settings, with what the command line gave in front. Raises CommandFailed with the name of what is wrong.

    A misspelled line of `.env` is ours and is refused; a name in the environment may be somebody else's, so it is told.
    """
    for name, near in environment_strangers().items():
        if near:
            logging.getLogger(__name__).warning(
                "there is no setting %s, so it does nothing. Did you mean %s?", name, near
            )
    try:
        _check_env_file(Path(str(Settings.model_config["env_file"])))
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name, problem = str(first["loc"][0]), first["msg"].removeprefix("Value error, ")
        shown = name if name.isupper() else PREFIX + name.upper()
        actual = f", not {given!r}" if isinstance(given := first.get("input"), str | int | float) else ""
        raise CommandFailed(f"{shown}: {problem}{actual}.", "Correct it in the environment or in .env.", 2) from error
    for name in ("model_url", "small_url", "embed_url", "rerank_url"):
        if (url := getattr(settings, name)) is not None and not _has_host(url):
            raise CommandFailed(f"{PREFIX}{name.upper()}: {url!r} names no host.", "Write http://HOST:PORT/v1.", 2)
    return settings


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        return False


def _check_env_file(path: Path) -> None:
    """A misspelled line would otherwise do nothing, silently."""
    if not path.is_file():
        return
    try:
        with path.open(encoding="utf-8") as file:
            lines = list(parse_stream(file))
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{path} cannot be read: {error}.", "Save it as UTF-8 text.", 2) from error
    for line in lines:
        if line.error:
            said = repr(line.original.string.strip()[:40])
            raise CommandFailed(f"{path}, line {line.original.line}: {said} is not NAME=value.", "Correct it.", 2)
        for name, near in strangers([line.key or ""]).items():
            fix = f"Did you mean {near}?" if near else "See .env.example for the names."
            raise CommandFailed(f"{path}, line {line.original.line}: there is no setting {name}.", fix, 2)


# -- running ---------------------------------------------------------------------------------------------------------


class Signals:
    """What Ctrl-C and SIGTERM do: the first ends politely what is at work, the second ends the command."""

    def __init__(self) -> None:
        self.number: int | None = None
        """The first signal that came."""
        self._polite: Callable[[], Awaitable[None]] | None = None
        self._task: asyncio.Task[Any] | None = None
        self._stopping: asyncio.Task[None] | None = None

    @property
    def exit_code(self) -> int:
        """As shells count: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + (self.number or signal.SIGINT)

    @contextmanager
    def do(self, polite: Callable[[], Awaitable[None]]) -> Iterator[None]:
        """Inside the block the first signal calls `polite` instead of cancelling the command."""
        self._polite = polite
        try:
            yield
        finally:
            self._polite = None

    async def around(self, command: Callable[["Signals"], Awaitable[int]]) -> int:
        """The command's exit code, or that of the signal which ended it."""
        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._received, number)
        try:
            code = await command(self)
        except asyncio.CancelledError:
            if self.number is None:
                raise
            print(f"sextant: stopped. {KEPT}", file=sys.stderr)
            return self.exit_code
        return code

    def _received(self, number: int) -> None:
        first, self.number = self.number is None, self.number or number
        if first and self._polite is not None:
            self._stopping = asyncio.ensure_future(self._politely(self._polite))
        elif self._task is not None:
            self._task.cancel()

    async def _politely(self, polite: Callable[[], Awaitable[None]]) -> None:
        try:
            await polite()
        except Exception as error:
            logging.getLogger(__name__).warning("could not stop politely: %s", error)
            if self._task is not None:
                self._task.cancel()


def launch(command: Callable[[Signals], Awaitable[int]], *, debug: bool) -> NoReturn:
    """Run an async command to its exit code."""
    with explaining(debug=debug):
        sys.exit(asyncio.run(Signals().around(command)))
    raise AssertionError("unreachable: the block above exits")


@contextmanager
def explaining(*, debug: bool) -> Iterator[None]:
    """Turn what the block raises into a sentence on stderr and an exit code."""
    _log_to_stderr(debug=debug)
    try:
        yield
    except KeyboardInterrupt:
        print(f"sextant: stopped. {KEPT}", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        if debug:
            traceback.print_exc()
        message, fix = described(_innermost(error))
        print(f"sextant: {message}" + (f"\n  {fix}" if fix else ""), file=sys.stderr)
        sys.exit(getattr(error, "code", 1) if isinstance(error, CommandFailed) else 1)


def described(error: BaseException) -> tuple[str, str]:
    """What happened, and what to do. Our own errors are sentences already; others are put into one."""
    if isinstance(error, CommandFailed):
        return str(error), error.fix
    if type(error).__module__.startswith(OURS):
        said, fix = str(error).strip(), str(getattr(error, "fix", ""))
        if "\n" in said and not fix:  # the last of several lines is what to do
            said, _, fix = said.rpartition("\n")
        return " ".join(said.split()), fix if fix not in said else ""
    if isinstance(error, RuntimeError):
        return str(error), ""
    if isinstance(error, OSError):
        place = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror or error}{place}.", "Check that path and its permissions, and start again."
    said = f"Something unforeseen happened: {type(error).__name__}: {error}"[:500]
    return said, "Run it again with --debug to see where."


def _innermost(error: BaseException) -> BaseException:
    """Of errors that came as a group, the first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


# -- the log ---------------------------------------------------------------------------------------------------------


class _Stderr(logging.Handler):
    """One line for each record, to whatever stderr is at that moment: a live view takes its place for a while."""

    def __init__(self, *, debug: bool) -> None:
        super().__init__(logging.INFO if debug else logging.WARNING)
        self._debug = debug

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        why = f" ({type(error).__name__}: {error})" if error and str(error) not in record.getMessage() else ""
        print(f"{record.levelname.lower()}: {record.getMessage()}{why}", file=sys.stderr)
        if self._debug and error:
            traceback.print_exception(error, file=sys.stderr)


def _log_to_stderr(*, debug: bool) -> None:
    root = logging.getLogger()
    root.addHandler(_Stderr(debug=debug))
    root.setLevel(logging.INFO if debug else logging.WARNING)
