"""Approved definitions in Postgres: first use once, an approval replaces, two processes at once do not add up."""

import asyncio
from typing import Any

from agents.remote.definitions import Definition, definition_of
from agents.remote.pins import BY_SETTINGS
from app.pins import PostgresPins
from app.postgres import Pool


def defined(name: str, description: str = "Does it.", **schema: Any) -> Definition:
    return definition_of({"name": name, "description": description, "inputSchema": {"type": "object", **schema}})


async def test_a_definition_is_kept_as_it_was_approved(pool: Pool) -> None:
    pins = PostgresPins(pool)
    schema = {"properties": {"n": {"type": "number", "default": 1.0, "maximum": 1e22, "description": "ä“‘\u200d"}}}
    it = defined("far/do", "Does “it”.", **schema)
    await pins.approve("far", [it], "ann")

    pin = (await pins.of("far"))["far/do"]
    assert pin.definition.sha256 == it.sha256
    assert (pin.definition.description, pin.definition.schema) == (it.description, it.schema)
    assert pin.approved_by == "ann" and pin.approved_at.tzinfo
    assert await pins.of("near") == {}


async def test_an_approval_takes_the_place_of_the_last_one(pool: Pool) -> None:
    pins = PostgresPins(pool)
    await pins.approve("far", [defined("a"), defined("b")], "ann")
    await pins.approve("far", [defined("a", "Otherwise.")], "bob")

    found = await pins.of("far")
    assert {tool: (pin.definition.description, pin.approved_by) for tool, pin in found.items()} == {
        "a": ("Otherwise.", "bob"), "b": ("Does it.", "ann"),
    }  # fmt: skip


async def test_first_use_is_once_also_for_two_processes(pool: Pool) -> None:
    first, second = PostgresPins(pool), PostgresPins(pool)
    await asyncio.gather(first.trust_first("far", [defined("a")]), second.trust_first("far", [defined("b")]))
    await first.trust_first("far", [defined("c")])
    await first.trust_first("near", [defined("a")])

    (pin,) = (await first.of("far")).values()
    assert pin.definition.tool in ("a", "b") and pin.approved_by == BY_SETTINGS
    assert list(await first.of("near")) == ["a"]


async def test_a_yes_that_was_taken_back_is_not_trusted_as_first_seen_again(pool: Pool) -> None:
    pins = PostgresPins(pool)
    await pins.trust_first("far", [defined("a"), defined("b")])
    await pins.withdraw("far", ["a", "b"])
    await pins.trust_first("far", [defined("a")])
    assert await pins.of("far") == {}

    await pins.approve("far", [defined("a")], "ann")
    assert [(tool, pin.approved_by) for tool, pin in (await pins.of("far")).items()] == [("a", "ann")]


async def test_what_is_unfit_by_todays_rules_is_not_approved(pool: Pool) -> None:
    pins = PostgresPins(pool)
    await pins.approve("far", [defined("a")], "ann")
    async with pool.connection() as connection:
        await connection.execute("update remote_pins set definition = definition - 'inputSchema'")

    assert await pins.of("far") == {}
