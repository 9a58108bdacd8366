"""Remote tools as LangChain tools: names, promises, arguments that are named like ours."""

from typing import Any

import pytest
from langchain_core.tools import ToolException
from langchain_core.utils.function_calling import convert_to_openai_tool
from mcp_kept import MemoryPins

from agents.agent import discover_agents
from agents.remote.definitions import definition_of
from agents.remote.remotes import NotCalled, Remote, Remotes, Result
from agents.remote.servers import Server
from agents.tools.contract import contract_of
from agents.tools.remote import as_tool, find_tool, offered_tools

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {it: {"type": "string"} for it in ("config", "runtime", "state", "self", "run_manager", "a.b")},
    "required": ["config", "a.b"],
}


class Recording(Remote):
    """One whose server is this test."""

    def __init__(self, answer: Result | Exception, **more: Any) -> None:
        super().__init__(Server("far", command="-", **more), MemoryPins(), None)  # type: ignore[arg-type]
        self.answer, self.called = answer, []  # type: ignore[var-annotated]

    async def call(self, tool: str, sha256: str, args: Any, key: str = "") -> Result:
        self.called.append((tool, sha256, dict(args)))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def defined(name: str = "do", **more: Any) -> Any:
    return definition_of({"name": name, "description": "Does it.", "inputSchema": SCHEMA, **more})


async def test_arguments_go_through_whatever_they_are_named() -> None:
    remote, definition = Recording(Result("done")), defined()
    args = {it: it for it in SCHEMA["properties"]}
    tool = as_tool(remote, definition, "far__do")

    answer = await tool.ainvoke({"type": "tool_call", "id": "1", "name": "far__do", "args": args})

    assert answer.text == "done"
    assert remote.called == [("do", definition.sha256, args)]
    shown = convert_to_openai_tool(tool)["function"]
    assert shown["name"] == "far__do" and shown["parameters"]["properties"].keys() == args.keys()


@pytest.mark.parametrize(
    ("hints", "said", "effect", "retries", "asks"),
    [
        (None, {}, "at_most_once", 0, True),
        ({"readOnlyHint": True}, {}, "read", 1, False),
        ({"idempotentHint": True}, {}, "idempotent", 0, True),
        ({"readOnlyHint": "yes"}, {}, "at_most_once", 0, True),
        (None, {"do": "read"}, "read", 1, False),
        ({"readOnlyHint": True}, {"do": "at_most_once"}, "at_most_once", 0, True),
    ],
)
def test_a_promise_is_the_operators_word_or_the_hints_or_the_careful_one(
    hints: Any, said: Any, effect: str, retries: int, asks: bool
) -> None:
    tool = as_tool(Recording(Result(""), effects=said), defined(**({"annotations": hints} if hints else {})), "far__do")
    contract = contract_of(tool)

    assert (contract.effect, contract.retries, contract.approval) == (effect, retries, asks)
    assert not contract.trusted
    assert contract.service == "mcp:far"  # a server that is down is down for all of its tools


def test_an_approval_tells_the_arguments_that_every_call_has() -> None:
    contract = contract_of(as_tool(Recording(Result("")), defined("do{x}"), "far__do"))

    assert contract.sentence.format_map({"config": "now"}) == "Calls do{x} of the server far with config “now”."


async def test_what_was_not_called_says_so_to_the_ledger_and_what_failed_is_the_services_word() -> None:
    refused = Recording(NotCalled("far", "not called", "go on", retriable=True))
    failed = Recording(Result("no such city", failed=True))
    broken = Recording(ValueError("unforeseen"))

    with pytest.raises(ToolException, match="far: not called; go on") as told:
        await as_tool(refused, defined(), "far__do").ainvoke({"config": "1"})
    assert told.value.retriable  # type: ignore[attr-defined]
    with pytest.raises(ToolException, match="no such city"):
        await as_tool(failed, defined(), "far__do").ainvoke({"config": "1"})
    with pytest.raises(ValueError, match="unforeseen"):
        await as_tool(broken, defined(), "far__do").ainvoke({"config": "1"})


async def test_a_role_is_offered_what_its_servers_have_approved() -> None:
    pins = MemoryPins()
    await pins.approve("far", [defined("do"), defined("search_documents")], "ann")
    remotes = Remotes([Server("far", command="-", roles=("clerk",))], pins, None)  # type: ignore[arg-type]
    remote = remotes.remotes["far"]
    remote.pinned = await pins.of("far")
    remote.defined = {"do": defined("do", description="Another."), "search_documents": defined("search_documents")}

    assert [it.name for it in offered_tools(remotes, "clerk")] == ["far__search_documents"]
    assert offered_tools(remotes, "clerk")[0] is offered_tools(remotes, "clerk")[0], "its schema would be read anew"
    assert offered_tools(remotes, "assistant") == [] and find_tool(remotes, "assistant", "far__do") is None
    assert find_tool(remotes, "clerk", "far__do") is not None  # its refusal says why


def test_no_tool_of_ours_is_named_like_a_remote_one() -> None:
    ours = {tool.name for agent in discover_agents().values() for tool in agent.tools}

    assert ours and not any("__" in name for name in ours)
