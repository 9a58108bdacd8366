"""Call tools of MCP servers, each under its server's name and by the definition that a person approved."""

from collections.abc import Mapping
from typing import Any

from langchain_core.tools import BaseTool, ToolException

from agents.remote.definitions import Definition, offered_names
from agents.remote.remotes import NotCalled, Remote, Remotes
from agents.tools.contract import Contract, Effect, with_contract

MAX_ERROR_CHARS = 2_000
MAX_TOLD = 3
"""Arguments that the sentence of an approval tells; all of them stand below it."""


class RemoteTool(BaseTool):
    """One approved tool of one server."""

    remote: Any
    definition: Any

    def _run(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("tools are called asynchronously here")

    async def _arun(self, /, **arguments: Any) -> str:
        remote: Remote = self.remote
        try:
            result = await remote.call(self.definition.tool, self.definition.sha256, arguments)
        except NotCalled as refusal:
            raise _untouched(refusal) from refusal
        if result.failed:
            # the service's own answer: the call has ended, and how is known
            raise ToolException(result.text[:MAX_ERROR_CHARS] or "it failed without a word")
        return result.text or "(no text)"


def _untouched(refusal: NotCalled) -> ToolException:
    """The tool's own word that it did nothing, as the ledger takes it."""
    said = ToolException(str(refusal))
    said.retriable = refusal.retriable  # type: ignore[attr-defined]
    return said


def offered_tools(remotes: Remotes, role: str) -> list[BaseTool]:
    """What this role may call now: approved, and not known to have changed."""
    return [tool for remote in remotes.of_role(role) for tool in _tools(remote, remote.offered())]


def find_tool(remotes: Remotes, role: str, name: str) -> BaseTool | None:
    """The tool of this name, also one that will be refused: the refusal says why."""
    for remote in remotes.of_role(role):
        for tool in _tools(remote, remote.pinned):
            if tool.name == name:
                return tool
    return None


def _tools(remote: Remote, wanted: Mapping[str, Any]) -> list[BaseTool]:
    names = offered_names(remote.server.name, remote.pinned)
    return [_made(remote, remote.pinned[tool].definition, names[tool]) for tool in wanted]


def _made(remote: Remote, definition: Definition, name: str) -> BaseTool:
    key = name, definition.sha256
    if key not in remote.made:
        remote.made[key] = as_tool(remote, definition, name)
    tool: BaseTool = remote.made[key]
    return tool


def as_tool(remote: Remote, definition: Definition, name: str) -> BaseTool:
    """A definition as a tool that an agent can be given, with the promise that can be made for it."""
    description = definition.description or f"{definition.tool} of {remote.server.name}"
    tool = RemoteTool(name=name, description=description, args_schema=dict(definition.schema), remote=remote,
                      definition=definition)  # fmt: skip
    return with_contract(tool, contract_for(remote, definition))


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
