"""Call tools of MCP servers, each under its server's name and by the definition that a person approved."""

import mimetypes
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

from langchain_core.tools import BaseTool, ToolException

from agents.artefacts import Artefacts
from agents.effects import key_of
from agents.errors import ToolFailed
from agents.remote.definitions import Definition, offered_names
from agents.remote.remotes import NotCalled, Remote, Remotes, Result
from agents.sandbox.box import Made
from agents.tools.contract import Contract, Effect, contract_of, with_contract
from agents.tools.run_code import media_type_of

MAX_ERROR_CHARS = 2_000
MAX_TOLD = 3
"""Arguments that the sentence of an approval tells; all of them stand below it."""


class RemoteTool(BaseTool):
    """One approved tool of one server."""

    remote: Any
    definition: Any
    runtime: Any = None
    """Of the call that this one is for: see `within`."""
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"

    def within(self, runtime: Any) -> "RemoteTool":
        """The same tool for one call: it knows where the run keeps things, and which call it is."""
        return self.model_copy(update={"runtime": runtime})

    def _run(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("tools are called asynchronously here")

    async def _arun(self, /, **arguments: Any) -> tuple[str, dict[str, Any]]:
        remote: Remote = self.remote
        key = key_of(self.runtime).text() if self.runtime and contract_of(self).effect != "read" else ""
        try:
            result = await remote.call(self.definition.tool, self.definition.sha256, arguments, key)
        except NotCalled as refusal:
            raise _untouched(refusal) from refusal
        if result.failed:
            # the service's own answer: the call has ended, and how is known
            raise ToolException(result.text[:MAX_ERROR_CHARS] or "it failed without a word")
        said, made = await _kept(self.name, result, getattr(getattr(self.runtime, "context", None), "artefacts", None))
        return "\n".join(it for it in (result.text, *said) if it) or "(no text)", {"artefacts": made}


async def _kept(name: str, result: Result, artefacts: Artefacts | None) -> tuple[list[str], list[dict[str, Any]]]:
    """What is said of the attached, and what of it the run keeps: its type by its own bytes, never by a stranger's word
    where a picture is claimed."""
    said, made = [], []
    for nth, it in enumerate(result.attached, 1):
        file = Made(f"{name}-{nth}{mimetypes.guess_extension(it.media_type) or ''}", it.data)
        size = f"{len(it.data):,} bytes"
        if artefacts is None:
            said.append(f"[{it.media_type}, {size}: there is no place for it in this run]")
            continue
        try:
            kept = await artefacts.keep(file.name, media_type_of(file), file.data)
        except ToolFailed as full:
            said.append(f"[{it.media_type}, {size}: not kept, {full.problem}]")
        else:
            made.append(asdict(kept))
            said.append(f"[made {kept.name}, {size}, artefact {kept.id}; it is shown already]")
    return said, made


def _untouched(refusal: NotCalled) -> ToolException:
    """The tool's own word that it did nothing, as the ledger takes it."""
    said = ToolException(str(refusal))
    said.retriable = refusal.retriable  # type: ignore[attr-defined]
    return said


def offered_tools(remotes: Remotes, role: str) -> list[RemoteTool]:
    """What this role may call now: approved, and not known to have changed."""
    return [tool for remote in remotes.of_role(role) for tool in _tools(remote, remote.offered())]


def find_tool(remotes: Remotes, role: str, name: str) -> RemoteTool | None:
    """The tool of this name, also one that will be refused: the refusal says why."""
    for remote in remotes.of_role(role):
        for tool in _tools(remote, remote.pinned):
            if tool.name == name:
                return tool
    return None


def _tools(remote: Remote, wanted: Mapping[str, Any]) -> list[RemoteTool]:
    names = offered_names(remote.server.name, remote.pinned)
    return [_made(remote, remote.pinned[tool].definition, names[tool]) for tool in wanted]


def _made(remote: Remote, definition: Definition, name: str) -> RemoteTool:
    key = name, definition.sha256
    if key not in remote.made:
        remote.made[key] = as_tool(remote, definition, name)
    tool: RemoteTool = remote.made[key]
    return tool


def as_tool(remote: Remote, definition: Definition, name: str) -> RemoteTool:
    """A definition as a tool that an agent can be given, with the promise that can be made for it."""
    # the first line is ours: where the sentence of an approval lacks an argument, a person reads that one instead
    description = f"Calls {definition.tool} of the server {remote.server.name}.\n{definition.description}".strip()
    tool = RemoteTool(name=name, description=description, args_schema=dict(definition.schema), remote=remote,
                      definition=definition)  # fmt: skip
    with_contract(tool, contract_for(remote, definition))
    return tool


def effect_for(remote: Remote, definition: Definition) -> Effect:
    """What a repeat does: by the operator's word, else by the hints that were approved, else nobody knows."""
    if said := remote.server.effects.get(definition.tool):
        return said
    if definition.hint("readOnlyHint"):
        return "read"
    return "idempotent" if definition.hint("idempotentHint") else "at_most_once"


def contract_for(remote: Remote, definition: Definition) -> Contract:
    """Reading is repeated; whatever may change something is asked about first, each time.

    That a tool only reads is its server's word, and what it is asked leaves the house: after an agent has read anything
    a person is asked too, unless the operator's settings name the tool's effect.
    """
    effect = effect_for(remote, definition)
    return Contract(
        timeout_s=remote.server.call_timeout_s, retries=1 if effect == "read" else 0, effect=effect,
        approval=effect != "read", origin=remote.server.name,
        reaches_out=definition.tool not in remote.server.effects, sentence=_sentence(remote, definition),
        fallback="Go on without it, and say that it was not available.", service=f"mcp:{remote.server.name}",
    )  # fmt: skip


def _sentence(remote: Remote, definition: Definition) -> str:
    told = ", ".join(f"{name} “{{{name}}}”" for name in definition.required()[:MAX_TOLD])
    what = definition.tool.replace("{", "{{").replace("}", "}}")
    return f"Calls {what} of the server {remote.server.name}" + (f" with {told}." if told else ".")
