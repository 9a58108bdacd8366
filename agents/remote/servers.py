"""Which MCP servers there are: the JSON that the ecosystem writes under `mcpServers`, checked field by field.

A server has a `command` (started by us, without a shell) or a `url` (streamable HTTP). Beside what other clients know
it may say here who may call it (`roles`), how long it may take, what its tools do (`effects`; `keyed` for a tool that
looks at the `sextant.idempotencyKey` in the `_meta` of a call), and whether its tools may be used before a person has
read them (`trust_on_first_use`). `${NAME}` stands for a variable of our environment; nothing else of that environment
reaches a server but PATH, without which no program finds another.
"""

import json
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, get_args
from urllib.parse import urlsplit

from agents.remote.definitions import slug
from agents.tools.contract import Effect

DEFAULT_ROLES = ("assistant", "soloist")
MAX_FILE_BYTES = 1_000_000
MAX_SERVERS = 50
MAX_NAME_CHARS = 24
MAX_TIMEOUT_S = 600.0
KINDS = {"stdio": "command", "http": "url", "streamable-http": "url", "streamableHttp": "url"}
_FIELDS = {
    "type", "command", "args", "env", "cwd", "url", "headers", "disabled", "description", "roles", "effects",
    "connect_timeout_s", "call_timeout_s", "trust_on_first_use",
}  # fmt: skip
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")

Lookup = Callable[[str], str | None]
"""Name of a variable -> its value."""


class ServersInvalid(ValueError):
    """The file of servers cannot be used as it is: which field, and what to write there."""


@dataclass(frozen=True, slots=True)
class Server:
    """One MCP server, as the operator names it."""

    name: str
    command: str = ""
    args: tuple[str, ...] = field(default=(), repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """All of the process's environment."""
    cwd: str | None = None
    url: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent to this server, and to nobody else."""
    target: str = ""
    """What is started or called, as the file says it: variables stay variables."""
    roles: tuple[str, ...] = DEFAULT_ROLES
    """Agents that may call its tools."""
    effects: Mapping[str, Effect] = field(default_factory=dict)
    """Tool -> what a repeat does, where the operator knows better than the tool's own hints."""
    connect_timeout_s: float = 20
    call_timeout_s: float = 60
    trust_on_first_use: bool = False
    """Its tools are pinned as they are first seen. Else a person approves them; a change needs a person always."""

    @property
    def transport(self) -> str:
        """How it is reached."""
        return "http" if self.url else "stdio"


def read_servers(path: Path, lookup: Lookup, roles: Collection[str] = ()) -> tuple[Server, ...]:
    """The servers of a file, without those that it disables. Raises ServersInvalid with the field that is wrong.

    `roles`: names of agents that there are; empty checks none.
    """
    entries = _entries(path)
    try:
        servers = [_Entry(name, entry, lookup, roles).server() for name, entry in entries.items()]
    except ServersInvalid as error:
        raise ServersInvalid(f"{path}: {error}") from None
    slugs: dict[str, str] = {}
    for name in entries:
        if (other := slugs.setdefault(slug(name), name)) != name:
            raise ServersInvalid(
                f"{path}: mcpServers.{name}: its tools would be named as those of {other!r}; rename one"
            )
    return tuple(it for it in servers if it is not None)


def _entries(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_bytes()
        if len(text) > MAX_FILE_BYTES:
            raise ServersInvalid(
                f"{path}: {len(text):,} bytes of at most {MAX_FILE_BYTES:,}; leave out what is no server"
            )
        data = json.loads(text)
    except OSError as error:
        raise ServersInvalid(f"{path}: cannot be read ({error.strerror}); correct SEXTANT_MCP_SERVERS") from error
    except ValueError as error:
        if isinstance(error, ServersInvalid):
            raise
        raise ServersInvalid(f'{path}: no JSON ({error}); write {{"mcpServers": {{...}}}}') from error
    entries = data.get("mcpServers") if isinstance(data, dict) else None
    if not isinstance(entries, dict):
        raise ServersInvalid(f'{path}: mcpServers: missing; write {{"mcpServers": {{"time": {{"command": "..."}}}}}}')
    if len(entries) > MAX_SERVERS:
        raise ServersInvalid(f"{path}: mcpServers: {len(entries)} servers of at most {MAX_SERVERS}")
    return entries


class _Entry:
    """One entry of the file, being checked."""

    def __init__(self, name: str, entry: Any, lookup: Lookup, roles: Collection[str]) -> None:
        self._name, self._entry, self._lookup, self._roles = name, entry, lookup, roles

    def server(self) -> Server | None:
        if not slug(self._name) or len(self._name) > MAX_NAME_CHARS:
            raise ServersInvalid(
                f"mcpServers: {self._name[:50]!r} is no name; use 1 to {MAX_NAME_CHARS} of a-z 0-9 _ -"
            )
        if not isinstance(self._entry, dict):
            self._refuse("", "not an object")
        for key in self._entry.keys() - _FIELDS:
            self._refuse(key, f"unknown field; known are {', '.join(sorted(_FIELDS))}")
        if self._flag("disabled"):
            return None
        place = self._place()
        more: dict[str, Any] = self._process() if place == "command" else self._address()
        return Server(
            self._name, **more,
            roles=self._known_roles(), effects=self._effects(),
            connect_timeout_s=self._seconds("connect_timeout_s", 20),
            call_timeout_s=self._seconds("call_timeout_s", 60),
            trust_on_first_use=self._flag("trust_on_first_use"),
        )  # fmt: skip

    def _place(self) -> str:
        """`command` or `url`: exactly one, and the one that `type` says."""
        given = [key for key in ("command", "url") if key in self._entry]
        if len(given) != 1:
            self._refuse("command", "give either command or url")
        kind = self._entry.get("type")
        if kind is not None and KINDS.get(kind) != given[0]:
            known = "stdio (with command) or http (with url); the older sse is not spoken here"
            self._refuse("type", f"{kind!r} with {given[0]}; it is {known}")
        return given[0]

    def _process(self) -> dict[str, Any]:
        for key in ("url", "headers"):
            if key in self._entry:
                self._refuse(key, "it belongs to a server with url")
        command, args = self._text("command"), self._entry.get("args", [])
        if not isinstance(args, list):
            self._refuse("args", "not a list of texts")
        env = {"PATH": self._lookup("PATH") or os.defpath, **self._texts("env")}
        return {
            "command": self._filled(command, "command"), "env": env,
            "args": tuple(self._filled(it, f"args.{at}") for at, it in enumerate(args)),
            "cwd": self._text("cwd") if "cwd" in self._entry else None,
            "target": " ".join([command, *map(str, args)]),
        }  # fmt: skip

    def _address(self) -> dict[str, Any]:
        for key in ("args", "env", "cwd"):
            if key in self._entry:
                self._refuse(key, "it belongs to a server with command")
        written = self._text("url")
        parts = urlsplit(url := self._filled(written, "url"))
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            self._refuse("url", "not an http(s) address without a password; credentials go into headers")
        return {"url": url, "headers": self._texts("headers"), "target": written.partition("?")[0]}

    def _texts(self, key: str) -> dict[str, str]:
        given = self._entry.get(key, {})
        if not isinstance(given, dict):
            self._refuse(key, "not an object of texts")
        return {str(name): self._filled(value, f"{key}.{name}") for name, value in given.items()}

    def _text(self, key: str) -> str:
        if not isinstance(value := self._entry[key], str) or not value.strip():
            self._refuse(key, "not a text")
        return str(value)

    def _filled(self, value: Any, key: str) -> str:
        """A text with its variables replaced."""
        if not isinstance(value, str) or "\x00" in value:
            self._refuse(key, "not a text")

        def replaced(match: re.Match[str]) -> str:
            found = self._lookup(match[1])
            if found is None and match[2] is None:
                self._refuse(key, f"the variable {match[1]} is not set; set it, or write ${{{match[1]}:-default}}")
            return found if found is not None else str(match[2])

        return _VARIABLE.sub(replaced, value)

    def _known_roles(self) -> tuple[str, ...]:
        roles = self._entry.get("roles", list(DEFAULT_ROLES))
        if not isinstance(roles, list):
            self._refuse("roles", "not a list of agents")
        for at, role in enumerate(roles):
            if not isinstance(role, str) or (self._roles and role not in self._roles):
                self._refuse(f"roles.{at}", f"there is no agent {role!r}; known are {', '.join(sorted(self._roles))}")
        return tuple(roles)

    def _effects(self) -> dict[str, Effect]:
        given, known = self._entry.get("effects", {}), get_args(Effect)
        if not isinstance(given, dict):
            self._refuse("effects", "not an object of tool names")
        for tool, effect in given.items():
            if effect not in known:
                self._refuse(f"effects.{tool}", f"{effect!r}; choose one of {', '.join(known)}")
        return dict(given)

    def _seconds(self, key: str, default: float) -> float:
        value = self._entry.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_TIMEOUT_S:
            self._refuse(key, f"{value!r}; give seconds above 0 and up to {MAX_TIMEOUT_S:g}")
        return float(value)

    def _flag(self, key: str) -> bool:
        if not isinstance(value := self._entry.get(key, False), bool):
            self._refuse(key, f"{value!r}; give true or false")
        return bool(value)

    def _refuse(self, key: str, problem: str) -> NoReturn:
        raise ServersInvalid(f"mcpServers.{self._name}{'.' if key else ''}{key}: {problem}")
